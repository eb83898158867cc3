"""The bytes of an FCS file, plain or gzip-compressed, with every request checked against what is there.

A gzip file (known by its first two bytes, whatever its name) is unpacked into an unnamed temporary file, only as far
as its own HEADER and TEXT say that it reaches: a file made to swell endlessly is refused, not unpacked.
"""

from __future__ import annotations

import os
import stat
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import FCSError

GZIP_MAGIC = b"\x1f\x8b"

# No deflate stream can grow by more than this factor, so a larger claim is refused before anything is unpacked.
_MAX_DEFLATE_RATIO = 1032
# Bytes that may follow the last data set of a compressed file (ANALYSIS, vendors' attachments, padding).
_MAX_TRAILING_BYTES = 64 << 20
_CHUNK = 1 << 20


def open_source(path: str | os.PathLike[str], *, allow_truncated: bool = False) -> FCSSource:
    """Open a file for reading by position.

    Parameters
    ----------
    path
        The file.
    allow_truncated
        Whether a gzip stream that breaks off ends the file there instead of being refused.

    Raises
    ------
    FCSError
        If it does not exist, can't be opened, is a folder, a pipe or a device, or is empty.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode) and not Path(path).is_dir():
            # Opening a pipe would wait for whoever writes into it, and it can't be read by position.
            raise FCSError(path, "can't be opened: it is a pipe or a device")
        with Path(path).open("rb") as handle:
            magic = handle.read(2)
        if not magic:
            raise FCSError(path, "the file is empty", offset=0, expected="the HEADER of an FCS file")
        return _GzipSource(path, allow_truncated) if magic == GZIP_MAGIC else FCSSource(path)
    except OSError as error:
        raise FCSError(path, f"can't be opened: {error.strerror or error}") from error


class FCSSource:
    """A plain file.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._size = Path(path).stat().st_size

    def reaches(self, end: int) -> bool:
        """Whether the file has at least ``end`` bytes."""
        return end <= self._size

    def size_up_to(self, end: int) -> int:
        """How many of the file's first ``end`` bytes are there."""
        return end if self.reaches(end) else self._size

    def read(self, begin: int, size: int) -> bytes:
        """At most ``size`` bytes from ``begin``; fewer at the end of the file."""
        with Path(self.path).open("rb") as handle:
            handle.seek(begin)
            return handle.read(size)

    @contextmanager
    def reader(self) -> Iterator[Callable[[int, int], NDArray[np.uint8]]]:
        """Give a function that reads ``size`` bytes from ``begin``, all of them.

        The file is read, not mapped: where another program cuts a mapped file short, the system ends the process.

        Raises
        ------
        FCSError
            If the bytes can't be read, or the file has become shorter since it was opened.
        """
        try:
            with self._open() as handle:
                yield partial(self._read_all, handle.fileno())
        except OSError as error:
            raise FCSError(self.path, f"can't be read: {error.strerror or error}") from error

    def _read_all(self, descriptor: int, begin: int, size: int) -> NDArray[np.uint8]:
        buffer = np.empty(size, dtype=np.uint8)
        rest = buffer.data
        done = 0
        while done < size:  # the system reads at most 2 GB at once
            got = os.preadv(descriptor, [rest[done:]], begin + done)
            if got == 0:
                problem = "has become shorter since it was opened"
                raise FCSError(self.path, problem, offset=begin + done, expected=f"{size - done} more bytes")
            done += got
        return buffer

    def finish(self) -> None:
        """Check what follows the last data set: nothing to check in a plain file."""

    def _open(self) -> AbstractContextManager[BinaryIO]:
        return Path(self.path).open("rb", buffering=0)


class _GzipSource(FCSSource):
    """A gzip file, unpacked on demand."""

    def __init__(self, path: str | os.PathLike[str], allow_truncated: bool) -> None:
        self.path = path
        self._allow_truncated = allow_truncated
        self._packed_size = Path(path).stat().st_size
        self._packed = Path(path).open("rb")  # noqa: SIM115 - read on demand, closed by the finalizer
        self._unpacked = tempfile.TemporaryFile()  # noqa: SIM115
        self._size = 0
        self._inflater = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._ended = False
        weakref.finalize(self, _close, self._packed, self._unpacked)

    def reaches(self, end: int) -> bool:
        if end > self._packed_size * _MAX_DEFLATE_RATIO:
            return False
        while self._size < end and not self._ended:
            self._inflate(min(end - self._size, _CHUNK))
        return end <= self._size

    def read(self, begin: int, size: int) -> bytes:
        self.reaches(begin + size)
        return os.pread(self._unpacked.fileno(), size, begin)

    def finish(self) -> None:
        """Unpack the rest, so that gzip's checksum is verified.

        Raises
        ------
        FCSError
            If far more follows than any FCS file has, or the checksum is wrong.
        """
        limit = self._size + _MAX_TRAILING_BYTES
        while not self._ended:
            if self._size >= limit:
                raise FCSError(
                    self.path,
                    f"the compressed file goes on for more than {_MAX_TRAILING_BYTES >> 20} MB after its last data set",
                    offset=self._position(),
                    expected="a compressed FCS file; unpack it yourself if you trust it",
                )
            self._inflate(_CHUNK)

    def _open(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(self._unpacked)  # type: ignore[arg-type]  # typeshed gives the wrapper type

    def _inflate(self, size: int) -> None:
        """Append at most ``size`` unpacked bytes to the temporary file."""
        try:
            if not self._pending:
                self._pending = self._packed.read(_CHUNK)
            if not self._pending and not self._inflater.eof:
                if self._allow_truncated:
                    self._ended = True
                    return
                raise FCSError(
                    self.path, "the compressed file is cut short", offset=self._position(), expected="gzip's end mark"
                )
            data = self._inflater.decompress(self._pending, size)
            self._pending = self._inflater.unconsumed_tail
            self._unpacked.seek(self._size)
            self._unpacked.write(data)
            self._unpacked.flush()
            self._size += len(data)
        except zlib.error as error:
            problem = f"the compressed file is damaged ({error})"
            raise FCSError(self.path, problem, offset=self._position(), expected="what gzip wrote") from error
        except OSError as error:
            raise FCSError(self.path, f"can't be unpacked: {error.strerror or error}") from error
        if self._inflater.eof:
            self._next_member()

    def _position(self) -> int:
        """How far the compressed file is unpacked, in its own bytes."""
        return self._packed.tell() - len(self._pending)

    def _next_member(self) -> None:
        """Go on to the next gzip member, if one follows (parallel compressors write several)."""
        rest = self._inflater.unused_data or self._packed.read(_CHUNK)
        if rest.startswith(GZIP_MAGIC):
            self._inflater = zlib.decompressobj(wbits=31)
            self._pending = rest
        else:
            self._ended = True


def _close(*handles: object) -> None:
    for handle in handles:
        handle.close()  # type: ignore[attr-defined]
