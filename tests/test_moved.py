"""Shares that moved between samples are told, and those that vary as samples do are not."""

import json

import numpy as np
import pandas as pd
import pytest
from test_plate_report import summary

from cytomoe.cli.main import run
from cytomoe.drift import Drift, distance
from cytomoe.fit_summary import QUANTILES
from cytomoe.io import read_fcs, write_fcs
from cytomoe.reporting.moved import judge_markers, judge_moved, moved_among, moved_from_fit
from cytomoe.reporting.plate_verdict import judge_batch

SHARES = np.array([0.4, 0.3, 0.2, 0.08, 0.02])


def plate(n, *, spread=1000, seed=0):
    """Counts of 5,000 events in each of ``n`` samples whose shares vary as those of replicates do."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.multinomial(5000, rng.dirichlet(SHARES * spread)) for _ in range(n)])


def test_a_well_without_a_population_is_told_with_what_took_its_place():
    counts = plate(12)
    counts[7, 2] //= 10
    moved = moved_among(counts)
    assert {each.sample for each in moved} == {7}
    assert moved[0].cluster == 2
    assert moved[0].usual == pytest.approx(0.2, abs=0.02)
    assert moved[0].share == pytest.approx(0.02, abs=0.01)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 12, 96])
def test_replicates_are_not_told(n):
    told = [seed for seed in range(50) if moved_among(plate(n, seed=seed))]
    assert len(told) <= 1


@pytest.mark.parametrize("decimals", [6, 0])
def test_the_drift_of_a_marker_is_the_largest_distance_of_its_distribution(decimals):
    rng = np.random.default_rng(0)
    fitted, values = rng.normal(2, 1, (3000, 2)), rng.normal([2, 2.6], [1, 1.2], (800, 2))
    fitted, values = (np.maximum(cells, 0).round(decimals).astype(np.float32) for cells in (fitted, values))
    quantiles = np.quantile(fitted, QUANTILES, axis=0).astype(np.float32)
    farthest = np.zeros(2)
    for share, quantile in zip(QUANTILES, quantiles, strict=True):
        below, at_most = (values < quantile).mean(axis=0), (values <= quantile).mean(axis=0)
        farthest = np.maximum(farthest, np.maximum(below - share, share - at_most))
    np.testing.assert_allclose(distance(values, quantiles), farthest, atol=1e-12)
    assert farthest[0] < 0.05 < 0.15 < farthest[1]


def test_a_plate_of_two_treatments_has_no_outliers():
    counts = plate(12)
    counts[::2, 0], counts[::2, 2] = counts[::2, 2].copy(), counts[::2, 0].copy()
    assert moved_among(counts) == []


def test_few_samples_or_few_events_tell_nothing():
    counts = plate(2)
    counts[0, 2] = 0
    assert moved_among(counts) == []
    counts = plate(12)
    counts[0] = [1, 3, 2, 2, 0]
    assert moved_among(counts) == []
    counts[0] = 0  # a well whose events were all left out
    assert moved_among(counts) == []


def test_of_a_few_samples_only_what_is_far_from_the_median_is_told():
    assert moved_among(plate(5)) == []
    counts = plate(5)
    counts[0, 2] = 0
    assert [(each.sample, each.cluster) for each in moved_among(counts)] == [(0, 2)]


def test_samples_unlike_the_fit_are_told_however_few():
    counts = np.array([[400, 300, 200, 80, 20], [100, 600, 200, 80, 20]])
    moved = moved_from_fit(counts, SHARES)
    assert [(each.sample, each.cluster) for each in moved] == [(1, 0), (1, 1)]
    (finding,) = judge_moved(counts, ["a", "b"], [1, 2, 3, 4, 5], what="cluster", fitted=SHARES)
    assert finding.title == "In 1 of 2 samples shares lie far from those of the model's fit"
    assert finding.detail == "b: cluster 1 10.0 % (40.0 %), b: cluster 2 60.0 % (30.0 %); in brackets the fit."


def test_of_two_samples_shares_far_apart_are_told_and_others_not():
    counts = np.array([[400, 300, 200, 80, 20], [1000, 300, 500, 180, 20]])
    (finding,) = judge_moved(counts, ["a", "b"], [1, 2, 3, 4, 5], what="cluster")
    assert finding.title == "The shares of the two samples lie far apart"
    assert finding.detail == "In a: cluster 2 30.0 % (15.0 %); in brackets b."
    assert judge_moved(plate(2), ["a", "b"], [1, 2, 3, 4, 5], what="cluster") == []


def test_the_verdict_on_a_batch_names_well_and_cluster():
    abundance = summary().abundance.iloc[[0] * 8].reset_index(drop=True)
    abundance["sample"] = [f"W{i}" for i in range(8)]
    abundance["events"], abundance["cluster_1"], abundance["cluster_2"] = 1000, 700, 300
    abundance.loc[3, ["cluster_1", "cluster_2"]] = [100, 900]

    def told(mode):
        found = judge_batch(summary(abundance=abundance, mode=mode))
        return [finding for finding in found if "shares lie far" in finding.title]

    (finding,) = told("pooled")
    assert finding.title == "In 1 of 8 samples shares lie far from those of the other samples"
    assert "W3: cluster 1 10.0 % (70.0 %)" in finding.detail
    (of_own_models,) = told("per-sample")
    assert "matching.csv" in of_own_models.advice
    abundance = abundance[1:4]  # too few for outliers: W3 lies far from all together
    (finding,) = told("pooled")
    assert finding.title == "In 1 of 3 samples shares lie far from those of the other samples"
    assert "W3: cluster 1 10.0 % (70.0 %)" in finding.detail


def test_a_mapped_run_keeps_the_shares_of_its_fit(finished, small_plate, tmp_path):
    out = tmp_path / "mapped"
    assert run(["predict", str(finished), str(small_plate[0]), "--out", str(out), "--quiet", "--no-report"]) == 0
    shares = json.loads((out / "run.json").read_text())["fitted_shares"]
    assert len(shares) == json.loads((out / "run.json").read_text())["clusters"]
    assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_predict_says_in_the_terminal_that_shares_moved(finished, small_plate, tmp_path, capsys):
    sample = read_fcs(small_plate[0])
    labels = pd.read_parquet(finished / "labels.parquet", columns=["cluster"])["cluster"].to_numpy()
    path = tmp_path / "without.fcs"
    write_fcs(sample[labels[: sample.n_obs] != 1], path)
    assert run(["predict", str(finished), str(path), "--out", str(tmp_path / "mapped"), "--no-report"]) == 0
    assert "In the sample shares lie far from those of the model's fit: cluster 1 " in capsys.readouterr().err


def test_samples_unlike_the_fit_are_told_in_a_line_each_kind():
    names = list("abcdef")
    markers = pd.DataFrame({"sample": names, "marker": "CD3", "outside": 0.03, "left_range": [True] * 5 + [False]})
    left, unfit = Drift(markers, dict.fromkeys(names, 0.001) | {"f": 0.2}).warnings()
    assert left.startswith("in 5 of 6 samples values left the range of the model's training: a CD3 (3.0 %); b CD3")
    assert "d CD3 (3.0 %) of the events; 1 more in drift.csv; are stain" in left
    assert unfit.startswith("f: events fit no cluster of the model: 20.0 % of the events (0.5 % did in its training)")


@pytest.mark.parametrize(
    ("events", "title"), [(10, "The markers of the sample stay"), (1000, "1 marker lies far from")]
)
def test_a_distance_that_few_events_have_by_chance_is_no_distance(events, title):
    row = {"sample": "a", "marker": "CD3", "events": events, "distance": 0.4, "left_range": False}
    unfit = {"fits_no_expert": {"a": 0.0}, "expected": 0.005}
    (finding,) = judge_markers(pd.DataFrame([row]), unfit)
    assert finding.title.startswith(title)


def test_ten_cells_of_the_fit_are_not_far_from_it(finished, small_plate, tmp_path, capsys):
    write_fcs(read_fcs(small_plate[0])[:10], tmp_path / "few.fcs")
    arguments = ["predict", str(finished), str(tmp_path / "few.fcs"), "--out", str(tmp_path / "mapped"), "--no-report"]
    assert run(arguments) == 0
    assert "far from the model's training" not in capsys.readouterr().err
