"""Data that breaks methods: each kind either gives a sensible result, or one line says why not (exit code 2)."""

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cytomoe.cli.main import run
from cytomoe.io import write_fcs

N = 1200


def populations(n=N, markers=5, seed=0):
    """Raw mass cytometry values of four populations that the first three markers tell apart, and which each is."""
    rng = np.random.default_rng(seed)
    which = rng.permutation(np.arange(n) % 4)
    means = np.array([[0, 0, 4], [4, 0, 0], [0, 4, 0], [4, 4, 4]])[which]
    expression = np.column_stack([means, np.zeros((n, max(0, markers - 3)))])[:, :markers]
    return (5 * np.sinh(np.maximum(expression + rng.normal(0, 0.35, (n, markers)), 0))).astype(np.float32), which


def write(path, values):
    names = [f"CD{n}" for n in range(1, values.shape[1] + 1)]
    channels = [f"M{100 + n}Di" for n in range(values.shape[1])]
    var = pd.DataFrame({"channel": channels, "antigen": names}, index=names)
    obs = pd.DataFrame(index=pd.RangeIndex(len(values)).astype(str))
    write_fcs(AnnData(values, obs=obs, var=var, uns={"fcs": {"keywords": {"$CYT": "CyTOF2"}}}), path)


def cluster(path, out, *options):
    arguments = ["cluster", str(path), "--out", str(out), "--quiet", "--no-report", "--h5ad", "no"]
    arguments += options
    assert run(arguments) == 0
    labels = pd.read_parquet(out / "labels.parquet")["cluster"].to_numpy()
    assert (labels >= 1).all()
    return labels


def alike(labels, which):
    """Share of the cells whose cluster holds mostly cells of their population."""
    table = pd.crosstab(labels, which).to_numpy()
    return table.max(axis=1).sum() / table.sum()


def with_column(values, column):
    changed = values.copy()
    changed[:, 4] = column
    return changed


def duplicated(values):
    return np.repeat(values[: N // 4], 4, axis=0)


def negative(values):
    return values - np.random.default_rng(1).exponential(8, values.shape).astype(np.float32)


FOUND = {
    "a marker of zeros": lambda values: with_column(values, 0),
    "a constant marker": lambda values: with_column(values, 77),
    "two identical markers": lambda values: with_column(values, values[:, 0]),
    "negative values": negative,
    "saturated channels": lambda values: np.minimum(values, 100),
    "each cell four times": duplicated,
    "120 markers": lambda values: populations(markers=120)[0],
}


@pytest.mark.parametrize("name", FOUND)
def test_the_four_populations_are_told_apart_in_spite_of(name, tmp_path):
    values, which = populations()
    hard = FOUND[name](values)
    if name == "each cell four times":
        which = np.repeat(which[: N // 4], 4)
    write(tmp_path / "hard.fcs", hard)
    labels = cluster(tmp_path / "hard.fcs", tmp_path / "out")
    assert len(labels) == len(hard)
    assert alike(labels, which[: len(hard)]) > 0.9
    assert labels.max() <= 12
    warnings = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert any(warning.startswith("saturated: ") for warning in warnings) == (name == "saturated channels")


NO_STRUCTURE = {
    "all markers zero": np.zeros((300, 5), np.float32),
    "all markers constant": np.full((300, 5), 40, np.float32),
    "one cell again and again": np.tile(populations()[0][:1], (300, 1)),
}


@pytest.mark.parametrize("name", NO_STRUCTURE)
def test_cells_that_are_all_the_same_are_one_cluster(name, tmp_path):
    write(tmp_path / "same.fcs", NO_STRUCTURE[name])
    assert set(cluster(tmp_path / "same.fcs", tmp_path / "out")) == {1}


def test_one_population_is_not_cut_into_many(tmp_path):
    values, which = populations(4 * N)
    write(tmp_path / "one.fcs", values[which == 0])
    assert cluster(tmp_path / "one.fcs", tmp_path / "out").max() <= 3


def test_one_marker_tells_its_negative_from_its_positive_cells(tmp_path):
    values, which = populations()
    write(tmp_path / "one.fcs", values)
    labels = cluster(tmp_path / "one.fcs", tmp_path / "out", "--markers", "CD1")
    assert alike(labels, np.isin(which, [1, 3])) > 0.95


@pytest.mark.parametrize("n", [2, 10, 40])
def test_a_few_cells_get_labels(n, tmp_path):
    write(tmp_path / "few.fcs", populations()[0][:n])
    assert len(cluster(tmp_path / "few.fcs", tmp_path / "out")) == n


def test_fewer_cells_than_clusters_allowed(tmp_path):
    write(tmp_path / "few.fcs", populations()[0][:10])
    assert cluster(tmp_path / "few.fcs", tmp_path / "out", "--experts", "50").max() <= 10


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (populations()[0][:1], "1 cell is too few"),
        (populations()[0][:0], "no events"),
        (with_column(populations()[0], np.nan), "CD5 (1200 NaN)"),
        (with_column(populations()[0], np.inf), "CD5 (1200 infinite)"),
    ],
    ids=["one cell", "no cell", "NaN", "infinite"],
)
def test_what_can_not_be_clustered_is_refused_in_one_line(values, reason, tmp_path, capsys):
    write(tmp_path / "hard.fcs", values)
    assert run(["cluster", str(tmp_path / "hard.fcs"), "--out", str(tmp_path / "out")]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(error) == 1
    assert reason in error[0]
    assert not (tmp_path / "out").exists()


def test_a_file_without_events_among_others_is_told(tmp_path, capsys):
    values, _ = populations()
    write(tmp_path / "full.fcs", values)
    write(tmp_path / "empty.fcs", values[:0])
    arguments = [str(tmp_path / name) for name in ("full.fcs", "empty.fcs")]
    assert run(["cluster", *arguments, "--out", str(tmp_path / "out"), "--no-report"]) == 0
    assert "Warning: empty.fcs: holds no events" in capsys.readouterr().err
    assert "empty.fcs: holds no events" in json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
