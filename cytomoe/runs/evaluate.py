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
from cytomoe.io.gates import Gates, read_gate_file
from cytomoe.io.given_tables import delimiter_of, read_text
from cytomoe.io.overlaps import find_overlaps
from cytomoe.io.run_folder import MANIFEST, distinct_events, read_inputs, read_manifest
from cytomoe.io.tables import plain_cell
from cytomoe.runs.events import Events, open_events
from cytomoe.runs.gating import GateSource, find_gates
from cytomoe.runs.inputs import sha256
from cytomoe.runs.job import Listener

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    listener = listener or Listener()
    further: dict[str, NDArray[Any]] = {}
    if job.gates.file is not None and not job.files:
        gates = read_gate_file(job.gates.file, len(labels))
    else:
        events = _open_files(job)
        _check_same_events(job.labels, labels, events)
        gated = find_gates(events, job.gates)
        assert gated is not None  # a source was given
        gates = gated.gates
        sample = np.array(events.samples, dtype=object)[events.sample]
        further = {"unique": gated.overlaps.unique, "sample": sample}
    once = None if job.gates.pattern is not None else _each_event_once(job, len(labels))
    if once is not None:
        listener.say(f"{len(once):,} rows hold {np.count_nonzero(once):,} distinct events, each measured once")
        labels, gates = labels[once], gates.take(once)
        further = {name: values[once] for name, values in further.items()}
    return _measure(labels, gates, further, job.min_population, listener)


def _open_files(job: EvaluateJob) -> Events:
    paths = list(job.files) or _files_of_run(job.labels)
    return open_events(paths, data_set=job.data_set, pattern=job.gates.pattern, allow_truncated=job.allow_truncated)


def _each_event_once(job: EvaluateJob, n_rows: int) -> NDArray[np.bool_] | None:
    """One row of each event of a run in which events stand in several files, shape (rows,); None where none does."""
    run = _folder_of(job.labels)
    if not (run / MANIFEST).is_file():
        return None
    manifest = read_manifest(run)
    if manifest["events"] != n_rows or distinct_events(manifest) == n_rows:
        return None
    if (run / "cells.h5ad").is_file():
        from cytomoe.reporting.run_files import Cells

        return Cells.read(run / "cells.h5ad").counted
    events = _open_files(job)
    values = np.concatenate([np.asarray(adata.X) for adata in events.adatas])
    sample = np.array([entry.get("sample", "") for entry in read_inputs(run)], dtype=object)[events.file]
    return find_overlaps(values, Gates(np.full(n_rows, -1, dtype=np.int32), ()), file=events.file, sample=sample).first


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


def _folder_of(labels: Path) -> Path:
    """The folder of the run whose labels these are."""
    return labels if labels.is_dir() else labels.parent


def _files_of_run(labels: Path) -> list[Path]:
    """The FCS files named by the manifest beside the labels."""
    folder = _folder_of(labels)
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
