"""The frame of the experiments: a killed run goes on where it stopped, and a folder never mixes two requests."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from cytomoe.benchmarks import published
from cytomoe.benchmarks.base import Experiment, Report, Request, Unit, run_experiment
from cytomoe.benchmarks.workers import MemoryWatch
from cytomoe.benchmarks.writing import mean_and_spread, plain_table
from cytomoe.cli.main import run
from cytomoe.errors import InputError, RunError


class Squares(Experiment):
    """Numbers and their squares; unit 3 fails, unit 4 is interrupted, if asked for."""

    name = "bodenmiller"  # settings are looked up by it
    title = "Squares"

    def units(self, request):
        return [Unit(f"n{n}", {"n": n}) for n in range(request.options["n"])]

    def compute(self, unit, request):
        n = unit.arguments["n"]
        computed.append(n)
        if n in failing:
            raise RunError(f"{n} can't be squared")
        if n in interrupting:
            raise KeyboardInterrupt
        return [{"n": n, "square": n * n}]

    def report(self, rows, request):
        return Report([f"{len(rows)} numbers"], {"All squares": rows})


class Processes(Squares):
    fresh_process = True

    def __init__(self, killed=()):
        self.killed = killed

    def compute(self, unit, request):
        if unit.arguments["n"] in self.killed:
            os._exit(9)
        return [{"n": unit.arguments["n"], "pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}]


class Slow(Squares):
    """The first unit is done at once; the others keep a temporary folder while they last."""

    def units(self, request):
        return [Unit(f"n{n}", {"n": n}) for n in request.seeds]

    def compute(self, unit, request):
        if unit.arguments["n"] and not os.environ.get("HURRY"):
            with tempfile.TemporaryDirectory():
                time.sleep(300)
        return [{"n": unit.arguments["n"]}]


SLOW = """
import signal
import sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
sys.path.insert(0, sys.argv.pop(1))
import test_benchmark_frame

import cytomoe.benchmarks.mnist
from cytomoe.cli.main import run

cytomoe.benchmarks.mnist.Mnist = test_benchmark_frame.Slow
sys.exit(run(["benchmark", "mnist", "--runs", "5", "--jobs", "2", "--quiet", *sys.argv[1:]]))
"""

computed: list[int] = []
failing: set[int] = set()
interrupting: set[int] = set()


@pytest.fixture(autouse=True)
def _fresh():
    for numbers in (computed, failing, interrupting):
        numbers.clear()


def test_results_are_tables_and_a_manifest(tmp_path):
    request = Request(seeds=(0, 1), options={"n": 3})
    run_experiment(Squares(), request, tmp_path / "out", command=["cytomoe", "benchmark", "squares"])
    assert pd.read_csv(tmp_path / "out" / "all_squares.csv")["square"].tolist() == [0, 1, 4]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "`cytomoe benchmark squares`" in report
    assert f"{os.cpu_count()} cores, load " in report
    assert "| 2 | 4 |" in report
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["request"]["seeds"] == [0, 1]
    assert {"torch", "cytomoe"} <= set(manifest["software"])


def test_a_quick_run_says_so(tmp_path):
    run_experiment(Squares(), Request(quick=True, options={"n": 1}), tmp_path / "out")
    assert "QUICK" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(("given", "runs"), [([], 1), (["--runs", "2"], 2), (["--seeds", "4,5,6"], 3)])
def test_a_quick_look_is_one_run_unless_more_are_asked_for(given, runs, tmp_path, monkeypatch):
    asked = []

    def stop(experiment, request, *arguments, **options):
        asked.append(request)
        raise InputError("enough")

    monkeypatch.setattr("cytomoe.benchmarks.base.run_experiment", stop)
    assert run(["benchmark", "weber", "--quick", *given, "--out", str(tmp_path / "out")]) == 2
    assert len(asked[0].seeds) == runs


def test_resume_computes_only_what_is_missing(tmp_path):
    request = Request(options={"n": 6})
    interrupting.add(4)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(Squares(), request, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()
    interrupting.clear()
    computed.clear()
    run_experiment(Squares(), request, tmp_path / "out", resume=True)
    assert computed == [4, 5]
    assert pd.read_csv(tmp_path / "out" / "rows.csv")["square"].tolist() == [0, 1, 4, 9, 16, 25]


def test_an_existing_folder_is_not_touched_without_resume(tmp_path):
    request = Request(options={"n": 1})
    run_experiment(Squares(), request, tmp_path / "out")
    with pytest.raises(InputError, match="--resume"):
        run_experiment(Squares(), request, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not the folder of a benchmark"):
        run_experiment(Squares(), request, tmp_path / "other", resume=True)


def test_resume_refuses_another_request_by_name(tmp_path):
    run_experiment(Squares(), Request(options={"n": 1}), tmp_path / "out")
    with pytest.raises(InputError, match="preset and settings"):
        run_experiment(Squares(), Request(preset="paper", options={"n": 1}), tmp_path / "out", resume=True)


def test_a_unit_that_fails_is_reported_and_the_others_go_on(tmp_path):
    failing.add(1)
    outcome = run_experiment(Squares(), Request(options={"n": 3}), tmp_path / "out")
    assert outcome.failed == {"n1": "1 can't be squared"}
    assert "1 can't be squared" in (tmp_path / "out" / "report.md").read_text()
    assert pd.read_csv(tmp_path / "out" / "rows.csv")["n"].tolist() == [0, 2]
    failing.add(0)
    with pytest.raises(RunError, match="no unit"):
        run_experiment(Squares(), Request(options={"n": 2}), tmp_path / "none")


def test_every_unit_can_have_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run_experiment(Processes(), Request(options={"n": 2}), tmp_path / "out", jobs=2)
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert rows["pid"].nunique() == 2
    assert set(rows["threads"]) == {3}  # what the user has set is left alone


def test_a_killed_process_says_how_to_go_on(tmp_path):
    request = Request(options={"n": 2})
    with pytest.raises(RunError, match="--resume goes on"):
        run_experiment(Processes(killed=(1,)), request, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "parts").iterdir()] == ["n0.json"]
    run_experiment(Processes(), request, tmp_path / "out", resume=True)
    assert len(pd.read_csv(tmp_path / "out" / "rows.csv")) == 2


@pytest.fixture
def slow(tmp_path):
    """A benchmark with one finished unit and two that run, its folder, its two processes, their temporary folder."""
    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    command = [sys.executable, "-c", SLOW, str(Path(__file__).parent), "--out", str(out)]
    process = psutil.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)})
    deadline = time.monotonic() + 120
    # Two folders may be there a moment before the first unit's result is.
    while not ((out / "parts" / "n0.json").exists() and len(list(temporary.glob("tmp*"))) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
    yield process, out, children, temporary
    for one in [process, *children]:
        if one.is_running():
            one.kill()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_benchmark_waits_for_no_unit(slow, number, code):
    process, out, children, temporary = slow
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert len(said.split("\n")) <= 3  # the end of the progress line, and ours
    assert f"1 of 5 units are kept in {out}; the same command with --resume goes on" in said
    assert len(children) == 2
    assert not any(child.is_running() for child in children)
    assert not list(temporary.glob("tmp*"))


@pytest.mark.slow
def test_a_killed_benchmark_leaves_no_process_and_is_resumed(slow, monkeypatch):
    process, out, children, temporary = slow
    process.kill()
    psutil.wait_procs(children, timeout=30)
    assert not any(child.is_running() for child in children)
    assert not list(temporary.glob("tmp*"))
    first = (out / "parts" / "n0.json").stat().st_mtime_ns
    monkeypatch.setenv("HURRY", "1")
    command = [sys.executable, "-c", SLOW, str(Path(__file__).parent), "--out", str(out), "--resume"]
    subprocess.run(command, check=True, timeout=60)
    assert pd.read_csv(out / "rows.csv")["n"].tolist() == [0, 1, 2, 3, 4]
    assert (out / "parts" / "n0.json").stat().st_mtime_ns == first


def test_published_tables_are_those_of_the_paper():
    wells = published.table_a1()
    assert len(wells) == 267
    first = wells.iloc[0]
    assert (first["inhibitor"], first["well"], first["moe_sim_vae"]) == ("AKTi", "A02", 0.7666)
    assert published.table_2().set_index("method").loc["FlowSOM", "levine_32dim"] == 0.78
    assert published.table_1().set_index("method").loc[published.OWN, "acc"] == 0.975


def test_tables_show_missing_values_as_dashes_and_numbers_aligned():
    text = plain_table(pd.DataFrame({"method": ["a", "bcd"], "n": [12345, 6], "F": [0.5, float("nan")]}))
    assert text.splitlines() == ["method       n      F", "a       12,345  0.500", "bcd          6      -"]
    assert mean_and_spread(pd.Series([0.5, 0.7])) == "0.600 ± 0.141"
    assert mean_and_spread(pd.Series([0.5])) == "0.500"


def test_memory_of_a_process_that_was_started_counts_too():
    watch = MemoryWatch(os.getpid())
    time.sleep(0.5)
    alone = watch.peak
    code = "held = bytearray(b'1') * 200_000_000; import time; time.sleep(1)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert watch.peak > alone + 190_000_000
