"""Units of an experiment computed in processes of their own, each with its share of the cores."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from cytomoe.benchmarks.base import Experiment, Request, Unit, compute_part
from cytomoe.errors import CytomoeError, RunError

# What the numeric libraries read when a process starts.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# Seconds in which an interrupted process can put its temporary files away.
_GRACE = 3


def compute_in_processes(
    experiment: Experiment, request: Request, units: Sequence[Unit], jobs: int
) -> Iterator[tuple[Unit, dict[str, Any] | CytomoeError]]:
    """Units with their part or error, in the order in which they are done.

    Parameters
    ----------
    experiment, request, units
        What to compute.
    jobs
        Processes at a time.

    Raises
    ------
    RunError
        If a process was killed from outside, for want of memory say.
    """
    with _threads(max(1, (os.cpu_count() or 1) // jobs)), _no_child_left():
        pool = ProcessPoolExecutor(
            max_workers=jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_watch_parent,
            max_tasks_per_child=1 if experiment.fresh_process else None,
        )
        try:
            futures = {pool.submit(_compute, experiment, unit, request): unit for unit in units}
            for future in as_completed(futures):
                yield futures[future], future.result()
            pool.shutdown()
        except BrokenProcessPool as error:
            raise RunError(
                "a process was killed, perhaps for want of memory; --resume goes on, with fewer --jobs if so"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _no_child_left() -> Iterator[None]:
    """End the processes that the block has started and not waited for: what they still compute is of no use."""
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        started = [child for child in multiprocessing.active_children() if child not in before]
        for child in started:
            child.terminate()
        for child in started:
            child.join(_GRACE)
            child.kill()
            child.join()


def _watch_parent() -> None:
    """Leave Ctrl-C to the parent, and end where that has been killed: the process would wait for work forever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _compute(experiment: Experiment, unit: Unit, request: Request) -> dict[str, Any] | CytomoeError:
    """As :func:`cytomoe.benchmarks.base.compute_part`; SIGTERM ends it as Ctrl-C does, and temporary files go."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return compute_part(experiment, unit, request)
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)  # else the pool would have it begin the next unit
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let processes that start meanwhile use this many threads, unless the user has said how many."""
    set_here = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(set_here, str(number)))
    try:
        yield
    finally:
        for name in set_here:
            del os.environ[name]


def processor_seconds() -> float:
    """Processor seconds of all threads of this process so far, and of the processes that it has started and ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class MemoryWatch(threading.Thread):
    """Looks all the while at how much memory a process and those that it has started hold together.

    What they share, as libraries, counts for each.

    Parameters
    ----------
    pid
        Number of the process.

    Attributes
    ----------
    peak
        The most that was seen so far, in bytes.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0
        self.start()

    def run(self) -> None:
        """Look four times a second, which costs next to nothing, until the process has ended."""
        import psutil

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            while True:
                held = process.memory_info().rss
                for child in process.children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        held += child.memory_info().rss
                self.peak = max(self.peak, held)
                time.sleep(0.25)
