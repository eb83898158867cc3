"""The same command gives the same bytes on one core and on two, and neither asks the network for anything."""

import json
import os
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq

from cytomoe.cli.main import run

# Whoever connects, or looks a name up, ends the process: an error could be swallowed.
WITHOUT_NETWORK = """
import os, socket, sys

def cut_off(*_, **__):
    os._exit(99)

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = cut_off
from cytomoe.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
TIMES = ("finished", "seconds")


def test_one_core_or_two_give_the_same_bytes_without_a_network(small_plate, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("population,positive,negative\nB cells,CD20,CD3\nother cells,CD45,CD20\n")
    for folder, hash_seed, cores in (("a", "1", "1"), ("b", "2", "2")):
        (tmp_path / folder).mkdir()
        arguments = ["cluster", *map(str, small_plate), "--gate-channel", "gate", "--subsample", "800"]
        arguments += ["--reference", str(table)]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_NETWORK, *arguments, "--out", "out", "--no-report"],
            cwd=tmp_path / folder,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": cores},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    first, second = tmp_path / "a" / "out", tmp_path / "b" / "out"
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(second)) for path in second.rglob("*") if path.is_file())
    for name in names:
        if name not in ("run.json", "cells.h5ad"):  # HDF5 writes times of its own
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
    clusters = pd.read_csv(first / "clusters.csv")
    assert clusters["population"].duplicated().any()
    population = pq.ParquetFile(first / "labels.parquet").metadata.row_group(0).to_dict()["columns"][-1]
    assert "RLE_DICTIONARY" in population["encodings"]  # Arrow fills up a dictionary with repeated names at random
    manifests = [json.loads((out / "run.json").read_text(encoding="utf-8")) for out in (first, second)]
    assert manifests[0].pop("threads") == 1
    manifests[1].pop("threads")
    plain = [json.dumps({k: v for k, v in m.items() if k not in TIMES}) for m in manifests]
    assert plain[0] == plain[1]


def test_files_in_another_order_get_the_same_labels(small_plate, tmp_path):
    """The draw of the fit, the fit and the numbers of clusters depend on the files, not on how they are given."""
    labels = []
    for name, files in (("ab", small_plate), ("ba", small_plate[::-1])):
        arguments = ["cluster", *map(str, files), "--gate-channel", "gate", "--subsample", "601"]
        assert run([*arguments, "--out", str(tmp_path / name), "--no-report", "--quiet", "--h5ad", "no"]) == 0
        labels.append(pd.read_csv(tmp_path / name / "labels.csv"))
    first, second = (table.sort_values(["file", "event"]).reset_index(drop=True) for table in labels)
    assert labels[0]["file"].tolist() != labels[1]["file"].tolist()
    pd.testing.assert_frame_equal(first, second)
    models = [(tmp_path / name / "model.cytomoe").read_bytes() for name in ("ab", "ba")]
    assert models[0] == models[1]


def test_a_clock_that_goes_backwards_gives_no_negative_seconds(small_plate, example_run, tmp_path, monkeypatch):
    clock = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 10**9)
    arguments = ["predict", str(example_run / "model.cytomoe"), str(small_plate[0]), "--no-report", "--quiet"]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 0
    seconds = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["seconds"]
    assert set(seconds) >= {"read", "map", "write"}
    assert all(0 <= value < 600 for value in seconds.values())
