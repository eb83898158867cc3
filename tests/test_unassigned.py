"""Cells that fit no cluster: told from the others, given no cluster, and never left out of a file."""

import json
import re
from types import SimpleNamespace

import flowio
import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.io import write_fcs
from cytomoe.outlyingness import BEYOND, marker_ranges, outlyingness, outlyingness_limit
from cytomoe.runs.fitting import unstable


@pytest.fixture(scope="module")
def cells():
    """Two clusters in three markers: values and cluster of each cell."""
    rng = np.random.default_rng(1)
    clusters = np.repeat([0, 1], [3000, 1000])
    return (np.array([[0, 4, 1], [4, 0, 1]])[clusters] + rng.normal(0, 0.4, (4000, 3))).astype(np.float32), clusters


def test_one_marker_outside_is_enough(cells):
    expression, clusters = cells
    ranges = marker_ranges(expression, clusters, 2)
    median = ranges[0, 1]
    assert outlyingness(ranges, median[None], np.array([0])) == 0
    for marker in range(3):
        for edge, side in ((0, -1), (2, 1)):
            cell = median.copy()
            cell[marker] = ranges[0, edge, marker]
            np.testing.assert_allclose(outlyingness(ranges, cell[None], np.array([0])), 1, rtol=1e-5)
            cell[marker] += side * 0.1
            assert outlyingness(ranges, cell[None], np.array([0])) > 1


def test_the_limit_holds_for_new_cells(cells):
    expression, clusters = cells
    ranges, limit = marker_ranges(expression, clusters, 2), outlyingness_limit(expression, clusters)
    rng = np.random.default_rng(2)
    own = rng.integers(0, 2, 20_000)
    new = (np.array([[0, 4, 1], [4, 0, 1]])[own] + rng.normal(0, 0.4, (len(own), 3))).astype(np.float32)
    assert np.mean(outlyingness(ranges, new, own) > limit) == pytest.approx(BEYOND, abs=0.015)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_clusters_of_few_or_no_cells_have_ranges(n):
    expression = np.linspace(0, 1, n, dtype=np.float32)[:, None] * np.ones(2, dtype=np.float32)
    ranges = marker_ranges(expression, np.zeros(n, dtype=np.int64), 3)
    assert ranges.shape == (3, 3, 2)
    assert (np.diff(ranges, axis=1) >= 0).all()
    assert np.isfinite(outlyingness(ranges, expression, np.full(n, 2))).all()


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A well of which the model never saw one population: its folder, and whether an event is of that population."""
    folder = tmp_path_factory.mktemp("unassigned")
    sample = next(iter(simulate_plate(5, wells=1, events=4000).values()))
    gates = np.asarray(sample[:, "gate"].X).ravel()
    unseen = gates == 5  # some 500 events that share most markers with a larger population
    write_fcs(sample[~unseen], folder / "seen.fcs")
    write_fcs(sample, folder / "well.fcs")
    options = ["--gate-channel", "gate", "--quiet"]
    assert run(["cluster", str(folder / "seen.fcs"), "--out", str(folder / "fit"), "--no-report", *options]) == 0
    model = str(folder / "fit" / "model.cytomoe")
    arguments = ["predict", model, str(folder / "well.fcs"), "--unassigned", "--out", str(folder / "mapped"), *options]
    assert run(arguments) == 0
    return folder / "mapped", unseen


def test_an_unseen_population_is_unassigned_and_the_rest_is_not(mapped):
    labels = pd.read_csv(mapped[0] / "labels.csv")
    assert len(labels) == 4000
    assert (labels["cluster"][mapped[1]] == 0).mean() > 0.8
    assert (labels["cluster"][~mapped[1]] == 0).mean() < 0.08
    assert ((labels["cluster"] == 0) == (labels["outlyingness"] > 1)).all()
    assigned = labels[labels["cluster"] > 0]
    assert (assigned["cluster"] == assigned["nearest_cluster"]).all()
    assert (labels["nearest_cluster"] >= 1).all()


def test_every_file_of_the_run_says_the_same(mapped):
    folder, _ = mapped
    clusters = pd.read_csv(folder / "labels.csv")["cluster"]
    table = pd.read_csv(folder / "clusters.csv")
    assert table["events"].tolist() == [int((clusters == k).sum()) for k in table["cluster"]]
    abundance = pd.read_csv(folder / "abundance.csv").iloc[0]
    assert abundance["events"] == 4000
    assert abundance["unassigned"] == (clusters == 0).sum()
    assert abundance.filter(like="cluster_").sum() + abundance["unassigned"] == 4000
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["unassigned"]["events"] == (clusters == 0).sum()
    cells = read_h5ad(folder / "cells.h5ad")
    assert cells.obs["cytomoe"].astype(int).tolist() == clusters.tolist()
    assert (cells.obs["label"][cells.obs["cytomoe"] == "0"] == "unassigned").all()
    written = flowio.FlowData(str(folder / "fcs" / "well.fcs"))
    channel = written.pnn_labels.index("cluster")
    assert written.as_array(preprocess=False)[:, channel].astype(int).tolist() == clusters.tolist()
    assert (folder / "report.html").is_file()
    medians = pd.read_csv(folder / "medians.csv")
    of_cells = cells[cells.obs["cytomoe"] == "1"].X
    np.testing.assert_allclose(
        medians.iloc[0, -of_cells.shape[1] :].astype(float), np.median(of_cells, axis=0), atol=1e-4
    )


def test_measures_are_of_the_nearest_clusters_and_say_so(mapped, tmp_path, capsys):
    folder, _ = mapped
    assert 0 not in pd.read_csv(folder / "evaluation.csv")["cluster"].dropna().tolist()
    well, model = folder.parent / "well.fcs", folder.parent / "fit"
    arguments = ["predict", str(model), str(well), "--unassigned", "--gate-channel", "gate", "--no-report"]
    assert run([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert "unassigned events are measured in the cluster nearest to them\nall gated" in capsys.readouterr().out


def test_evaluate_measures_what_the_run_did(mapped, tmp_path, capsys):
    """Unassigned events, cluster 0, are no cluster of their own."""
    folder, _ = mapped
    assert run(["evaluate", str(folder), "--gate-channel", "gate", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == json.loads((folder / "evaluation.json").read_text())
    assert "not measured" not in output.err
    labels = pd.read_csv(folder / "labels.csv").drop(columns=["nearest_cluster"])  # as another program may write them
    labels.to_csv(tmp_path / "labels.csv", index=False)
    well = str(folder.parent / "well.fcs")
    assert run(["evaluate", str(tmp_path / "labels.csv"), well, "--gate-channel", "gate", "--json"]) == 0
    output = capsys.readouterr()
    left_out = int((labels["cluster"] == 0).sum())
    assert f"{left_out:,} of 4,000 events have no cluster (0) and are not measured" in output.err
    measured = json.loads(output.out)["all"]
    assert measured["n_events"] == 4000 - left_out
    assert measured["clusters_used"] == labels["cluster"].max()
    assert 0 not in [population["cluster"] for population in measured["populations"]]
    labels.assign(cluster=0).to_csv(tmp_path / "labels.csv", index=False)
    assert run(["evaluate", str(tmp_path / "labels.csv"), well, "--gate-channel", "gate"]) == 2
    assert "no event has a cluster" in capsys.readouterr().err


def test_unassigned_events_stay_so_when_clusters_are_merged(mapped, tmp_path):
    folder, _ = mapped
    assert run(["recut", str(folder), "--clusters", "3", "--out", str(tmp_path / "three")]) == 0
    labels = pd.read_csv(tmp_path / "three" / "labels.csv")
    assert ((labels["population"] == "unassigned") == (labels["cluster"] == 0)).all()
    assert labels["population"].nunique() == 4
    written = flowio.FlowData(str(tmp_path / "three" / "fcs" / "well.fcs"))
    populations = written.as_array(preprocess=False)[:, written.pnn_labels.index("population")]
    assert ((populations == 0) == (labels["cluster"] == 0)).all()


def test_the_shares_of_merged_populations_are_of_all_events(mapped, tmp_path, capsys):
    out = tmp_path / "three"
    assert run(["recut", str(mapped[0]), "--clusters", "3", "--no-report", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    first, unassigned = (re.search(rf"^ +{k} +([\d,]+) +([\d.]+) %", printed, re.MULTILINE) for k in (1, 0))
    table = pd.read_csv(out / "populations.csv").iloc[0]
    assert int(unassigned[1].replace(",", "")) == table["unassigned"]
    for events, share in (first.groups(), unassigned.groups()):
        assert float(share) == pytest.approx(100 * int(events.replace(",", "")) / table["events"], abs=0.06)


def test_evaluate_measures_them_in_the_population_of_their_nearest_cluster(mapped, tmp_path, capsys):
    out = tmp_path / "three"
    assert run(["recut", str(mapped[0]), "--clusters", "3", "--no-report", "--out", str(out)]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(out), "--gate-channel", "gate", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured == json.loads((out / "evaluation.json").read_text())
    assert measured["all"]["n_events"] == 4000


def test_batch_counts_them_by_well(mapped, tmp_path):
    folder, _ = mapped
    source = folder.parent
    arguments = ["batch", str(source / "well.fcs"), "--model", str(source / "fit" / "model.cytomoe"), "--unassigned"]
    assert run([*arguments, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    table = pd.read_csv(tmp_path / "out" / "abundance.csv").iloc[0]
    assert table["events"] == 4000
    assert table["unassigned"] == (pd.read_csv(folder / "labels.csv")["cluster"] == 0).sum()


def test_without_the_option_all_get_a_cluster(mapped):
    labels = pd.read_csv(mapped[0].parent / "fit" / "labels.csv")
    assert (labels["cluster"] >= 1).all()
    assert "outlyingness" not in labels


def test_clusters_that_another_look_would_not_find_are_named_unless_they_are_tiny():
    def model(sizes, *stability, experts=50):
        summary = SimpleNamespace(sizes=np.array(sizes), stability=np.array(stability))
        return SimpleNamespace(n_clusters_=len(sizes), summary_=summary, settings_=SimpleNamespace(experts=experts))

    assert unstable(model([900, 60, 40], 0.9, 0.6, np.nan)) == []
    assert unstable(model([9000, 60, 40], 0.9, 0.6, 0.3)) == []
    assert unstable(model([900, 60, 40], 0.9, 0.4, 0.3))[0].startswith("clusters 2, 3 of 3: stability below 0.5")
    assert unstable(model([900], 0.3))[0].endswith("look at them before you count on them")  # nothing to merge it with
    assert unstable(model([900], 0.3, experts=1)) == []
