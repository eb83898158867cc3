"""The table of samples: which file belongs to which sample, and its condition, batch and whatever else it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cytomoe.errors import InputError, did_you_mean
from cytomoe.io.given_tables import read_table, refuse_reserved
from cytomoe.runs.events import Events


def read_samples(path: Path, *, by_file: bool = True) -> pd.DataFrame:
    """Read a table with the columns file, sample and any others, such as condition and batch; all as text.

    Without ``by_file`` the column file may be missing.

    Raises
    ------
    InputError
        If it can't be read, lacks the column file or sample, or names a file twice.
    """
    table = read_table(path, f"--samples {path}")
    for column in ("file", "sample") if by_file else ("sample",):
        if column not in table:
            raise InputError(f"--samples {path}: no column {column}; it needs file, sample and, if you like, condition")
    if "file" not in table:
        return table
    repeated = table["file"][table["file"].duplicated()]
    if len(repeated):
        raise InputError(f"--samples {path}: file {repeated.iloc[0]} stands in it twice")
    return table


def with_samples(events: Events, path: Path) -> Events:
    """Give the files of a run the samples that a table names, with the table's other columns as their conditions.

    Parameters
    ----------
    events
        Of the run.
    path
        The table; files that the run does not have are left out.

    Raises
    ------
    InputError
        If a file of the run is missing in the table or has no sample there, a column differs between files of one
        sample, has no name, or the name of a column that cytomoe writes.
    """
    table = read_samples(path).set_index("file")
    refuse_reserved(table.columns.drop("sample"), f"--samples {path}")
    by_name = [name if name in table.index else Path(name).name for name in events.names]
    for name in by_name:
        if name not in table.index:
            raise InputError(f"--samples {path}: no row for the file {name}{did_you_mean(name, table.index)}")
    rows = table.loc[by_name]
    if not rows["sample"].all():
        raise InputError(f"--samples {path}: no sample is named for the file {rows.index[rows['sample'] == ''][0]}")
    used = table[table.index.isin(by_name)]
    samples = list(dict.fromkeys(used["sample"]))
    conditions = used.drop_duplicates().set_index("sample")
    twice = conditions.index[conditions.index.duplicated()]
    if len(twice):
        differing = [column for column in conditions if conditions.loc[twice[0], column].nunique() > 1]
        raise InputError(f"--samples {path}: the files of sample {twice[0]} differ in {', '.join(differing)}")
    file_sample = np.array([samples.index(sample) for sample in rows["sample"]])
    return replace(events, samples=samples, file_sample=file_sample, conditions=conditions.loc[samples])


def refuse_marker_columns(events: Events, markers: Sequence[str]) -> None:
    """Refuse conditions that are called like a marker: ``medians.csv`` has a column of each."""
    for column in () if events.conditions is None else events.conditions:
        if column in markers:
            raise InputError(f"--samples: the column {column} is called like a marker; call it something else")
