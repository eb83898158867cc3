"""Reading FCS 2.0 to 3.2 and LMD files: metadata first, values slice by slice or as AnnData."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cytomoe.errors import FCSError, InputError
from cytomoe.io.fcs_data import Values, read_values
from cytomoe.io.fcs_header import Header, is_data_set, read_header
from cytomoe.io.fcs_layout import Channel, Layout, read_layout
from cytomoe.io.fcs_names import channel_names, event_names, missing_names
from cytomoe.io.fcs_offsets import locate_data
from cytomoe.io.fcs_source import FCSSource, open_source
from cytomoe.io.fcs_text import keyword_offset, read_text
from cytomoe.io.raw_events import RawEvents

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class FCSDataSet:
    """One data set of an FCS file: all that HEADER and TEXT say, and its values on demand.

    Attributes
    ----------
    path
        The file.
    version
        FCS version, ``"2.0"`` to ``"3.2"``.
    data_set, n_data_sets
        Which of the file's data sets this is, from 1, and how many there are.
    keywords
        Values by upper-case keyword, such as ``{"$CYT": "Aurora"}``.
    channels
        The channels, in file order.
    n_events
        Number of events.
    warnings
        What was amiss and how it was settled, one sentence each.
    """

    path: str
    version: str
    data_set: int
    n_data_sets: int
    keywords: dict[str, str] = field(repr=False)
    channels: tuple[Channel, ...] = field(repr=False)
    n_events: int
    warnings: list[str]
    _source: FCSSource = field(repr=False)
    _layout: Layout = field(repr=False)
    _begin: int = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Unambiguous names of the channels: the index of ``var`` in :func:`read_fcs`."""
        return channel_names(self.channels)

    def values(self, start: int = 0, stop: int | None = None) -> Values:
        """Read a slice of events.

        Parameters
        ----------
        start, stop
            Events to read, ``stop`` excluded; cut to the data set as Python slices are.

        Returns
        -------
        ndarray, shape (events, channels)
            The file's values: float32, or float64 where float32 would round.

        Raises
        ------
        FCSError
            If the file has changed since it was opened.
        """
        first, last, _ = slice(start, stop).indices(self.n_events)
        return self._read(first, max(first, last))[0]

    def _read(self, first: int, last: int) -> tuple[Values, list[int]]:
        return read_values(self._source, self._layout, self._begin, first, last)


def open_fcs(path: str | os.PathLike[str], *, data_set: int = 1, allow_truncated: bool = False) -> FCSDataSet:
    """Read HEADER and TEXT of an FCS file, and find its DATA without reading it.

    A gzip-compressed file is unpacked to a temporary file here, which takes longer.

    Parameters
    ----------
    path
        An FCS or LMD file, plain or gzip-compressed, whatever its name.
    data_set
        Which data set to take, from 1, of a file that holds several.
    allow_truncated
        Whether a file that breaks off amid its events is read as far as whole events go; a warning says how many are
        missing. By default it is refused.

    Raises
    ------
    FCSError
        If the file can't be read without risking wrong numbers, or has no such data set.
    """
    if data_set < 1:
        raise InputError(f"data set {data_set} can't be: data sets count from 1")
    source = open_source(path, allow_truncated=allow_truncated)
    found = _find_data_set(source, data_set)
    notes = found.notes
    try:
        layout = read_layout(path, found.keywords, notes)
        begin, n_events = locate_data(
            source, found.header, found.keywords, layout, notes, allow_truncated=allow_truncated
        )
    except FCSError as error:
        if error.offset is None and error.keyword is not None:
            raise error.located(keyword_offset(source, found.header, error.keyword)) from error
        raise
    source.finish()
    return FCSDataSet(
        path=os.fspath(path),
        version=found.header.version,
        data_set=data_set,
        n_data_sets=found.n_data_sets,
        keywords=found.keywords,
        channels=layout.channels,
        n_events=n_events,
        warnings=notes,
        _source=source,
        _layout=layout,
        _begin=begin,
    )


def read_fcs(path: str | os.PathLike[str], *, data_set: int = 1, allow_truncated: bool = False) -> AnnData:
    """Read every event and channel of an FCS file.

    Parameters
    ----------
    path
        An FCS or LMD file, plain or gzip-compressed, whatever its name.
    data_set
        Which data set to take, from 1, of a file that holds several.
    allow_truncated
        Whether a file that breaks off is read as far as whole events go; see :func:`open_fcs`.

    Returns
    -------
    AnnData, shape (events, channels)
        ``X`` holds the file's values in file order, neither gain, logarithm nor compensation applied; ``var`` the
        channels (index: unambiguous name; ``channel`` $PnN, ``antigen`` $PnS, ``range`` $PnR, ``log`` $PnE, ``gain``
        $PnG, ``bits`` $PnB, ``datatype``); ``uns["fcs"]`` path, version, keywords, data sets and warnings. Files of
        200,000 events and more have ``obs_names`` kept by Arrow; write them with :func:`cytomoe.io.write_h5ad`.

    Raises
    ------
    FCSError
        If the file can't be read without risking wrong numbers, or has no such data set.
    """
    return to_anndata(open_fcs(path, data_set=data_set, allow_truncated=allow_truncated))


def to_anndata(data_set: FCSDataSet, start: int = 0, stop: int | None = None) -> AnnData:
    """Events of an opened data set, as :func:`read_fcs` gives them; a slice of them is named from 0 too."""
    import anndata
    import pandas as pd

    events = read_events(data_set, start, stop)
    obs = pd.DataFrame(index=missing_names(events.n_obs))
    # AnnData looks for duplicates among the names that it is made with, at 160 MB and half a second per million.
    # These can't have any, so it is made without names and given them afterwards.
    with anndata.settings.override(check_uniqueness=False):
        adata = anndata.AnnData(events.X, obs=obs, var=events.var, uns=dict(events.uns))
    adata.obs_names = event_names(events.n_obs)
    return adata


def read_events(data_set: FCSDataSet, start: int = 0, stop: int | None = None) -> RawEvents:
    """Events of an opened data set, or a slice of them, without names."""
    first, last, _ = slice(start, stop).indices(data_set.n_events)
    values, masked = data_set._read(first, max(first, last))
    return RawEvents(values, channel_table(data_set.channels), {"fcs": _provenance(data_set, masked)})


def channel_table(channels: Sequence[Channel]) -> pd.DataFrame:
    """The channels as the ``var`` of :func:`read_fcs`."""
    import pandas as pd

    return pd.DataFrame(
        {
            "channel": [channel.name for channel in channels],
            "antigen": [channel.antigen for channel in channels],
            "range": np.array([channel.range for channel in channels], dtype=np.float64),
            "log": [channel.log for channel in channels],
            "gain": np.array([channel.gain for channel in channels], dtype=np.float64),
            "bits": np.array([channel.bits for channel in channels], dtype=np.int64),
            "datatype": [channel.datatype for channel in channels],
        },
        index=pd.Index(channel_names(channels), dtype=object),
    )


def _provenance(data_set: FCSDataSet, masked: Sequence[int]) -> dict[str, object]:
    notes = list(data_set.warnings)
    if masked:
        names = ", ".join(data_set.names[n] for n in masked)
        notes.append(f"values of {names} had bits beyond the channel's range ($PnR), left out as the standard asks")
    return {
        "path": data_set.path,
        "version": data_set.version,
        "keywords": dict(data_set.keywords),
        "data_set": data_set.data_set,
        "n_data_sets": data_set.n_data_sets,
        "warnings": notes,
    }


@dataclass(frozen=True)
class _Found:
    header: Header
    keywords: dict[str, str]
    notes: list[str]
    n_data_sets: int


def _find_data_set(source: FCSSource, wanted: int) -> _Found:
    """Follow $NEXTDATA through the file: the wanted data set, and how many there are."""
    number, start = 1, 0
    chosen: tuple[Header, dict[str, str], list[str]] | None = None
    chain_notes: list[str] = []
    text_bytes = 0
    while True:
        notes: list[str] = []
        header = read_header(source, start, notes)
        # Data sets follow each other. TEXT segments that overlap would let a small file keep us reading for hours.
        text_bytes += header.text.size
        if not source.reaches(text_bytes):
            raise FCSError(
                source.path,
                f"the TEXT segments of its {number} data sets overlap",
                offset=start,
                expected="data sets that follow each other",
            )
        keywords = read_text(source, header, notes, supplemental=number == wanted)
        if number == wanted:
            chosen = header, keywords, notes
        following = _next_data_set(source, start, keywords.get("$NEXTDATA", ""), chain_notes)
        if following is None:
            break
        number, start = number + 1, following
    if chosen is None:
        raise FCSError(source.path, f"has no data set {wanted}", expected=f"a data set from 1 to {number}")
    if number > 1:
        chain_notes.append(f"the file holds {number} data sets; this is number {wanted}")
    return _Found(chosen[0], chosen[1], chosen[2] + chain_notes, number)


def _next_data_set(source: FCSSource, start: int, next_data: str, notes: list[str]) -> int | None:
    """Where the data set after the one at ``start`` begins; None, with a warning if one was announced, when nowhere.

    $NEXTDATA counts from the start of its own data set; some writers count from the start of the file.
    """
    if not next_data.strip("0 "):
        return None
    if re.fullmatch(r"[0-9]{1,15}", next_data):
        for position in (start + int(next_data), int(next_data)):
            if position > start and is_data_set(source, position):
                return position
    notes.append(f"$NEXTDATA announces another data set at byte {next_data[:20]!r}, where there is none")
    return None
