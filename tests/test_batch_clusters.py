"""The clusters of a batch as a whole: their table, their names, and what the verdict says of them."""

import json
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.console import print_clusters
from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.io import write_fcs
from cytomoe.reporting.judges import judge_stability
from cytomoe.reporting.plate_verdict import judge_batch
from cytomoe.reporting.plates import BatchSummary
from cytomoe.runs.batch_clusters import described, less_than_stable, printed, profiles, table_of

QUICK = ["--subsample", "1500", "--h5ad", "yes"]


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Three wells of 700 events."""
    folder = tmp_path_factory.mktemp("input") / "p1"
    folder.mkdir()
    for well, sample in simulate_plate(3, wells=3, events=700).items():
        write_fcs(sample, folder / f"p1_{well}.fcs")
    return folder


@pytest.fixture(scope="module")
def pooled(plate, tmp_path_factory):
    out = tmp_path_factory.mktemp("batch") / "out"
    assert run(["batch", str(plate), "--reference", "pbmc", "--out", str(out), "--quiet", *QUICK]) == 0
    return out


@pytest.fixture(scope="module")
def alone(plate, tmp_path_factory):
    """The wells with a model each."""
    out = tmp_path_factory.mktemp("alone") / "out"
    assert run(["batch", str(plate), "--per-sample", "--out", str(out), "--quiet", *QUICK]) == 0
    return out


def test_the_table_of_clusters_counts_all_samples(pooled):
    table, abundance = pd.read_csv(pooled / "clusters.csv"), pd.read_csv(pooled / "abundance.csv")
    counts = abundance[[f"cluster_{k}" for k in table["cluster"]]].to_numpy()
    assert table["events"].tolist() == counts.sum(axis=0).tolist()
    assert table["samples"].tolist() == (counts > 0).sum(axis=0).tolist()
    np.testing.assert_allclose(table["fraction"], counts.sum(axis=0) / 2100, atol=1e-6)


def test_its_medians_are_those_of_the_samples_weighted_by_events(pooled):
    table = pd.read_csv(pooled / "clusters.csv").set_index("cluster")
    wells = {path.name: anndata.read_h5ad(path / "cells.h5ad") for path in (pooled / "wells").iterdir()}
    of_first = {name: cells[cells.obs["cytomoe"] == "1", "CD3"].X.ravel() for name, cells in wells.items()}
    expected = np.average([np.median(x) for x in of_first.values()], weights=[len(x) for x in of_first.values()])
    assert table.loc[1, "CD3"] == pytest.approx(expected, abs=2e-4)


def test_its_columns_are_those_of_a_run(pooled):
    of_run = pd.read_csv(next((pooled / "wells").iterdir()) / "clusters.csv").columns.tolist()
    of_batch = pd.read_csv(pooled / "clusters.csv").columns.tolist()
    assert [name for name in of_batch if name != "samples"] == of_run


def test_it_can_be_edited_and_given_to_merge(pooled, tmp_path, capsys):
    table = pd.read_csv(pooled / "clusters.csv")
    table["population"] = np.where(table["cluster"] == 1, "mine", "the rest")
    table.to_csv(tmp_path / "clusters.csv", index=False)
    arguments = ["merge", str(pooled), "--map", str(tmp_path / "clusters.csv"), "--out", str(tmp_path / "named")]
    assert run([*arguments, "--no-report", "--json"]) == 0
    events = table["events"].to_numpy()
    assert json.loads(capsys.readouterr().out)["populations"] == {
        "the rest": events[1:].sum(), "mine": events[0],
    }  # fmt: skip


def test_clusters_of_own_models_bear_the_number_of_the_plate(alone):
    table, abundance = pd.read_csv(alone / "clusters.csv"), pd.read_csv(alone / "abundance.csv")
    counts = abundance[[f"plate_cluster_{k}" for k in table["plate_cluster"]]].to_numpy()
    assert table["events"].tolist() == counts.sum(axis=0).tolist()
    assert "stability" not in table


def summary(counts, loose):
    """Samples of 1,000 events with a model each; ``counts`` of their two clusters."""
    samples = [f"s{i}" for i in range(len(counts))]
    abundance = pd.DataFrame({"sample": samples, "plate": "", "well": "", "events": 1000})
    abundance[["plate_cluster_1", "plate_cluster_2"]] = counts
    clusters = pd.DataFrame(
        {"number": [1, 2], "population": ["T", "NK"], "label": ["CD3+", "CD3-"], "stability": np.nan, "samples": 8,
         "events": np.sum(counts, axis=0)},
        index=["plate_cluster_1", "plate_cluster_2"],
    )  # fmt: skip
    table = pd.DataFrame({"clusters": 2, "loose": loose, "share": np.array(loose) * 0.1}, index=samples)
    return BatchSummary(
        "study", "per-sample", abundance, clusters, pd.DataFrame({"sample": [], "reason": []}), "", loose=table
    )


def test_a_population_that_own_models_lost_in_a_sample_is_told():
    titles = {each.title: each for each in judge_batch(summary([[820, 180]] * 7 + [[1000, 0]], [0] * 8))}
    moved = titles["In 1 of 8 samples shares lie far from those of the other samples"]
    assert "s7: cluster 2 0 % (18.0 %)" in moved.detail
    assert "matching.csv" in moved.advice
    assert titles["The clusters of all samples are stable (0.75 or more)"].level == "good"


def test_names_of_little_certainty_are_told_by_terminal_and_report(capsys):
    told = summary([[820, 180]] * 2, [0, 0])
    named = told.clusters.assign(score=[0.9, 0.55], runner_up=["", "B"], runner_up_score=[0, 0.54])
    (finding,) = [each for each in judge_batch(replace(told, clusters=named)) if "little certainty" in each.title]
    assert finding.title == "1 cluster named with little certainty"
    assert finding.detail.startswith("2 NK (0.55, B 0.54)")
    print_clusters(printed(named, 2000))
    assert "named with little certainty: 2 NK (0.55, B 0.54)" in capsys.readouterr().out


def test_clusters_of_own_models_that_are_less_than_stable_are_counted():
    found = judge_batch(summary([[820, 180]] * 8, [0, 2, 0, 1, 0, 0, 0, 0]))
    (loose,) = [each for each in found if "less than stable" in each.title]
    assert loose.title == "3 of 16 clusters are less than stable in their samples"
    assert loose.detail.startswith("s1 (2: 20.0 % of its events), s3 (1: 10.0 % of its events)")


def test_a_batch_without_a_good_sample_is_not_called_stable():
    batch = summary([[820, 180]], [0])
    empty = replace(batch, abundance=batch.abundance.head(0), loose=less_than_stable({}))
    assert not [each.title for each in judge_batch(empty) if "stable" in each.title]


@pytest.mark.parametrize(
    ("stability", "expected"),
    [([np.nan, np.nan], (0, 0, 0.0)), ([0.9, 0.6], (2, 1, 0.25)), ([0.3], (0, 0, 0.0))],
    ids=["not known", "known", "a single cluster"],
)
def test_clusters_are_judged_by_what_is_known_of_them(stability, expected):
    clusters = pd.DataFrame({"stability": stability, "events": [75, 25][: len(stability)]})
    assert tuple(less_than_stable({"s": clusters}).loc["s"]) == expected


def test_a_single_cluster_has_no_border_to_judge():
    assert judge_stability(np.array([0.3]), np.array([10]), [1], what="cluster", scale="") == []


@pytest.mark.parametrize("marker", ["number", "samples"])
def test_markers_called_like_columns_of_the_batch_have_medians(marker):
    table = pd.DataFrame(
        {"cluster": [1], "label": "+", "stability": 0.9, "events": 10, "fraction": 1.0, "CD3": 2.0, marker: 3.0}
    )
    members = pd.DataFrame({"sample": ["s", "t"], "cluster": 1, "number": 1, "events": 10})
    clusters = {"s": table, "t": table.assign(**{marker: 4.0})}
    medians = profiles(clusters, members)
    assert medians.loc[1].to_dict() == {"CD3": 2.0, marker: 3.5}
    written = table_of(described(clusters, members, "cluster"), medians, 20)
    assert written.columns[-3:].tolist() == [
        "fraction", "CD3", "samples (protein)" if marker == "samples" else marker,
    ]  # fmt: skip


def test_another_model_on_resume_is_told_and_settings_that_a_model_does_not_take_are_not(
    pooled, alone, plate, tmp_path, capsys
):
    out = tmp_path / "out"
    began = ["batch", str(plate), "--out", str(out), "--h5ad", "no", "--model"]
    assert run([*began, str(pooled / "model.cytomoe"), "--quiet"]) == 0
    assert run([*began, str(pooled / "model.cytomoe"), "--seed", "1", "--markers", "CD3", "--resume"]) == 0
    assert "other settings" not in capsys.readouterr().err
    other = next((alone / "wells").iterdir())
    assert run([*began, str(other), "--resume"]) == 0
    assert f"other settings than those that {out} was begun with: model;" in capsys.readouterr().err


def test_another_setting_on_resume_is_told_before_its_results_replace_the_others(alone, plate, tmp_path, capsys):
    out = tmp_path / "out"
    began = ["batch", str(plate), "--out", str(out), "--subsample", "700", "--h5ad", "no"]
    assert run([*began, "--markers", "CD3,CD4,CD20", "--quiet"]) == 0
    assert run([*began, "--markers", "CD3,CD4,CD20", "--resume"]) == 0
    assert "other settings" not in capsys.readouterr().err
    assert run([*began, "--seed", "1", "--resume"]) == 0
    assert f"other settings than those that {out} was begun with: markers, seed" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--markers", "CD3,FOO"], ["--compensate", "yes"], ["--model", "WELL"]])
def test_wrong_input_of_all_samples_leaves_no_folder_behind(plate, tmp_path, capsys, wrong):
    arguments = [str(plate / "p1_A01.fcs") if each == "WELL" else each for each in wrong]
    assert run(["batch", str(plate), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "out").exists()
