"""Work in processes beside this one: small array operations, which threads do no faster, and what takes long to load.

Each process is a Python of its own that is told over its standard input what to do, and ends when that is closed, which
the operating system sees to where the parent was killed. To start takes the better part of a second, so a run that will
need processes starts them before it reads its files.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from queue import SimpleQueue
from typing import Any, TypeVar

from cytomoe.cores import cores
from cytomoe.errors import RunError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Processes that share work, at most: more would wait at the end of most work, and each holds some 100 MB.
_MOST = 8
# Each process is one of several, so its libraries are to use one thread.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Ctrl-C, which a terminal sends to all of them, is the parent's affair from the first moment on.
_SERVE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; "
    "from cytomoe.processes import serve; serve({modules!r})"
)
_LENGTH = 8  # bytes before each message to a process that say how long it is
# What a process that makes partitions imports; named here, so that one can be started before anything else is imported.
PARTITIONING = "cytomoe.similarity.helper"
_AGAIN = "run it again, with OMP_NUM_THREADS=1 in the environment if it happens again: one process then does it all"


class _Process:
    """A process that is told what to make, and does task after task with it.

    Parameters
    ----------
    modules
        What it imports before it is told anything.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._python = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE.format(path=sys.path, modules=list(modules))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
        )
        self.pid = self._python.pid

    def tell(self, make: Callable[..., Any] | None, given: Any) -> None:
        """Say what to make of what is given or, without ``make``, the next task; None ends it."""
        assert self._python.stdin is not None
        try:
            message = pickle.dumps((make, given), pickle.HIGHEST_PROTOCOL)
            self._python.stdin.write(len(message).to_bytes(_LENGTH, "big"))
            self._python.stdin.write(message)
            self._python.stdin.flush()
        except OSError as broken:
            raise self._lost() from broken

    def answer(self) -> Any:
        """What it answers to the first thing that it was told and has not answered, or the error it came to."""
        assert self._python.stdout is not None
        try:
            error, answer = pickle.load(self._python.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as broken:
            raise self._lost() from broken
        if error is not None:
            raise error
        return answer

    def _lost(self) -> RunError:
        """What became of it: killed from outside, or it could not go on and has said why."""
        code = self._python.wait()
        how = "was killed, perhaps for want of memory" if code < 0 else f"ended with exit code {code}"
        return RunError(f"a process that did a part of the work {how}; {_AGAIN}")

    def end(self) -> None:
        """End it, whatever it is doing."""
        self._python.kill()
        with contextlib.suppress(OSError):  # closing sends what is left to a process that is no more
            self._python.communicate()


_sharing: list[_Process] = []
_one_at_a_time = threading.Lock()
_ahead: dict[Callable[[], Any], _Process] = {}


def start(modules: Sequence[str]) -> bool:
    """Start a process for each core to share work, where there are several; does not wait for them.

    Parameters
    ----------
    modules
        Names of modules that the work will need.

    Returns
    -------
    bool
        Whether there were none yet.
    """
    number = min(cores(), _MOST)
    if _sharing or number == 1 or not sys.executable:
        return False
    with contextlib.suppress(OSError):  # where none may be started, the work is done here
        for _ in range(number):
            _sharing.append(_Process(modules))
    return True


def stop() -> None:
    """End the processes that share work."""
    while _sharing:
        _sharing.pop().end()


@atexit.register
def _end_all() -> None:
    stop()
    while _ahead:
        _ahead.popitem()[1].end()


if hasattr(os, "register_at_fork"):  # not on Windows; a fork must not speak into its parent's pipes
    os.register_at_fork(after_in_child=_sharing.clear)
    os.register_at_fork(after_in_child=_ahead.clear)


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
    if not _sharing:
        return list(map(make(*shared), tasks))
    left = iter(list(enumerate(tasks)))  # of a list, which threads may go on with in turns
    results: list[Any] = [None] * len(tasks)

    def direct(process: _Process) -> None:
        process.tell(make, tuple(shared))
        process.answer()
        for number, task in left:
            process.tell(None, task)
            results[number] = process.answer()
        process.tell(None, None)
        process.answer()

    with _one_at_a_time, ThreadPoolExecutor(len(_sharing)) as pool:
        try:
            list(pool.map(direct, _sharing))
        except BaseException:
            stop()
            raise
    return results


def prepare(make: Callable[[], Callable[[Any], Any]]) -> None:
    """Have a process of its own make what does a task, while this one does something else; see :func:`handed`.

    Nothing happens where there is one core alone.
    """
    if make in _ahead or cores() == 1 or not sys.executable:
        return
    with contextlib.suppress(OSError, RunError):  # then it is made here, when it is asked for
        _ahead[make] = _Process()
        _ahead[make].tell(make, ())


@contextlib.contextmanager
def handed(make: Callable[[], Callable[[Task], Result]], task: Task) -> Iterator[Callable[[], Result]]:
    """Have a task done beside what is done within; gives what waits for its result.

    It is done by the process that was prepared for it or, where there is none any more, by this one when it waits.

    Parameters
    ----------
    make
        Makes what does the task; a function of a module.
    task
        The only one: the process ends with it.
    """
    process = _ahead.pop(make, None)

    def result() -> Result:
        if process is not None:
            with contextlib.suppress(RunError):  # killed, so it is done here
                process.answer()  # that it made what does the task
                answer: Result = process.answer()
                return answer
        return make()(task)

    try:
        if process is not None:
            with contextlib.suppress(RunError):
                process.tell(None, task)
        yield result
    finally:
        if process is not None:
            process.end()


def serve(modules: Sequence[str]) -> None:
    """Do what the parent asks for, until it closes the standard input; the life of a process."""
    told: SimpleQueue[bytes] = SimpleQueue()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is no answer
    threading.Thread(target=_listen, args=(told,), daemon=True).start()
    for module in modules:
        import_module(module)
    work: Callable[[Any], Any] | None = None
    while True:
        make, given = pickle.loads(told.get())
        answer: tuple[BaseException | None, Any] = (None, None)
        try:
            if make is not None:
                work = make(*given)
            elif given is None:
                work = None  # what it held is not needed any more
            elif work is not None:
                answer = (None, work(given))
        except Exception as error:
            answer = (error, None)
        with contextlib.suppress(BrokenPipeError):  # the parent has gone, and this process ends with it
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()


def _listen(told: SimpleQueue[bytes]) -> None:
    """Take what the parent says; where it says no more, whatever is being done is of no use."""
    while length := sys.stdin.buffer.read(_LENGTH):
        told.put(sys.stdin.buffer.read(int.from_bytes(length, "big")))
    os._exit(0)
