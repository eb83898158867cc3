"""A spillover matrix from a table: FlowJo's and flowCore's CSV, or a table of pandas.

The first row names the channels; the first column may name them again, or number them as R does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cytomoe.errors import InputError
from cytomoe.io.given_tables import read_rows
from cytomoe.preprocessing.channels import fold
from cytomoe.preprocessing.compensation import CompensateMode, Spillover

if TYPE_CHECKING:
    from pandas import DataFrame


def compensate_mode(asked: str | bool | Spillover | DataFrame) -> CompensateMode:
    """What is asked of compensation: a word, yes or no, a matrix, a table of it or a file with that table.

    Raises
    ------
    InputError
        If it is none of these, or the table holds no spillover matrix.
    """
    if isinstance(asked, Spillover):
        return asked
    if isinstance(asked, bool):
        return "yes" if asked else "no"
    if isinstance(asked, str):
        return cast("CompensateMode", asked) if asked in ("auto", "yes", "no") else read_spillover_table(Path(asked))
    return _spillover("the spillover matrix", list(asked.columns), list(asked.index), asked.to_numpy().tolist())


def read_spillover_table(path: Path) -> Spillover:
    """Read a spillover matrix from a text file with commas, semicolons or tabs.

    Raises
    ------
    InputError
        If the file can't be read, or is no spillover matrix.
    """
    what = f"--compensate {path}"
    if not path.exists():
        raise InputError(f"{what}: no such file; give auto, yes, no or the table of a spillover matrix")
    (_, header), *rows = read_rows(path, what)
    cells = [row for _, row in rows]
    named = [bool(row) and not _is_number(row[0]) for row in cells]
    if any(named) or any(len(row) > len(header) for row in cells) or not header[0]:
        first = 0 if any(len(row) > len(header) for row in cells) else 1
        return _spillover(what, header[first:], [row[0] for row in cells], [row[1:] for row in cells])
    return _spillover(what, header, header, cells)


def _spillover(what: str, columns: Sequence[Any], rows: Sequence[Any], values: Sequence[Sequence[Any]]) -> Spillover:
    """The matrix of a table: row i is what the fluorochrome of channel i gives in every channel."""
    channels, names = [_channel(name) for name in columns], [_channel(name) for name in rows]
    n = len(channels)
    if not n == len(names) == len(values) or any(len(row) != n for row in values):
        raise InputError(f"{what}: a spillover matrix has a row for each of its {n} columns; this has {len(values)}")
    matrix = np.array([[_number(what, value) for value in row] for row in values])
    spelt = [fold(name) for name in names]
    if names not in [[str(k + start) for k in range(n)] for start in (0, 1)]:  # numbered rows are in order
        lacking = [channel for channel in channels if spelt.count(fold(channel)) != 1]
        if lacking:
            raise InputError(f"{what}: no row, or several, for the column {', '.join(lacking)}")
        matrix = matrix[[spelt.index(fold(channel)) for channel in channels]]
    diagonal = np.diag(matrix)
    if np.allclose(diagonal, 100, rtol=1e-3):
        matrix = matrix / 100
    elif not np.allclose(diagonal, 1, rtol=1e-3):
        raise InputError(f"{what}: each channel must give 1 (or 100 %) in itself; the diagonal is {_spell(diagonal)}")
    try:
        return Spillover.from_dict({"channels": channels, "matrix": matrix.tolist()})
    except ValueError as error:
        raise InputError(f"{what}: {error}") from error


def _channel(name: Any) -> str:
    """Name of a channel without the antigen that FlowJo writes behind it: ``PE-A :: CD4``."""
    return str(name).split("::")[0].strip()


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _number(what: str, value: Any) -> float:
    text = str(value).strip().removesuffix("%")
    if not _is_number(text):
        raise InputError(f"{what}: {text or 'an empty cell'} is no number")
    return float(text.replace(",", "."))


def _spell(diagonal: np.ndarray[Any, Any]) -> str:
    return ", ".join(f"{value:g}" for value in diagonal[:5]) + (", ..." if len(diagonal) > 5 else "")
