"""How far a run has come, in lines that a log keeps."""

import json
import re
import time
from queue import SimpleQueue

import pytest

from cytomoe.cli.main import run
from cytomoe.cli.stages import Stages
from cytomoe.training.loop import Progress

EXAMPLE = "example_data/example_A01.fcs"


def test_a_stage_is_told_once_the_run_has_lasted_if_it_is_still_on():
    told = SimpleQueue()
    stages = Stages(told.put, lasts=1)
    stages.begin("reading")
    stages.begin("training")
    assert told.get(timeout=60).endswith("] training")
    stages.begin("mapping")
    assert told.get(timeout=60).endswith("] mapping")


def test_nothing_is_told_after_the_end():
    told = []
    stages = Stages(told.append, lasts=0.2)
    stages.begin("reading")
    stages.end()
    time.sleep(0.4)
    assert told == []


def test_quarters_of_a_training_are_told_once_and_anew_where_it_is_repeated():
    told = []
    stages = Stages(told.append, lasts=0)
    for step in (*range(5, 101, 5), 5, 30):
        stages.train(Progress(step, 100, {}, 3))
    assert [re.sub(r"\[\d+ s\] ", "", line) for line in told] == [f"training: {p} %" for p in (25, 50, 75, 25)]


@pytest.fixture
def lasting(monkeypatch):
    """Runs last from their beginning."""
    monkeypatch.setattr("cytomoe.cli.console.Stages", lambda tell: Stages(tell, lasts=0))


def said(capsys):
    output = capsys.readouterr()
    return [re.sub(r"^\[\d+ s\] ", "", line) for line in output.err.splitlines() if line.startswith("[")], output.out


def test_a_run_that_lasts_tells_its_stages_where_there_is_no_terminal(lasting, tmp_path, capsys):
    arguments = ["cluster", EXAMPLE, "--subsample", "1500", "--out", str(tmp_path / "out")]
    assert run(arguments) == 0
    stages, out = said(capsys)
    assert stages == [
        "reading the files",
        "finding out which of 1,500 cells are alike",
        "training",
        "training: 25 %",
        "training: 50 %",
        "training: 75 %",
        "mapping 5,000 events",
        "writing the results",
        "writing the report",
    ]
    assert "[" not in out
    for silent in ("--quiet", "--json"):
        assert run([*arguments, "--force", "--no-report", silent]) == 0
        stages, out = said(capsys)
        assert stages == []
    json.loads(out)


def test_a_batch_that_lasts_tells_its_stages(lasting, tmp_path, capsys):
    wells = ["example_data/example_A01.fcs", "example_data/example_A02.fcs"]
    assert run(["batch", *wells, "--subsample", "1500", "--h5ad", "no", "--out", str(tmp_path / "out")]) == 0
    stages, _ = said(capsys)
    assert [stage for stage in stages if not stage.startswith("training:")] == [
        "reading 2 samples",
        "reading the files",
        "finding out which of 1,500 cells are alike",
        "training",
        "working on 2 samples",
        "writing tables and report",
    ]
