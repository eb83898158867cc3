"""Where DATA lies: HEADER and TEXT both say it, and do not always agree.

The claim is taken that fits $TOT events exactly, lies within the file and leaves TEXT alone. A claim that is merely a
little long passes with a warning when the surplus is known to be harmless; two that fit but differ are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from cytomoe.errors import FCSError
from cytomoe.io.fcs_header import Header, Segment
from cytomoe.io.fcs_layout import Layout, read_count
from cytomoe.io.fcs_source import FCSSource

_PADDING = b"\x00 "
_CHUNK = 1 << 20


def locate_data(
    source: FCSSource,
    header: Header,
    keywords: Mapping[str, str],
    layout: Layout,
    notes: list[str],
    *,
    allow_truncated: bool = False,
) -> tuple[int, int]:
    """Decide where DATA begins and how many events it holds.

    Parameters
    ----------
    source
        The file.
    header, keywords, layout
        The data set's HEADER, TEXT and layout.
    notes
        Receives warnings: which claim was taken when they differ, what surplus was left unread, what is missing.
    allow_truncated
        Whether the whole events of a file that is cut short are taken.

    Returns
    -------
    begin
        Position of the first event in the file.
    n_events
        Number of events.

    Raises
    ------
    FCSError
        If no claim, or more than one, is right.
    """
    claims = _claims(header, keywords)
    if "$TOT" in keywords:
        n_events = read_count(source.path, keywords, "$TOT")
    else:
        n_events = _count_by_size(source.path, claims, layout)
        notes.append(f"$TOT is missing; DATA holds {n_events} events")
    needed = layout.data_size(n_events)
    if needed == 0:
        surplus = next((name for name, segment in claims.items() if segment.size > 1), None)
        if surplus is not None and n_events == 0:
            problem = f"$TOT is 0 but {surplus} says that DATA has {claims[surplus].size} bytes"
            raise FCSError(source.path, problem, keyword="$TOT", expected="as many events as DATA holds")
        return header.start, 0
    cut = _whole_events(source, header, claims, layout, n_events)
    if allow_truncated and cut is not None:
        missing = f"{n_events - cut[1]:,} of {n_events:,} events are missing"
        notes.append(f"the file is cut short: {missing}; the whole events before the cut were read")
        return cut
    faults = {name: _fault(source, header, segment, needed) for name, segment in claims.items()}
    if cut is not None and not {"", "surplus"} & set(faults.values()):
        raise FCSError(
            source.path,
            f"the file is cut short after {cut[1]:,} events; copy or export it again, or add --allow-truncated",
            keyword="$TOT",
            offset=cut[0] + layout.data_size(cut[1]),
            expected=f"the {n_events:,} events of $TOT",
        )
    name, segment = _choose(source.path, header.start, claims, faults, n_events, needed)
    _note_choice(claims, name, needed, notes)
    return header.start + segment.begin, n_events


def _claims(header: Header, keywords: Mapping[str, str]) -> dict[str, Segment]:
    """DATA according to HEADER and to TEXT, where they say anything."""
    claims = {} if header.data is None else {"HEADER": header.data}
    numbers = [keywords.get(keyword, "") for keyword in ("$BEGINDATA", "$ENDDATA")]
    if all(re.fullmatch(r"[0-9]{1,18}", number) for number in numbers):
        begin, end = (int(number) for number in numbers)
        if begin > 0:
            claims["TEXT"] = Segment(begin, end)
    return claims


def _count_by_size(path: str | os.PathLike[str], claims: Mapping[str, Segment], layout: Layout) -> int:
    """Events that fill the claimed DATA exactly, for a file without $TOT."""
    sizes = {segment.size for segment in claims.values()}
    size = sizes.pop() if len(sizes) == 1 else -1
    n_events = size * 8 // layout.event_bits
    if size < 0 or layout.data_size(n_events) != size:
        raise FCSError(
            path,
            "TEXT lacks $TOT, and the size of DATA does not tell the number of events",
            keyword="$TOT",
            expected="the number of events",
        )
    return n_events


def _fault(source: FCSSource, header: Header, segment: Segment, needed: int) -> str:
    """What is wrong with a claim; "" when it fits exactly, "surplus" when it is long but harmlessly so."""
    first, last = segment.begin, segment.end
    # TEXT may end on the first byte of DATA (see fcs_header); a longer overlap means that one of them is wrong.
    if first < header.text.end and last >= header.text.begin:
        return f"puts DATA at byte {first}, inside TEXT"
    if segment.size < needed:
        return f"gives DATA {max(segment.size, 0)} bytes"
    if not source.reaches(header.start + first + needed):
        return f"puts DATA at bytes {first} to {last}, beyond the end of the file"
    if segment.size == needed:
        return ""
    if segment.size == needed + 1 or _is_padding(source, header.start + first + needed, segment.size - needed):
        return "surplus"
    return f"gives DATA {segment.size} bytes"


def _whole_events(
    source: FCSSource, header: Header, claims: Mapping[str, Segment], layout: Layout, n_events: int
) -> tuple[int, int] | None:
    """Where DATA begins and how many whole events of it are there; None where nothing is missing or nothing is sure."""
    needed = layout.data_size(n_events)
    long_enough = [s for s in claims.values() if s.size >= needed and (s.begin >= header.text.end)]
    begins = {header.start + segment.begin for segment in long_enough}
    if len(begins) != 1:
        return None
    begin = begins.pop()
    there = source.size_up_to(begin + needed) - begin
    whole = there * 8 // layout.event_bits
    return (begin, whole) if 0 < whole < n_events else None


def _is_padding(source: FCSSource, begin: int, size: int) -> bool:
    """Whether ``size`` bytes from ``begin`` exist and are all blank."""
    if not source.reaches(begin + size):
        return False
    for offset in range(0, size, _CHUNK):
        if source.read(begin + offset, min(_CHUNK, size - offset)).strip(_PADDING):
            return False
    return True


def _choose(
    path: str | os.PathLike[str],
    start: int,
    claims: Mapping[str, Segment],
    faults: Mapping[str, str],
    n_events: int,
    needed: int,
) -> tuple[str, Segment]:
    """The one claim that fits."""
    fitting = [name for name, fault in faults.items() if not fault] or [
        name for name, fault in faults.items() if fault == "surplus"
    ]
    if not fitting:
        reasons = " and ".join(f"{name} {fault}" for name, fault in faults.items()) or "nothing says where DATA lies"
        raise FCSError(
            path,
            f"the file is cut short or damaged, so copy or export it again: {reasons}",
            keyword="$TOT",
            offset=next((start + segment.begin for segment in claims.values()), None),
            expected=f"{needed} bytes for the {n_events} events of $TOT",
        )
    first = claims[fitting[0]]
    if any(claims[name].begin != first.begin for name in fitting):
        where = " and ".join(f"{name} at byte {claims[name].begin}" for name in fitting)
        problem = f"DATA can't be located: {where}, and both fit"
        raise FCSError(path, problem, keyword="$BEGINDATA", expected="the same place in HEADER and TEXT")
    return fitting[0], first


def _note_choice(claims: Mapping[str, Segment], chosen: str, needed: int, notes: list[str]) -> None:
    """Say which claim was taken where HEADER and TEXT differ, and what surplus was left out."""
    segment = claims[chosen]
    for name, other in claims.items():
        if other != segment:
            notes.append(
                f"HEADER and TEXT differ on where DATA lies: {chosen} (bytes {segment.begin} to {segment.end}) fits "
                f"$TOT and was used, {name} says bytes {other.begin} to {other.end}"
            )
    # A surplus of one byte is the mark of writers that give the first byte after DATA as its end.
    if segment.size > needed + 1:
        notes.append(f"DATA is followed by {segment.size - needed} bytes of padding, which were not read")
