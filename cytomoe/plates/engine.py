"""Work spread over processes and machines by Dask distributed, and done in this process where there is little of it.

Nothing listens beyond this machine unless the user names a scheduler, which then has its own rules.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cytomoe.errors import InputError, RunError

if TYPE_CHECKING:
    from distributed import Client, Future
    from distributed.security import Security

LOOPBACK = "127.0.0.1"
# How often a task is tried again after its worker died or an unexpected error.
RETRIES = 2
# Seconds between two looks whether a scheduler has workers, and without any until that is told.
_LOOK, _PATIENCE = 5.0, 60.0
_GONE = "the scheduler is gone; what is done is kept, and the same command with --resume does the rest"


class Task(Protocol):
    """What can be spread: something that can be pickled, named by its content."""

    @property
    def key(self) -> str:
        """Checksum of all that the result depends on."""
        ...


T = TypeVar("T", bound=Task)
R = TypeVar("R")


@dataclass(frozen=True)
class Engine:
    """Where tasks run.

    Attributes
    ----------
    jobs
        Processes on this machine; 1 works in this process.
    scheduler
        Address of a scheduler that exists, such as ``tls://host:8786``, in place of processes of our own.
    tls_ca, tls_cert, tls_key
        Certificate authority, certificate and key in PEM, for schedulers that ask for them.
    """

    jobs: int = 1
    scheduler: str | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


# What is sent in place of a task, with the files that it needs; made of the task and the bytes of memory that the
# smallest worker has for it, None where workers have no limit.
Pack = Callable[[T, int | None], Any]


def run_tasks(
    work: Callable[[Any], R],
    tasks: Sequence[T],
    engine: Engine,
    pack: Pack[T] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[tuple[T, R | BaseException]]:
    """Do all tasks and give each with its result, or the error that ended it, in the order in which they finish.

    Parameters
    ----------
    work
        Turns a task, or what ``pack`` makes of it, into its result. It may run more than once for a task, when a worker
        dies after the work was done, so it must come to the same end when it is repeated.
    tasks
        What to do; keys all different.
    engine
        Where. It must have a scheduler if there is a ``pack``.
    pack
        Makes what is sent to the scheduler in place of a task. Then no more tasks are on their way at a time than the
        workers take at once, and one that waits, since all are held by the scheduler.
    say
        Called, from another thread too, with a line for the user where the scheduler has no workers.

    Raises
    ------
    InputError
        If the scheduler can't be reached.
    RunError
        If it goes away in the middle.
    """
    if engine.scheduler is None and (engine.jobs == 1 or len(tasks) < 2):
        for task in tasks:
            try:
                outcome: R | BaseException = work(task)
            except Exception as error:
                outcome = error
            yield task, outcome
        return
    from distributed import as_completed

    with _client(engine, len(tasks)) as client, _watched(client, engine, say):
        waiting = deque(tasks)
        running: dict[Future, T] = {}
        finished = as_completed(loop=client.loop)
        while waiting or running:
            room, memory = (len(tasks), None) if pack is None else _workers(client)
            while waiting and len(running) < room:
                task = waiting.popleft()
                try:
                    sent = task if pack is None else pack(task, memory)
                except Exception as error:
                    yield task, error
                    continue
                future = _submit(client, work, sent, task.key)
                running[future] = task
                finished.add(future)
            if running:
                future = next(finished)
                yield running.pop(future), _outcome(future)
                future.release()


@contextmanager
def _watched(client: Client, engine: Engine, say: Callable[[str], None] | None) -> Iterator[None]:
    """Tell of a scheduler without workers while work waits for some: there may be none yet, or they may have died."""
    if engine.scheduler is None or say is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        lost, told = time.monotonic(), 0.0  # since when there is none, and seconds after which that was told
        first = True
        while True:
            try:
                there = bool(client.nthreads())
            except (OSError, RuntimeError, CancelledError):  # a lost scheduler is told where its tasks are waited for
                return
            passed = time.monotonic() - lost
            if there:
                lost, told = time.monotonic(), 0.0
            elif first:
                say(f"no worker is connected to {engine.scheduler} yet; the samples wait for one")
            elif passed >= max(_PATIENCE, 2 * told):  # ever more seldom: it may be hours till Slurm starts one
                say(f"no worker at {engine.scheduler} for {passed:.0f} s; the samples that are left wait for one")
                told = passed
            first = False
            if over.wait(_LOOK):
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join(1)  # it may be asking a scheduler that does not answer


def _submit(client: Client, work: Callable[[Any], R], sent: Any, key: str) -> Future:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # files that are sent are large, and are meant to be
        return client.submit(work, sent, key=f"cytomoe-{key}", retries=RETRIES)


def _workers(client: Client) -> tuple[int, int | None]:
    """How many tasks may be on their way, and bytes of memory for a task on the smallest worker; waits for a worker."""
    try:
        client.wait_for_workers(1)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    except (OSError, CancelledError) as error:
        raise RunError(_GONE) from error
    limits = [worker["memory_limit"] // worker["nthreads"] for worker in workers if worker["memory_limit"]]
    return sum(worker["nthreads"] for worker in workers) + 1, min(limits, default=None)


def _outcome(future: Future) -> Any:
    """The result of a task, or the error that ended it."""
    problem = future.exception()
    if problem is not None:
        return problem
    try:
        return future.result()
    except CancelledError as error:  # nobody cancels but the client, when its scheduler is lost
        raise RunError(_GONE) from error


def check_scheduler(engine: Engine) -> None:
    """Find out before any work whether the scheduler lets us in.

    Raises
    ------
    InputError
        If it can't be reached, or wants other certificates.
    """
    if engine.scheduler is not None:
        with _client(engine, 1):
            pass


@contextmanager
def _client(engine: Engine, n_tasks: int) -> Iterator[Client]:
    from distributed import Client, LocalCluster

    if engine.scheduler is None:
        with (
            _usual_memory(),
            LocalCluster(
                n_workers=min(engine.jobs, n_tasks),
                threads_per_worker=1,
                host=LOOPBACK,
                dashboard_address=None,
                memory_limit=0,  # how much a run needs is known and said; pausing workers would only stall it
                silence_logs=50,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    security = _security(engine)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is said in our words
    try:
        client = Client(engine.scheduler, security=security, timeout=15, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--scheduler {engine.scheduler}: no scheduler answers there ({reason})") from error
    with client:
        yield client


@contextmanager
def _usual_memory() -> Iterator[None]:
    """Let workers that start meanwhile hand memory back as other processes do.

    Dask has them give back at once what is free, and as a side effect every array of some size is mapped from the
    system anew: a plate of wells took twice as long.
    """
    import dask

    name = "distributed.nanny.pre-spawn-environ"
    usual = {key: value for key, value in dask.config.get(name).items() if key != "MALLOC_TRIM_THRESHOLD_"}
    with dask.config.set({name: usual}):
        yield


def _security(engine: Engine) -> Security:
    """Certificates as the user names them, and otherwise as Dask's own settings do.

    Raises
    ------
    InputError
        If the scheduler wants some and they are missing or can't be used.
    """
    from distributed.security import Security

    certificates: dict[str, Any] = {
        name: str(path)
        for name, path in (
            ("tls_ca_file", engine.tls_ca),
            ("tls_client_cert", engine.tls_cert),
            ("tls_client_key", engine.tls_key),
        )
        if path is not None
    }
    security = Security(require_encryption=True, **certificates) if certificates else Security()
    try:
        context = security.get_connection_args("client").get("ssl_context")
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--scheduler {engine.scheduler}: the certificates can't be used ({reason})") from error
    if context is None and str(engine.scheduler).startswith("tls://"):
        raise InputError(
            f"--scheduler {engine.scheduler}: tls:// asks for certificates; give --tls-ca, --tls-cert and --tls-key"
        )
    return security
