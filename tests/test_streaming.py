"""Runs on files too large to be held: the same results as in memory, and samples that do not grow with the files."""

import re
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.io import read_fcs, write_fcs
from cytomoe.runs import memory
from cytomoe.runs.events import open_events
from cytomoe.runs.sampling import fair_shares, proportional, rows_of_clusters, rows_to_fit

EXAMPLE = Path(__file__).parent.parent / "example_data"
WELLS = [EXAMPLE / f"example_{well}.fcs" for well in ("A01", "A02")]


@pytest.fixture
def piecewise(monkeypatch):
    """Every file is too large to be held, and read in pieces of some 1,700 events."""
    monkeypatch.setattr("cytomoe.runs.events.HELD_BYTES", 0)
    monkeypatch.setattr("cytomoe.runs.events.CHUNK_BYTES", 100_000)
    monkeypatch.setattr("cytomoe.runs.expressions.PREVIEW_EVENTS", 700)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    out = tmp_path_factory.mktemp("held") / "run"
    arguments = ["cluster", *map(str, WELLS), "--gate-channel", "gate", "--subsample", "3000", "--out", str(out)]
    assert run([*arguments, "--quiet"]) == 0
    return out


def test_pieces_give_what_whole_files_give(in_memory, piecewise, tmp_path):
    out = tmp_path / "run"
    arguments = ["cluster", *map(str, WELLS), "--gate-channel", "gate", "--subsample", "3000", "--out", str(out)]
    assert run([*arguments, "--quiet"]) == 0
    for name in ("clusters.csv", "abundance.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(out / name), pd.read_csv(in_memory / name), atol=1e-4)
    ours, theirs = pd.read_parquet(out / "labels.parquet"), pd.read_parquet(in_memory / "labels.parquet")
    pd.testing.assert_frame_equal(ours, theirs, atol=1e-4)
    cells, expected = anndata.read_h5ad(out / "cells.h5ad"), anndata.read_h5ad(in_memory / "cells.h5ad")
    np.testing.assert_array_equal(cells.X, expected.X)
    np.testing.assert_array_equal(cells.layers["raw"], expected.layers["raw"])
    pd.testing.assert_frame_equal(cells.obsm["channels"], expected.obsm["channels"])
    pd.testing.assert_frame_equal(cells.obs, expected.obs, atol=1e-4)
    np.testing.assert_array_equal(
        read_fcs(out / "fcs" / WELLS[1].name)[:, :-1].X, read_fcs(in_memory / "fcs" / WELLS[1].name)[:, :-1].X
    )


def test_above_a_size_no_h5ad_and_medians_of_as_many_cells_of_each_cluster(
    in_memory, piecewise, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("cytomoe.runs.sampling.KEPT_EVENTS", 4000)
    model, out = str(in_memory / "model.cytomoe"), tmp_path / "mapped"
    assert run(["predict", model, *map(str, WELLS), "--out", str(out)]) == 0
    assert not (out / "cells.h5ad").exists()
    assert "--h5ad yes" in capsys.readouterr().err
    ours, all_cells = (pd.read_csv(run / "clusters.csv").drop(columns="label") for run in (out, in_memory))
    assert ours["events"].tolist() == all_cells["events"].tolist()
    small = all_cells["events"] < 100
    pd.testing.assert_frame_equal(ours[small], all_cells[small], atol=2e-4)
    assert np.abs(ours[~small] - all_cells[~small]).to_numpy()[:, 3:].mean() < 0.05
    again = tmp_path / "again"
    assert run(["predict", model, *map(str, WELLS), "--out", str(again), "--h5ad", "yes", "--quiet"]) == 0
    assert anndata.read_h5ad(again / "cells.h5ad").n_obs == len(pd.read_parquet(again / "labels.parquet"))


def test_values_that_are_not_numbers_are_counted_over_the_whole_file(in_memory, piecewise, tmp_path, capsys):
    sample = read_fcs(WELLS[0])
    sample.X[[0, 4000], sample.var_names.get_loc("CD4")] = np.nan
    write_fcs(sample, tmp_path / "holes.fcs")
    arguments = ["predict", str(in_memory / "model.cytomoe"), str(tmp_path / "holes.fcs"), "--out", str(tmp_path / "o")]
    assert run(arguments) == 2
    assert "CD4 (2 NaN)" in capsys.readouterr().err


def test_transformed_values_are_refused_in_pieces_too(in_memory, piecewise, tmp_path, capsys):
    sample = read_fcs(WELLS[0])
    sample.X = np.arcsinh(sample.X / 5)
    write_fcs(sample, tmp_path / "done.fcs")
    arguments = ["predict", str(in_memory / "model.cytomoe"), str(tmp_path / "done.fcs"), "--out", str(tmp_path / "o")]
    assert run(arguments) == 2
    assert "look transformed already" in capsys.readouterr().err


def test_a_file_that_changes_during_the_run_is_refused(piecewise, tmp_path):
    path = tmp_path / "well.fcs"
    write_fcs(read_fcs(WELLS[0]), path)
    events = open_events([path])
    write_fcs(read_fcs(WELLS[0])[:100], path)
    with pytest.raises(Exception, match="changed during the run"):
        next(events.chunks(0))


def test_subsample_takes_as_many_of_each_sample(piecewise):
    events = open_events(WELLS)
    rows = rows_to_fit(events, None, 1001, np.random.default_rng(0))
    assert sorted(map(len, rows)) == [500, 501]
    assert all((np.diff(part) > 0).all() for part in rows)
    np.testing.assert_array_equal(events.take(1, rows[1]).X, read_fcs(WELLS[1]).X[rows[1]])


def test_small_samples_give_all_they_have():
    assert fair_shares([10, 1000, 400], 300) == [10, 145, 145]
    assert fair_shares([10, 20], 300) == [10, 20]
    assert sum(proportional([3, 5, 11], 7)) == 7


def test_small_clusters_are_kept_whole():
    clusters = np.repeat([1, 2, 3], [50_000, 20_000, 40]).astype(np.int32)
    kept = clusters[rows_of_clusters(clusters, 2_000, np.random.default_rng(0))]
    assert np.bincount(kept)[1:].tolist() == [980, 980, 40]


def test_too_little_memory_is_said_before_the_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(memory, "available", lambda: 10_000_000)
    monkeypatch.setattr("cytomoe.runs.fitting.rows_to_fit", lambda *_: pytest.fail("the run has begun"))
    with pytest.raises(BaseException, match="the run has begun"):
        run(["cluster", str(WELLS[0]), "--out", str(tmp_path / "o")])
    assert "GB of memory are needed" in capsys.readouterr().err


def announced(arguments, capsys):
    """Gigabytes that a run says it needs."""
    assert run(arguments) == 0
    return float(re.search(r"about ([\d.]+) GB of memory", capsys.readouterr().err)[1])


@pytest.mark.parametrize("written", ["yes", "auto"])
def test_cells_h5ad_counts_in_the_memory_that_is_announced(written, in_memory, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "_BYTES_PER_ROW_OF_CELLS", 400_000)  # 4 GB for the 10,000 events of both wells
    mapping = [
        "predict",
        str(in_memory / "model.cytomoe"),
        *map(str, WELLS),
        "--no-report",
        "--out",
        str(tmp_path / "o"),
    ]
    without = announced([*mapping, "--h5ad", "no"], capsys)
    assert announced([*mapping, "--force", "--h5ad", written], capsys) >= without + 4


def test_cells_h5ad_that_is_left_out_costs_no_memory(in_memory, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cytomoe.runs.sampling.KEPT_EVENTS", 4000)
    monkeypatch.setattr(memory, "_BYTES_PER_ROW_OF_CELLS", 400_000)
    mapping = ["predict", str(in_memory / "model.cytomoe"), *map(str, WELLS), "--out", str(tmp_path / "o")]
    assert announced(mapping, capsys) < 1
