"""The HEADER of a data set: the FCS version and where TEXT and DATA lie.

Sources: the FCS 2.0, 3.0, 3.1 and 3.2 standards, section HEADER. All offsets are bytes from the start of the data set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cytomoe.errors import FCSError
from cytomoe.io.fcs_source import FCSSource

VERSIONS = ("2.0", "3.0", "3.1", "3.2")

_SIZE = 58
_FIELD_WIDTH = 8
# The longest TEXT found in real files is below 1 MB; this much is only ever claimed by damaged ones.
_MAX_TEXT_BYTES = 32 << 20


@dataclass(frozen=True)
class Segment:
    """A stretch of a data set, first and last byte included; empty when ``end`` is ``begin - 1``."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes in the segment."""
        return self.end - self.begin + 1


@dataclass(frozen=True)
class Header:
    """What the HEADER says.

    Attributes
    ----------
    version
        ``"2.0"`` to ``"3.2"``.
    start
        Where the data set begins in the file.
    text
        The TEXT segment.
    data
        The DATA segment, or None when HEADER leaves it to TEXT (zeros or blanks) or is not legible there.
    """

    version: str
    start: int
    text: Segment
    data: Segment | None


def is_data_set(source: FCSSource, start: int) -> bool:
    """Whether a data set begins at ``start``."""
    return source.read(start, 3) == b"FCS"


def read_header(source: FCSSource, start: int, notes: list[str]) -> Header:
    """Read and check the HEADER of the data set that begins at ``start``.

    Parameters
    ----------
    source
        The file.
    start
        Where the data set begins.
    notes
        Receives a warning when the DATA offsets are not legible.

    Raises
    ------
    FCSError
        If the magic or version is not that of an FCS file, or TEXT does not lie within the file.
    """
    raw = source.read(start, _SIZE)
    if raw[:3] != b"FCS":
        raise FCSError(source.path, "is not an FCS file", offset=start, expected="the letters FCS at its start")
    version = raw[3:6].decode("latin-1")
    if version not in VERSIONS:
        raise FCSError(
            source.path, f"has FCS version {version!r}", offset=start + 3, expected=f"one of {', '.join(VERSIONS)}"
        )
    if len(raw) < _SIZE:
        raise FCSError(
            source.path,
            f"is cut short: its HEADER has {len(raw)} bytes",
            offset=start + len(raw),
            expected=f"{_SIZE} bytes",
        )
    fields = [_offset(raw[10 + _FIELD_WIDTH * n : 10 + _FIELD_WIDTH * (n + 1)]) for n in range(4)]
    text = _text_segment(source, start, fields[0], fields[1])
    begin, end = fields[2:]
    if begin is None or end is None:
        notes.append("the DATA offsets of the HEADER are not numbers; those of TEXT were used")
    data = Segment(begin, end) if begin and end is not None else None
    return Header(version, start, text, data)


def _offset(field: bytes) -> int | None:
    """One offset: 0 when blank, None when it is not a number."""
    digits = field.strip(b" \x00")
    if not digits:
        return 0
    return int(digits) if re.fullmatch(rb"\d{1,8}", digits) else None


def _text_segment(source: FCSSource, start: int, begin: int | None, end: int | None) -> Segment:
    if begin is None or end is None:
        raise FCSError(
            source.path,
            "the HEADER's TEXT offsets are not numbers; the file is damaged",
            offset=start + 10,
            expected="two numbers of 8 places each",
        )
    if begin < _SIZE or end <= begin:
        raise FCSError(
            source.path,
            f"the HEADER puts the TEXT segment at bytes {begin} to {end}, which can't be; the file is damaged",
            offset=start + 10,
            expected=f"a segment from byte {_SIZE} or later",
        )
    segment = Segment(begin, end)
    if segment.size > _MAX_TEXT_BYTES or not source.reaches(start + end + 1):
        raise FCSError(
            source.path,
            f"the HEADER puts the end of TEXT at byte {end}, beyond the end of the file; it is cut short or damaged",
            offset=start + 18,
            expected=f"a TEXT of at most {_MAX_TEXT_BYTES >> 20} MB that lies within the file",
        )
    return segment
