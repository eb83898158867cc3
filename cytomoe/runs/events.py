"""The events of a run: files read in the order given, with the samples and gates they belong to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.io.gates import GatePattern, Gates, gates_from_channel, gates_from_files, read_gate_file
from cytomoe.io.overlaps import Overlaps, find_overlaps

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class GateSource:
    """Where the manual gates stand; at most one of the three is given.

    Attributes
    ----------
    pattern
        Pattern of file names, one file per population.
    channel
        Channel that holds the number of the gate.
    file
        Table with one row per event, ``path`` or ``path:column``.
    """

    pattern: str | None = None
    channel: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        given = [f"--gate-{name}" for name in ("pattern", "channel", "file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are both given; the gates can come from one place only")

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.pattern, self.channel, self.file))


@dataclass(frozen=True, eq=False)
class Events:
    """Files of a run, read; rows are the files in order, and in each its events in order.

    Attributes
    ----------
    adatas
        One per file, raw values.
    names
        Name of each file in every output.
    paths
        The files.
    samples
        Names of the samples.
    file_sample
        Index into ``samples`` of each file, shape (files,).
    conditions
        What a table of samples says of each: one row per sample, text; None without a table.
    """

    adatas: list[AnnData]
    names: list[str]
    paths: list[Path]
    samples: list[str]
    file_sample: NDArray[np.int64]
    conditions: pd.DataFrame | None = None

    @property
    def sizes(self) -> list[int]:
        """Events of each file."""
        return [adata.n_obs for adata in self.adatas]

    @property
    def n_events(self) -> int:
        """Rows of all files."""
        return sum(self.sizes)

    @property
    def file(self) -> NDArray[np.int64]:
        """Index of each row's file, shape (events,)."""
        return np.repeat(np.arange(len(self.adatas)), self.sizes)

    @property
    def event(self) -> NDArray[np.int64]:
        """Index of each row within its file, from 0, shape (events,)."""
        return np.concatenate([np.arange(size) for size in self.sizes])

    @property
    def warnings(self) -> list[str]:
        """What reading noticed, each with the file's name."""
        return [
            f"{name}: {warning}"
            for name, adata in zip(self.names, self.adatas, strict=True)
            for warning in adata.uns["fcs"]["warnings"]
        ]

    @property
    def sample(self) -> NDArray[np.int64]:
        """Index of each row's sample, shape (events,)."""
        return self.file_sample[self.file]


@dataclass(frozen=True, eq=False)
class GatedEvents:
    """Manual gates of the events of a run.

    Attributes
    ----------
    gates
        The gate of each row.
    overlaps
        Which rows hold the same event.
    """

    gates: Gates
    overlaps: Overlaps


def file_names(paths: Sequence[Path]) -> list[str]:
    """Names of files in the outputs: without their folder where that is clear, else as they were given."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    given = [os.fspath(path) for path in paths]
    repeated = sorted({name for name in given if given.count(name) > 1})
    if repeated:
        raise InputError(f"{repeated[0]} is given twice; an event may be clustered only once")
    return given


def refuse_missing(paths: Sequence[Path]) -> None:
    """Refuse paths that are no files, before anything slow happens."""
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name the files in it: {path}/*.fcs")
        if not path.is_file():
            raise InputError(f"{path}: no such file")


def read_events(
    paths: Sequence[Path], *, data_set: int = 1, pattern: str | None = None, allow_truncated: bool = False
) -> Events:
    """Read the files of a run.

    Parameters
    ----------
    paths
        FCS files.
    data_set
        Which data set of files that hold several.
    pattern
        Gate pattern, by which files of one well become one sample; otherwise each file is one.
    allow_truncated
        Whether files that break off are read as far as whole events go.

    Raises
    ------
    InputError
        If a file can't be read, does not match the pattern, or is given twice.
    """
    from cytomoe.io import read_fcs

    refuse_missing(paths)
    names = file_names(paths)
    samples, file_sample = names, np.arange(len(paths))
    if pattern is not None:
        groups = GatePattern(pattern).group(paths)
        samples = [group.name for group in groups]
        sample_of = {path: i for i, group in enumerate(groups) for path in group.paths}
        file_sample = np.array([sample_of[path] for path in paths])
    adatas = [read_fcs(path, data_set=data_set, allow_truncated=allow_truncated) for path in paths]
    return Events(adatas, names, list(paths), list(samples), file_sample)


@dataclass(frozen=True)
class PriorSource:
    """Where known cells stand; at most one of the two is given.

    Attributes
    ----------
    file
        Table with one row per event, ``path`` or ``path:column``; no name: unknown.
    channel
        Channel that holds the number of the population; 0 or NaN: unknown.
    """

    file: str | None = None
    channel: str | None = None

    def __post_init__(self) -> None:
        if self.file is not None and self.channel is not None:
            raise InputError("--prior and --prior-channel are both given; known cells can come from one place only")


def find_prior(events: Events, source: PriorSource) -> Gates | None:
    """Known populations of the events; None if nobody knows any.

    Raises
    ------
    InputError
        If they can't be found there, do not fit the events, or name no event.
    """
    if source.file is None and source.channel is None:
        return None
    option = "--prior" if source.file is not None else "--prior-channel"
    try:
        known = _gates(events, GateSource(channel=source.channel, file=source.file))
    except InputError as error:  # the same tables and channels as for gates, in the words of this option
        words = str(error).replace("--gate-file", "--prior").replace("--gate-channel", "--prior-channel")
        raise InputError(words) from None
    if not known.names:
        raise InputError(f"{option} names the population of no event")
    return known


def find_gates(events: Events, source: GateSource) -> GatedEvents | None:
    """Gates of the events from where the user says they stand; None if nowhere.

    Raises
    ------
    InputError
        If they can't be found there, or do not fit the events.
    """
    if not source:
        return None
    gates = _gates(events, source)
    if not gates.names:
        raise InputError("no event has a gate; check the --gate- option")
    if source.pattern is None:
        rows = np.arange(events.n_events)
        return GatedEvents(gates, Overlaps(rows, np.ones(len(rows), dtype=bool), {}))
    n_channels = {adata.n_vars for adata in events.adatas}
    if len(n_channels) > 1:
        raise InputError(
            f"the files have {' or '.join(map(str, sorted(n_channels)))} channels, so events that stand in two of them "
            "can't be found; with --gate-pattern all files need the same channels"
        )
    values = np.concatenate([np.asarray(adata.X) for adata in events.adatas])
    return GatedEvents(gates, find_overlaps(values, gates, file=events.file, sample=events.sample))


def _gates(events: Events, source: GateSource) -> Gates:
    if source.pattern is not None:
        fields = GatePattern(source.pattern)
        return gates_from_files([fields.fields_of(path)["gate"] for path in events.paths], events.sizes)
    if source.channel is not None:
        parts = [gates_from_channel(adata, source.channel) for adata in events.adatas]
        return Gates.from_labels(
            np.concatenate([np.array([*part.names, None], dtype=object)[part.codes] for part in parts])
        )
    return read_gate_file(source.file or "", events.n_events)
