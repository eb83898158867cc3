"""What goes wrong while a run works: signals, a second process, a full disk, inputs that change, a bare environment."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cytomoe.cli.main import run
from cytomoe.io.lock import alone
from cytomoe.runs import outputs
from cytomoe.runs import predict as predict_job

ROOT = Path(__file__).parent.parent
LOCK_AND_WAIT = """
import sys, time
from cytomoe.io.lock import alone
with alone(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def well(small_plate, tmp_path):
    """A file of its own for a test that harms it."""
    return Path(shutil.copy(small_plate[0], tmp_path / "well.fcs"))


@pytest.fixture
def quickly(example_run):
    """A run in seconds: the arguments that map files into a folder with a model that is there."""

    def arguments(out, *files, more=("--force", "--no-report")):
        model = str(example_run / "model.cytomoe")
        return ["predict", model, *map(str, files), "--out", str(out), "--quiet", *more]

    return arguments


@pytest.fixture
def heard():
    """Python's own handler of SIGINT, which a process started in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def old(example_run, tmp_path):
    """An earlier run to be replaced, and its manifest."""
    out = tmp_path / "out"
    shutil.copytree(example_run, out)
    return out, (out / "run.json").read_bytes()


def visible(folder):
    return {path.name for path in folder.iterdir()}


# ------------------------------------------------------------------ signals


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
@pytest.mark.parametrize("turned_into", [None, ImportError("numpy.core.multiarray failed to import")])
def test_a_signal_ends_the_run_in_one_line_and_keeps_the_old_results(
    heard, quickly, well, old, tmp_path, monkeypatch, capsys, number, code, word, turned_into
):
    def asked_to_end(*_, **__):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if turned_into is None:
                raise
            raise turned_into from None

    monkeypatch.setattr(predict_job, "map_events", asked_to_end)
    out, manifest = old
    assert run(quickly(out, well)) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"Error: {word}; ")
    assert (out / "run.json").read_bytes() == manifest
    assert visible(tmp_path) == {"out", "well.fcs"}


def test_handlers_of_the_caller_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    run(["--version"])
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_interrupted_in_the_report_the_results_are_said_to_be_complete(quickly, well, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cytomoe.reporting.page.write_report", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert run(quickly(tmp_path / "out", well, more=())) == 143
    assert "are complete, but for the report" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "run.json").read_text())["events"] == 800


def test_an_interrupted_batch_says_what_is_kept(small_plate, example_run, tmp_path, monkeypatch, capsys):
    from cytomoe.runs import well_groups

    def ends_at_the_second(task):
        if "A02" in task.name:
            signal.raise_signal(signal.SIGTERM)
        return done(task)

    done = well_groups.run_well
    monkeypatch.setattr(well_groups, "run_well", ends_at_the_second)
    arguments = ["batch", str(small_plate[0].parent), "--model", str(example_run / "model.cytomoe")]
    arguments += ["--out", str(tmp_path / "out"), "--quiet"]
    assert run(arguments) == 143
    assert "--resume" in capsys.readouterr().err
    monkeypatch.setattr(well_groups, "run_well", done)
    assert run([*arguments[:-1], "--resume", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert [line["reused"] for line in lines] == [True, False]


# ------------------------------------------------------------------ two processes, and what a killed one leaves


def test_a_second_process_is_refused_and_takes_over_when_the_first_is_killed(quickly, well, tmp_path, capsys):
    out = tmp_path / "out"
    first = subprocess.Popen([sys.executable, "-c", LOCK_AND_WAIT, str(out)], stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"held\n"
    assert run(quickly(out, well)) == 2
    assert f"{out}: another run is writing there (process {first.pid} " in capsys.readouterr().err
    first.kill()
    first.wait()
    first.stdout.close()
    assert (tmp_path / ".out.lock").is_file()
    assert run(quickly(out, well)) == 0
    assert visible(tmp_path) == {"out", "well.fcs"}


def test_leftovers_of_killed_runs_go_and_those_of_others_stay(old, tmp_path):
    out, manifest = old
    for name in (".out.123-abcdef12", ".out.replaced-123-abcdef12", ".out.v2.123-abcdef12", ".other.123-abcdef12"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "labels.csv").touch()
    (tmp_path / ".out.123-abcdef12.v2").mkdir()  # of a run into out.v2
    (out / ".report.123-abcdef12.html").touch()
    (out / ".well.lock").write_text("process 123 on here")
    with alone(out / "busy"), alone(out):
        assert (out / ".busy.lock").is_file()
    assert visible(tmp_path) == {"out", ".out.v2.123-abcdef12", ".other.123-abcdef12", ".out.123-abcdef12.v2"}
    assert (out / "run.json").read_bytes() == manifest
    assert not list(out.glob(".*"))


def test_results_moved_aside_when_the_process_was_killed_come_back(quickly, old, tmp_path, well, capsys):
    out, manifest = old
    out.rename(tmp_path / ".out.replaced-123-abcdef12")
    (tmp_path / ".out.123-0123abcd").mkdir()
    assert run(quickly(out, well, more=())) == 2
    assert "exists already" in capsys.readouterr().err
    assert (out / "run.json").read_bytes() == manifest
    assert visible(tmp_path) == {"out", "well.fcs"}


def test_killed_while_writing_the_old_results_are_whole_and_the_next_run_clears_up(quickly, well, old, tmp_path):
    """SIGKILL once the new folder has begun to fill."""
    out, manifest = old
    process = subprocess.Popen([sys.executable, "-m", "cytomoe", *quickly(out, well)])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.*/labels.csv")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert (out / "run.json").read_bytes() == manifest
    assert run(quickly(out, well)) == 0
    assert visible(tmp_path) == {"out", "well.fcs"}
    assert json.loads((out / "run.json").read_text())["events"] == 800


def test_parents_that_were_made_for_nothing_go_again(tmp_path):
    assert run(["cluster", "nowhere.fcs", "--out", str(tmp_path / "a" / "b" / "out")]) == 2
    assert visible(tmp_path) == set()


# ------------------------------------------------------------------ inputs that change


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40] + bytes(40)), "has changed during the run"),
        (lambda path: path.unlink(), "was removed during the run"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "has changed during the run"),
    ],
)
def test_an_input_that_changes_during_the_run_is_noticed(quickly, well, tmp_path, monkeypatch, capsys, harm, message):
    read = predict_job.map_events

    def harmed(*rest, **options):
        mapped = read(*rest, **options)
        harm(well)
        return mapped

    monkeypatch.setattr(predict_job, "map_events", harmed)
    assert run(quickly(tmp_path / "out", well)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sample_that_changes_during_a_batch_fails_and_the_others_stay(
    small_plate, example_run, tmp_path, monkeypatch, capsys
):
    from cytomoe.runs import well_groups

    shutil.copytree(small_plate[0].parent, tmp_path / "in")
    work = well_groups.run_well

    def harmed(task):
        result = work(task)
        if "A02" in task.name:
            task.job.files[0].write_bytes(task.job.files[0].read_bytes()[:-40] + bytes(40))
        return result

    monkeypatch.setattr(well_groups, "run_well", harmed)
    arguments = ["batch", str(tmp_path / "in"), "--model", str(example_run / "model.cytomoe")]
    arguments += ["--out", str(tmp_path / "out"), "--json"]
    assert run(arguments) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["samples"], len(last["failed"])) == (1, 1)
    assert "has changed during the run" in (tmp_path / "out" / "failed.csv").read_text()


def test_evaluate_refuses_files_that_are_not_those_of_the_run(quickly, well, tmp_path, capsys):
    assert run(quickly(tmp_path / "out", well)) == 0
    well.write_bytes(well.read_bytes()[:-40] + bytes(40))
    assert run(["evaluate", str(tmp_path / "out"), "--gate-channel", "gate"]) == 2
    assert "not the file any more that was clustered" in capsys.readouterr().err


# ------------------------------------------------------------------ where results can't be written


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't synchronously write data (file write failed: errno = 28, error message = '...')"),  # HDF5
    ],
)
def test_a_full_disk_is_said_in_one_line_and_keeps_the_old_results(
    quickly, well, old, tmp_path, monkeypatch, capsys, error
):
    def full(folder, *_):
        (folder / "labels.csv").write_text("half")
        raise error

    monkeypatch.setattr(outputs, "write_labels", full)
    out, manifest = old
    assert run(quickly(out, well)) == 1
    assert capsys.readouterr().err.strip() == (
        f"Error: {out}: no space is left on the disk, so nothing was written; make room, or give --out elsewhere"
    )
    assert (out / "run.json").read_bytes() == manifest
    assert visible(tmp_path) == {"out", "well.fcs"}


def test_room_for_cells_is_taken_before_hdf5_begins(quickly, well, tmp_path, monkeypatch, capsys):
    """HDF5 prints pages of errors on a full disk, and may crash."""
    asked = []

    def full(_, begin, size):
        asked.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert run(quickly(tmp_path / "out", well)) == 1
    assert "no space is left" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(quickly(tmp_path / "out", well)) == 0
    assert asked[0] >= (tmp_path / "out" / "cells.h5ad").stat().st_size


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a file system")
def test_on_a_file_system_that_is_really_full_old_results_stay(quickly, well, tmp_path):
    """Room for the old results and half of the new ones."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        assert run(quickly(small / "out", well)) == 0
        before = {path: path.read_bytes() for path in (small / "out").rglob("*") if path.is_file()}
        free = shutil.disk_usage(small).free
        (small / "filler").write_bytes(bytes(max(0, free - sum(map(len, before.values())) // 2)))
        done = subprocess.run(
            [sys.executable, "-m", "cytomoe", *quickly(small / "out", well)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.count("\n") == 1
        assert "no space is left on the disk" in done.stderr
        assert {path: path.read_bytes() for path in (small / "out").rglob("*") if path.is_file()} == before
        assert visible(small) == {"out", "filler"}
        (small / "filler").unlink()
        assert run(quickly(small / "out", well)) == 0
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        assert run(quickly(small / "out", well)) == 2
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="/proc is where nobody can write")
@pytest.mark.parametrize("command", ["cluster", "generate"])
def test_a_folder_that_can_not_be_written_is_said_before_any_work(well, example_run, command, capsys):
    source = well if command == "cluster" else example_run / "model.cytomoe"
    assert run([command, str(source), "--out", "/proc/cytomoe/out.fcs"]) == 2
    assert "/proc/cytomoe/out.fcs: can't be written" in capsys.readouterr().err


def test_the_working_directory_is_not_replaced(quickly, well, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run(quickly(".", well)) == 2
    assert "a folder of their own" in capsys.readouterr().err


def test_a_link_to_a_folder_stays_a_link(quickly, old, well, tmp_path):
    out, _ = old
    (tmp_path / "link").symlink_to(out)
    assert run(quickly(tmp_path / "link", well)) == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads((out / "run.json").read_text())["events"] == 800


# ------------------------------------------------------------------ a bare environment


@pytest.mark.parametrize("report", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_without_home_caches_and_unicode_locale_all_results_are_there(quickly, well, tmp_path, report):
    folder = tmp_path / "dir with ü & spaces"
    folder.mkdir()
    well.rename(folder / "blöd file.fcs")
    nowhere = "/proc/cytomoe"
    environment = {"PATH": "/usr/bin", "OMP_NUM_THREADS": "1", "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment |= {"PYTHONCOERCECLOCALE": "0", "HOME": nowhere, "MPLCONFIGDIR": nowhere, "NUMBA_CACHE_DIR": nowhere}
    arguments = quickly(folder / "aus gäbe", folder / "blöd file.fcs", more=() if report else ("--no-report",))
    done = subprocess.run(
        [sys.executable, "-m", "cytomoe", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "aus gäbe" / "report.html").is_file() == report
    assert (folder / "aus gäbe" / "fcs" / "blöd file.fcs").is_file()
    assert json.loads((folder / "aus gäbe" / "run.json").read_text(encoding="utf-8"))["samples"] == ["blöd file"]


def test_nothing_that_is_read_is_replaced_by_the_results(example_run, tmp_path, capsys, monkeypatch):
    before = tmp_path / "run"
    shutil.copytree(example_run, before)
    model, written = before / "model.cytomoe", next((before / "fcs").iterdir())
    contents = {path: path.read_bytes() for path in before.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(before)
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["predict", "run", str(ROOT / "example_data" / "example_A03.fcs"), "--out", "link", "--force"],
        ["cluster", str(written), "--out", "run", "--force"],
        ["generate", "run", "--like", str(written), "--out", str(written), "--force"],
    ):
        assert run(arguments) == 2
        assert "is read, and --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before.rglob("*") if path.is_file()} == contents
    assert model in contents


def test_a_file_is_not_clustered_twice_however_its_path_is_written(well, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["cluster", "well.fcs", str(well), "--out", "out"]) == 2
    assert f"{well} is given twice" in capsys.readouterr().err
