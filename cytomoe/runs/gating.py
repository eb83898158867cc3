"""Where the manual gates and the known cells of a run stand, and what is found there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.io.event_rows import EventRows
from cytomoe.io.gate_tables import read_gate_file
from cytomoe.io.gates import (
    GatePattern,
    Gates,
    gates_from_channel,
    gates_from_files,
    read_gate_names,
)
from cytomoe.io.overlaps import Overlaps, find_overlaps
from cytomoe.runs.events import Events
from cytomoe.runs.job import Listener
from cytomoe.words import counted, percent

_WORDS_OF_PRIOR = {
    "--gate-file": "--prior",
    "--gate-channel": "--prior-channel",
    "count as in no gate": "count as unknown",
    "which column holds the gates?": "which column holds the populations?",
}


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
    names
        Table of the names behind the numbers of ``channel``.
    """

    pattern: str | None = None
    channel: str | None = None
    file: str | None = None
    names: Path | None = None

    def __post_init__(self) -> None:
        given = [f"--gate-{name}" for name in ("pattern", "channel", "file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are both given; the gates can come from one place only")
        if self.names is not None and self.channel is None:
            raise InputError(f"--gate-names {self.names} names the numbers of --gate-channel, which is not given")

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.pattern, self.channel, self.file))


@dataclass(frozen=True)
class PriorSource:
    """Where known cells stand; at most one of the two is given.

    Attributes
    ----------
    file
        Table with one row per event, ``path`` or ``path:column``; no name: unknown.
    channel
        Channel that holds the number of the population; 0 or NaN: unknown.
    names
        Table of the names behind the numbers of ``channel``.
    """

    file: str | None = None
    channel: str | None = None
    names: Path | None = None

    def __post_init__(self) -> None:
        if self.file is not None and self.channel is not None:
            raise InputError("--prior and --prior-channel are both given; known cells can come from one place only")


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


def find_gates(events: Events, source: GateSource, listener: Listener | None = None) -> GatedEvents | None:
    """Gates of the events from where the user says they stand; None if nowhere.

    The listener is told where rows of a table of gates were moved.

    Raises
    ------
    InputError
        If they can't be found there, or do not fit the events.
    """
    if not source:
        return None
    gates = _gates(events, source, (listener or Listener()).say)
    if not gates.names:
        raise InputError("no event has a gate; check the --gate- option")
    if source.pattern is None:
        rows = np.arange(events.n_events)
        return GatedEvents(gates, Overlaps(rows, np.ones(len(rows), dtype=bool), {}))
    n_channels = {file.n_channels for file in events.files}
    if len(n_channels) > 1:
        raise InputError(
            f"the files have {' or '.join(map(str, sorted(n_channels)))} channels, so events that stand in two of them "
            "can't be found; with --gate-pattern all files need the same channels"
        )
    values = np.concatenate([np.asarray(raw.X) for raw in events.all_raw])
    return GatedEvents(gates, find_overlaps(values, gates, file=events.file, sample=events.sample))


def find_prior(events: Events, source: PriorSource, listener: Listener | None = None) -> Gates | None:
    """Known populations of the events; None if nobody knows any.

    The listener is told where rows of a table of known cells were moved.

    Raises
    ------
    InputError
        If they can't be found there, do not fit the events, or name no event.
    """
    if source.file is None and source.channel is None:
        return None
    option = "--prior" if source.file is not None else "--prior-channel"
    say = (listener or Listener()).say
    where = GateSource(channel=source.channel, file=source.file, names=source.names)
    try:
        known = _gates(events, where, lambda line: say(_as_prior(line)))
    except InputError as error:
        raise InputError(_as_prior(str(error))) from None
    if not known.names:
        raise InputError(f"{option} names the population of no event")
    return known


def _as_prior(words: str) -> str:
    """Words on tables and channels, which are the same as for gates, with the options of known cells."""
    for gates, known in _WORDS_OF_PRIOR.items():
        words = words.replace(gates, known)
    return words


def _gates(events: Events, source: GateSource, say: Callable[[str], None]) -> Gates:
    if source.pattern is not None:
        fields = GatePattern(source.pattern)
        return gates_from_files([fields.fields_of(path)["gate"] for path in events.paths], events.sizes)
    if source.channel is not None:
        channel = source.channel
        parts = [gates_from_channel(raw, channel) for i in range(len(events.files)) for _, raw in events.chunks(i)]
        numbers = np.concatenate([np.array([*part.names, None], dtype=object)[part.codes] for part in parts])
        return Gates.from_labels(numbers if source.names is None else _named(numbers, source.names, channel))
    return read_gate_file(source.file or "", EventRows.of_files(events.names, events.sizes), say)


def _named(numbers: NDArray[np.object_], table: Path, channel: str) -> NDArray[np.object_]:
    """Names in place of the numbers of gates; None where there is no gate."""
    names = read_gate_names(table)
    missing = sorted({number for number in numbers if number is not None and number not in names})
    if missing:
        raise InputError(f"--gate-names {table}: no name for the gate {missing[0]} of the channel {channel}")
    return np.array([None if number is None else names[number] for number in numbers], dtype=object)


def warn_of_names(gated: GatedEvents | None, known: Gates | None = None) -> list[str]:
    """Warnings of gates, and of known populations, whose names differ in capital letters or spaces alone."""
    of_gates = [] if gated is None else gated.gates.names_alike()
    return of_gates if known is None else [*of_gates, *known.names_alike("known populations")]


def describe_gates(gated: GatedEvents) -> str:
    """What is known of the gates, in a line or two."""
    inside, n_events = len(np.unique(gated.overlaps.event[gated.gates.gated])), gated.overlaps.n_events
    line = f"{counted(inside, 'event')} in {counted(len(gated.gates.names), 'gate')}"
    if inside < n_events:
        counts = "are its rest" if len(gated.gates.names) == 1 else "count neither for nor against a cluster"
        line += f"; the other {percent(1 - inside / n_events)} lie in none, and {counts}"
    overlap = gated.overlaps.message()
    return f"{line}\n{overlap}" if overlap else line
