"""Measure the labels of a run against manual gates."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cytomoe.errors import InputError
from cytomoe.io.given_tables import delimiter_of, read_text
from cytomoe.io.run_folder import MANIFEST, read_inputs
from cytomoe.io.tables import plain_cell
from cytomoe.runs.events import Events, open_events
from cytomoe.runs.gating import GateSource, find_gates
from cytomoe.runs.inputs import sha256
from cytomoe.runs.job import Listener

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cytomoe.io.gates import Gates

_COLUMNS = ["file", "event", "cluster"]


@dataclass(frozen=True)
class EvaluateJob:
    """A measurement to do.

    Attributes
    ----------
    labels
        ``labels.csv``, ``labels.parquet``, or the folder of a run.
    files
        The FCS files that were clustered; by default those that the run's manifest names.
    gates
        Where the gates stand.
    min_population
        Smaller gates are left out.
    data_set
        Which data set of files that hold several.
    allow_truncated
        Whether files that break off are read as far as whole events go.
    """

    labels: Path
    files: Sequence[Path] = ()
    gates: GateSource = field(default_factory=GateSource)
    min_population: int = 30
    data_set: int = 1
    allow_truncated: bool = False


def run_evaluate(job: EvaluateJob, listener: Listener | None = None) -> dict[str, Any]:
    """Measures of labels against gates, as ``evaluation.json`` holds them.

    As in the run itself, unassigned events are measured in their nearest cluster, where the labels tell it; events
    without any cluster, which is what 0 says, are not measured.

    Raises
    ------
    InputError
        If labels or gates can't be read or do not belong together.
    """
    if not job.gates:
        raise InputError("no gates are given; add --gate-pattern, --gate-channel or --gate-file")
    labels = read_labels(job.labels)
    if job.gates.file is not None and not job.files:
        from cytomoe.io.gates import read_gate_file

        gates = read_gate_file(job.gates.file, len(labels))
        once = _each_event_once(job.labels, len(labels))
        if once is not None:
            labels, gates = labels[once], gates.take(once)
            (listener or Listener()).say(f"{len(once):,} rows hold {len(labels):,} distinct events, each measured once")
        return _measure(labels, gates, {}, job.min_population, listener or Listener())
    paths = list(job.files) or _files_of_run(job.labels)
    events = open_events(paths, data_set=job.data_set, pattern=job.gates.pattern, allow_truncated=job.allow_truncated)
    _check_same_events(job.labels, labels, events)
    gated = find_gates(events, job.gates)
    assert gated is not None  # a source was given
    sample = np.array(events.samples, dtype=object)[events.sample]
    further = {"unique": gated.overlaps.unique, "sample": sample}
    return _measure(labels, gated.gates, further, job.min_population, listener or Listener())


def _each_event_once(run: Path, n_rows: int) -> NDArray[np.bool_] | None:
    """One row of each event of a run in which events stand in several files, shape (rows,); None where none does."""
    cells = run / "cells.h5ad"
    if not cells.is_file():
        return None
    from cytomoe.reporting.run_files import Cells

    counted = Cells.read(cells).counted
    return None if counted.all() or len(counted) != n_rows else counted


def _measure(
    labels: pd.DataFrame, gates: Gates, further: dict[str, NDArray[Any]], min_population: int, listener: Listener
) -> dict[str, Any]:
    """Measures on the events that have a cluster; ``further`` tells of each event whether it is unique, its sample."""
    from cytomoe.evaluation import evaluate

    clusters = labels["nearest_cluster" if "nearest_cluster" in labels else "cluster"].to_numpy()
    there = clusters > 0
    if not there.any():
        raise InputError("no event has a cluster; clusters count from 1, and 0 says that an event has none")
    if not there.all():
        listener.warn(f"{np.count_nonzero(~there):,} of {len(there):,} events have no cluster (0) and are not measured")
    further = {name: values[there] for name, values in further.items()}
    return evaluate(clusters[there], gates.take(there), **further, min_population=min_population)


def read_labels(path: Path) -> pd.DataFrame:
    """Labels with the columns file, event, cluster, from CSV, Parquet or the folder of a run.

    Raises
    ------
    InputError
        If the file is missing, is no table, or lacks a column.
    """
    file = path / "labels.parquet" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the labels.csv, labels.parquet or folder of a run")
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else _read_csv(file)
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: can't be read as a table of labels ({error})") from error
    if file.suffix != ".parquet" and "file" in table.columns:
        names = table["file"].astype(str)
        table["file"] = names.map({name: plain_cell(name) for name in names.unique()})
    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"{file}: has no column {missing[0]}; labels need the columns {', '.join(_COLUMNS)}")
    for column in {"event", "cluster", "nearest_cluster"} & set(table.columns):
        if not pd.api.types.is_integer_dtype(table[column]):
            raise InputError(
                f"{file}: the column {column} holds something else than whole numbers; the file is damaged"
            )
    return table


def _read_csv(file: Path) -> pd.DataFrame:
    """Labels as we write them, or as a spreadsheet saved them again."""
    text = read_text(file, str(file))
    return pd.read_csv(io.StringIO(text), sep=delimiter_of(text.partition("\n")[0]))


def _files_of_run(labels: Path) -> list[Path]:
    """The FCS files named by the manifest beside the labels."""
    folder = labels if labels.is_dir() else labels.parent
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder / MANIFEST} is not there, so the FCS files are not known; name them after {labels}")
    inputs = read_inputs(folder)
    paths = [Path(entry["path"]) for entry in inputs]
    for path, entry in zip(paths, inputs, strict=True):
        if not path.is_file():
            raise InputError(f"{path} was clustered but is not there any more; name the FCS files after {labels}")
        if sha256(path) != entry["sha256"]:
            raise InputError(f"{path} is not the file any more that was clustered; name the FCS files after {labels}")
    return paths


def _check_same_events(path: Path, labels: pd.DataFrame, events: Events) -> None:
    if len(labels) != events.n_events:
        raise InputError(f"{path} has {len(labels):,} labels, but the files hold {events.n_events:,} events")
    same_files = labels["file"].astype(str).to_numpy() == np.array(events.names, dtype=object)[events.file]
    if not (same_files & (labels["event"].to_numpy() == events.event)).all():
        raise InputError(f"{path}: files or events stand in another order than in the FCS files given")
