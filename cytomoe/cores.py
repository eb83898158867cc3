"""The cores that this process may use, and threads on them for array operations that let others go on meanwhile."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may use, or fewer where ``OMP_NUM_THREADS`` says so."""
    from joblib import cpu_count

    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cpu_count(), int(wanted) if wanted.isdecimal() else cpu_count()))


def on_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> list[Result]:
    """Results of some work on each item, in order; only a few items more than threads are on their way at a time.

    Parameters
    ----------
    work
        Does most of what it does in array operations.
    items
        Taken in the calling thread.
    threads
        How many; None for as many as there are cores.
    """
    threads = threads or cores()
    if threads == 1:
        return list(map(work, items))
    results: list[Result] = []
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                results.append(waiting.popleft().result())
        results += [each.result() for each in waiting]
    return results
