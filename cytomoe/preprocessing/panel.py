"""The panel table: which channel carries which marker, whether it is used, and how its values are transformed.

A text file with one row for each channel, such as immunologists keep in a spreadsheet:

    channel,marker,use,cofactor
    Nd145Di,CD4,yes,5
    Ir191Di,DNA1,no,

CATALYST's panels (fcs_colname, antigen, marker_class) are read as they are: markers of class "type" are used, those of
class "state" and "none" are not.
"""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

from cytomoe.errors import InputError, did_you_mean, nearest
from cytomoe.io.given_tables import DELIMITERS, delimiter_of, read_text
from cytomoe.preprocessing.channels import fold
from cytomoe.preprocessing.markers import describe_unknown, find_channel
from cytomoe.preprocessing.transform import TransformName, refuse_cofactor

if TYPE_CHECKING:
    import pandas as pd

# Column of the panel: the headings it may go by, folded (lower case, no punctuation).
COLUMNS: dict[str, tuple[str, ...]] = {
    "channel": ("channel", "channelname", "fcscolname", "fcscolumn", "pnn", "metal", "isotope"),
    "marker": ("marker", "markername", "antigen", "pns", "target", "protein"),
    "use": ("use", "used", "include", "markerclass", "class"),
    "cofactor": ("cofactor",),
    "transform": ("transform", "transformation"),
}
_YES = frozenset({"yes", "y", "true", "t", "1", "x", "use", "used", "type", "lineage"})
_NO = frozenset({"", "no", "n", "false", "f", "0", "none", "na", "nan", "state", "functional", "unused"})


class PanelRow(NamedTuple):
    """One row of a panel; ``line`` is its line in the file, for messages."""

    channel: str
    marker: str
    use: bool
    cofactor: float | None
    transform: TransformName | None
    line: int


class PanelMarker(NamedTuple):
    """A used row, found in a file: ``name`` is the channel's name in ``var.index``."""

    name: str
    marker: str
    cofactor: float | None
    transform: TransformName | None


@dataclass(frozen=True)
class Panel:
    """A panel table.

    Parameters
    ----------
    path
        The file it was read from, for messages.
    rows
        Its rows, in order.
    """

    path: str
    rows: tuple[PanelRow, ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Panel:
        """Read a panel from a text file with commas, semicolons or tabs; BOM and Windows line ends are understood.

        Raises
        ------
        InputError
            The file can't be read, a heading is missing or misspelt, or a row is wrong; names the line.
        """
        name = os.fspath(path)
        lines = read_text(Path(path), f"--panel {name}").splitlines()
        header = next((i for i, line in enumerate(lines) if line.strip(DELIMITERS + " ")), None)
        if header is None:
            raise InputError(f"{name} is empty; a panel starts with the headings channel,marker,use,cofactor")
        delimiter = delimiter_of(lines[header])
        table = csv.reader(io.StringIO("\n".join(lines[header:])), delimiter=delimiter)
        columns = _columns(name, next(table))
        rows = []
        for cells in table:
            line = header + table.line_num
            if any(cell.strip() for cell in cells):
                rows.append(_row(f"{name}, line {line}", line, columns, [c.strip() for c in cells], delimiter))
        panel = cls(name, tuple(rows))
        panel._refuse_duplicates()
        return panel

    def find(self, var: pd.DataFrame, source: str = "the file") -> list[PanelMarker]:
        """Find the used rows' channels in a file.

        Parameters
        ----------
        var
            The channels of a file.
        source
            Name of the file, for messages.

        Returns
        -------
        list of PanelMarker
            In the panel's order. A row without a channel is found by its marker, one without a marker keeps the name
            the file gives.

        Raises
        ------
        InputError
            A used channel is absent (all of them are listed), fits several, or is named by two rows.
        """
        used = [(row, find_channel(var, row.channel or row.marker)) for row in self.rows if row.use]
        absent = [row for row, found in used if not found]
        if absent:
            where = "line" if len(absent) == 1 else "lines"
            numbers = ", ".join(str(row.line) for row in absent)
            unknown = describe_unknown(var, [row.channel or row.marker for row in absent])
            raise InputError(f"{self.path}, {where} {numbers}: {source} has no channel called {unknown}")
        first_line: dict[str, int] = {}
        for row, found in used:
            if len(found) > 1:
                wanted = row.channel or row.marker
                raise InputError(
                    f"{self.path}, line {row.line}: {wanted} may be any of {', '.join(found)} in {source}; "
                    "write one of them exactly"
                )
            if found[0] in first_line:
                raise InputError(
                    f"{self.path}, line {row.line}: names the channel {found[0]} of {source}, as line "
                    f"{first_line[found[0]]} does; drop one"
                )
            first_line[found[0]] = row.line
        markers = [PanelMarker(found[0], row.marker or found[0], row.cofactor, row.transform) for row, found in used]
        self._refuse_one_name_twice([m.marker for m in markers], [row.line for row, _ in used])
        return markers

    def _refuse_duplicates(self) -> None:
        if not any(row.use for row in self.rows):
            raise InputError(f"{self.path}: no row is used; write yes in the column use")
        seen: dict[str, int] = {}
        for row in self.rows:
            key = row.channel or row.marker
            if key and key in seen:
                raise InputError(f"{self.path}, line {row.line}: {key} stands in line {seen[key]} already; drop one")
            seen[key] = row.line
        used = [row for row in self.rows if row.use and row.marker]
        self._refuse_one_name_twice([row.marker for row in used], [row.line for row in used])

    def _refuse_one_name_twice(self, markers: list[str], lines: list[int]) -> None:
        seen: dict[str, int] = {}
        for marker, line in zip(markers, lines, strict=True):
            if marker in seen:
                raise InputError(
                    f"{self.path}, line {line}: the marker {marker} stands in line {seen[marker]} already; "
                    "give each its own name"
                )
            seen[marker] = line


def _columns(path: str, headings: list[str]) -> dict[str, int]:
    """Position of each known column by its heading."""
    columns: dict[str, int] = {}
    aliases = {alias: column for column, names in COLUMNS.items() for alias in names}
    for position, heading in enumerate(headings):
        folded = fold(heading.strip())
        column = aliases.get(folded)
        if column is None:
            # Other columns are the user's own affair, but a misspelt one must not be passed over in silence.
            if nearest(folded, aliases, 1) and _one_slip(folded, nearest(folded, aliases, 1)[0]):
                raise InputError(f"{path}: the heading '{heading.strip()}' is not known{did_you_mean(folded, COLUMNS)}")
        elif column in columns:
            raise InputError(f"{path}: two headings mean {column}: {headings[columns[column]]} and {heading}; drop one")
        else:
            columns[column] = position
    if "channel" not in columns and "marker" not in columns:
        found = ", ".join(heading.strip() for heading in headings)
        raise InputError(
            f"{path}: no heading is channel or marker (found: {found}); the first line must name the columns"
        )
    return columns


def _one_slip(first: str, second: str) -> bool:
    """Whether two words differ by one letter added, lost or changed, or by two neighbours swapped."""
    same = _common_start(first, second)
    end = _common_start(first[same:][::-1], second[same:][::-1])
    a, b = first[same : len(first) - end], second[same : len(second) - end]
    return (len(a) <= 1 and len(b) <= 1) or (len(a) == 2 and a == b[::-1])


def _common_start(first: str, second: str) -> int:
    differs = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(differs, min(len(first), len(second)))


def _row(where: str, line: int, columns: dict[str, int], cells: list[str], delimiter: str) -> PanelRow:
    """One row of the table; ``where`` opens its error messages."""

    def cell(column: str) -> str:
        position = columns.get(column)
        return cells[position] if position is not None and position < len(cells) else ""

    channel, marker = cell("channel"), cell("marker")
    use = _use(where, cell("use")) if "use" in columns else True
    if fold(marker) in {"na", "nan"}:
        marker = ""
    if use and not (channel or marker):
        raise InputError(f"{where}: neither channel nor marker is given")
    return PanelRow(
        channel, marker, use, _cofactor(where, cell("cofactor"), delimiter), _transform(where, cell("transform")), line
    )


def _use(where: str, text: str) -> bool:
    word = fold(text)
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise InputError(f"{where}: use is '{text}'; write yes or no (or CATALYST's type, state, none)")


def _cofactor(where: str, text: str, delimiter: str) -> float | None:
    if fold(text) in {"", "na", "nan"}:
        return None
    try:
        cofactor = float(text.replace(",", ".") if delimiter != "," else text)
    except ValueError:
        cofactor = math.nan
    refuse_cofactor(cofactor, f"{where}: the cofactor '{text}'")
    return cofactor


def _transform(where: str, text: str) -> TransformName | None:
    word = text.casefold()
    if word in {"", "na", "nan"}:
        return None
    if word in {"asinh", "arcsinh"}:
        return "arcsinh"
    if word not in get_args(TransformName):
        raise InputError(f"{where}: the transform '{text}' is not one of {', '.join(get_args(TransformName))}")
    return cast("TransformName", word)
