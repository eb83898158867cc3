"""The forms in which Python users hand over cells: each gives the labels of the plain array, or is refused in words."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from handmade import FLOW, make_adata
from scipy import sparse

import cytomoe
from cytomoe import MoESimVAE
from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.inputs import as_cells

SAMPLE = "example_data/example_A01.fcs"
MARKERS = ["CD3", "CD4", "CD7", "CD20", "IgM", "CD14", "CD33", "HLA-DR", "CD123", "CD45"]


@pytest.fixture(scope="module")
def raw_cells():
    return cytomoe.read_fcs(SAMPLE)


@pytest.fixture(scope="module")
def raw_model(raw_cells):
    """A model of raw values, which transforms them itself."""
    return cytomoe.cluster(raw_cells.copy(), markers=MARKERS, seed=1)


@pytest.fixture(scope="module")
def transformed(raw_cells, raw_model):
    return raw_model.preprocessor_.expression(raw_cells)


FORMS = {
    "table": lambda x: pd.DataFrame(x, columns=MARKERS),
    "table in another order": lambda x: pd.DataFrame(x, columns=MARKERS).iloc[:, ::-1],
    "table with more": lambda x: pd.DataFrame(x, columns=MARKERS).assign(Time=0.0),
    "list": lambda x: x.tolist(),
    "sparse": sparse.csr_matrix,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_transformed_values_come_in_any_form(raw_model, transformed, form):
    np.testing.assert_array_equal(raw_model.predict(form(transformed)), raw_model.labels_)


def test_a_table_names_the_markers_of_a_fit(transformed):
    model = MoESimVAE(subsample=1000).fit(pd.DataFrame(transformed, columns=MARKERS))
    assert model.preprocessor_.markers == MARKERS
    np.testing.assert_array_equal(model.labels_, MoESimVAE(subsample=1000).fit_predict(transformed))


def test_a_model_without_names_takes_the_columns_by_place(transformed):
    model = MoESimVAE(subsample=1000).fit(transformed)
    np.testing.assert_array_equal(model.predict(pd.DataFrame(transformed, columns=MARKERS)), model.labels_)


def backed(cells, path):
    cells.write_h5ad(path)
    return anndata.read_h5ad(path, backed="r")


def with_raw_layer(cells, _):
    """As scanpy's users keep it: X transformed by themselves, the raw values in a layer."""
    other = cells.copy()
    other.layers["raw"], other.X = other.X.copy(), np.arcsinh(other.X / 5)
    return other


def with_sparse_values(cells, _):
    other = cells.copy()
    other.X = sparse.csr_matrix(other.X)
    return other


@pytest.mark.parametrize("form", [backed, with_raw_layer, with_sparse_values])
def test_raw_values_come_in_any_anndata(raw_model, raw_cells, tmp_path, form):
    other = form(raw_cells, tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(raw_model.predict(other), raw_model.labels_)


def test_raw_values_in_an_array_are_refused(raw_model, raw_cells):
    """They have the right markers, and were mapped to clusters at random."""
    with pytest.raises(InputError, match="arrays and tables must hold transformed values"):
        raw_model.predict(raw_cells[:, MARKERS].X)


def test_generated_raw_cells_are_not_mapped_as_transformed_ones(raw_model):
    with pytest.raises(InputError, match="give raw ones as an AnnData"):
        raw_model.predict(raw_model.sample(1, 500))


@pytest.mark.parametrize("matrix", ["of the file", "given"])
def test_generated_cells_of_a_model_that_compensates_return_to_their_cluster(matrix, tmp_path):
    """They have its markers alone, not all channels of its matrix, and are compensated."""
    cells = spilled(1, 0.5)
    given = (
        {} if matrix == "of the file" else {"compensate": pd.DataFrame([[1, 0.5], [0, 1]], *2 * [["FITC-A", "PE-A"]])}
    )
    model = cytomoe.cluster(cells, markers=["CD8", "CD19"], **given)
    assert model.preprocessor_.compensate
    made = model.generate(400, seed=5)
    assert np.mean(model.predict(made) == made.obs["cluster"]) >= 0.97
    cytomoe.write_fcs(made, tmp_path / "made.fcs")
    np.testing.assert_array_equal(model.predict(cytomoe.read_fcs(tmp_path / "made.fcs")), model.predict(made))
    shares, fitted = (np.bincount(found, minlength=model.n_clusters_ + 1) / len(found) for found in
                      (made.obs["cluster"], model.labels_))  # fmt: skip
    np.testing.assert_allclose(shares, fitted, atol=1 / 400)


def test_generated_cells_without_any_signal_are_raw_values_too():
    """Nothing in them exceeds what transformed values reach."""
    rng = np.random.default_rng(0)
    values = rng.exponential(0.5, (4000, 3))
    values[:1000] += 300
    names = ["CD3", "CD4", "CD8"]
    model = MoESimVAE().fit(make_adata([(n, n) for n in names], values, keywords={"$CYT": "CyTOF"}))
    dim = 1 + int(np.argmin([model.sample(k, 200).max() for k in range(1, model.n_clusters_ + 1)]))
    made = model.generate(1000, clusters=[dim])
    assert made.X.max() < 20
    assert np.mean(model.predict(made) == dim) >= 0.97


def test_masked_values_are_no_numbers(transformed):
    with pytest.raises(InputError, match="not finite"):
        MoESimVAE().fit(np.ma.masked_greater(transformed, 4))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("sample.fcs", "not as str; cytomoe.read_fcs"),
        (pd.DataFrame({"CD3": [1.0], "gate": ["T"]}), "columns that are not numbers: gate"),
        (pd.DataFrame([[1.0, 2.0]], columns=["CD3", "CD3"]), "several channels are called CD3"),
        (pd.DataFrame({"CD3": [1.0]}), "lacks 9 of the 10 markers: CD4, CD7"),
        (np.array([["a"] * 10]), "values that are not numbers"),
        (anndata.AnnData(np.ones((3, 2)), var=pd.DataFrame(index=["A", "A"])), "several channels are called A"),
    ],
)
def test_what_holds_no_cells_is_refused(raw_model, cells, message):
    with pytest.raises(InputError, match=message):
        raw_model.predict(cells)


def test_cluster_asks_for_an_anndata(transformed):
    with pytest.raises(InputError, match="cluster writes into an AnnData, and this is ndarray"):
        cytomoe.cluster(transformed)


def spilled(seed, spill):
    """A fluorescence file whose PE shows a part of FITC, which is no marker."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 100, (600, len(FLOW)))
    bright = rng.random(values.shape) < 0.5
    values[bright] += rng.normal(20_000, 2000, bright.sum())
    values[:, 2] += spill * values[:, 1]
    return make_adata(FLOW, values, keywords={"$SPILLOVER": f"2,FITC-A,PE-A,1,{spill},0,1"}, seed=seed)


@pytest.fixture(scope="module")
def flow_runs(tmp_path_factory):
    """cells.h5ad and model of a run of one file, and of one of two files with different matrices."""
    folder = tmp_path_factory.mktemp("flow")
    for name, spill in (("a", 0.5), ("b", 0.3)):
        cytomoe.write_fcs(spilled(ord(name), spill), folder / f"{name}.fcs")
    for out, files in (("one", "a"), ("two", "ab")):
        paths = [str(folder / f"{name}.fcs") for name in files]
        options = ["--markers", "CD8,CD19", "--no-report", "--quiet", "--out", str(folder / out)]
        assert run(["cluster", *paths, *options]) == 0
    return folder


@pytest.mark.parametrize("how", [cytomoe.cluster, MoESimVAE().fit, lambda cells: MoESimVAE.load(cells.uns["model"])])
def test_the_cells_of_a_run_are_compensated_again(flow_runs, how):
    """Their raw values were clustered as they stood in the file, uncompensated; a model of the run refused them."""
    cells = anndata.read_h5ad(flow_runs / "one" / "cells.h5ad")
    cells.uns["model"] = flow_runs / "one" / "model.cytomoe"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = how(cells)
    assert model.preprocessor_.markers == ["CD8", "CD19"]
    np.testing.assert_array_equal(model.preprocessor_.expression(as_cells(cells)), cells.X)
    clusters = pd.read_csv(flow_runs / "one" / "labels.csv")["cluster"]
    np.testing.assert_array_equal(model.predict(cells), clusters)


def test_cells_that_were_clustered_again_are_still_compensated(flow_runs):
    cells = anndata.read_h5ad(flow_runs / "one" / "cells.h5ad")
    first = cytomoe.cluster(cells).labels_
    np.testing.assert_array_equal(cytomoe.cluster(cells).labels_, first)


def test_cells_of_files_with_different_matrices_are_taken_file_by_file(flow_runs):
    cells = anndata.read_h5ad(flow_runs / "two" / "cells.h5ad")
    model = MoESimVAE.load(flow_runs / "two" / "model.cytomoe")
    with pytest.raises(InputError, match="files with different spillover matrices"):
        model.predict(cells)
    clusters = pd.read_csv(flow_runs / "two" / "labels.csv")["cluster"].to_numpy()
    for name in ("a.fcs", "b.fcs"):
        mine = (cells.obs["file"] == name).to_numpy()
        np.testing.assert_array_equal(model.predict(cells[mine]), clusters[mine])
