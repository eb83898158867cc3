"""The labels of all samples of a batch, brought to the events that a table of gates names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.io.event_rows import FILE_COLUMNS, EventRows
from cytomoe.io.gate_tables import columns_of
from cytomoe.io.run_folder import MANIFEST, distinct_events, read_batch, read_inputs, read_json, read_manifest
from cytomoe.runs.events import file_names
from cytomoe.twins import tells_of_twins


@dataclass(frozen=True, eq=False)
class BatchLabels:
    """Labels of the samples of a batch of one model.

    Attributes
    ----------
    labels
        Those of all samples, one after the other.
    rows
        Which event each is, of files that are called as the table of gates does: by file, or by sample.
    sample
        (rows,) sample of each.
    repeats
        Whether samples are known to hold the same events.
    """

    labels: pd.DataFrame
    rows: EventRows
    sample: NDArray[Any]
    repeats: bool


def labels_of_batch(run: Path, gates: str, read_labels: Callable[[Path], pd.DataFrame]) -> BatchLabels:
    """Labels of a batch, for a table of gates.

    Parameters
    ----------
    run
        Folder of the batch.
    gates
        Table of gates, ``path`` or ``path:column``.
    read_labels
        Reads those of one sample from its folder.

    Raises
    ------
    InputError
        If samples have clusters of their own, events stand in several files of one, or the table does not say of which
        file or sample its rows are.
    """
    _, abundance = read_batch(run)
    samples = abundance["sample"].astype(str).tolist()
    columns = {name.casefold() for name in columns_of(gates)}
    by_sample = "sample" in columns and not columns & set(FILE_COLUMNS)
    if not by_sample and not columns & set(FILE_COLUMNS):
        raise InputError(
            f"--gate-file {gates}: for a batch it must say which event each row is; add the columns file (or sample) "
            "and event, as labels.csv in wells/ has them"
        )
    tables, inputs, owners = [], list[dict[str, Any]](), list[str]()
    for sample in samples:
        well = run / "wells" / sample
        own = read_inputs(well)
        if distinct_events(read_manifest(well)) != sum(entry["events"] for entry in own):
            raise InputError(
                f"events of {sample} stand in several of its files; measure its samples one by one: {well}"
            )
        if by_sample and len(own) > 1:
            raise InputError(
                f"--gate-file {gates}: {sample} has {len(own)} files; add a column file to tell them apart"
            )
        tables.append(read_labels(well))
        if len(tables[-1]) != sum(entry["events"] for entry in own):
            raise InputError(f"{well}: its labels are not those of its files; the folder is damaged")
        inputs += own
        owners += [sample] * len(own)
    sizes = [entry["events"] for entry in inputs]
    names = samples if by_sample else file_names([Path(entry["path"]) for entry in inputs])
    return BatchLabels(
        pd.concat(tables, ignore_index=True),
        EventRows.of_files(names, sizes),
        np.repeat(np.array(owners, dtype=object), sizes),
        tells_of_twins(read_json(run / MANIFEST).get("warnings", [])),
    )
