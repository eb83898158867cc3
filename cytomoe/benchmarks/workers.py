"""Units of an experiment computed in processes of their own, each with its share of the cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from cytomoe.benchmarks.base import Experiment, Request, Unit, compute_part
from cytomoe.errors import CytomoeError, RunError

# What the numeric libraries read when a process starts.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


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
    with _threads(max(1, (os.cpu_count() or 1) // jobs)):
        pool = ProcessPoolExecutor(
            max_workers=jobs,
            mp_context=multiprocessing.get_context("spawn"),
            max_tasks_per_child=1 if experiment.fresh_process else None,
        )
        with pool:
            futures = {pool.submit(compute_part, experiment, unit, request): unit for unit in units}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise RunError(
                    "a process was killed, perhaps for want of memory; --resume goes on, with fewer --jobs if so"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)


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


def peak_memory() -> float:
    """Largest memory that this process has held so far, in GB, as the operating system counts it."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)
