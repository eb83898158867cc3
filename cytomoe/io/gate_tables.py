"""Tables of gates: a row per event, in the order of the files or with columns that say which event it is."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cytomoe.errors import InputError, did_you_mean
from cytomoe.io.event_rows import (
    FILE_COLUMNS,
    EventRows,
    counts_rows,
    difference_of_files,
    names_a_file,
    order_of_some,
    order_of_table,
)
from cytomoe.io.gates import Gates
from cytomoe.io.given_tables import delimiter_of, read_text
from cytomoe.words import counted

# Columns that name the file of a row, the surest first.
_SAMPLE = "sample"
_FILES = (*FILE_COLUMNS, _SAMPLE)
# Columns of tables of events that hold gates, the likeliest first, and such as never do.
_CALLED_GATES = ("gate", "population", "cluster")
_NO_GATES = frozenset({*_FILES, "event", "confidence", "outlyingness"})
# First lines that are no gate though a row is lacking below them.
_HEADERS = frozenset({*_FILES, "event", "label", "celltype", "cell_type", "cell type", *_CALLED_GATES})


def _ignore(_: str) -> None:
    """Say nothing."""


def read_gate_file(source: str | os.PathLike[str], rows: EventRows, say: Callable[[str], None] = _ignore) -> Gates:
    """Gates from a table with one row per event, with or without a header line.

    A table with a column ``event`` (and ``file``, where there are several) may be in any order, as long as its events
    are those of the run, and need not have them all: those without a row are in no gate. With a column ``file`` alone,
    files may be in any order; any other table is in that of the files.

    Parameters
    ----------
    source
        ``gates.csv`` or ``gates.csv:column``; comma, semicolon or tab separated. A column is named by its header, or
        by its number from 1 where there is none.
    rows
        The events that need a gate.
    say
        Told where rows of the table were moved.

    Returns
    -------
    Gates
        In the order of ``rows``.

    Raises
    ------
    InputError
        If the file can't be read, its rows are not the events, or the column is not clear.
    """
    path, column = _split_source(os.fspath(source))
    table = _read_table(path)
    header = _has_header(table, rows, path)
    names = [str(name).strip() for name in table.iloc[0]] if header else [str(i + 1) for i in range(table.shape[1])]
    table = _rows_of_events(table, header, len(rows))
    position = _column_position(names, column, header, path, table)
    what = f"--gate-file {path}"
    files, events = _which_events(table, names, rows, what, say, but=position)
    labels = table.iloc[:, position].to_numpy(dtype=object)
    if events is not None and len(table) != len(rows):
        return Gates.from_labels(np.array([*labels, None])[order_of_some(files, events, rows, what, say)])
    others = {name: table.iloc[:, i] for i, name in enumerate(names) if i != position and not _is_key(name)}
    order = order_of_table(files, events, rows, what, say, others)
    return Gates.from_labels(labels if order is None else labels[order])


def columns_of(source: str | os.PathLike[str]) -> list[str]:
    """Cells of the first line of a table of gates, which are its columns where it has a header.

    Raises
    ------
    InputError
        If the file can't be read.
    """
    return [str(cell).strip() for cell in _read_table(_split_source(os.fspath(source))[0]).iloc[0]]


def _split_source(source: str) -> tuple[Path, str | None]:
    """Path and column of ``gates.csv[:column]``; a name that exists as it stands is a path."""
    path = Path(source)
    if path.exists() or ":" not in source:
        return path, None
    head, column = source.rsplit(":", 1)
    return (Path(head), column) if Path(head).exists() else (path, None)


def _read_table(path: Path) -> pd.DataFrame:
    """Read every line of a delimited text file as strings; a blank line is a row."""
    text = read_text(path, f"--gate-file {path}")
    first, _, _ = text.partition("\n")
    try:
        return pd.read_csv(
            io.StringIO(text),
            sep=delimiter_of(first),
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            quoting=csv.QUOTE_MINIMAL,
        )
    except pd.errors.EmptyDataError:
        raise InputError(f"--gate-file {path}: the file is empty; one row per event is needed") from None
    except pd.errors.ParserError as error:
        raise InputError(f"--gate-file {path}: not a readable table: {error}".replace("\n", " ")) from None


def _has_header(table: pd.DataFrame, rows: EventRows, path: Path) -> bool:
    """Whether the first line is a header, told by the number of rows and by its words.

    Refuses any other number of rows, unless they say which events they are.
    """
    first, rest = tuple(table.iloc[0]), table.iloc[1:]
    names_a_gate = (rest == first).all(axis=1).any()  # a header would not occur again below
    headed = len(rest) > 0 and not names_a_gate
    if len(table) == len(rows) and not (headed and any(cell.strip().casefold() in _HEADERS for cell in first)):
        return False
    if len(rest) == len(rows):
        if not names_a_gate:
            return True
        if not any(table.iloc[-1]):  # no header, but a blank line at the end
            return False
    what, under = f"--gate-file {path}", " under a header line" if headed else ""
    names = [cell.strip() for cell in first] if headed else []
    files, events = _which_events(_rows_of_events(table, headed, len(rows)), names, rows, what, _ignore)
    if events is not None and (files is not None or len(rows.names) == 1):
        return True
    which = difference_of_files(files, rows, what)
    raise InputError(
        f"{what}: {counted(len(table) - headed, 'row')}{under} for {counted(len(rows), 'event')}"
        f"{f' ({which})' if which else ''}; it needs one row per event, in the order of the files"
        f"{'' if headed else ' (and at most one header line)'}"
    )


def _rows_of_events(table: pd.DataFrame, header: bool, n_events: int) -> pd.DataFrame:
    """The rows below a header, or as many as there are events; blank ones are none where they number their events."""
    if not header:
        return table.iloc[:n_events]
    named = table.iloc[0].astype(str).str.strip().str.casefold().isin(["event"]).any()
    table = table.iloc[1:]
    return table[~table.isin(["", np.nan]).all(axis=1)] if named else table


def _which_events(
    table: pd.DataFrame, names: list[str], rows: EventRows, what: str, say: Callable[[str], None], but: int = -1
) -> tuple[pd.Series[Any] | None, pd.Series[Any] | None]:
    """The columns of a table that say of which file and event its rows are, where it has them.

    ``but``: the column that holds the gates, whatever it is called. A column ``sample`` counts as one of files where
    it names any of the run, as it does unless samples were given names of their own.
    """
    positions = {name.casefold(): i for i, name in reversed(list(enumerate(names))) if i != but}
    events = table.iloc[:, positions["event"]] if "event" in positions else None
    called = next((name for name in _FILES if name in positions), None)
    if called is None:
        return None, events
    files = table.iloc[:, positions[called]]
    if called == _SAMPLE and not names_a_file(files, rows.names):
        say(f"{what}: its column {names[positions[called]]} names no file of the run and is not used")
        return None, events
    return files, events


def _column_position(names: list[str], column: str | None, header: bool, path: Path, table: pd.DataFrame) -> int:
    """Position of the column that holds the gates."""
    if column is None:
        if len(names) == 1:
            return 0
        others = [i for i, name in enumerate(names) if not _is_key(name) and not _is_index(name, table.iloc[:, i])]
        likely = _likely_column(names, table)
        if len(others) == 1 and names[others[0]] == likely:
            return others[0]
        raise InputError(
            f"--gate-file {path}: which column holds the gates? {', '.join(names)}; say --gate-file {path}:{likely}"
        )
    if column in names:
        return names.index(column)
    if not header:
        raise InputError(
            f"--gate-file {path}: no column '{column}': it has as many rows as there are events and so no header; "
            f"name the column by its number (1 to {len(names)})"
        )
    raise InputError(f"--gate-file {path}: no column '{column}'{did_you_mean(column, names)}")


def _likely_column(names: list[str], table: pd.DataFrame) -> str:
    """Name of the column that is most likely to hold gates: none that says where an event is, or measures it."""
    could = [
        name
        for i, name in enumerate(names)
        if name.casefold() not in _NO_GATES
        and not _is_index(name, table.iloc[:, i])
        and not _measures(table.iloc[:, i])
    ]
    called = {name.casefold(): name for name in could}
    return next((called[name] for name in _CALLED_GATES if name in called), (could or names)[-1])


def _is_key(name: str) -> bool:
    """Whether a column says which event a row is."""
    return name.casefold() in (*_FILES, "event")


def _is_index(name: str, column: pd.Series[str]) -> bool:
    """Whether a column is the count of rows that programs save with a table."""
    called = name.casefold()
    return not called or called.startswith("unnamed:") or (called not in _CALLED_GATES and counts_rows(column))


def _measures(column: pd.Series[str]) -> bool:
    """Whether a column holds fractions, which number no gate."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    return bool((values != np.round(values)).any())
