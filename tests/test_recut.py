"""Fewer clusters of a run, without training again."""

import json

import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.runs.recut import cut, merge_tree


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


def test_without_a_number_the_tree_is_printed(example_run, capsys):
    assert run(["recut", str(example_run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    clusters = pd.read_csv(example_run / "clusters.csv")
    assert "1 cluster left" in lines[0]
    for number, share in zip(clusters["cluster"], clusters["fraction"], strict=True):
        assert sum(f" {number} " in line and f"({share:.1%})" in line for line in lines) == 1
    assert len(lines) == 2 * len(clusters) - 1


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
