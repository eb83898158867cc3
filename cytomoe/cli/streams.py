"""Standard output and error that end no run: what can't be said is left out, and the work goes on."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

_ERRORS = "backslashreplace"  # a name that the terminal can't show ends no run either


class Stream(io.FileIO):
    """A standard stream whose writing never fails.

    Parameters
    ----------
    number
        1 for the standard output, 2 for the standard error.

    Attributes
    ----------
    problem
        Why something was left out, such as a full disk; None where nothing was.
    unread
        Whether something was left out since the reader has gone, such as ``head``, which wanted no more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.problem: str | None = None
        self.unread = False

    def write(self, data: Any, /) -> int:
        """Write what can be written; the rest is left out."""
        size = memoryview(data).nbytes
        try:
            return super().write(data) or size  # None where a pipe that does not wait is full
        except BrokenPipeError:
            self.unread = True
            return size
        except OSError as error:
            self.problem = error.strerror or str(error)
            return size


def guard() -> None:
    """Put streams whose writing never fails in the place of the standard ones, unless these are no files."""
    _open_all()
    output, error = _guarded(sys.stdout, 1), _guarded(sys.stderr, 2)
    sys.stdout, sys.stderr = output or sys.stdout, error or sys.stderr


def standard_output() -> Stream | None:
    """The standard output, where :func:`guard` has put its own, when all that was printed has been written."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, Stream):
        return None
    sys.stdout.flush()
    return raw


def _open_all() -> None:
    """Open those of the standard streams that are closed, to nowhere: else the next file opened would take their place.

    Processes that are started have them too.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _guarded(stream: TextIO | None, number: int) -> io.TextIOWrapper | None:
    """The like of a stream, whose writing never fails; None for one that is no file, as in a console of Windows."""
    if stream is None:  # it was closed
        return io.TextIOWrapper(io.BufferedWriter(Stream(number)), "utf-8", _ERRORS)
    if not isinstance(stream, io.TextIOWrapper):
        return None
    if not isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
        stream.reconfigure(errors=_ERRORS)
        return None
    return io.TextIOWrapper(
        io.BufferedWriter(Stream(number)),
        stream.encoding,
        _ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
