"""How the events of a data set are laid out: channels, bit widths, ranges, byte order, and where they lie.

Everything is checked against the standard and against each other before a byte of DATA is touched.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from cytomoe.errors import FCSError

Datatype = Literal["I", "F", "D"]
ByteOrder = Literal["<", ">"]

_FLOAT_BITS = {"F": 32, "D": 64}
_MAX_INTEGER_BITS = 64
_FLOAT64_INTEGER_BITS = 53


@dataclass(frozen=True)
class Channel:
    """One channel (FCS: parameter) as its keywords describe it.

    Attributes
    ----------
    name
        Short name, $PnN.
    antigen
        Long name, $PnS; "" when absent.
    range
        $PnR: values lie below it. NaN when absent.
    log
        $PnE, decades and offset of a logarithmic amplifier; "0,0" when linear. Recorded, never applied.
    gain
        $PnG. Recorded, never applied.
    bits
        Width of a value in the file, $PnB.
    datatype
        ``"I"`` integer, ``"F"`` float, ``"D"`` double.
    """

    name: str
    antigen: str
    range: float
    log: str
    gain: float
    bits: int
    datatype: Datatype

    @property
    def mask(self) -> int:
        """Bits of an integer value that count: those needed for values below the range; all when it says nothing."""
        full = (1 << self.bits) - 1
        if self.datatype != "I" or not self.range >= 2:
            return full
        return min(full, (1 << (math.ceil(self.range) - 1).bit_length()) - 1)


@dataclass(frozen=True)
class Layout:
    """Channels of an event and the byte order of its values."""

    channels: tuple[Channel, ...]
    byte_order: ByteOrder

    @property
    def event_bits(self) -> int:
        """Width of one event."""
        return sum(channel.bits for channel in self.channels)

    @property
    def is_packed(self) -> bool:
        """Whether values do not begin on whole bytes."""
        return any(channel.bits % 8 for channel in self.channels)

    def data_size(self, n_events: int) -> int:
        """Bytes that ``n_events`` events take."""
        return -(-n_events * self.event_bits // 8)


def read_layout(path: str | os.PathLike[str], keywords: Mapping[str, str], notes: list[str]) -> Layout:
    """Read the layout from the keywords.

    Parameters
    ----------
    path
        The file, for error messages.
    keywords
        Values by upper-case keyword.
    notes
        Receives warnings.

    Raises
    ------
    FCSError
        If a needed keyword is missing or has no legal value, or the layout is one that is not read here.
    """
    mode = keywords.get("$MODE", "").upper()
    if not mode:
        notes.append("$MODE is missing; list mode was assumed")
    elif mode != "L":
        what = "a histogram, not single events" if mode in ("C", "U") else "events in an unknown form"
        raise FCSError(path, f"holds {what}: $MODE is {_shortened(mode)}", keyword="$MODE", expected="L")
    n_channels = read_count(path, keywords, "$PAR")
    if n_channels < 1:
        raise FCSError(path, "has no channels ($PAR is 0)", keyword="$PAR", expected="at least 1")
    channels = tuple(_read_channel(path, keywords, n, notes) for n in range(1, n_channels + 1))
    extra = next((name for name in keywords if _channel_number(name) > n_channels), None)
    if extra is not None:
        raise FCSError(
            path,
            f"$PAR is {n_channels} but TEXT also describes a channel in {extra}",
            keyword="$PAR",
            expected=f"at least {_channel_number(extra)}",
        )
    wide = [channel.name for channel in channels if channel.datatype == "I" and channel.mask >> _FLOAT64_INTEGER_BITS]
    if wide:
        notes.append(f"integers of {', '.join(wide)} above 2**{_FLOAT64_INTEGER_BITS} are rounded")
    layout = Layout(channels, _read_byte_order(path, keywords))
    if layout.is_packed and (layout.byte_order == "<" or any(channel.datatype != "I" for channel in channels)):
        widths = ", ".join(sorted({str(channel.bits) for channel in channels}, key=int))
        raise FCSError(
            path,
            f"holds values of {widths} bits that do not fill whole bytes, in an order that no standard defines",
            keyword="$BYTEORD",
            expected="$BYTEORD 4,3,2,1 and integers for such widths",
        )
    return layout


def read_count(path: str | os.PathLike[str], keywords: Mapping[str, str], keyword: str) -> int:
    """A keyword's value as a number of things, 0 or more.

    Raises
    ------
    FCSError
        If it is missing or not such a number.
    """
    value = _required(path, keywords, keyword)
    if not re.fullmatch(r"[0-9]{1,15}", value):
        raise FCSError(path, f"{keyword} is {_shortened(value)}", keyword=keyword, expected="a whole number")
    return int(value)


def _channel_number(keyword: str) -> int:
    match = re.fullmatch(r"\$P([0-9]{1,6})B", keyword)
    return int(match[1]) if match else 0


def _read_channel(path: str | os.PathLike[str], keywords: Mapping[str, str], n: int, notes: list[str]) -> Channel:
    datatype = _read_datatype(path, keywords, n)
    bits = read_count(path, keywords, f"$P{n}B")
    wanted = _FLOAT_BITS.get(datatype)
    if wanted is None and not 1 <= bits <= _MAX_INTEGER_BITS:
        raise FCSError(path, f"$P{n}B is {bits}", keyword=f"$P{n}B", expected=f"1 to {_MAX_INTEGER_BITS} bits")
    if wanted is not None and bits != wanted:
        raise FCSError(path, f"$P{n}B is {bits} for datatype {datatype}", keyword=f"$P{n}B", expected=f"{wanted} bits")
    name = keywords.get(f"$P{n}N", "")
    if not name:
        name = f"P{n}"
        notes.append(f"$P{n}N is missing; the channel is called {name}")
    return Channel(
        name=name,
        antigen=keywords.get(f"$P{n}S", ""),
        range=_read_range(path, keywords, n, datatype, notes),
        log=keywords.get(f"$P{n}E", "") or "0,0",
        gain=_number(keywords.get(f"$P{n}G", ""), 1.0),
        bits=bits,
        datatype=datatype,
    )


def _read_datatype(path: str | os.PathLike[str], keywords: Mapping[str, str], n: int) -> Datatype:
    keyword = f"$P{n}DATATYPE" if keywords.get(f"$P{n}DATATYPE") else "$DATATYPE"
    value = _required(path, keywords, keyword).upper()
    if value in ("I", "F", "D"):
        return cast(Datatype, value)
    what = "text (ASCII) values" if value == "A" else f"values of an unknown kind, {_shortened(value)}"
    raise FCSError(path, f"holds {what} ({keyword})", keyword=keyword, expected="I, F or D")


def _read_range(
    path: str | os.PathLike[str], keywords: Mapping[str, str], n: int, datatype: Datatype, notes: list[str]
) -> float:
    """$PnR, which integer values need (it says which of their bits count) and the others do not."""
    keyword = f"$P{n}R"
    value = _number(keywords.get(keyword, ""), math.nan)
    if math.isfinite(value) and value >= 0:
        if datatype == "I" and value < 2:
            notes.append(f"{keyword} is {value:g}, which says nothing; all bits of the values were kept")
        return value
    if datatype == "I":
        given = _shortened(keywords[keyword]) if keywords.get(keyword) else "missing"
        raise FCSError(path, f"{keyword} is {given}", keyword=keyword, expected="the channel's range, a number")
    notes.append(f"{keyword} is no range; the values do not depend on it")
    return math.nan


def _read_byte_order(path: str | os.PathLike[str], keywords: Mapping[str, str]) -> ByteOrder:
    value = _required(path, keywords, "$BYTEORD").replace(" ", "")
    ascending = [",".join(str(i) for i in range(1, n + 1)) for n in (2, 4, 8)]
    if value in ascending:
        return "<"
    if value in [order[::-1] for order in ascending]:
        return ">"
    raise FCSError(
        path,
        f"has byte order {_shortened(value)}, which is not read",
        keyword="$BYTEORD",
        expected="1,2,3,4 (little-endian) or 4,3,2,1 (big-endian)",
    )


def _required(path: str | os.PathLike[str], keywords: Mapping[str, str], keyword: str) -> str:
    value = keywords.get(keyword, "")
    if not value:
        problem = f"TEXT lacks {keyword}; the file is damaged or was written wrongly"
        raise FCSError(path, problem, keyword=keyword, expected="a value of this keyword")
    return value


def _number(value: str, default: float) -> float:
    # float() alone would also take "1_024", which only damage writes.
    return float(value) if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", value) else default


def _shortened(value: str) -> str:
    return repr(value if len(value) <= 24 else value[:24] + "...")
