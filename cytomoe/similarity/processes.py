"""Work shared out among processes: many small array operations, which threads of one process do no faster.

Each process is a Python of its own that is told over its standard input what to do, and ends when that is closed, which
the operating system sees to where the parent was killed. To start takes the better part of a second, so a run that will
need them starts them before it reads its files. The parent waits meanwhile, or imports what it will need.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cytomoe.cores import cores
from cytomoe.errors import RunError

Task = TypeVar("Task")
Result = TypeVar("Result")

# More would wait at the end of most work, and each holds some 100 MB.
_MOST = 8
# Each process is one of several, so its libraries are to use one thread.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Ctrl-C, which a terminal sends to all of them, is the parent's affair from the first moment on.
_SERVE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; "
    "from cytomoe.similarity.processes import serve; serve()"
)

_processes: list[subprocess.Popen[bytes]] = []
_one_at_a_time = threading.Lock()


def start() -> None:
    """Start a process for each core, where there are several; does not wait for them."""
    number = min(cores(), _MOST)
    if _processes or number == 1 or not sys.executable:
        return
    command = [sys.executable, "-c", _SERVE.format(path=sys.path)]
    with contextlib.suppress(OSError):  # where none may be started, the work is done here
        for _ in range(number):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | _ONE_THREAD
            )
            _processes.append(process)


def stop() -> None:
    """End the processes, whatever they are doing."""
    for process in _processes:
        process.kill()
    for process in _processes:
        with contextlib.suppress(OSError):  # closing sends what is left to a process that is no more
            process.communicate()
    _processes.clear()


atexit.register(stop)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_processes.clear)  # a fork must not speak into its parent's pipes


def share_out(
    make: Callable[..., Callable[[Task], Result]], shared: Sequence[Any], tasks: Sequence[Task]
) -> list[Result]:
    """Do tasks side by side in the processes, or here where none were started.

    Parameters
    ----------
    make
        Makes, of ``shared``, what does a task; a class or function of a module. Called once in each process.
    shared
        What all tasks need.
    tasks
        What is to be done.

    Returns
    -------
    list
        Result of each task, in the order of the tasks, whichever process did it.

    Raises
    ------
    RunError
        If a process was killed from outside, for want of memory say.
    """
    if not _processes:
        return list(map(make(*shared), tasks))
    order = pickle.dumps((make, tuple(shared)), pickle.HIGHEST_PROTOCOL)
    left = iter(list(enumerate(tasks)))  # of a list, which threads may go on with in turns
    results: list[Any] = [None] * len(tasks)

    def direct(process: subprocess.Popen[bytes]) -> None:
        _ask(process, order)
        for number, task in left:
            results[number] = _ask(process, pickle.dumps((None, task), pickle.HIGHEST_PROTOCOL))
        _ask(process, pickle.dumps((None, None)))

    with _one_at_a_time, ThreadPoolExecutor(len(_processes)) as pool:
        try:
            list(pool.map(direct, _processes))
        except BaseException:
            stop()
            raise
    return results


def _ask(process: subprocess.Popen[bytes], message: bytes) -> Any:
    """What a process answers, or the error that it came to."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(message)
        process.stdin.flush()
        error, answer = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError) as broken:
        raise RunError(
            "a process that worked on the similarity was killed, perhaps for want of memory; run it again, with "
            "OMP_NUM_THREADS=1 in the environment if it happens again: one process then does it all"
        ) from broken
    if error is not None:
        raise error
    return answer


def serve() -> None:
    """Do what the parent asks for, until it closes the standard input; the life of a process."""
    import scipy.cluster.hierarchy
    import scipy.ndimage  # noqa: F401  what will be needed, while the parent reads its files

    import cytomoe.similarity.valleys  # noqa: F401

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is no answer
    work: Callable[[Any], Any] | None = None
    while True:
        try:
            make, given = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: tuple[BaseException | None, Any] = (None, None)
        try:
            if make is not None:
                work = make(*given)
            elif given is None:
                work = None  # the work is done, and what it held is not needed any more
            elif work is not None:
                answer = (None, work(given))
        except Exception as error:
            answer = (error, None)
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()
