"""The events of a run: files read in the order given, whole or piece by piece, with the samples they belong to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.io.fcs_names import distinct, without_suffix
from cytomoe.io.gates import GatePattern
from cytomoe.runs.inputs import Stamp

if TYPE_CHECKING:
    import pandas as pd

    from cytomoe.io.fcs_read import FCSDataSet
    from cytomoe.io.raw_events import RawEvents

# Files that together take no more than this are read once and held; of others, pieces of CHUNK_BYTES are read.
HELD_BYTES = 256 << 20
CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class EventFile:
    """A file of a run, its HEADER and TEXT read.

    Attributes
    ----------
    path
        The file.
    stamp
        As it stood before it was read.
    n_events, n_channels
        Counts.
    data_set
        Which data set is read of files that hold several.
    allow_truncated
        Whether a file that breaks off is read as far as whole events go.
    """

    path: Path
    stamp: Stamp
    n_events: int
    n_channels: int
    data_set: int = 1
    allow_truncated: bool = False

    def open(self) -> FCSDataSet:
        """Open the file again.

        Raises
        ------
        InputError
            If it can't be read, or is not the one any more that it was when the run began.
        """
        from cytomoe.io.fcs_read import open_fcs

        self.stamp.check()
        return open_fcs(self.path, data_set=self.data_set, allow_truncated=self.allow_truncated)


@dataclass(frozen=True, eq=False)
class Events:
    """The events of a run's files; rows are the files in order, and in each its events in order.

    Small runs are read once and held; of larger ones a chunk is in memory at a time.

    Attributes
    ----------
    files
        The files.
    names
        Name of each file in every output.
    samples
        Names of the samples.
    file_sample
        Index into ``samples`` of each file, shape (files,).
    conditions
        What a table of samples says of each: one row per sample, text; None without a table.
    """

    files: list[EventFile]
    names: list[str]
    samples: list[str]
    file_sample: NDArray[np.int64]
    conditions: pd.DataFrame | None = None
    _held: dict[int, RawEvents] = field(default_factory=dict)
    _notes: dict[int, list[str]] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [file.path for file in self.files]

    @property
    def by_name(self) -> NDArray[np.int64]:
        """Indices of the files in the order of their names, in which a fit sees them however they are given."""
        return np.array(sorted(range(len(self.files)), key=self.names.__getitem__), dtype=np.int64)

    @property
    def sizes(self) -> list[int]:
        """Events of each file."""
        return [file.n_events for file in self.files]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Row of each file's first event, shape (files,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def n_events(self) -> int:
        """Rows of all files."""
        return sum(self.sizes)

    @property
    def all_raw(self) -> list[RawEvents]:
        """All events of every file at once; for runs that are known to be small."""
        return [self.read(i) for i in range(len(self.files))]

    @property
    def held(self) -> bool:
        """Whether all files together are small enough to be held in memory."""
        return sum(file.n_events * file.n_channels for file in self.files) * 4 <= HELD_BYTES

    @property
    def file(self) -> NDArray[np.int64]:
        """Index of each row's file, shape (events,)."""
        return np.repeat(np.arange(len(self.files)), self.sizes)

    @property
    def event(self) -> NDArray[np.int64]:
        """Index of each row within its file, from 0, shape (events,)."""
        return np.concatenate([np.arange(size) for size in self.sizes])

    @property
    def warnings(self) -> list[str]:
        """What reading noticed so far, each with the file's name."""
        return [f"{self.names[i]}: {note}" for i in sorted(self._notes) for note in self._notes[i]]

    @property
    def sample(self) -> NDArray[np.int64]:
        """Index of each row's sample, shape (events,)."""
        return self.file_sample[self.file]

    def read(self, index: int) -> RawEvents:
        """All events of a file."""
        if index in self._held:
            return self._held[index]
        (raw,) = self._chunks(index, max(self.files[index].n_events, 1))
        if self.held:
            self._held[index] = raw
        return raw

    def chunks(self, index: int) -> Iterator[tuple[slice, RawEvents]]:
        """Events of a file piece by piece: the rows of the run that a piece is, and the piece.

        Raises
        ------
        InputError
            If the file can't be read, or is not the one any more that it was when the run began.
        """
        start = int(self.starts[index])
        step = max(1, CHUNK_BYTES // (4 * max(self.files[index].n_channels, 1)))
        pieces = [self.read(index)] if self.held else self._chunks(index, step)
        for raw in pieces:
            yield slice(start, start + raw.n_obs), raw
            start += raw.n_obs

    def take(self, index: int, rows: NDArray[np.int64]) -> RawEvents:
        """Some events of a file, by their ascending positions in it."""
        from cytomoe.io.raw_events import RawEvents

        if len(rows) == self.files[index].n_events:
            return self.read(index)
        first, parts = int(self.starts[index]), []
        for where, raw in self.chunks(index):
            low, high = np.searchsorted(rows, [where.start - first, where.stop - first])
            parts.append(raw.X[rows[low:high] - (where.start - first)])
        return RawEvents(np.concatenate(parts), var=raw.var, uns=raw.uns)

    def _chunks(self, index: int, step: int) -> Iterator[RawEvents]:
        from cytomoe.io.fcs_read import read_events

        opened = self.files[index].open()
        for start in range(0, max(opened.n_events, 1), step):
            raw = read_events(opened, start, start + step)
            known = self._notes.setdefault(index, [])
            known += [note for note in raw.uns["fcs"]["warnings"] if note not in known]
            yield raw


def file_names(paths: Sequence[Path]) -> list[str]:
    """Names of files in the outputs: without their folder where that is clear, else as they were given."""
    names = [_as_text(path.name) for path in paths]
    if len(set(names)) == len(names):
        return names
    places: set[Path] = set()
    for path in paths:
        place = path.resolve()
        if place in places:
            raise InputError(f"{path} is given twice; an event may be clustered only once")
        places.add(place)
    return distinct(_as_text(os.fspath(path)) for path in paths)


def _sample_names(names: Sequence[str]) -> list[str]:
    """Names of samples of one file each, as ``batch`` calls them: without .fcs, unless that makes two the same."""
    stems = [without_suffix(name) for name in names]
    return stems if len(set(stems)) == len(stems) else list(names)


def _as_text(name: str) -> str:
    """A name that may hold bytes of no encoding, as text for the outputs."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def refuse_missing(paths: Sequence[Path]) -> None:
    """Refuse paths that are no files, before anything slow happens."""
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name the files in it: {path}/*.fcs")
        if not path.is_file():
            raise InputError(f"{path}: {'is a pipe or a device' if path.exists() else 'no such file'}")


def open_events(
    paths: Sequence[Path],
    *,
    data_set: int = 1,
    pattern: str | None = None,
    sample: str | None = None,
    allow_truncated: bool = False,
) -> Events:
    """Read HEADER and TEXT of the files of a run.

    Parameters
    ----------
    paths
        FCS files.
    data_set
        Which data set of files that hold several.
    pattern
        Gate pattern, by which files of one well become one sample; otherwise each file is one.
    sample
        Name of the one sample that all files belong to, whatever their names say.
    allow_truncated
        Whether files that break off are read as far as whole events go.

    Raises
    ------
    InputError
        If a file can't be read, does not match the pattern, or is given twice.
    """
    from cytomoe.io.fcs_read import open_fcs

    refuse_missing(paths)
    names = file_names(paths)
    samples, file_sample = _sample_names(names), np.arange(len(paths))
    if pattern is not None:
        groups = GatePattern(pattern).group(paths)
        samples = [group.name for group in groups]
        sample_of = {path: i for i, group in enumerate(groups) for path in group.paths}
        file_sample = np.array([sample_of[path] for path in paths])
    if sample is not None:
        samples, file_sample = [sample], np.zeros(len(paths), dtype=np.int64)
    events = Events([], names, list(samples), file_sample)
    for i, path in enumerate(paths):
        stamp = Stamp.of(path)
        opened = open_fcs(path, data_set=data_set, allow_truncated=allow_truncated)
        events.files.append(EventFile(path, stamp, opened.n_events, len(opened.channels), data_set, allow_truncated))
        events._notes[i] = [*opened.warnings, *([] if opened.n_events else ["holds no events"])]
    return events
