"""Texts in CSV tables: names come from files, and a spreadsheet takes a cell that begins with = + - @ for a formula.

Such a cell gets an apostrophe before it, which spreadsheets take for "this is text" (OWASP, CSV injection).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Apostrophes before the sign count too, so that every safe cell has one plain text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def safe_cell(text: str) -> str:
    """A text as it may stand in a CSV table."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain_cell(text: str) -> str:
    """The text that :func:`safe_cell` made safe."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def safe_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts and column names are safe cells; numbers stay as they are."""
    import pandas as pd

    safe = table.rename(columns=lambda name: safe_cell(str(name)))
    for position, dtype in enumerate(table.dtypes):
        if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            continue
        if isinstance(dtype, pd.CategoricalDtype):
            safe.isetitem(position, table.iloc[:, position].cat.rename_categories(lambda cell: safe_cell(str(cell))))
            continue
        column = [safe_cell(cell) if isinstance(cell, str) else cell for cell in table.iloc[:, position]]
        safe.isetitem(position, pd.Series(column, index=table.index, dtype=object))
    return safe


def read_safe_table(path: str | os.PathLike[str], **options: Any) -> pd.DataFrame:
    """Read a table that :func:`safe_table` made safe, with its texts and column names plain again.

    Parameters
    ----------
    path
        The CSV file.
    options
        Of :func:`pandas.read_csv`.
    """
    import pandas as pd

    table = pd.read_csv(path, **options).rename(columns=lambda name: plain_cell(str(name)))
    for position, dtype in enumerate(table.dtypes):
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
            cells = table.iloc[:, position]
            plain = {cell: plain_cell(cell) for cell in cells.unique() if isinstance(cell, str)}
            table.isetitem(position, cells.map(plain) if plain else cells)
    return table
