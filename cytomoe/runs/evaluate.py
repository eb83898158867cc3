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
from cytomoe.io.event_rows import EventRows, file_codes, names_a_file, order_by_event, refuse_repeated
from cytomoe.io.gate_tables import read_gate_file
from cytomoe.io.gates import Gates
from cytomoe.io.given_tables import delimiter_of, read_text
from cytomoe.io.run_folder import MANIFEST, is_batch, read_inputs
from cytomoe.io.tables import plain_cell
from cytomoe.runs.batch_labels import labels_of_batch
from cytomoe.runs.copies import Copies, copies_of_files, copies_of_run
from cytomoe.runs.events import Events, file_names, open_events
from cytomoe.runs.gating import GateSource, find_gates
from cytomoe.runs.inputs import sha256
from cytomoe.runs.job import Listener
from cytomoe.words import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray


_COLUMNS = ["file", "event", "cluster"]
_NAMED = 4  # files that a message names
_NUMBER = "population_number"  # of the population that a cluster was merged into


@dataclass(frozen=True)
class EvaluateJob:
    """A measurement to do.

    Attributes
    ----------
    labels
        ``labels.csv``, ``labels.parquet``, or the folder of a run or batch.
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


def run_evaluate(job: EvaluateJob, listener: Listener | None = None) -> tuple[dict[str, Any], str]:
    """Measures of labels against gates, as ``evaluation.json`` holds them, and what they are of: cluster or population.

    As in the run itself, unassigned events are measured in their nearest cluster, where the labels tell it; events
    without any cluster, which is what 0 says, are not measured. Where clusters were merged into populations, these are
    measured.

    Raises
    ------
    InputError
        If labels or gates can't be read or do not belong together.
    """
    if not job.labels.exists():
        raise _no_labels(job.labels)
    if not job.gates:
        raise InputError("no gates are given; add --gate-pattern, --gate-channel or --gate-file")
    listener = listener or Listener()
    if is_batch(job.labels):
        return _of_batch(job, listener)
    table = read_labels(job.labels)
    events = _open_files(job, table, listener) if job.files or job.gates.file is None else None
    labels, rows = _in_run_order(job, table, events, listener)
    further: dict[str, NDArray[Any]] = {}
    if events is None:
        gates = read_gate_file(job.gates.file or "", rows, listener.say)
    else:
        gated = find_gates(events, job.gates, listener)
        assert gated is not None  # a source was given
        gates = gated.gates
        further = {"unique": gated.overlaps.unique, "sample": _samples(job, rows, events)}
    copies = None if job.gates.pattern is not None else _copies(job, table, rows, events, gates, listener)
    if events is None and len(rows.names) > 1 and not (_folder_of(job.labels) / MANIFEST).is_file():
        listener.say(
            f"{job.labels} stands alone, so whether events are in several of its {len(rows.names)} files is not known, "
            "and every row is measured; name the FCS files after it to count each event once"
        )
    if copies is not None:
        listener.say(copies.message)
        labels, gates = labels[copies.kept], gates.take(copies.kept)
        further = {name: values[copies.kept] for name, values in (further | {"unique": copies.unique}).items()}
    return _measure(labels, gates, further, job.min_population, listener)


def _of_batch(job: EvaluateJob, listener: Listener) -> tuple[dict[str, Any], str]:
    """Measures of all samples of a batch together against a table of gates."""
    if job.gates.file is None or job.files:
        raise InputError(
            f"{job.labels} is the folder of a batch, which is measured against a table of gates alone (--gate-file), "
            f"without FCS files; other gates: give them to cytomoe batch, or measure a sample in {job.labels / 'wells'}"
        )
    batch = labels_of_batch(job.labels, job.gates.file, read_labels)
    gates = read_gate_file(job.gates.file, batch.rows, listener.say)
    if not gates.names:
        raise InputError(f"--gate-file {job.gates.file}: no event has a gate")
    if batch.repeats:
        listener.warn("files of the batch hold the same events, each of which is measured as often as it stands there")
    return _measure(batch.labels, gates, {"sample": batch.sample}, job.min_population, listener)


def _open_files(job: EvaluateJob, labels: pd.DataFrame, listener: Listener) -> Events:
    """The files in the order in which they were clustered, by which rows of a plain table of gates count."""
    paths = _as_clustered(job, labels, listener) if job.files else _files_of_run(job.labels)
    return open_events(paths, data_set=job.data_set, pattern=job.gates.pattern, allow_truncated=job.allow_truncated)


def _as_clustered(job: EvaluateJob, labels: pd.DataFrame, listener: Listener) -> list[Path]:
    """The files given, in the order of the run or else of its labels; as they come where neither tells it."""
    paths, run = list(job.files), _folder_of(job.labels)
    if _rows_of_run(run, len(labels)) is not None:
        known = [entry["file"] for entry in read_inputs(run)]
    else:
        rows, order = _rows_of_labels(
            labels["file"].astype(str).to_numpy(dtype=object), labels["event"].to_numpy(dtype=np.int64), run
        )
        known = list(rows.names)
        if (order != np.arange(len(order))).any():
            return paths
    names = file_names(paths)
    if not all(names_a_file([name], known) for name in names):
        return paths  # which is refused when the labels are held against them
    order = np.argsort(file_codes(names, known, "the FCS files given"), kind="stable")
    if (order != np.arange(len(order))).any():
        listener.say(f"the FCS files are taken in the order in which they were clustered: {listed(known, _NAMED)}")
    return [paths[i] for i in order]


def _in_run_order(
    job: EvaluateJob, labels: pd.DataFrame, events: Events | None, listener: Listener
) -> tuple[pd.DataFrame, EventRows]:
    """Labels in the order of the files, and the events that they are of; a spreadsheet may have sorted them."""
    what, files = str(job.labels), labels["file"].astype(str).to_numpy(dtype=object)
    numbers = labels["event"].to_numpy(dtype=np.int64)
    if events is not None:
        if len(labels) != events.n_events:
            raise InputError(f"{what} has {len(labels):,} labels, but the files hold {events.n_events:,} events")
        rows: EventRows | None = EventRows.of_files(events.names, events.sizes)
    else:
        rows = _rows_of_run(_folder_of(job.labels), len(labels))
    if rows is not None:
        where = "the FCS files given" if job.files else "the run"
        codes = file_codes(files, rows.names, what, where)
        order = order_by_event(codes, numbers, rows, what, where=where)
    else:
        rows, order = _rows_of_labels(files, numbers, _folder_of(job.labels))
        refuse_repeated(rows, what)
    if (order != np.arange(len(order))).any():
        listener.say(f"{what}: its rows were brought into the order of the files")
    return labels.iloc[order], rows


def _rows_of_labels(
    files: NDArray[np.object_], numbers: NDArray[np.int64], run: Path
) -> tuple[EventRows, NDArray[np.intp]]:
    """The events of labels sorted by file and event, and where each stands in them.

    Files are in the order of the run, if that is known, or else as they come: in labels that were moved that says
    nothing.
    """
    known = [entry["file"] for entry in read_inputs(run)] if (run / MANIFEST).is_file() else []
    there = dict.fromkeys(pd.unique(files))
    names = [*(name for name in known if name in there), *(name for name in there if name not in known)]
    codes = pd.Categorical(files, categories=names).codes.astype(np.int64)
    order = np.lexsort((numbers, codes))
    moved = bool((order != np.arange(len(order))).any())
    ordered = not moved or len(names) == 1 or set(names) <= set(known)
    return EventRows(tuple(names), codes[order], numbers[order], ordered), order


def _rows_of_run(run: Path, n_rows: int) -> EventRows | None:
    """The events of the run in whose folder labels lie; None where there is none, or it has another number of them."""
    if not (run / MANIFEST).is_file():
        return None
    inputs = read_inputs(run)
    rows = EventRows.of_files([entry["file"] for entry in inputs], [entry["events"] for entry in inputs])
    return rows if len(rows) == n_rows else None


def _copies(
    job: EvaluateJob, labels: pd.DataFrame, rows: EventRows, events: Events | None, gates: Gates, listener: Listener
) -> Copies | None:
    """Rows that hold the same event, where it is known of any."""
    run = _folder_of(job.labels)
    if _rows_of_run(run, len(rows)) is not None:
        return copies_of_run(run, rows, gates, events, lambda: _open_files(job, labels, Listener()), listener)
    return None if events is None else copies_of_files(events, gates)


def _samples(job: EvaluateJob, rows: EventRows, events: Events) -> NDArray[np.object_]:
    """Sample of each row: of the pattern where there is one, else of the run, else each file is one."""
    run = _folder_of(job.labels)
    of_run = None if job.gates.pattern is not None else _rows_of_run(run, len(rows))
    if of_run is None:
        return np.array(events.samples, dtype=object)[events.sample]
    samples = np.array([entry["sample"] for entry in read_inputs(run)], dtype=object)
    return samples[file_codes(events.names, of_run.names, str(job.labels))][events.file]


def _measure(
    labels: pd.DataFrame, gates: Gates, further: dict[str, NDArray[Any]], min_population: int, listener: Listener
) -> tuple[dict[str, Any], str]:
    """Measures on the events that have a cluster, and what was measured.

    ``further`` tells of each event whether it is unique, and its sample.
    """
    from cytomoe.evaluation import evaluate

    for line in gates.names_alike():
        listener.warn(line)
    what = "cluster" if _NUMBER not in labels else "population"
    numbers = _populations(labels) if what == "population" else labels[_column_of_clusters(labels)].to_numpy()
    there = numbers > 0
    if not there.any():
        raise InputError(f"no event has a {what}; {what}s count from 1, and 0 says that an event has none")
    if what == "population":
        listener.say(
            f"measured are the populations that clusters were merged into (column {_NUMBER}), not the clusters"
        )
    if not there.all():
        listener.warn(f"{np.count_nonzero(~there):,} of {len(there):,} events have no {what} (0) and are not measured")
    further = {name: values[there] for name, values in further.items()}
    return evaluate(numbers[there], gates.take(there), **further, min_population=min_population), what


def _column_of_clusters(labels: pd.DataFrame) -> str:
    return "nearest_cluster" if "nearest_cluster" in labels else "cluster"


def _populations(labels: pd.DataFrame) -> NDArray[np.int64]:
    """Number of each event's population, of unassigned events that of their nearest cluster; 0 where there is none."""
    pairs = labels.loc[labels["cluster"] > 0, ["cluster", _NUMBER]].drop_duplicates()
    twice = pairs["cluster"].duplicated()
    if twice.any():
        cluster = pairs.loc[twice, "cluster"].iloc[0]
        raise InputError(f"the labels put events of cluster {cluster} into several populations; they are damaged")
    population = pairs.set_index("cluster")[_NUMBER]
    numbers = labels[_column_of_clusters(labels)].map(population).fillna(0)
    return numbers.to_numpy(dtype=np.int64)


def _no_labels(path: Path) -> InputError:
    return InputError(f"{path}: no such file or folder; give the labels.csv, labels.parquet or folder of a run")


def read_labels(path: Path) -> pd.DataFrame:
    """Labels with the columns file, event, cluster, from CSV, Parquet or the folder of a run.

    Raises
    ------
    InputError
        If the file is missing, is no table, or lacks a column.
    """
    file = path / "labels.parquet" if path.is_dir() else path
    if not file.is_file():
        raise _no_labels(file)
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
    for column in {"event", "cluster", "nearest_cluster", _NUMBER} & set(table.columns):
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
