"""Outputs appear whole or not at all.

A result is built under a temporary name beside its place and moved there at the end, so that a run that is killed, or
fails half way, leaves neither a half file nor a damaged old one.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cytomoe.errors import InputError


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
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise InputError(f"{final}: its folder {final.parent} does not exist; create it first")
    if final.is_dir():
        raise InputError(f"{final}: is a folder, so no file can be written there; give a file name")
    temporary = _temporary_name(final)
    try:
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
    """
    final = Path(path)
    _refuse_existing(final, replace)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(final)
    temporary.mkdir()
    try:
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
    old = _temporary_name(final)
    final.rename(old)
    try:
        temporary.rename(final)
    except BaseException:
        old.rename(final)
        raise
    shutil.rmtree(old)


def _temporary_name(final: Path) -> Path:
    # The suffix stays last, because many writers choose their format by it.
    # A long name is cut: most file systems end at 255 bytes.
    stem = os.fsencode(final.stem)[:150].decode(errors="ignore")
    return final.with_name(f".{stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}{final.suffix[-50:]}")


def _flush_to_disk(path: Path) -> None:
    """Ask the system to put a file, or a folder's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems refuse to flush a folder; the move has happened all the same.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
