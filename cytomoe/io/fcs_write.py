"""Writing FCS 3.1: the source's raw values and keywords, with channels added.

flowio writes the file. Its layout is always little-endian float32, so values that float32 can't hold are rounded, and
what can't be kept of the keywords is dropped or renamed; the writer says so in the warnings that it returns.
"""

from __future__ import annotations

import array
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from cytomoe.errors import InputError, RunError
from cytomoe.io.atomic import atomic_path
from cytomoe.io.fcs_names import distinct
from cytomoe.io.fcs_read import FCSDataSet
from cytomoe.io.raw_events import RawEvents

if TYPE_CHECKING:
    from cytomoe.io.raw_events import Raw

_DELIMITER = "/"  # flowio's
_CHANNEL_KEYWORD = re.compile(r"(\$?)P([0-9]{1,6})([A-Z]+)")
# Keywords, without their $, that describe the source's layout, which the written file does not share.
_LAYOUT_KEYWORDS = {
    *("BEGINANALYSIS", "BEGINDATA", "BEGINSTEXT", "ENDANALYSIS", "ENDDATA", "ENDSTEXT", "NEXTDATA"),
    *("BYTEORD", "DATATYPE", "MODE", "PAR", "TOT", "UNICODE", "P$SCFGZIP"),
}
_LAYOUT_SUFFIXES = {"B", "DATATYPE", "E", "G", "N", "R", "S"}
_BLOCK = 1 << 16


@dataclass(frozen=True)
class _Column:
    """A channel to be written; ``source`` is its number in the source's keywords, None when it is new."""

    name: str
    antigen: str
    range: float
    gain: float
    log: str
    source: int | None


def write_fcs(
    source: Raw | FCSDataSet,
    path: str | os.PathLike[str],
    *,
    extra: Mapping[str, npt.ArrayLike] | None = None,
    keywords: Mapping[str, str] | None = None,
) -> list[str]:
    """Write a data set as FCS 3.1 with float32 values, and channels added to it.

    Parameters
    ----------
    source
        What :func:`cytomoe.io.read_fcs` or :func:`cytomoe.io.open_fcs` gave. Of an AnnData ``layers["raw"]`` is
        written where it exists, else ``X``; channels may have been left out or reordered, ``obs`` rows too.
    path
        Where to; an old file is replaced. The file appears whole or not at all.
    extra
        Channels to add after the source's: name, and one number per event, shape (events,), numbers of clusters
        (``obs["cytomoe"]``) too. Their $PnR lies above the largest value.
    keywords
        Keywords to add to the source's, whose place they take where they are the same.

    Returns
    -------
    list of str
        What could not be kept as it was, one sentence each.

    Raises
    ------
    InputError
        If an extra channel has the wrong length or holds text, the source is empty of channels, or the folder does not
        exist.
    """
    contents = _contents(source)
    if not contents.columns:
        raise InputError(f"{path}: there are no channels to write")
    added = {name: _numbers(name, column) for name, column in (extra or {}).items()}
    for name, column in added.items():
        if column.shape != (contents.n_events,):
            raise InputError(f"channel {name} has shape {column.shape}, but there are {contents.n_events} events")
    names = distinct(added, taken=[column.name for column in contents.columns])
    new = [_Column(n, n, _range_of(v), 1.0, "0,0", None) for n, v in zip(names, added.values(), strict=True)]
    columns = [*contents.columns, *new]
    notes: list[str] = []
    metadata = _metadata({**contents.keywords, **(keywords or {})}, columns, notes)
    data = _Values(contents, list(added.values()), columns)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        _create(handle, data, columns, metadata)
    if data.rounded.any():
        which = ", ".join(c.antigen or c.name for c, flag in zip(columns, data.rounded, strict=True) if flag)
        notes.append(f"values of {which} were rounded to float32, the only type that is written")
    return notes


def _numbers(name: str, column: npt.ArrayLike) -> npt.NDArray[Any]:
    """The values of a channel, from numbers or what spells them, such as categories."""
    values = np.asarray(column)
    if values.dtype.kind in "biuf":
        return values
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"channel {name} holds text, and FCS numbers alone; give numbers in its place") from None


@dataclass(frozen=True)
class _Contents:
    """What is to be written of a source; ``rows`` gives the values of a range of events."""

    n_events: int
    rows: Callable[[int, int], npt.NDArray[Any]]
    columns: list[_Column]
    keywords: Mapping[str, str]


def _contents(source: Raw | FCSDataSet) -> _Contents:
    if isinstance(source, FCSDataSet):
        columns = [
            _Column(c.name, c.antigen, c.range, c.gain, c.log, n) for n, c in enumerate(source.channels, start=1)
        ]
        return _Contents(source.n_events, source.values, columns, source.keywords)
    keywords: Mapping[str, str] = source.uns.get("fcs", {}).get("keywords", {})
    values = np.asarray(source.X if isinstance(source, RawEvents) else source.layers.get("raw", source.X))
    return _Contents(len(values), lambda start, stop: values[start:stop], _columns_of(source, keywords), keywords)


def _columns_of(adata: Raw, keywords: Mapping[str, str]) -> list[_Column]:
    """The channels of an AnnData, each with its number in the keywords."""
    numbers: dict[str, list[int]] = {}
    for n in range(int(keywords.get("$PAR", "0")), 0, -1):
        numbers.setdefault(keywords.get(f"$P{n}N", ""), []).append(n)
    columns = []
    for name, row in zip(adata.var_names, adata.var.to_dict("records"), strict=True):
        channel = str(row.get("channel", name))
        known = numbers.get(channel)
        columns.append(
            _Column(
                name=channel,
                antigen=str(row.get("antigen", "")),
                range=float(row.get("range", math.nan)),
                gain=float(row.get("gain", 1.0)),
                log=str(row.get("log", "0,0")),
                source=known.pop() if known else None,
            )
        )
    return columns


class _Values(array.array):  # type: ignore[type-arg]
    """The values to write, made block by block while flowio writes them; ``rounded`` tells which columns lost digits.

    flowio asks an array for its length and to write itself, which is all that this one can do.
    """

    def __new__(cls, *_: object) -> Self:
        return cast("Self", super().__new__(cls, "f"))

    def __init__(self, contents: _Contents, added: Sequence[npt.NDArray[Any]], columns: Sequence[_Column]) -> None:
        self._contents, self._added = contents, added
        self.rounded = np.zeros(len(columns), dtype=bool)

    def __len__(self) -> int:
        return self._contents.n_events * len(self.rounded)

    def tofile(self, handle: BinaryIO) -> None:  # type: ignore[override]
        n_events, n_source = self._contents.n_events, len(self._contents.columns)
        for start in range(0, n_events, _BLOCK):
            stop = min(start + _BLOCK, n_events)
            block = np.empty((stop - start, len(self.rounded)), dtype="<f4")
            parts = [(slice(0, n_source), self._contents.rows(start, stop))]
            parts += [(slice(n, n + 1), column[start:stop, None]) for n, column in enumerate(self._added, n_source)]
            for where, values in parts:
                with np.errstate(over="ignore"):
                    block[:, where] = values
                if values.dtype == np.float32 or (where.start >= n_source and values.dtype.kind == "f"):
                    continue  # nothing to round, or the last digits of a probability, which nobody misses
                self.rounded[where] |= ~((block[:, where] == values) | np.isnan(block[:, where])).all(axis=0)
            handle.write(block.data)


def _range_of(column: npt.NDArray[Any]) -> float:
    """$PnR of an added channel: the whole number above its largest value, at least 1."""
    finite = column[np.isfinite(column)]
    largest = float(finite.max()) if finite.size else 0.0
    return max(1.0, float(math.floor(largest) + 1))


def _metadata(keywords: Mapping[str, str], columns: Sequence[_Column], notes: list[str]) -> dict[str, str]:
    """The keywords to write, per-channel ones renumbered to where their channel went."""
    numbers = {column.source: n for n, column in enumerate(columns, start=1) if column.source is not None}
    metadata: dict[str, str] = {}
    for keyword, value in keywords.items():
        match = _CHANNEL_KEYWORD.fullmatch(keyword)
        name = keyword
        if match is not None:
            number = numbers.get(int(match[2]))
            if number is None or match[3] in _LAYOUT_SUFFIXES:
                continue  # its channel is not written, or it is given to flowio below
            name = f"{match[1]}P{number}{match[3]}"
        bare = keyword.removeprefix("$").strip()
        if bare and value.strip() and bare not in _LAYOUT_KEYWORDS:
            _add(metadata, name, value, notes)
    for n, column in enumerate(columns, start=1):
        # The standard wants a range of every channel. This one is what most software takes for unknown.
        metadata[f"$P{n}R"] = _number_text(column.range) if math.isfinite(column.range) else "262144"
        metadata[f"$P{n}G"] = _number_text(column.gain)
    plain = [name for name in metadata if name.startswith("$") and not _is_standard(name[1:].lower())]
    if plain:
        notes.append(f"{', '.join(plain)} lost the $ of the name, which flowio leaves to the keywords that it knows")
    logs = [f"{c.antigen or c.name} ({c.log})" for c in columns if re.sub(r"[0., ]", "", c.log)]
    if logs:
        notes.append(f"$PnE of {', '.join(logs)} was set to 0,0: a file of floats knows no logarithmic amplifier")
    return metadata


def _is_standard(keyword: str) -> bool:
    """Whether flowio writes a keyword, given in its spelling, with a $."""
    from flowio.fcs_keywords import FCS_STANDARD_OPTIONAL_KEYWORDS

    return keyword in FCS_STANDARD_OPTIONAL_KEYWORDS or bool(
        re.fullmatch(r"p\d+([dfloptvgr]|calibration)", keyword)  # G and R are written beside the other channel keywords
    )


def _number_text(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def _add(metadata: dict[str, str], keyword: str, value: str, notes: list[str]) -> None:
    """Add a keyword in the form that flowio writes as it should be read."""
    # flowio does not escape its delimiter in keywords, and many readers split on one at the edge of a value.
    name = keyword.replace(_DELIMITER, "_")
    if name != keyword:
        notes.append(f"keyword {keyword} was renamed to {name}: {_DELIMITER} separates keywords in the written file")
    # It drops the $ of keywords to compare them, so $X and X would meet.
    twin = name[1:] if name.startswith("$") else f"${name}"
    if twin in metadata or name in metadata:
        notes.append(f"keyword {keyword} was dropped: another of that name is written")
        return
    metadata[name] = _padded(value)


def _padded(value: str) -> str:
    """The value with a space before or after a delimiter at its edge, which keeps it apart from the separators."""
    start = " " if value.startswith(_DELIMITER) else ""
    end = " " if value.endswith(_DELIMITER) else ""
    return f"{start}{value}{end}"


def _create(handle: BinaryIO, data: _Values, columns: Sequence[_Column], metadata: Mapping[str, str]) -> None:
    import flowio

    names = [_padded(column.name) or f"P{n}" for n, column in enumerate(columns, start=1)]
    antigens = [_padded(column.antigen) for column in columns]
    # flowio miscounts the length of TEXT where an offset gains a digit, notices and gives up; another length helps.
    for padding in ("", "-", "-" * 12):
        filled = {**metadata, "CYTOMOE_PADDING": padding} if padding else dict(metadata)
        try:
            flowio.create_fcs(handle, data, names, opt_channel_names=antigens, metadata_dict=filled)
            return
        except Exception as error:
            if "text offset" not in str(error):
                raise
    raise RunError("the FCS file could not be laid out; please report this with the file that was read")
