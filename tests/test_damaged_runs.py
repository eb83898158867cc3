"""Folders of runs that are damaged or incomplete: what reads them says so in one line and leaves nothing behind."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from cytomoe.cli.main import run

CUT = {
    "removed": None,
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "garbage": lambda content: bytes(range(128, 256)) * 4,
}


def without_column(name):
    def change(content):
        header, *rows = [line.split(",") for line in content.decode().splitlines()]
        at = header.index(name)
        return "\n".join(",".join(cell for n, cell in enumerate(row) if n != at) for row in [header, *rows]).encode()

    return change


def without_last_row(content):
    return "".join(content.decode().splitlines(keepends=True)[:-1]).encode()


def without_key(name):
    return lambda content: json.dumps({k: v for k, v in json.loads(content).items() if k != name}).encode()


def with_value(name, value):
    return lambda content: json.dumps(json.loads(content) | {name: value}).encode()


def one_event_more(content):
    """In the first row, the last count."""
    header, first, *rows = content.decode().splitlines()
    *cells, last = first.split(",")
    return "\n".join([header, ",".join([*cells, str(int(last) + 1)]), *rows]).encode()


MANIFEST = {
    "no object": lambda content: b"[1]",
    "nested": lambda content: b"[" * 100_000,
    "no inputs": without_key("inputs"),
    "no clusters": with_value("clusters", None),
    "other clusters": with_value("clusters", 3),
    "no fit": without_key("events_fitted"),
}
CLUSTERS = {"a row less": without_last_row, **{name: without_column(name) for name in ("cluster", "events", "label")}}
ABUNDANCE = {
    "a row less": without_last_row,
    "one event more": one_event_more,
    **{name: without_column(name) for name in ("sample", "events", "cluster_2")},
}
# File: commands that read it, and how it is damaged.
DAMAGES = {
    "run.json": (("evaluate", "recut", "tree", "report", "compare"), CUT | MANIFEST),
    "clusters.csv": (("recut", "tree", "report", "compare"), CUT | CLUSTERS),
    "abundance.csv": (("recut", "report", "compare"), CUT | ABUNDANCE),
    "medians.csv": (("recut",), CUT | {"no cluster": without_column("cluster")}),
    "labels.parquet": (("evaluate", "recut"), CUT),
    "evaluation.json": (("report",), {k: CUT[k] for k in ("empty", "half")} | {"no object": lambda content: b"{}"}),
    "cells.h5ad": (("report", "recut"), {k: v for k, v in CUT.items() if k != "removed"}),
    "model.cytomoe": (("recut", "generate", "predict"), {k: v for k, v in CUT.items() if k != "removed"}),
}
CASES = [
    (command, name, damage)
    for name, (commands, damages) in DAMAGES.items()
    for command in commands
    for damage in damages
    # Clusters of a run decide nothing in a measurement of its labels.
    if (command, damage) not in {("evaluate", "other clusters")}
]


def arguments(command, folder, out, well):
    return {
        "evaluate": ["evaluate", str(folder), "--gate-channel", "gate"],
        "recut": ["recut", str(folder), "--clusters", "2", "--out", str(out)],
        "tree": ["recut", str(folder)],
        "report": ["report", str(folder)],
        "compare": ["compare", str(folder), "--by", "gate", "--out", str(out)],
        "generate": ["generate", str(folder), "--out", f"{out}.csv"],
        "predict": ["predict", str(folder), str(well), "--out", str(out)],
    }[command]


@pytest.mark.parametrize(("command", "name", "damage"), CASES)
def test_a_damaged_file_is_refused_in_one_line(finished, small_plate, command, name, damage, tmp_path, capsys):
    folder, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(finished, folder)
    change = DAMAGES[name][1][damage]
    if change is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run(arguments(command, folder, out, small_plate[0])) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert "defect of cytomoe" not in error
    assert str(folder) in error
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_whole_folder_is_read(finished, small_plate, tmp_path):
    """What the damages above are held against."""
    shutil.copytree(finished, tmp_path / "run")
    for command in ("evaluate", "recut", "tree", "report", "generate", "predict"):
        assert run(arguments(command, tmp_path / "run", tmp_path / command, small_plate[0])) == 0


def test_the_folder_of_a_batch_is_told_from_that_of_a_run(small_plate, finished, tmp_path, capsys):
    arguments = ["batch", *map(str, small_plate), "--model", str(finished / "model.cytomoe"), "--quiet"]
    assert run([*arguments, "--out", str(tmp_path / "batch")]) == 0
    capsys.readouterr()
    assert run(["report", str(tmp_path / "batch")]) == 2
    assert "is the folder of a batch" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "batch" / "abundance.csv")["sample"].tolist() == ["example_A01", "example_A02"]
