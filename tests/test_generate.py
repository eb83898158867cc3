"""Synthetic cells: written in original units, back in their cluster, and as spread as real ones; and drift."""

import json

import flowio
import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.estimator import MoESimVAE
from cytomoe.generation import share_out
from cytomoe.io import read_fcs, write_fcs

SAMPLE = "example_data/example_A02.fcs"


@pytest.fixture(scope="module")
def model(example_run):
    return str(example_run / "model.cytomoe")


def test_generated_cells_return_to_their_cluster_when_mapped(model, tmp_path):
    out = tmp_path / "synthetic.fcs"
    assert run(["generate", model, "-n", "3000", "--out", str(out)]) == 0
    assert run(["predict", model, str(out), "--out", str(tmp_path / "mapped"), "--quiet"]) == 0
    asked = read_fcs(out)[:, "cluster"].X.ravel()
    found = pd.read_csv(tmp_path / "mapped" / "labels.csv")["cluster"].to_numpy()
    assert len(found) == 3000
    assert np.mean(asked == found) >= 0.97


def test_generated_fcs_has_the_panel_of_the_files(model, tmp_path):
    out = tmp_path / "synthetic.fcs"
    assert run(["generate", model, "--cluster", "1", "-n", "500", "--out", str(out)]) == 0
    written, source = flowio.FlowData(str(out)), read_fcs(SAMPLE)
    markers = MoESimVAE.load(model).preprocessor_.markers
    assert written.event_count == 500
    assert written.pnn_labels == [*source.var.loc[markers, "channel"], "cluster"]
    assert written.pns_labels[:-1] == markers
    values = np.reshape(written.events, (500, -1))
    ranges = [float(written.text[f"p{i}r"]) for i in range(1, values.shape[1] + 1)]
    assert (values.max(axis=0) <= ranges).all()


def test_generated_cells_are_as_spread_as_real_ones(example_run, model, tmp_path):
    out = tmp_path / "synthetic.csv"
    assert run(["generate", model, "--cluster", "1", "-n", "4000", "--out", str(out)]) == 0
    synthetic = pd.read_csv(out)
    assert (synthetic["cluster"] == 1).all()
    assert synthetic["population"].nunique() == 1
    import anndata

    cells = anndata.read_h5ad(example_run / "cells.h5ad")
    real = cells[cells.obs["cytomoe"] == "1"]
    made = np.arcsinh(synthetic[list(cells.var_names)] / 5)
    ratio = made.std() / np.maximum(real.X.std(axis=0), 0.1)
    assert ratio.median() == pytest.approx(1, abs=0.25)


def test_a_population_is_generated_by_its_name(example_run, model, tmp_path):
    out = tmp_path / "cd4.csv"
    assert run(["generate", model, "--name", "cd4 t cells", "-n", "200", "--out", str(out)]) == 0
    assert set(pd.read_csv(out)["population"]) == {"CD4 T cells"}


def test_like_takes_proportions_and_number_from_a_sample(model, tmp_path, capsys):
    out = tmp_path / "twin.csv"
    assert run(["generate", model, "--like", SAMPLE, "--out", str(out)]) == 0
    sample = read_fcs(SAMPLE)
    wanted = np.bincount(MoESimVAE.load(model).predict(sample))
    made = np.bincount(pd.read_csv(out)["cluster"], minlength=len(wanted))
    np.testing.assert_array_equal(made, wanted)


def test_same_seed_same_cells(model, tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert run(["generate", model, "-n", "100", "--seed", seed, "--out", str(tmp_path / f"{name}.csv")]) == 0
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_synthetic_cells_of_compensated_files_are_not_compensated_again(data, tmp_path):
    spleen = str(data / "flow" / "mouse_spleen_raw.fcs")
    assert run(["cluster", spleen, "--subsample", "3000", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    model, out = str(tmp_path / "run" / "model.cytomoe"), str(tmp_path / "synthetic.fcs")
    assert run(["generate", model, "-n", "1000", "--out", out]) == 0
    loaded, synthetic = MoESimVAE.load(model), read_fcs(out)
    assert np.mean(loaded.predict(synthetic) == synthetic[:, "cluster"].X.ravel()) >= 0.97


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster", "99"], "the model has clusters 1 to"),
        (["--name", "CD4 T cell"], "nearest: CD4 T cells"),
        (["--like", "nowhere.fcs"], "nowhere.fcs"),
        (["-n", "100000000000000000000000"], "1<=x<=10000000"),
    ],
)
def test_what_the_model_lacks_is_refused_by_name(model, arguments, message, tmp_path, capsys):
    assert run(["generate", model, *arguments, "--out", str(tmp_path / "x.fcs")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_not_written(model, tmp_path, capsys):
    assert run(["generate", model, "--out", str(tmp_path / "x.txt")]) == 2
    (tmp_path / "x.csv").write_text("mine")
    assert run(["generate", model, "--out", str(tmp_path / "x.csv")]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "x.csv").read_text() == "mine"


def test_unit_codes_lie_around_the_centre(model):
    loaded = MoESimVAE.load(model)
    unit, own = loaded.sample(1, 2000, spread="unit"), loaded.sample(1, 2000)
    assert np.arcsinh(unit / 5).std() < np.arcsinh(own / 5).std()


def test_cells_are_shared_out_by_largest_remainder():
    assert share_out(10, [1, 1, 1]) == [4, 3, 3]
    assert share_out(7, [0, 5]) == [0, 7]


def test_more_cells_than_memory_holds_are_refused(model):
    with pytest.raises(InputError, match="too many to generate at once; 10,000,000 are the most"):
        MoESimVAE.load(model).sample(1, 10**23)
    with pytest.raises(InputError, match="too many to generate at once"):
        share_out(10**23, [1, 1])


def test_a_sample_like_the_training_has_not_drifted(example_run, model, tmp_path, capsys):
    assert run(["predict", model, SAMPLE, "--out", str(tmp_path / "mapped")]) == 0
    assert "left the range" not in capsys.readouterr().err
    drift = json.loads((tmp_path / "mapped" / "run.json").read_text())["drift"]
    assert drift["left_range"] == {}
    assert drift["fits_no_expert"]["example_A02"] < 0.02


def test_a_brighter_stain_is_reported_by_marker(model, tmp_path, capsys):
    sample = read_fcs(SAMPLE)
    sample.X[:, sample.var_names.get_loc("CD3")] *= 30
    write_fcs(sample, tmp_path / "bright.fcs")
    assert run(["predict", model, str(tmp_path / "bright.fcs"), "--out", str(tmp_path / "mapped")]) == 0
    assert "left the range of the model's training: CD3" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "mapped" / "drift.csv", index_col="marker")
    assert table.index[table["left_range"]].tolist() == ["CD3"]


def test_cells_of_a_kind_never_seen_fit_no_expert(blobs):
    cells, populations = blobs
    model = MoESimVAE(seed=0).fit(cells[populations != 0])
    unfit = model.misfit(cells) > model.summary_.limit[0]
    assert unfit[populations == 0].mean() > 0.9
    assert unfit[populations != 0].mean() < 0.02
