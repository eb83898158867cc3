"""One process at a time writes to a place; what a killed one left there is put right by the next.

The lock is ``flock`` on a hidden file beside the output. The system drops it with the process that holds it, however
that ends, so a lock is never stale.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cytomoe.errors import InputError
from cytomoe.io.atomic import REPLACED, short, temporary_names

# File systems without locks (some network ones) say so with one of these; there, a second process is not noticed.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_ANY_TEMPORARY = re.compile(rf"\..*\.({REPLACED})?[0-9]+-[0-9a-f]{{8}}(\..*)?")


@contextmanager
def alone(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from writing to a file or folder for as long as the block runs.

    Before the block runs, what killed processes left beside ``path`` and in it is cleared away; results that one had
    just moved aside to replace them come back to their place.

    Parameters
    ----------
    path
        The output. Missing parents are made, and go again if the block leaves them empty.

    Raises
    ------
    InputError
        If another process is writing there, or its folder can't be written to.
    """
    final = Path(path).resolve()
    made: list[Path] = []
    try:
        try:
            made = _make_parents(final.parent)
            lock_path = final.with_name(f".{short(final.name)}.lock")
            lock = _take(lock_path, path)
        except OSError as error:
            raise InputError(
                f"{path}: can't be written, for its folder can't be ({error.strerror or error}); give another --out"
            ) from None
        with lock:
            try:
                _recover(final)
                yield
            finally:
                lock_path.unlink(missing_ok=True)  # while it is ours: who waits for it finds that it is gone
    finally:
        for folder in made:
            with suppress(OSError):  # not empty: the results are in it
                folder.rmdir()


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder; returns the folders that were made, innermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _take(lock_path: Path, wanted: str | os.PathLike[str]) -> BinaryIO:
    """Lock the lock file, with our process number in it; closing it unlocks it."""
    while True:
        lock = lock_path.open("a+b")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read(100).decode(errors="replace") or "just begun"
            lock.close()
            raise InputError(
                f"{wanted}: another run is writing there ({owner}); wait for it, or give another --out"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                lock.close()
                raise
        if _stands_at(lock, lock_path):
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {os.uname().nodename}".encode())
            lock.flush()
            return lock
        lock.close()  # its owner removed it between our opening and our locking: take the new one


def _stands_at(lock: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one that stands at a path."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _recover(final: Path) -> None:
    """Put right what a killed process left: old results come back, half-written ones go."""
    ours = temporary_names(final)
    found = [(path, ours.fullmatch(path.name)) for path in final.parent.glob(".*")]
    left = [(path, match["replaced"]) for path, match in found if match]
    for path, replaced in left:
        if replaced and not final.exists():
            path.rename(final)
    inside = list(final.rglob(".*")) if final.is_dir() else []
    for path in [*(path for path, _ in left), *(path for path in inside if _ANY_TEMPORARY.fullmatch(path.name))]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in inside:
        if path.suffix == ".lock" and path.is_file():
            with suppress(InputError), _take(path, path):  # refused: someone works in there, on a well of a batch
                path.unlink()
