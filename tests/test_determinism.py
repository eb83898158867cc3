"""The same command in two processes gives the same bytes, and neither asks the network for anything."""

import json
import os
import subprocess
import sys

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


def test_two_processes_give_the_same_bytes_without_a_network(small_plate, tmp_path):
    for folder, hash_seed in (("a", "1"), ("b", "2")):
        (tmp_path / folder).mkdir()
        arguments = ["cluster", *map(str, small_plate), "--gate-channel", "gate", "--subsample", "800"]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_NETWORK, *arguments, "--out", "out", "--no-report"],
            cwd=tmp_path / folder,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
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
    manifests = [json.loads((out / "run.json").read_text(encoding="utf-8")) for out in (first, second)]
    assert manifests[0]["threads"] == 1
    plain = [json.dumps({k: v for k, v in m.items() if k not in TIMES}) for m in manifests]
    assert plain[0] == plain[1]
