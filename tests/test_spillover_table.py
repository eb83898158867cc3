"""Spillover matrices that users bring as a table, as FlowJo and flowCore write them."""

import anndata
import numpy as np
import pandas as pd
import pytest
from handmade import FLOW, make_adata

import cytomoe
from cytomoe.check import check_files
from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.preprocessing import Preprocessor
from cytomoe.preprocessing.compensation import Spillover
from cytomoe.preprocessing.spillover_table import compensate_mode

MATRIX = np.array([[1, 0.2, 0.01], [0.05, 1, 0.1], [0, 0.02, 1]])
CHANNELS = ["FITC-A", "PE-A", "APC-A"]
EXPECTED = Spillover(tuple(CHANNELS), MATRIX)
TABLE = pd.DataFrame(MATRIX, index=CHANNELS, columns=CHANNELS)


WRITTEN = {
    "with names of rows": TABLE.to_csv(),
    "without names of rows": TABLE.to_csv(index=False),
    "rows in another order": TABLE.iloc[[2, 0, 1]].to_csv(),
    "numbered rows": TABLE.set_axis([1, 2, 3]).to_csv(),
    "of R, without a heading above the rows": TABLE.to_csv().removeprefix(","),
    "of FlowJo, with antigens": TABLE.set_axis([f"{c} :: CD4" for c in CHANNELS], axis=1).to_csv(),
    "in percent": (100 * TABLE).to_csv(),
    "with decimal commas": TABLE.to_csv(sep=";", decimal=","),
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_matrix_is_read_as_programs_write_it(tmp_path, text):
    path = tmp_path / "matrix.csv"
    path.write_text(text)
    found = compensate_mode(str(path))
    assert found.channels == EXPECTED.channels
    np.testing.assert_allclose(found.matrix, MATRIX)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A,B\n1,0.1\n", "a row for each of its 2 columns; this has 1"),
        ("A,B\n1,x\n0,1\n", "x is no number"),
        ("A,B\n1,\n0,1\n", "an empty cell is no number"),
        ("A,B\n0.5,0.1\n0,1\n", "the diagonal is 0.5, 1"),
        (",A,B\nA,1,0\nC,0,1\n", "no row, or several, for the column B"),
        ("A,B\n1,1\n1,1\n", "can't be inverted"),
        ("A,A\n1,0\n0,1\n", "no row, or several, for the column A"),
        ("", "the file is empty"),
    ],
)
def test_what_is_no_matrix_is_refused(tmp_path, text, message):
    path = tmp_path / "matrix.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        compensate_mode(str(path))


def test_a_missing_table_is_refused_with_what_there_is():
    with pytest.raises(InputError, match="--compensate maybe: no such file; give auto, yes, no or the table"):
        compensate_mode("maybe")


@pytest.fixture
def sample(tmp_path):
    """A file whose own matrix is not the one that is given."""
    rng = np.random.default_rng(0)
    values = rng.lognormal(6, 2, (400, len(FLOW)))
    cells = make_adata(FLOW, values, keywords={"$SPILLOVER": "3,FITC-A,PE-A,APC-A,1,0.5,0,0,1,0,0,0,1"})
    cytomoe.write_fcs(cells, tmp_path / "sample.fcs")
    TABLE.to_csv(tmp_path / "matrix.csv")
    return tmp_path


def test_the_given_matrix_goes_before_that_of_the_file(sample):
    cells = cytomoe.read_fcs(sample / "sample.fcs")
    fitted = Preprocessor.fit([cells], markers=["CD4", "CD8", "CD19"], compensate=EXPECTED, clip=False)
    linear = cells[:, ["CD4", "CD8", "CD19"]].X.astype(float) @ np.linalg.inv(MATRIX)
    np.testing.assert_allclose(fitted.expression(cells), np.arcsinh(linear / 150), rtol=1e-3, atol=1e-3)
    assert "compensation: the given matrix of 3 channels" in fitted.describe()


def test_the_model_keeps_it_for_files_that_it_maps(sample):
    cells = cytomoe.read_fcs(sample / "sample.fcs")
    model = cytomoe.cluster(cells, compensate=TABLE)
    model.save(sample / "model.cytomoe")
    np.testing.assert_array_equal(cytomoe.MoESimVAE.load(sample / "model.cytomoe").predict(cells), model.labels_)


def test_the_command_takes_it(sample):
    arguments = [str(sample / "sample.fcs"), "--compensate", str(sample / "matrix.csv"), "--quiet"]
    assert run(["cluster", *arguments, "--out", str(sample / "run")]) == 0
    assert "compensated with a spillover matrix that was given" in (sample / "run" / "report.html").read_text()
    cells = anndata.read_h5ad(sample / "run" / "cells.h5ad")
    model = cytomoe.cluster(cytomoe.read_fcs(sample / "sample.fcs"), compensate=str(sample / "matrix.csv"))
    np.testing.assert_array_equal(cells.obs["cytomoe"].astype(int), model.labels_)
    np.testing.assert_array_equal(cytomoe.cluster(cells).labels_, model.labels_)


def test_batch_and_its_resumption_take_it(sample, capsys):
    arguments = [str(sample / "sample.fcs"), "--compensate", str(sample / "matrix.csv"), "--out", str(sample / "all")]
    assert run(["batch", *arguments]) == 0
    assert run(["batch", *arguments, "--resume"]) == 0


def test_check_says_which_channels_are_lacking(sample):
    wider = Spillover(("FITC-A", "BV421-A"), np.array([[1, 0.1], [0, 1]]))
    findings = check_files([sample / "sample.fcs"], compensate=wider)
    assert any("lacks channels of the given matrix: BV421-A" in f.message for f in findings if f.level == "error")
    findings = check_files([sample / "sample.fcs"], compensate=EXPECTED)
    assert any(f.message == "compensated: the given matrix of 3 channels" for f in findings)


def test_generated_cells_are_not_compensated_with_it_again(sample):
    model, synthetic = sample / "run" / "model.cytomoe", str(sample / "synthetic.fcs")
    arguments = [str(sample / "sample.fcs"), "--compensate", str(sample / "matrix.csv"), "--markers", "CD4,CD8,CD19"]
    assert run(["cluster", *arguments, "--out", str(sample / "run"), "--quiet", "--no-report"]) == 0
    assert run(["generate", str(model), "-n", "500", "--out", synthetic]) == 0
    cells = cytomoe.read_fcs(synthetic)
    fitted = cytomoe.MoESimVAE.load(model).preprocessor_
    np.testing.assert_allclose(
        fitted.expression(cells), np.arcsinh(cells[:, ["CD4", "CD8", "CD19"]].X / 150), rtol=1e-5
    )
