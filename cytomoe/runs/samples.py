"""The table of samples: which file belongs to which sample, and its condition, batch and whatever else it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cytomoe.errors import InputError, did_you_mean
from cytomoe.io.event_rows import FILE_COLUMNS, SAMPLE_COLUMNS
from cytomoe.io.fcs_names import without_suffix
from cytomoe.io.given_tables import read_table, refuse_reserved
from cytomoe.runs.events import Events


def read_samples(path: Path) -> pd.DataFrame:
    """Read a table with the columns sample, file and any others, such as condition and batch; all as text.

    The column file may be missing, and is also found as ``filename``. Without a column sample each file is one, and is
    called by its name.

    Raises
    ------
    InputError
        If it can't be read, has neither column, or names a file twice.
    """
    table = read_table(path, f"--samples {path}")
    table = table.rename(columns=_usual_names(list(map(str, table.columns))))
    if "file" in table:
        repeated = table["file"][table["file"].duplicated()]
        if len(repeated):
            raise InputError(f"--samples {path}: file {repeated.iloc[0]} stands in it twice")
    elif "sample" not in table:
        raise InputError(
            f"--samples {path}: no column sample; it needs sample, file where samples are called otherwise, and, if "
            "you like, condition"
        )
    if "sample" not in table:
        table = table.rename(columns={"file": "sample"})
        alone = table["sample"].map(lambda name: Path(name).name)
        table["sample"] = table["sample"] if alone.duplicated().any() else alone
    return table


def with_samples(events: Events, path: Path) -> Events:
    """Give the files of a run the samples that a table names, with the table's other columns as their conditions.

    Parameters
    ----------
    events
        Of the run.
    path
        The table; files that the run does not have are left out. Where it has no column file, its samples are those
        of the run, or called by their file.

    Raises
    ------
    InputError
        If a file of the run is missing in the table or has no sample there, a column differs between files of one
        sample, has no name, or the name of a column that cytomoe writes.
    """
    table = read_samples(path)
    by_file = "file" in table
    table = table.set_index("file") if by_file else table.drop_duplicates().set_index("sample", drop=False)
    refuse_reserved(table.columns.drop("sample"), f"--samples {path}")
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise InputError(f"--samples {path}: sample {twice[0]} stands in it twice")
    own = [events.samples[i] for i in events.file_sample]
    keys = [
        _row_of(name, file.path, None if by_file else sample, table.index, path)
        for name, file, sample in zip(events.names, events.files, own, strict=True)
    ]
    if not by_file:  # the run calls them without .fcs, whatever the table does
        called = dict(zip(keys, own, strict=True))
        table = table.assign(sample=[called.get(key, key) for key in table.index])
    rows = table.loc[keys]
    if not rows["sample"].all():
        raise InputError(f"--samples {path}: no sample is named for the file {rows.index[rows['sample'] == ''][0]}")
    used = table[table.index.isin(keys)]
    samples = list(dict.fromkeys(used["sample"]))
    conditions = used.drop_duplicates().set_index("sample")
    twice = conditions.index[conditions.index.duplicated()]
    if len(twice):
        differing = [column for column in conditions if conditions.loc[twice[0], column].nunique() > 1]
        raise InputError(f"--samples {path}: the files of sample {twice[0]} differ in {', '.join(differing)}")
    file_sample = np.array([samples.index(sample) for sample in rows["sample"]])
    return replace(events, samples=samples, file_sample=file_sample, conditions=conditions.loc[samples])


def _usual_names(columns: list[str]) -> dict[str, str]:
    """The columns file and sample by the names that a table gives them."""
    found = {}
    for usual, names in (("file", FILE_COLUMNS), ("sample", SAMPLE_COLUMNS)):
        called = [column for name in names for column in columns if column.casefold() == name]
        if called and usual not in columns:
            found[called[0]] = usual
    return found


def _row_of(file: str, place: Path, sample: str | None, rows: pd.Index[str], path: Path) -> str:
    """The row of a file: by its name, by its sample where that is given, or by its path or the end of it.

    All with or without .fcs, as people and programs write them.
    """
    names = [file, Path(file).name] if sample is None else [sample, file]
    if sample is None:
        names += [without_suffix(name) for name in names]
    found = next((name for name in names if name in rows), None) or _by_path(place, rows)
    if found is None:
        what = f"the file {file}" if sample is None else f"the sample {sample}"
        raise InputError(f"--samples {path}: no row for {what}{did_you_mean(names[0], rows)}")
    return found


def _by_path(place: Path, rows: pd.Index[str]) -> str | None:
    """The only row that names a file by folder and name, such as ``plate1/A01.fcs``; None where none or several do.

    From where ``../`` starts is not known, and does not count.
    """
    own = Path(without_suffix(str(place.absolute()))).parts
    ends = ((row, [part for part in Path(without_suffix(row)).parts if part != ".."]) for row in rows)
    found = [row for row, end in ends if len(end) > 1 and list(own[-len(end) :]) == end]
    return found[0] if len(found) == 1 else None


def refuse_marker_columns(events: Events, markers: Sequence[str]) -> None:
    """Refuse conditions that are called like a marker: ``medians.csv`` has a column of each."""
    for column in () if events.conditions is None else events.conditions:
        if column in markers:
            raise InputError(f"--samples: the column {column} is called like a marker; call it something else")
