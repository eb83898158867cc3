"""Standard output and error that are closed, full or read no more: what is said gets lost, the results do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cytomoe.cli.main import run

WELL = Path(__file__).parent.parent / "example_data" / "example_A01.fcs"
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "run"
    assert run(["cluster", str(WELL), "--subsample", "1000", "--out", str(out), "--quiet", "--no-report"]) == 0
    return out / "model.cytomoe"


def shell(line, folder, *arguments):
    """Run a line of bash, in which ``cytomoe`` is this one and the arguments are ``$1``, ``$2``."""
    line = f'cytomoe() {{ "$PYTHON" -m cytomoe "$@"; }}; set -o pipefail; {line}'
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "2"}
    command = ["bash", "-c", line, "bash", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def is_complete(run_folder):
    return (run_folder / "run.json").is_file()


CLUSTER = 'cytomoe cluster "$1" --subsample 1000 --no-report --h5ad no --out x'


@pytest.mark.parametrize("lost", ["2>&-", "2> >(head -c 1 > /dev/null)", pytest.param("2>/dev/full", marks=needs_full)])
def test_a_run_that_can_say_nothing_does_its_work(lost, tmp_path):
    done = shell(f"{CLUSTER} {lost}", tmp_path, WELL)
    assert done.returncode == 0
    assert is_complete(tmp_path / "x")
    assert "results: x" in done.stdout


@pytest.mark.parametrize("command", ["predict --no-report", "batch --model"])
def test_samples_are_mapped_with_closed_streams(command, model, tmp_path):
    done = shell(f'cytomoe {command} "$2" "$1" --h5ad no --out x <&- >&- 2>&-', tmp_path, WELL, model)
    assert done.returncode == 0
    assert is_complete(tmp_path / "x")


def test_a_batch_in_processes_does_its_work_with_closed_streams(model, tmp_path):
    line = 'cp "$1" a.fcs; cp "$1" b.fcs; cytomoe batch a.fcs b.fcs --model "$2" --jobs 2 --h5ad no --out x 2>&-'
    assert shell(line, tmp_path, WELL, model).returncode == 0
    assert is_complete(tmp_path / "x" / "wells" / "b")


def test_the_bar_of_a_training_ends_no_run(tmp_path):
    """A terminal that is closed while the run works."""
    read, write = os.openpty()
    command = [sys.executable, "-m", "cytomoe", "cluster", WELL, "--subsample", "1000", "--no-report", "--out", "x"]
    with subprocess.Popen(list(map(str, command)), cwd=tmp_path, stdout=subprocess.PIPE, stderr=write) as process:
        os.close(write)
        os.close(read)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b"results: x" in output


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path):
    done = shell(f"{CLUSTER} | true", tmp_path, WELL)
    assert done.returncode == 0
    assert "Error" not in done.stderr
    assert is_complete(tmp_path / "x")


def test_a_batch_whose_reader_has_gone_goes_on_and_says_so(model, tmp_path):
    line = 'cp "$1" a.fcs; cp "$1" b.fcs; cytomoe batch a.fcs b.fcs --model "$2" --json --h5ad no --out x | true'
    done = shell(line, tmp_path, WELL, model)
    assert done.returncode == 0
    assert is_complete(tmp_path / "x" / "wells" / "b")
    assert done.stderr.count("nobody reads the standard output any more; the samples are done all the same") == 1


@needs_full
def test_a_full_standard_output_is_not_taken_for_a_full_disk(tmp_path):
    done = shell(f"{CLUSTER} --quiet >/dev/full", tmp_path, WELL)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: the standard output can't be written to (No space left on device); what is in files is complete\n"
    )
    assert is_complete(tmp_path / "x")


def test_what_can_be_said_is_said(model, tmp_path):
    done = shell('cytomoe predict "$2" "$1" --no-report --h5ad no --out x', tmp_path, WELL, model)
    assert "results: x" in done.stdout
    assert "GB of memory" in done.stderr
