"""Reference tables: populations with the markers that they carry and lack.

Tables for blood (``pbmc``) and bone marrow (``bone_marrow``) ship with cytomoe; a user's table has the same form: a CSV
with the columns population, positive and negative, markers separated by spaces. ``CD38hi`` asks for a high level,
``CD14mid`` for an intermediate one. Each row is compared with the levels of a cluster; markers that the panel lacks
neither support nor contradict a row, but of two rows that fit alike the one with fewer of them wins. Two more columns
may be there. requires lists markers without which no cluster is named after the row. within lists levels that a cluster
must reach, such as CD45 of leukocytes, and that are no evidence of the one population or the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cytomoe.errors import InputError, did_you_mean
from cytomoe.io.given_tables import read_table
from cytomoe.preprocessing.channels import fold, without_metal

SHIPPED = ("pbmc", "bone_marrow")
COLUMNS = ("population", "positive", "negative")

# Names of one antigen, folded; the first is the one that the shipped tables use.
ALIASES = (
    ("cd8", "cd8a", "cd8b", "cd8alpha"),
    ("hladr", "hladrdpdq", "mhcii"),
    ("cd56", "ncam"),
    ("cd197", "ccr7"),
    ("cd194", "ccr4"),
    ("cd196", "ccr6"),
    ("cd183", "cxcr3"),
    ("cd185", "cxcr5"),
    ("tcrgd", "tcrγδ", "gdtcr", "tcrgammadelta", "tcrgdpan"),
    ("cd235", "cd235a", "cd235ab"),
    ("fceria", "fceri", "fcεri", "fcer1a"),
    ("cd303", "bdca2"),
    ("cd1c", "bdca1"),
)
_HIGH, _MID = {"hi", "high", "bright"}, {"mid", "int", "lo", "low", "dim"}
_MARKER = re.compile(r"(?P<name>.+?)(?P<level>hi|high|bright|mid|int|low|lo|dim|\+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Population:
    """A row of a reference table.

    Attributes
    ----------
    name
        The population.
    levels
        Marker, as the table spells it, and the level asked for: one of ``annotation.LEVELS``.
    requires
        Markers that the panel must have for a cluster to be named after the row.
    within
        Marker and lowest level that a cluster must have where the marker is measured.
    """

    name: str
    levels: tuple[tuple[str, str], ...]
    requires: tuple[str, ...] = ()
    within: tuple[tuple[str, str], ...] = ()

    @property
    def folded(self) -> dict[str, str]:
        """Level asked for by the folded name of its marker."""
        return {fold(marker): level for marker, level in self.levels}

    def opposes(self, other: Population) -> set[str]:
        """Markers, folded, of which one of the two asks for absence and the other for presence."""
        mine, its = self.folded, other.folded
        return {marker for marker in mine.keys() & its.keys() if (mine[marker] == "-") != (its[marker] == "-")}

    def beyond(self, other: Population) -> set[str]:
        """Markers, folded, that this row asks for and the other does not; only those carried, if there are any."""
        more = {marker: level for marker, level in self.folded.items() if marker not in other.folded}
        return {marker for marker, level in more.items() if level != "-"} or set(more)

    def broader_than(self, other: Population) -> bool:
        """Whether the other is a part of this population: it asks for all that this one carries, and for more."""
        if self.name == other.name or self.opposes(other):
            return False
        mine, its = self.folded, other.folded
        carried = {marker for marker, level in mine.items() if level != "-"}
        if not carried or not carried <= {marker for marker, level in its.items() if level != "-"}:
            return False
        more = {marker for marker, level in its.items() if level != "-"} - carried
        return bool(more) or mine.keys() < its.keys()

    def told_from(self, other: Population, measured: Collection[str]) -> bool:
        """Whether a measured marker sets cells of this row apart from those of another that fits them as well."""
        if other.broader_than(self):
            return any(marker in measured for marker in self.beyond(other) | self.opposes(other))
        carried = {marker for marker in self.beyond(other) if self.folded[marker] != "-"}
        return any(marker in measured for marker in carried | self.opposes(other))


def read_reference(source: str) -> list[Population]:
    """Read a reference table: the name of one that ships with cytomoe, or a CSV file.

    Raises
    ------
    InputError
        If there is no such table, or it lacks a column or a name.
    """
    if source in SHIPPED:
        path = resources.files("cytomoe").joinpath("reference_tables", f"{source}.csv")
        with resources.as_file(path) as file:
            return _read_table(file)
    if not Path(source).is_file():
        known = ", ".join(SHIPPED)
        raise InputError(
            f"--reference {source}: no such file, and none of the tables that ship with cytomoe ({known})"
            f"{did_you_mean(source, SHIPPED)}"
        )
    return _read_table(Path(source))


def _read_table(path: Path) -> list[Population]:
    table = read_table(path, f"--reference {path}").rename(columns=str.casefold)
    for column in COLUMNS:
        if column not in table:
            raise InputError(f"--reference {path}: no column {column}; it needs {', '.join(COLUMNS)}")
    for column in ("requires", "within"):
        if column not in table:
            table[column] = ""
    populations = []
    for line, *cells in table[[*COLUMNS, "requires", "within"]].itertuples():
        name, positive, negative, requires, within = cells
        levels = [*map(_level, _split(positive)), *((_bare(marker), "-") for marker in _split(negative))]
        if not name.strip() or not levels:
            raise InputError(f"--reference {path}, line {line}: needs a population and at least one marker")
        reached = tuple(_level(marker) for marker in _split(within))
        populations.append(Population(name.strip(), tuple(levels), tuple(_split(requires)), reached))
    if not populations:
        raise InputError(f"--reference {path}: the table has no rows")
    return populations


def _split(markers: str) -> list[str]:
    return [marker for marker in re.split(r"[\s;,|]+", markers) if marker]


def _bare(marker: str) -> str:
    return marker.rstrip("-") or marker


def _level(marker: str) -> tuple[str, str]:
    """Marker and level of ``CD38hi``; a name such as CD45RO, which only looks like one, stays whole."""
    match = _MARKER.fullmatch(marker)
    if match is None or match["level"] is None or not match["name"][-1].isalnum():
        return marker, "+"
    level = match["level"].casefold()
    if level in _HIGH:
        return match["name"], "hi"
    return match["name"], "mid" if level in _MID else "+"


def columns_of(markers: Sequence[str]) -> dict[str, int]:
    """Column of each marker by its spellings, folded and without metals, aliases included."""
    columns: dict[str, int] = {}
    for i, marker in enumerate(markers):
        columns.setdefault(fold(without_metal(marker)) or fold(marker), i)
    for names in ALIASES:
        found = [columns[name] for name in names if name in columns]
        for name in names if found else ():
            columns.setdefault(name, found[0])
    return columns
