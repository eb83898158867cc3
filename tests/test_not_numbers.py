"""NaN and infinite values: refused, or with --nan left out of the clusters or set to 0, with every row where it was."""

import json

import anndata
import flowio
import numpy as np
import pandas as pd
import pytest

from cytomoe import MoESimVAE
from cytomoe import cluster as cluster_cells
from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.io import read_fcs, write_fcs

BAD = [0, 5, 311, 799]


@pytest.fixture(scope="module")
def holes(small_plate, tmp_path_factory):
    """A well with three NaN and two infinite values in four events, among them the first and the last."""
    sample = read_fcs(small_plate[0])
    sample.X[[0, 5, 799], sample.var_names.get_loc("CD4")] = np.nan
    sample.X[[5, 311], sample.var_names.get_loc("CD3")] = [np.inf, -np.inf]
    path = tmp_path_factory.mktemp("holes") / "holes.fcs"
    write_fcs(sample, path)
    return path


@pytest.fixture(scope="module")
def dropped(holes, tmp_path_factory):
    out = tmp_path_factory.mktemp("dropped") / "out"
    arguments = ["cluster", str(holes), "--gate-channel", "gate", "--out", str(out), "--nan", "drop", "--quiet"]
    assert run(arguments) == 0
    return out


def rows(out):
    return pd.read_parquet(out / "labels.parquet")


def test_the_refusal_names_the_option_and_counts(holes, tmp_path, capsys):
    assert run(["cluster", str(holes), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "CD4 (3 NaN)" in error
    assert "(2 infinite)" in error
    assert "--nan drop" in error
    assert not (tmp_path / "out").exists()


def test_dropped_events_keep_their_rows_in_every_output(holes, dropped):
    labels, csv = rows(dropped), pd.read_csv(dropped / "labels.csv")
    assert labels["event"].tolist() == csv["event"].tolist() == list(range(800))
    for table in (labels, csv):
        assert np.flatnonzero(table["cluster"] == 0).tolist() == BAD
        assert (table["confidence"][BAD] == 0).all()
    written = flowio.FlowData(str(dropped / "fcs" / "holes.fcs"))
    assert written.event_count == 800
    cluster = written.as_array()[:, written.pnn_labels.index("cluster")]
    assert cluster.tolist() == labels["cluster"].tolist()
    cells = anndata.read_h5ad(dropped / "cells.h5ad")
    assert cells.obs["cytomoe"].astype(int).tolist() == labels["cluster"].tolist()
    assert np.flatnonzero(np.isnan(cells.X).any(axis=1)).tolist() == BAD
    source = read_fcs(holes)
    np.testing.assert_array_equal(cells.layers["raw"], source[:, cells.var_names].X)
    abundance = pd.read_csv(dropped / "abundance.csv")
    assert abundance[["events", "unassigned"]].to_numpy().tolist() == [[800, 4]]


def test_dropped_events_are_recorded_and_warned_of(dropped):
    manifest = json.loads((dropped / "run.json").read_text())
    record = manifest["not_numbers"]
    assert (record["policy"], record["events_dropped"], manifest["events_fitted"]) == ("drop", 4, 796)
    counts = sorted((c["nan"], c["infinite"]) for c in record["channels"]["holes.fcs"].values())
    assert counts == [(0, 2), (3, 0)]
    assert any(w.startswith("holes.fcs: 4 events with values that are not numbers") for w in manifest["warnings"])
    assert "4 events with values that are not numbers" in (dropped / "report.html").read_text()


def test_the_others_are_clustered_as_if_the_dropped_were_not_there(holes, dropped, tmp_path):
    sample = read_fcs(holes)
    kept = np.setdiff1d(np.arange(800), BAD)
    write_fcs(sample[kept].copy(), tmp_path / "kept.fcs")
    out = tmp_path / "out"
    assert run(["cluster", str(tmp_path / "kept.fcs"), "--out", str(out), "--quiet", "--no-report"]) == 0
    assert rows(out)["cluster"].tolist() == rows(dropped)["cluster"][kept].tolist()


def test_zero_is_what_a_file_with_zeros_gives(holes, tmp_path):
    sample = read_fcs(holes)
    sample.X[~np.isfinite(sample.X)] = 0
    write_fcs(sample, tmp_path / "zeros.fcs")
    for path, option in ((holes, ["--nan", "zero"]), (tmp_path / "zeros.fcs", [])):
        arguments = ["cluster", str(path), "--out", str(tmp_path / path.stem), "--quiet", "--no-report", *option]
        assert run(arguments) == 0
    ours, zeros = rows(tmp_path / "holes"), rows(tmp_path / "zeros")
    assert ours["cluster"].tolist() == zeros["cluster"].tolist()
    manifest = json.loads((tmp_path / "holes" / "run.json").read_text())
    assert manifest["not_numbers"]["policy"] == "zero"
    assert any("5 values that are not numbers were set to 0" in warning for warning in manifest["warnings"])


def test_pieces_of_a_file_give_what_the_whole_gives(holes, dropped, tmp_path, monkeypatch):
    monkeypatch.setattr("cytomoe.runs.events.HELD_BYTES", 0)
    monkeypatch.setattr("cytomoe.runs.events.CHUNK_BYTES", 20_000)
    monkeypatch.setattr("cytomoe.runs.sampling.KEPT_EVENTS", 500)
    for name, more in (("plain", []), ("unassigned", ["--unassigned"])):
        out = tmp_path / name
        arguments = ["predict", str(dropped / "model.cytomoe"), str(holes), "--out", str(out), "--nan", "drop", *more]
        assert run([*arguments, "--h5ad", "yes", "--quiet"]) == 0
        column = "nearest_cluster" if more else "cluster"
        assert rows(out)[column].tolist() == rows(dropped)["cluster"].tolist()
        manifest = json.loads((out / "run.json").read_text())
        assert manifest["not_numbers"]["events_dropped"] == 4
        if more:
            outlying = int((rows(out)["cluster"] == 0).sum()) - 4
            assert manifest["unassigned"]["events"] == outlying
            assert pd.read_csv(out / "abundance.csv")["unassigned"].tolist() == [outlying + 4]


@pytest.mark.parametrize("mode", ["--pooled", "--per-sample"])
def test_batch(holes, small_plate, tmp_path, mode):
    out = tmp_path / "out"
    arguments = ["batch", str(holes), str(small_plate[1]), "--out", str(out), mode, "--nan", "drop", "--quiet"]
    assert run(arguments) == 0
    assert np.flatnonzero(rows(out / "wells" / "holes")["cluster"] == 0).tolist() == BAD
    table = pd.read_csv(out / "abundance.csv").set_index("sample")
    assert table["unassigned"].tolist() == [4, 0]
    assert (table.filter(regex="cluster_").sum(axis=1) + table["unassigned"] == table["events"]).all()
    assert json.loads((out / "run.json").read_text())["nan"] == "drop"


def test_dropped_events_that_are_known_guide_nothing(holes, tmp_path, capsys):
    gates = read_fcs(holes)[:, "gate"].X.ravel().astype(int)
    known = np.where((np.arange(800) % 4 == 0) | np.isin(np.arange(800), BAD), gates, 0)
    pd.DataFrame({"known": [f"population {k}" if k else "" for k in known]}).to_csv(tmp_path / "known.csv", index=False)
    for policy in ("drop", "zero"):
        out = tmp_path / policy
        arguments = ["cluster", str(holes), "--prior", str(tmp_path / "known.csv"), "--out", str(out), "--quiet"]
        assert run([*arguments, "--nan", policy, "--no-report"]) == 0
        manifest = json.loads((out / "run.json").read_text())
        kept = np.setdiff1d(np.arange(800), BAD) if policy == "drop" else np.arange(800)
        counts = np.bincount(known[kept])
        assert manifest["prior"] == {f"population {k}": int(n) for k, n in enumerate(counts) if k and n}
        assert np.flatnonzero(rows(out)["cluster"] == 0).tolist() == (BAD if policy == "drop" else [])
    pd.DataFrame({"known": ["T cells" if n in BAD else "" for n in range(800)]}).to_csv(tmp_path / "known.csv")
    arguments = ["cluster", str(holes), "--prior", f"{tmp_path / 'known.csv'}:known", "--out", str(tmp_path / "none")]
    assert run([*arguments, "--nan", "drop"]) == 2
    assert "no known event has numbers in all markers" in capsys.readouterr().err


def test_gates_in_files_that_overlap(holes, tmp_path):
    """Two gates share 200 events, one of which holds a NaN: it is one event, and in no cluster."""
    sample = read_fcs(holes)
    write_fcs(sample[:500].copy(), tmp_path / "well_first_A01.fcs")
    write_fcs(sample[300:].copy(), tmp_path / "well_second_A01.fcs")
    files = [str(tmp_path / f"well_{name}_A01.fcs") for name in ("first", "second")]
    out = tmp_path / "out"
    arguments = ["cluster", *files, "--gate-pattern", "{plate}_{gate}_{well}.fcs", "--out", str(out), "--quiet"]
    assert run([*arguments, "--nan", "drop", "--no-report"]) == 0
    labels = rows(out)
    assert np.flatnonzero(labels["cluster"] == 0).tolist() == [0, 5, 311, 511, 999]  # 311 stands in both
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["overlaps"]["distinct_events"] == 800
    assert manifest["events_fitted"] == 796
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["all"]["n_events"] == 995
    assert evaluation["unique"]["n_events"] == 597
    shared = labels["cluster"].to_numpy()
    assert (shared[300:500] == shared[500:700]).all()


@pytest.mark.parametrize("policy", ["drop", "zero"])
def test_logicle(holes, tmp_path, policy):
    out, zeros = tmp_path / "out", read_fcs(holes)
    arguments = ["--transform", "logicle", "--quiet", "--no-report", "--h5ad", "no"]
    assert run(["cluster", str(holes), "--out", str(out), "--nan", policy, *arguments]) == 0
    zeros.X[~np.isfinite(zeros.X)] = 0
    other = zeros if policy == "zero" else zeros[np.setdiff1d(np.arange(800), BAD)].copy()
    write_fcs(other, tmp_path / "other.fcs")
    assert run(["cluster", str(tmp_path / "other.fcs"), "--out", str(tmp_path / "other"), *arguments]) == 0
    clusters = rows(out)["cluster"].to_numpy()
    assert clusters[clusters > 0].tolist() == rows(tmp_path / "other")["cluster"].tolist()


def test_gates_are_measured_on_events_that_have_a_cluster(holes, dropped, capsys):
    gates = read_fcs(holes)[:, "gate"].X.ravel()
    evaluation = json.loads((dropped / "evaluation.json").read_text())
    assert evaluation["unique"]["n_events"] == 796
    counted = sum(population["n"] for population in evaluation["unique"]["populations"])
    sizes = np.bincount(np.delete(gates, BAD).astype(int))[1:]
    assert counted == sizes[sizes >= 30].sum()
    assert run(["evaluate", str(dropped), "--gate-channel", "gate", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == evaluation
    assert "4 of 800 events have no cluster" in output.err


def test_python(blobs, monkeypatch):
    monkeypatch.setattr("cytomoe.clusterer.CHUNK", 500)  # of which one holds no cell that is not dropped, below
    cells, _ = blobs
    cells = cells.copy()
    cells[[0, 7], [1, 2]] = np.nan, np.inf
    with pytest.raises(InputError, match="2 values are not finite"):
        MoESimVAE().fit(cells)
    model = MoESimVAE(nan="drop").fit(cells)
    assert np.flatnonzero(model.labels_ == 0).tolist() == [0, 7]
    assert model.predict(cells).tolist() == model.labels_.tolist()
    assert np.isnan(model.predict_proba(cells)[[0, 7]]).all()
    assert np.isnan(model.transform(cells)).any(axis=1).nonzero()[0].tolist() == [0, 7]
    lost = cells.copy()
    lost[500:1000] = np.nan
    for found in (model.predict(lost) == 0, np.isnan(model.predict_proba(lost)[:, 0]), np.isnan(model.misfit(lost))):
        assert np.flatnonzero(found).tolist() == [0, 7, *range(500, 1000)]
    zeros = np.where(np.isfinite(cells), cells, 0)
    assert MoESimVAE(nan="zero").fit(cells).labels_.tolist() == MoESimVAE().fit(zeros).labels_.tolist()
    with pytest.raises(InputError, match="unknown nan='skip'"):
        MoESimVAE(nan="skip").fit(cells)


def test_anndata(holes):
    cells = read_fcs(holes)
    cluster_cells(cells, nan="drop")
    assert np.flatnonzero(cells.obs["cytomoe"].isna()).tolist() == BAD
    assert np.flatnonzero(cells.obs["cytomoe_label"].isna()).tolist() == BAD


def test_a_file_without_any_number_is_refused(holes, dropped, tmp_path, capsys):
    sample = read_fcs(holes)
    sample.X[:, sample.var_names.get_loc("CD4")] = np.nan
    write_fcs(sample, tmp_path / "none.fcs")
    for command in (["cluster"], ["predict", str(dropped / "model.cytomoe")]):
        arguments = [*command, str(tmp_path / "none.fcs"), "--out", str(tmp_path / "out"), "--nan", "drop", "--quiet"]
        assert run(arguments) == 2
        assert "no event has numbers in all markers" in capsys.readouterr().err
