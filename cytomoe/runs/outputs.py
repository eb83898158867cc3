"""The folder of a run, and the tables and files in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.io.atomic import path_of
from cytomoe.io.lock import alone
from cytomoe.io.run_folder import MANIFEST
from cytomoe.io.tables import safe_cell
from cytomoe.io.written import write_csv, write_json
from cytomoe.runs.inputs import refuse_to_replace

if TYPE_CHECKING:
    import pyarrow as pa

    from cytomoe.runs.mapping import MappedEvents

# Bytes of a written file's name, so that it fits with the digits and the temporary suffix that it may get.
_LONGEST_NAME = 180

LABELS_AT_ONCE = 1 << 18
# Population of events that fit no cluster; their cluster is 0.
UNASSIGNED = "unassigned"


@contextmanager
def output_folder(out: Path, force: bool, reads: Sequence[Path] = ()) -> Iterator[None]:
    """Have the folder of the results to ourselves for a whole job, and refuse it before any work is done if need be.

    What is read must not lie in it. An interruption of the block takes a note along of what stands in the folder.

    Raises
    ------
    InputError
        If another run is writing there; if the folder exists and ``force`` is off; if it holds anything but an earlier
        run.
    """
    refuse_to_replace(out, reads)
    with alone(out):
        check_output(out, force)
        replaced = (out / MANIFEST).is_file()
        try:
            yield
        except KeyboardInterrupt as stop:
            if not getattr(stop, "__notes__", ()):
                stop.add_note(f"the earlier results in {out} are as they were" if replaced else "nothing was written")
            raise


def check_output(out: Path, force: bool) -> None:
    """Refuse an output folder that exists, before any work is done.

    Raises
    ------
    InputError
        If the folder exists and ``force`` is off, if it holds anything but an earlier run, or if it can't be moved.
    """
    place = out.resolve()
    if place == Path.cwd() or place.is_mount():
        raise InputError(f"{out}: results come in a folder of their own; give one in it: --out {out / 'results'}")
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file; give another --out")
    if not any(out.iterdir()):
        return
    if not force:
        raise InputError(f"{out} exists already; give another --out, or --force to replace it")
    if not (out / MANIFEST).is_file():
        raise InputError(
            f"{out} is not the folder of an earlier run, so --force does not replace it; give another --out"
        )
    fixed = next((path for path, _, _ in os.walk(out) if not os.access(path, os.W_OK | os.X_OK)), None)
    if fixed is not None:
        raise InputError(f"{out} can't be replaced: nothing can be removed from {fixed}; give another --out")


def write_labels(folder: Path, mapped: MappedEvents) -> None:
    """Write ``labels.csv`` and ``labels.parquet``: a row per event, in file order.

    Columns file, event, cluster, confidence, population where populations are named and, where events may be
    unassigned, nearest_cluster and outlyingness.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    events, populations = mapped.events, mapped.names.populations
    files = pa.array(events.names)
    # Each name once: where a dictionary repeats itself, Arrow writes bytes that it has not set, and no two files agree.
    called = list(dict.fromkeys([UNASSIGNED, *populations])) if populations else None
    number_of = np.array([called.index(name) for name in (UNASSIGNED, *populations)], np.int32) if called else None
    text = pa.dictionary(pa.int32(), pa.string())
    columns = {"file": text, "event": pa.int64(), "cluster": pa.int32(), "confidence": pa.float32()}
    columns |= {} if called is None else {"population": text}
    if mapped.outlyingness is not None:
        columns |= {"nearest_cluster": pa.int32(), "outlyingness": pa.float32()}
    readable = {name: pa.string() if kind == text else kind for name, kind in columns.items()}
    readable = {name: pa.float64() if kind == pa.float32() else kind for name, kind in readable.items()}
    schemas = pa.schema(columns), pa.schema(readable)
    with (
        (folder / "labels.parquet").open("wb") as binary_file,  # Arrow knows only paths that are text
        (folder / "labels.csv").open("wb") as plain_file,
        parquet.ParquetWriter(binary_file, schemas[0]) as binary,
        csv.CSVWriter(plain_file, schemas[1], write_options=csv.WriteOptions(quoting_style="needed")) as plain,
    ):
        for i, start in enumerate(events.starts.tolist()):
            for first in range(start, start + events.sizes[i], LABELS_AT_ONCE):
                last = min(first + LABELS_AT_ONCE, start + events.sizes[i])
                cluster = mapped.clusters[first:last]
                parts = {
                    "file": pa.DictionaryArray.from_arrays(pa.array(np.full(last - first, i, dtype=np.int32)), files),
                    "event": pa.array(np.arange(first - start, last - start)),
                    "cluster": pa.array(cluster),
                    "confidence": pa.array(mapped.confidence[first:last]),
                }
                if number_of is not None:
                    parts["population"] = pa.DictionaryArray.from_arrays(pa.array(number_of[cluster]), pa.array(called))
                if mapped.outlyingness is not None:
                    parts["nearest_cluster"] = pa.array(mapped.nearest[first:last])
                    parts["outlyingness"] = pa.array(mapped.outlyingness[first:last])
                binary.write_table(pa.table(parts, schemas[0]))
                plain.write_table(pa.table({n: _readable(part) for n, part in parts.items()}, schemas[1]))


def _readable(column: pa.Array) -> pa.Array:
    """A column as it stands in a CSV table: texts that no program takes for a formula, four decimals."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        cells = pa.array([safe_cell(text) for text in column.dictionary.to_pylist()], pa.string())
        return pa.DictionaryArray.from_arrays(column.indices, cells).cast(pa.string())
    if pa.types.is_floating(column.type):
        return pa.array(np.round(column.to_numpy().astype(np.float64), 4))
    return column


def cluster_table(mapped: MappedEvents) -> pd.DataFrame:
    """Clusters with their names, stability (NaN where unknown), events, fraction of all events and marker medians.

    Medians are of the transformed values, NaN where a cluster is empty. An event that stands in several files counts
    once.
    """
    found = mapped.enrichment
    described = {
        "cluster": np.arange(1, mapped.model.n_clusters_ + 1),
        **mapped.names.columns,
        "stability": np.round(mapped.model.summary_.stability.astype(np.float64), 3),
        "events": mapped.sizes,
        "fraction": np.round(mapped.sizes / max(mapped.n_counted, 1), 6),
    }
    # Beside each other, not in one dictionary: a marker may be called label.
    medians = pd.DataFrame(np.round(found.medians, 4), columns=list(found.markers))
    return pd.concat([pd.DataFrame(described), medians], axis=1)


def abundance_counts(mapped: MappedEvents) -> NDArray[np.int64]:
    """Events of each cluster, from 0 (unassigned), in each sample, each counted once; shape (samples, clusters + 1)."""
    events = mapped.events
    counts = np.zeros((len(events.samples), mapped.model.n_clusters_ + 1), dtype=np.int64)
    for sample, start, size in zip(events.file_sample, events.starts.tolist(), events.sizes, strict=True):
        counts[sample] += mapped.count(mapped.clusters, slice(start, start + size))
    return counts


def abundance_table(mapped: MappedEvents) -> pd.DataFrame:
    """Events of each cluster in each sample: sample, events, cluster_1 to cluster_n; unassigned where that may be.

    An event that stands in several files of a sample is counted once.
    """
    counts = abundance_counts(mapped)
    table = pd.DataFrame(counts[:, 1:], columns=[f"cluster_{k}" for k in range(1, counts.shape[1])])
    table.insert(0, "sample", list(mapped.events.samples))
    table.insert(1, "events", counts.sum(axis=1))
    if mapped.leaves_out:
        table.insert(2, "unassigned", counts[:, 0])
    return with_conditions(table, mapped.events.conditions)


def with_conditions(table: pd.DataFrame, conditions: pd.DataFrame | None) -> pd.DataFrame:
    """Put the conditions of the samples behind the column sample of a table."""
    if conditions is None:
        return table
    for i, column in enumerate(conditions.columns, start=1):
        table.insert(i, column, conditions[column].reindex(table["sample"]).to_numpy())
    return table


def write_fcs_files(folder: Path, mapped: MappedEvents) -> None:
    """Write ``fcs/<name>.fcs`` for each file: its own channels, cluster (0: unassigned) and confidence.

    Where events may be unassigned, outlyingness too. The keywords CYTOMOE_CLUSTER_1, ... say what the clusters are
    called.
    """
    from cytomoe.io.fcs_write import write_fcs

    events, names = mapped.events, mapped.names
    (folder / "fcs").mkdir()
    called = names.populations or names.labels
    keywords = {f"CYTOMOE_CLUSTER_{k}": name for k, name in enumerate(called, start=1)}
    for i, name in enumerate(fcs_names(events.names)):
        rows = slice(int(events.starts[i]), int(events.starts[i]) + events.sizes[i])
        added = {"cluster": mapped.clusters[rows], "confidence": mapped.confidence[rows]}
        if mapped.outlyingness is not None:
            added["outlyingness"] = mapped.outlyingness[rows]
        source = events.read(i) if events.held else events.files[i].open()
        write_fcs(source, folder / "fcs" / path_of(name), extra=added, keywords=keywords)


def fcs_names(names: Sequence[str]) -> list[str]:
    """File names for written FCS files: flat, with the suffix ``.fcs``, all different."""
    flat = []
    for name in names:
        base = re.sub(r"(?i)(\.fcs)?(\.gz)?$", "", name)
        base = re.sub(r"[/\\\x00-\x1f]", "_", base).lstrip("._") or "cells"
        flat.append(f"{base.encode()[:_LONGEST_NAME].decode(errors='ignore')}.fcs")
    if len({name.casefold() for name in flat}) != len(flat):  # some file systems do not tell A from a
        flat = [f"{i:03d}_{name}" for i, name in enumerate(flat, start=1)]
    return flat


def write_evaluation(folder: Path, evaluation: dict[str, Any]) -> None:
    """Write ``evaluation.json`` and ``evaluation.csv``."""
    from cytomoe.evaluation import evaluation_table

    write_json(folder / "evaluation.json", evaluation)
    write_csv(folder / "evaluation.csv", evaluation_table(evaluation))
