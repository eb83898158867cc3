"""Work spread over processes and machines by Dask distributed, and done in this process where there is little of it.

Nothing listens beyond this machine unless the user names a scheduler, which then has its own rules.
"""

from __future__ import annotations

import logging
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


def run_tasks(work: Callable[[T], R], tasks: Sequence[T], engine: Engine) -> Iterator[tuple[T, R | BaseException]]:
    """Do all tasks and give each with its result, or the error that ended it, in the order in which they finish.

    Parameters
    ----------
    work
        Turns a task into its result. It may run more than once for a task, when a worker dies after the work was done,
        so it must come to the same end when it is repeated.
    tasks
        What to do; keys all different.
    engine
        Where.

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

    with _client(engine, len(tasks)) as client:
        futures = {client.submit(work, task, key=f"cytomoe-{task.key}", retries=RETRIES): task for task in tasks}
        for future in as_completed(futures, loop=client.loop):
            yield futures[future], _outcome(future)
            future.release()


def _outcome(future: Future) -> Any:
    """The result of a task, or the error that ended it."""
    problem = future.exception()
    if problem is not None:
        return problem
    try:
        return future.result()
    except CancelledError as error:  # nobody cancels but the client, when its scheduler is lost
        raise RunError(
            "the scheduler is gone; what is done is kept, and the same command with --resume does the rest"
        ) from error


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
