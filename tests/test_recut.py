"""Fewer clusters of a run, without training again."""

import json

import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.runs.joins import differences
from cytomoe.runs.recut import cut, group_names, joins_in_words, merge_tree
from cytomoe.words import percent


def test_a_run_is_cut_to_the_number_asked_for(example_run, tmp_path, capsys):
    out = tmp_path / "four"
    assert run(["recut", str(example_run), "--clusters", "4", "--out", str(out), "--json"]) == 0
    populations = json.loads(capsys.readouterr().out)["populations"]
    labels = pd.read_csv(out / "labels.csv")
    assert labels["population"].value_counts().to_dict() == populations
    assert len(populations) == 4
    assert list(populations.values()) == sorted(populations.values(), reverse=True)
    assert (labels.groupby("cluster")["population"].nunique() == 1).all()
    assert labels["cluster"].equals(pd.read_csv(example_run / "labels.csv")["cluster"])


def named(*populations: str) -> pd.DataFrame:
    """Clusters of 100, 99, ... events with these names."""
    return pd.DataFrame({"population": populations, "events": 100 - np.arange(len(populations))})


@pytest.mark.parametrize(
    ("clusters", "groups", "names"),
    [
        (named("CD8", "CD4", "B"), [0, 0, 1], ["CD8 + CD4", "CD8 + CD4", "B"]),
        (named("CD8", "CD4", "CD4"), [0, 0, 0], ["CD4 + CD8"] * 3),
        (named("NK", "B", "NK"), [0, 1, 2], ["NK", "B", "NK (2)"]),
        (named("unknown", "B", "Unknown"), [0, 1, 1], ["unknown 1", "B + unknown 3", "B + unknown 3"]),
        (named("a", "b", "c", "d", "e"), [0] * 5, ["a + b + c and 2 more"] * 5),
    ],
)
def test_a_joined_population_is_named_by_all_its_parts(clusters, groups, names):
    assert group_names(clusters, np.array(groups)).tolist() == names


def test_the_clusters_of_each_population_are_printed(example_run, tmp_path, capsys):
    out = tmp_path / "three"
    assert run(["recut", str(example_run), "--clusters", "3", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()[:3]
    written = pd.read_csv(out / "clusters.csv").groupby("population")["cluster"]
    assert len(written) == 3
    for name, clusters in written:
        held = ", ".join(map(str, clusters))
        assert sum(f"  {name} " in line and line.endswith(f" {held}") for line in lines) == 1


def test_without_a_number_the_tree_is_printed(example_run, capsys):
    assert run(["recut", str(example_run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    clusters = pd.read_csv(example_run / "clusters.csv")
    assert "1 cluster left" in lines[0]
    for number, share in zip(clusters["cluster"], clusters["fraction"], strict=True):
        assert sum(f" {number} " in line and f"({percent(share)})" in line for line in lines) == 1
    assert len(lines) == 2 * len(clusters) - 1


LEVELS = pd.DataFrame(
    {"CD4": ["negative", "positive", "negative", "mid"], "CD14": ["negative", "negative", "high", ""]},
    index=[1, 2, 3, 4],
)


@pytest.mark.parametrize(
    ("names", "sizes", "found"),
    [
        ("ab cd", [500, 400, 300, 200], []),
        ("aa cd", [500, 400, 300, 200], ["1 T without CD4, 2 Th with it"]),
        ("aa aa", [500, 400, 300, 200], ["1 T + 3 M without CD4, 2 Th with it"]),
        ("ab cb", [500, 400, 300, 200], []),  # 4 is mid in the one and of unknown level in the other
        ("aa cd", [500, 26, 300, 200], []),  # too few
        ("aa cd", [9000, 400, 300, 200], []),  # too small a part
        ("ab ba", [500, 400, 300, 200], ["3 M without CD4, 2 Th with it"]),
        ("ab ab", [500, 400, 300, 200], ["1 T without CD14, 3 M with it"]),
    ],
)  # fmt: skip
def test_joined_clusters_are_told_that_a_marker_parts(names, sizes, found):
    called = pd.Series(list(names.replace(" ", "")), index=[1, 2, 3, 4])
    before = pd.Series(["T", "Th", "M", "N"], index=[1, 2, 3, 4])
    assert [each.in_words(before) for each in differences(called, np.array(sizes), LEVELS)] == found


def test_a_recut_that_joins_populations_warns_and_says_so_in_its_report(example_run, tmp_path, capsys):
    out = tmp_path / "one"
    assert run(["recut", str(example_run), "--clusters", "1", "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    apart, lost = printed["warnings"]
    assert apart.startswith("clusters that a marker parts are joined: ")
    n_gates = len(printed["evaluation"]["unique"]["populations"])
    assert f"of {n_gates} gates have no population of their own" in lost
    assert "in population 1" in lost
    assert "Clusters that a marker parts are joined" in (out / "report.html").read_text()


def test_a_recut_that_joins_nothing_warns_of_nothing(example_run, tmp_path, capsys):
    n = len(pd.read_csv(example_run / "clusters.csv"))
    assert run(["recut", str(example_run), "--clusters", str(n), "--out", str(tmp_path / "all"), "--no-report"]) == 0
    printed = capsys.readouterr()
    assert "Warning" not in printed.err
    assert "joined" not in printed.out


def test_the_joins_of_a_recut_are_printed_in_words(example_run, tmp_path, capsys):
    n = len(pd.read_csv(example_run / "clusters.csv"))
    out = tmp_path / "fewer"
    assert run(["recut", str(example_run), "--clusters", str(n - 2), "--out", str(out), "--no-report"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "joined: " in line]
    tree = json.loads((out / "run.json").read_text())["merged"]["tree"]
    assert len(lines) == 2
    assert lines[0] == (
        f"joined: {tree[0]['left']} with {tree[0]['right']} at distance {tree[0]['height']:.2f}, furthest apart in "
        f"{tree[0]['marker']}"
    )


def test_joins_of_joined_clusters_list_them_all():
    tree = [
        {"left": 2, "right": 3, "height": 0.5, "marker": "CD4"},
        {"left": 1, "right": 4, "height": 2, "marker": "CD3"},
    ]
    assert joins_in_words(tree, 3) == [
        "2 with 3 at distance 0.50, furthest apart in CD4",
        "1 with 2 + 3 at distance 2.00, furthest apart in CD3",
    ]


def test_more_clusters_than_there_are_is_refused(example_run, tmp_path, capsys):
    assert run(["recut", str(example_run), "--clusters", "500", "--out", str(tmp_path / "x")]) == 2
    assert "finer ones take a new run" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("n_groups", [1, 2, 3, 5])
def test_clusters_with_like_markers_are_merged_first(n_groups):
    medians = np.array([[0.0], [10.0], [0.5], [11.0], [30.0]])
    groups = cut(merge_tree(medians), 5, n_groups)
    expected = {1: 1, 2: 2, 3: 3, 5: 5}[n_groups]
    assert len(set(groups)) == expected
    assert (groups[0] == groups[2]) == (n_groups < 5)
    assert (groups[4] == groups[0]) == (n_groups < 2)
