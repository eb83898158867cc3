"""Population names for clusters, from a table of populations with the markers that they carry and lack.

Tables for blood (``pbmc``) and bone marrow (``bone_marrow``) ship with cytomoe; a user's table has the same form: a CSV
with the columns population, positive and negative, markers separated by spaces. ``CD38hi`` asks for a high level,
``CD14mid`` for an intermediate one. Each row is compared with the levels of a cluster; markers that the panel lacks
neither support nor contradict a row, but of two rows that fit alike the one with fewer of them wins. A further column,
requires, may list markers without which a row can't be told from others: it is left out where the panel lacks one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.annotation import ClusterNames, Enrichment
from cytomoe.errors import InputError, did_you_mean
from cytomoe.preprocessing.channels import fold, without_metal

UNKNOWN = "unknown"
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
# A row is out if it agrees less than this with any marker; no name is given below the second in the mean.
CONTRADICTION = 0.35
LOWEST_SCORE = 0.6
# What a marker that a cluster must lack counts beside one that it must carry, and a marker that the panel lacks costs.
NEGATIVE_WEIGHT = 0.5
MISSING_COST = 0.3
# Position (see Enrichment) at which a marker begins to agree with a level, and at which it fully does.
_RISE = {"mid": (0.1, 0.35), "+": (0.25, 0.75), "hi": (0.8, 1.3)}
_FALL = {"-": (0.25, 0.85), "mid": (0.85, 1.2)}
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
        Markers that the panel must have for the row to count.
    """

    name: str
    levels: tuple[tuple[str, str], ...]
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class Name:
    """The population that a cluster was found to be.

    Attributes
    ----------
    population
        Its name, ``unknown`` where nothing fits.
    score
        How well it fits, from 0 to 1: geometric mean of the agreement of its markers.
    runner_up, runner_up_score
        The next population that fits; empty and 0 where there is none.
    """

    population: str = UNKNOWN
    score: float = 0.0
    runner_up: str = ""
    runner_up_score: float = 0.0


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
    try:
        table = pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(f"--reference {path}: not a readable table: {error}".replace("\n", " ")) from None
    table.columns = [str(column).strip().casefold() for column in table.columns]
    for column in COLUMNS:
        if column not in table:
            raise InputError(f"--reference {path}: no column {column}; it needs {', '.join(COLUMNS)}")
    if "requires" not in table:
        table["requires"] = ""
    populations = []
    rows = table[[*COLUMNS, "requires"]].itertuples(index=False)
    for line, (name, positive, negative, requires) in enumerate(rows, start=2):
        levels = [*map(_level, _split(positive)), *((_bare(marker), "-") for marker in _split(negative))]
        if not name.strip() or not levels:
            raise InputError(f"--reference {path}, line {line}: needs a population and at least one marker")
        populations.append(Population(name.strip(), tuple(levels), tuple(_split(requires))))
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


def agreement(positions: NDArray[np.float64], level: str) -> NDArray[np.float64]:
    """How far positions (see :class:`~cytomoe.annotation.Enrichment`) agree with a level, from 0 to 1."""
    agreed = np.ones_like(positions)
    if level in _RISE:
        start, full = _RISE[level]
        agreed = np.minimum(agreed, np.clip((positions - start) / (full - start), 0, 1))
    if level in _FALL:
        full, end = _FALL[level]
        agreed = np.minimum(agreed, np.clip((end - positions) / (end - full), 0, 1))
    return agreed


def name_clusters(found: Enrichment, populations: Sequence[Population]) -> list[Name]:
    """Population of each cluster.

    Parameters
    ----------
    found
        How the markers stand in each cluster.
    populations
        The reference; a population may have several rows, of which the best counts.

    Raises
    ------
    InputError
        If the panel has none of the reference's markers.
    """
    columns = columns_of(found.markers)
    if not any(fold(marker) in columns for population in populations for marker, _ in population.levels):
        raise InputError(
            f"none of the {len(found.markers)} markers ({', '.join(found.markers[:5])}, ...) is in the reference table"
        )
    n_clusters = len(found.sizes)
    scores = np.zeros((len(populations), n_clusters))
    evidence = np.full((len(populations), n_clusters), -np.inf)
    for row, population in enumerate(populations):
        scores[row], evidence[row] = _fit(found, population, columns)
    return [_best(populations, scores[:, k], evidence[:, k]) for k in range(n_clusters)]


def _fit(
    found: Enrichment, population: Population, columns: dict[str, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and evidence of one row for every cluster; the evidence is -inf where the row is contradicted."""
    known = [(columns[fold(marker)], level) for marker, level in population.levels if fold(marker) in columns]
    n_clusters = len(found.sizes)
    possible = all(fold(marker) in columns for marker in population.requires)
    if not possible or not any(level != "-" for _, level in known):
        return np.zeros(n_clusters), np.full(n_clusters, -np.inf)
    agreed = np.column_stack([agreement(found.positions[:, column], level) for column, level in known])
    weights = np.array([NEGATIVE_WEIGHT if level == "-" else 1.0 for _, level in known])
    certain = np.where(np.isnan(agreed), 0.5, np.clip(agreed, 0.01, 1.0))  # an unknown level says nothing
    score = np.exp((np.log(certain) * weights).sum(axis=1) / weights.sum())
    missing = len(population.levels) - len(known)
    evidence = (np.log2(2 * certain) * weights).sum(axis=1) - MISSING_COST * missing
    out = (certain < CONTRADICTION).any(axis=1) | (score < LOWEST_SCORE) | (found.sizes == 0)
    return score, np.where(out, -np.inf, evidence)


def _best(populations: Sequence[Population], scores: NDArray[np.float64], evidence: NDArray[np.float64]) -> Name:
    order = [int(row) for row in np.argsort(-evidence, kind="stable") if np.isfinite(evidence[row])]
    if not order:
        return Name()
    first = order[0]
    name = populations[first].name
    second = next((row for row in order if populations[row].name != name), None)
    if second is None:
        return Name(name, round(float(scores[first]), 3))
    return Name(name, round(float(scores[first]), 3), populations[second].name, round(float(scores[second]), 3))


def with_populations(names: ClusterNames, found: Sequence[Name]) -> ClusterNames:
    """Names of clusters with the populations that :func:`name_clusters` found for them."""
    return ClusterNames(
        labels=names.labels,
        populations=tuple(name.population for name in found),
        source="reference",
        scores=tuple(name.score for name in found),
        runners_up=tuple(name.runner_up for name in found),
        runner_up_scores=tuple(name.runner_up_score for name in found),
    )


def with_known(names: ClusterNames, known_as: Sequence[str]) -> ClusterNames:
    """Names of clusters in which populations that were known before the fit go before any other name.

    Parameters
    ----------
    names
        Labels, and populations where a reference gave some.
    known_as
        Known population of each cluster, empty where none.
    """
    if not any(known_as):
        return names
    others = names.populations or (UNKNOWN,) * len(known_as)
    populations = tuple(known or other for known, other in zip(known_as, others, strict=True))
    return replace(names, populations=populations, source="prior and reference" if names.source else "prior")
