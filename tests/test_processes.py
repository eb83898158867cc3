"""Work shared out among processes: in order, errors told, nobody left behind, and the same result as without."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from operator import methodcaller

import numpy as np
import pytest

from cytomoe import processes
from cytomoe.cli.main import run
from cytomoe.errors import RunError
from cytomoe.settings import Settings
from cytomoe.similarity import valleys
from cytomoe.similarity.valleys import valley_partitions

START_TWO = (
    "import os, time; os.environ['OMP_NUM_THREADS'] = '2'; from cytomoe import processes as p; p.start([]); "
    "print(*[each.pid for each in p._sharing], flush=True); "
)


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    processes.start([])
    if len(processes._sharing) < 2:
        pytest.skip("the machine has one core")
    yield processes._sharing
    processes.stop()


def there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_are_in_the_order_of_the_tasks(two_processes):
    assert processes.share_out(partial, (pow, 2), range(20)) == [2**n for n in range(20)]
    assert processes.share_out(methodcaller, ("upper",), ["a", "b"]) == ["A", "B"]


def test_what_a_task_prints_is_no_answer(two_processes):
    assert processes.share_out(partial, (print, "no answer"), range(4)) == [None] * 4


def test_an_error_of_a_task_is_raised_here(two_processes):
    with pytest.raises(ValueError, match="invalid literal"):
        processes.share_out(partial, (int,), ["1", "x"])


def test_a_killed_process_is_told_and_the_next_work_is_done_here(two_processes):
    with pytest.raises(RunError, match="was killed, perhaps for want of memory"):
        processes.share_out(partial, (signal.raise_signal,), [signal.SIGKILL])
    assert not processes._sharing
    assert processes.share_out(partial, (pow, 2), range(3)) == [1, 2, 4]


def process_of_task(task):
    return os.getpid()


def sleeper():
    return time.sleep


def ready():
    return process_of_task


def test_what_was_prepared_in_a_process_is_done_there_once_and_else_here(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    processes.prepare(ready)
    with processes.handed(ready, None) as there, processes.handed(ready, None) as here:
        assert there() != os.getpid()
        assert here() == os.getpid()


def test_what_was_prepared_is_done_here_where_its_process_was_killed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    processes.prepare(ready)
    os.kill(processes._ahead[ready].pid, signal.SIGKILL)
    with processes.handed(ready, None) as result:
        assert result() == os.getpid()


def test_what_was_handed_over_ends_where_nobody_waits_for_it(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    processes.prepare(sleeper)
    process = processes._ahead[sleeper]
    with pytest.raises(OSError, match="full"), processes.handed(sleeper, 600):
        raise OSError("the disk is full")
    assert process._python.poll() is not None


def test_a_file_in_the_folder_of_the_user_is_no_module(two_processes, tmp_path, monkeypatch):
    processes.stop()
    (tmp_path / "signal.py").write_text("raise SystemExit('the file of the user was run')")
    monkeypatch.chdir(tmp_path)
    processes.start([])
    assert processes.share_out(partial, (pow, 2), range(3)) == [1, 2, 4]


def test_a_process_that_ends_by_itself_was_not_killed(two_processes):
    with pytest.raises(RunError, match="ended with exit code 3; run it again, with OMP_NUM_THREADS=1"):
        processes.share_out(partial, (os._exit,), [3])


def test_partitions_are_those_of_one_process(blobs, two_processes):
    settings = Settings(partitions=5)
    shared = valley_partitions(blobs[0], settings, np.random.default_rng(0))
    processes.stop()
    np.testing.assert_array_equal(valley_partitions(blobs[0], settings, np.random.default_rng(0)), shared)


def test_partitions_of_many_cells_leave_no_process_that_nobody_had_started(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(valleys, "_WORTH_PROCESSES", 100)
    counts = []
    monkeypatch.setattr(processes, "share_out", lambda *_: counts.append(len(processes._sharing)) or [np.zeros(3)])
    valley_partitions(np.random.default_rng(0).random((200, 2), dtype=np.float32), Settings(), np.random.default_rng(0))
    assert counts == [2]
    assert not processes._sharing


def test_with_one_core_no_process_is_started(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    processes.start([])
    assert not processes._sharing


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_does_not_speak_to_the_processes_of_its_parent(two_processes):
    child = os.fork()
    if child == 0:
        os._exit(len(processes._sharing))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "work", ["time.sleep(60)", "p.share_out(partial, (time.sleep,), [60, 60])"], ids=["idle", "busy"]
)
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", None])
def test_no_process_outlives_its_parent(end, work):
    """However the parent ends, killed from outside or at the end of what it does, and whatever they are doing."""
    code = "from functools import partial; " + START_TWO + (work if end else "")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        if end:
            parent.send_signal(getattr(signal, end))
    deadline = time.monotonic() + 20
    while any(map(there, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(there, pids))


def test_an_interruption_ends_the_work_at_once():
    """Ctrl-C goes to all processes of a terminal: none of them says anything."""
    code = (
        START_TWO + "import threading, signal; threading.Timer(1.5, os.killpg, (0, signal.SIGINT)).start()\n"
        "from functools import partial\n"
        "try: p.share_out(partial, (time.sleep,), [60, 60])\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["interrupted"]
    assert done.stderr == ""
    assert time.monotonic() - started < 30


def test_no_process_of_the_similarity_is_left_while_a_run_trains(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    left = []

    def train(*_):
        left.append(len(processes._sharing))
        raise RunError("enough")

    monkeypatch.setattr("cytomoe.runs.cluster.train", train)
    assert run(["cluster", "example_data/example_A01.fcs", "--subsample", "1500", "--out", str(tmp_path / "out")]) == 1
    assert left == [0]
