"""Outputs appear whole or not at all.

A result is built under a temporary name beside its place and moved there at the end, so that a run that is killed, or
fails half way, leaves neither a half file nor a damaged old one.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cytomoe.errors import InputError, RunError

# Marks the temporary name of old results that are moved aside for the moment in which new ones take their place.
REPLACED = "replaced-"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_SPACE = "no space is left on the disk"
_FULL_WORDS = re.compile(rf"errno[ =]+(28|27|122)\b|No space left on device|Disk quota exceeded|{_NO_SPACE}", re.I)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to ``path`` when the block ends well.

    Parameters
    ----------
    path
        Where the file shall be. Its folder must exist; an old file is replaced in one step.

    Yields
    ------
    Path
        A name in the same folder with the same suffix, used by nobody else. The block creates the file.

    Raises
    ------
    InputError
        If the folder does not exist, or ``path`` is itself a folder.
    RunError
        If the disk is full.
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise InputError(f"{final}: its folder {final.parent} does not exist; create it first")
    if final.is_dir():
        raise InputError(f"{final}: is a folder, so no file can be written there; give a file name")
    temporary = _temporary_name(final)
    try:
        with _disk_may_be_full(final):
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_to_disk(final.parent)


@contextmanager
def atomic_directory(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill, and move it to ``path`` when the block ends well.

    Parameters
    ----------
    path
        Where the folder shall be. Missing parents are made.
    replace
        Whether an existing folder may be replaced. It stays untouched until the new one is complete, then goes
        with all it holds.

    Yields
    ------
    Path
        An empty folder beside ``path``.

    Raises
    ------
    InputError
        If ``path`` exists and ``replace`` is false, or if it is not a folder.
    RunError
        If the disk is full.
    """
    final = Path(path).resolve()  # a link to a folder stays one
    _refuse_existing(final, replace)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(final)
    temporary.mkdir()
    try:
        with _disk_may_be_full(final):
            yield temporary
        _refuse_existing(final, replace)  # a second run may have finished meanwhile
        _swap_directory(temporary, final)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)
    _flush_to_disk(final.parent)


def _refuse_existing(final: Path, replace: bool) -> None:
    if final.exists() and not final.is_dir():
        raise InputError(f"{final}: is a file, so it can't be the output folder; choose another name")
    if final.exists() and not replace:
        raise InputError(f"{final}: exists already; choose another folder or allow it to be replaced (--force)")


def _swap_directory(temporary: Path, final: Path) -> None:
    """Move ``temporary`` to ``final``; put an old ``final`` back if that fails, else remove it."""
    if not final.exists():
        temporary.rename(final)
        return
    old = _temporary_name(final, REPLACED)
    final.rename(old)
    try:
        temporary.rename(final)
    except BaseException:
        old.rename(final)
        raise
    try:
        shutil.rmtree(old)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"{final}: complete, but the results that it replaces can't be removed ({reason}): {old}"
        ) from error


def short(name: str, size: int = 150) -> str:
    """A file name cut to so many bytes, so that it has room for more: most file systems end at 255."""
    return path_of(os.fsencode(name)[:size].decode(errors="ignore"))


def path_of(text: str) -> str:
    """A text as a file name, in UTF-8 whatever the locale; in one that is not UTF-8, Python writes it otherwise."""
    return os.fsdecode(text.encode())


def temporary_names(final: Path) -> re.Pattern[str]:
    """The temporary names of a path, those of results moved aside with the group ``replaced``."""
    stem, suffix = re.escape(short(final.stem)), re.escape(final.suffix[-50:])
    return re.compile(rf"\.{stem}\.(?P<replaced>{REPLACED})?[0-9]+-[0-9a-f]{{8}}{suffix}")


def _temporary_name(final: Path, kind: str = "") -> Path:
    # The suffix stays last, because many writers choose their format by it.
    return final.with_name(f".{short(final.stem)}.{kind}{os.getpid()}-{uuid.uuid4().hex[:8]}{final.suffix[-50:]}")


@contextmanager
def _disk_may_be_full(final: Path) -> Iterator[None]:
    """Turn what writers raise when no space is left into one line that says so."""
    try:
        yield
    except Exception as error:
        # HDF5 and Arrow wrap the system's error and keep its number, or only its words.
        if getattr(error, "errno", None) in _FULL or _FULL_WORDS.search(str(error)):
            raise RunError(
                f"{final}: {_NO_SPACE}, so nothing was written; make room, or give --out elsewhere"
            ) from error
        raise


def reserve(path: Path, size: int) -> None:
    """Make sure that a file that will be written has room.

    HDF5 does not survive a full disk: it prints pages and may crash. So room for its files is taken, and given back,
    before it begins.

    Parameters
    ----------
    path
        The file; it must not exist yet.
    size
        Bytes that it will have, rather too many than too few.

    Raises
    ------
    OSError
        If there is less room.
    """
    try:
        with path.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    finally:
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    """Ask the system to put a file, or a folder's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems refuse to flush a folder; the move has happened all the same.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
