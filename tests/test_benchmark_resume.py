"""Experiments killed after their first unit: what is done is not done again, and the tables are those of one run."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from brief import make_brief

from cytomoe.cli.main import run

EXPERIMENTS = {
    "mnist": ["--quick", "--runs", "3"],
    "generation": ["--quick"],
    "synthetic": ["--components", "2,3"],
    "weber": ["--simulate", "--quick", "--runs", "2"],
}
# What the same work may differ in.
MEASURED = r"seconds|peak_gb"


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_killed_experiment_goes_on_and_ends_the_same(name, request, tmp_path, monkeypatch):
    out = tmp_path / "out"
    digits = ["--data", str(request.getfixturevalue("data") / "mnist")] if name in ("mnist", "generation") else []
    arguments = ["benchmark", name, *EXPERIMENTS[name], *digits, "--quiet", "--out"]
    process = subprocess.Popen([sys.executable, str(Path(__file__).parent / "brief.py"), *arguments, str(out)])
    deadline = time.monotonic() + 120
    while not list(out.glob("parts/*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = {path: path.read_bytes() for path in out.glob("parts/*.json")}
    assert done
    assert not (out / "run.json").exists()
    make_brief(monkeypatch.setattr)
    assert run([*arguments, str(out), "--resume"]) == 0
    assert len(list(out.glob("parts/*.json"))) > len(done)
    assert {path: path.read_bytes() for path in done} == done
    assert run([*arguments, str(tmp_path / "whole")]) == 0
    resumed, whole = (pd.read_csv(folder / "rows.csv") for folder in (out, tmp_path / "whole"))
    same = ~resumed.columns.str.contains(MEASURED)
    pd.testing.assert_frame_equal(resumed.loc[:, same], whole.loc[:, same])
