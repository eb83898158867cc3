"""Fewer clusters of a run, without training again."""

import json

import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.runs.joins import called, differences, group_names, keep_unknown_apart, without_parted
from cytomoe.runs.recut import cut, joins_in_words, merge_tree
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


def test_a_quiet_cut_prints_where_its_results_are_alone(example_run, tmp_path, capsys):
    out = tmp_path / "two"
    assert run(["recut", str(example_run), "--clusters", "2", "--out", str(out), "--no-report", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"results: {out}\n", "")


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
    apart = keep_unknown_apart(called(clusters))
    assert group_names(clusters["events"].to_numpy(), apart, np.array(groups)).tolist() == names


@pytest.mark.parametrize(
    ("before", "now", "apart", "names"),
    [
        (["T + B"] * 2, ["NK", "T + B"], ["T", "B"], ["NK", "B"]),
        (["T + B + NK"] * 3, ["T + B + NK", "x", "T + B + NK"], ["T", "B", "NK"], ["T + NK", "x", "T + NK"]),
        (["T + B"] * 2, ["T + B"] * 2, ["T", "B"], ["T + B"] * 2),
        (["T", "T"], ["T", "x"], ["T", "T"], ["T", "x"]),  # a name of the user's, not a join of others
        (["T + B", "T + B", "B"], ["x", "T + B", "B"], ["T", "B", "B"], ["x", "B (2)", "B"]),
    ],
)
def test_what_is_left_of_a_joined_population_is_named_by_its_own_parts(before, now, apart, names):
    before, now, apart = (pd.Series(each, index=range(1, len(each) + 1)) for each in (before, now, apart))
    assert without_parted(100 - np.arange(len(now)), before, now, apart).tolist() == names


def test_a_merge_that_parts_a_recut_names_the_rest_anew(example_run, tmp_path):
    folder, whole = tmp_path / "recut", pd.read_csv(example_run / "clusters.csv").set_index("cluster")
    assert run(["recut", str(example_run), "--clusters", "4", "--out", str(folder), "--no-report"]) == 0
    table = pd.read_csv(folder / "clusters.csv").set_index("cluster")["population"]
    joined = table.index[table == table.value_counts().idxmax()].tolist()
    while len(joined) > 2:  # one after the other: what they were called is known through every merge
        table[joined.pop(0)] = f"taken {len(joined)}"
        table.to_csv(tmp_path / "map.csv")
        out = tmp_path / str(len(joined))
        assert run(["merge", str(folder), "--map", str(tmp_path / "map.csv"), "--out", str(out), "--no-report"]) == 0
        table, folder = pd.read_csv(out / "clusters.csv").set_index("cluster")["population"], out
        parts = whole.loc[joined]
        expected = group_names(parts["events"].to_numpy(), parts["population"], np.zeros(len(joined), dtype=int))
        assert table[joined].tolist() == expected.tolist()


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
        ("aa cd", [9000, 400, 300, 200], ["1 T without CD4, 2 Th with it"]),  # a small part of another name
        (
            "aa aa", [9000, 400, 9000, 200],
            ["1 T + 2 Th without CD14, 3 M with it", "1 T + 3 M without CD4, 2 Th with it"],
        ),
        ("ab ba", [500, 400, 300, 200], ["3 M without CD4, 2 Th with it"]),
        ("ab ab", [500, 400, 300, 200], ["1 T without CD14, 3 M with it"]),
    ],
)  # fmt: skip
def test_joined_clusters_are_told_that_a_marker_parts(names, sizes, found):
    called = pd.Series(list(names.replace(" ", "")), index=[1, 2, 3, 4])
    before = pd.Series(["T", "Th", "M", "N"], index=[1, 2, 3, 4])
    assert [each.in_words(before) for each in differences(called, np.array(sizes), LEVELS, before)] == found


@pytest.mark.parametrize("name", ["T", "unknown 2", "possible doublets of T and M"])
def test_a_small_part_that_is_no_population_of_its_own_may_be_put_back(name):
    before = pd.Series(["T", name, "M", "N"], index=[1, 2, 3, 4])
    names = pd.Series(list("aacd"), index=[1, 2, 3, 4])
    assert differences(names, np.array([9000, 400, 300, 200]), LEVELS, before) == []


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
