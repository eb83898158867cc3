"""Tables that a user gives, as spreadsheets save them: any separator, line end, byte-order mark and usual encoding."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cytomoe.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = ",;\t"
# Columns of the tables that a user's columns are carried into.
RESERVED = frozenset(
    {
        *("file", "event", "events", "cytomoe", "confidence", "cluster", "label", "population", "gate", "_index"),
        *("population_number", "unassigned", "nearest_cluster", "outlyingness", "in_one_gate"),
        *("plate_cluster", "stability", "fraction", "score", "runner_up", "runner_up_score"),
    }
)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how Excel's "Unicode text" begins


def read_text(path: Path, what: str) -> str:
    """The text of a table: UTF-8 with or without byte-order mark, UTF-16, or else Windows' Latin letters.

    Parameters
    ----------
    path
        The file.
    what
        How messages call it, such as ``--map names.csv``.

    Raises
    ------
    InputError
        If it can't be read, or is no text.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what}: no such file") from None
    except OSError as error:
        raise InputError(f"{what}: can't be read: {error.strerror or error}") from error
    if content.startswith(_UTF_16):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise InputError(f"{what}: is not a text file; save the table as CSV")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def delimiter_of(line: str) -> str:
    """The separator of a table, judged by its first line."""
    return max(DELIMITERS, key=line.count)


def read_rows(path: Path, what: str) -> list[tuple[int, list[str]]]:
    """Rows of a table that are not blank, each with its line, from 1; cells without surrounding spaces.

    Raises
    ------
    InputError
        If the file can't be read, or holds no row.
    """
    text = read_text(path, what)
    empty = InputError(f"{what}: the file is empty")
    first = next((line for line in text.splitlines() if line.strip(DELIMITERS + " ")), None)
    if first is None:
        raise empty
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter_of(first))
    try:
        every = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{what}, line {reader.line_num}: not a readable table: {error}") from None
    rows = [(line, row) for line, row in every if any(row)]
    if not rows:  # quotes around nothing
        raise empty
    return rows


def read_table(path: Path, what: str) -> pd.DataFrame:
    """A table whose first row are the names of its columns; every cell is text, an absent one empty.

    Returns
    -------
    DataFrame
        The rows that are not blank; its index, line, is where each stands in the file, for messages.

    Raises
    ------
    InputError
        If the file can't be read, a column is named twice, or a row has more cells than there are columns.
    """
    import pandas as pd

    (_, header), *rows = read_rows(path, what)
    while header and not header[-1]:
        header.pop()
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{what}: the column {twice} stands in it twice")
    for line, row in rows:
        if any(row[len(header) :]):
            raise InputError(
                f"{what}, line {line}: has {len(row)} cells, but there are {len(header)} columns; "
                "a cell that holds the separator needs quotes"
            )
    width = len(header)
    cells = [(row + [""] * width)[:width] for _, row in rows]
    lines = pd.Index([line for line, _ in rows], name="line", dtype=int)
    return pd.DataFrame(cells, index=lines, columns=header, dtype=object)


def refuse_reserved(columns: Iterable[str], what: str) -> None:
    """Refuse columns of a table of samples that could not stand beside those that cytomoe writes.

    Parameters
    ----------
    columns
        Those that are carried into the results.
    what
        How messages call the table.

    Raises
    ------
    InputError
        If one has no name, or that of a column of ours.
    """
    for column in columns:
        if not column:
            raise InputError(f"{what}: a column has no name; the first row names the columns")
        if column in RESERVED or column.startswith(("cluster_", "plate_cluster_")):
            raise InputError(f"{what}: the column {column} is written by cytomoe; call yours something else")
