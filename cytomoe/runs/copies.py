"""Which rows of a run that is measured hold the same event, where several of its files do, and which of them count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.io.event_rows import EventRows, file_codes
from cytomoe.io.gates import Gates
from cytomoe.io.overlaps import find_overlaps, one_of_each_gate
from cytomoe.io.run_folder import distinct_events, read_inputs, read_manifest
from cytomoe.runs.events import Events
from cytomoe.runs.job import Listener
from cytomoe.twins import SharedEvents, tells_of_twins


@dataclass(frozen=True, eq=False)
class Copies:
    """Rows that hold the same events.

    Attributes
    ----------
    kept
        (rows,) the rows to measure: one of each event, or one in each gate where its rows lie in several.
    unique
        (rows,) whether the row's event lies in at most one gate.
    message
        What the user should know of it, a line.
    """

    kept: NDArray[np.bool_]
    unique: NDArray[np.bool_]
    message: str


def copies_of_run(
    run: Path,
    rows: EventRows,
    gates: Gates,
    events: Events | None,
    files_of_run: Callable[[], Events],
    listener: Listener,
) -> Copies | None:
    """Rows of a finished run that hold the same event; None where none do, as far as is known.

    Parameters
    ----------
    run
        Its folder.
    rows
        What each row is, in the order in which it is measured.
    gates
        The gate of each row.
    events
        The files, where they were opened already.
    files_of_run
        Opens them; raises InputError where they are not there any more.
    listener
        Warned where it can't be told.
    """
    manifest, inputs = read_manifest(run), read_inputs(run)
    samples = np.array([entry["sample"] for entry in inputs], dtype=object)
    if distinct_events(manifest) == len(rows):
        if len(set(samples)) < len(samples) or not (events or tells_of_twins(manifest["warnings"])):
            return None  # looked for within its samples, or by what the fit saw
        return _without_word_of_the_run(events, files_of_run, gates, listener)
    if events is None:
        try:
            events = files_of_run()
        except InputError:
            if not (run / "cells.h5ad").is_file():
                raise
            return _by_the_first_file(run, listener)
    names = [entry["file"] for entry in inputs]
    place = file_codes(events.names, names, str(run))
    return find_copies(events, gates, np.argsort(place), samples[place][events.file])


def copies_of_files(events: Events, gates: Gates) -> Copies | None:
    """Rows of files that hold the same event, where nothing is known of a run; None where none do."""
    return find_copies(events, gates, events.by_name) if _repeat(events) else None


def find_copies(
    events: Events, gates: Gates, order: NDArray[np.int64], sample: NDArray[np.object_] | None = None
) -> Copies:
    """Rows of files that hold the same event.

    Parameters
    ----------
    events
        The files.
    gates
        The gate of each row.
    order
        The files in the order in which the first of several rows counts, however they are given.
    sample
        (rows,) sample of each row; all are of one where it is None.
    """
    rows = np.argsort(np.argsort(order)[events.file], kind="stable")
    values = np.concatenate([np.asarray(raw.X) for raw in events.all_raw])[rows]
    ordered = Gates(gates.codes[rows], gates.names)
    found = find_overlaps(values, ordered, file=events.file[rows], sample=None if sample is None else sample[rows])
    kept, unique = np.empty(len(rows), dtype=bool), np.empty(len(rows), dtype=bool)
    kept[rows], unique[rows] = one_of_each_gate(found, ordered), found.unique
    once = f"{len(rows):,} rows hold {found.n_events:,} distinct events, each measured once"
    return Copies(kept, unique, found.message() if found.shared else once)


def _without_word_of_the_run(
    events: Events | None, files_of_run: Callable[[], Events], gates: Gates, listener: Listener
) -> Copies | None:
    """Rows that hold the same event in a run whose manifest does not count them."""
    try:
        events = files_of_run() if events is None else events
    except InputError as error:
        listener.warn(
            f"events stand in several files, and every row is measured: {error}, which counts each event once"
        )
        return None
    return copies_of_files(events, gates)


def _by_the_first_file(run: Path, listener: Listener) -> Copies:
    """The rows that the run counted itself, where its files are not there to tell which events the others hold."""
    from cytomoe.reporting.run_files import Cells

    counted = Cells.read(run / "cells.h5ad").counted
    once = f"{len(counted):,} rows hold {np.count_nonzero(counted):,} distinct events, each measured once"
    listener.warn(
        "the FCS files of the run are not there, so an event of several files is measured in the gate of the first; "
        "name the files after the run to measure it in each of its gates"
    )
    return Copies(counted, np.ones(len(counted), dtype=bool), once)


def _repeat(events: Events) -> bool:
    """Whether files of the same channels hold the same events, and more of them than may be alike by chance."""
    shared, channels = SharedEvents(events.names, events.n_events), set()
    for i in range(len(events.files)):
        for _, raw in events.chunks(i):
            shared.look(i, raw)
            channels.add(tuple(map(str, raw.var_names)))
    return len(channels) == 1 and bool(shared.warnings())
