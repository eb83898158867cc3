"""Population names for clusters by a reference table.

A name is given only where what sets it apart is measured. CD3+ CD4- cells may be CD8 or gd T cells: on a panel with
neither CD8 nor TCRgd they are called by the row that is broader than both, with the levels that both share, ``T cells,
CD4-``. A row is broader than another if it asks for less and for nothing that the other contradicts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.annotation import LEVELS, ClusterNames, Enrichment
from cytomoe.doublets import PREFIX as DOUBLETS
from cytomoe.doublets import possible_doublets
from cytomoe.errors import InputError
from cytomoe.preprocessing.channels import fold
from cytomoe.reference import Population, columns_of

UNKNOWN = "unknown"
_UNKNOWN = re.compile(rf"{UNKNOWN}( \d+)?", re.IGNORECASE)
# By a cluster's medians a row is out if it agrees less than this with any marker, or less than the second in the mean.
CONTRADICTION = 0.35
LOWEST_SCORE = 0.6
# What a marker that a cluster must lack counts beside one that it must carry, and a marker that the panel lacks costs.
NEGATIVE_WEIGHT = 0.5
MISSING_COST = 0.3
# A name of a lower score is given with little certainty; one that scores no more than so much less is told beside it.
CERTAIN, TIED = 0.7, 0.1
# Position (see Enrichment) at which a marker begins to agree with a level, and at which it fully does.
_RISE = {"mid": (0.1, 0.35), "+": (0.25, 0.75), "hi": (0.8, 1.3)}
_FALL = {"-": (0.25, 0.85), "mid": (0.85, 1.2)}


@dataclass(frozen=True)
class Name:
    """The population that a cluster was found to be.

    Attributes
    ----------
    population
        Its name, ``unknown`` where nothing fits.
    score
        How well it fits, from 0 to 1: geometric mean of the agreement of its markers' medians, but no more than the
        share of the cells that agree with any one marker, which tells clusters of two populations.
    runner_up, runner_up_score
        The next population that fits; empty and 0 where there is none.
    """

    population: str = UNKNOWN
    score: float = 0.0
    runner_up: str = ""
    runner_up_score: float = 0.0


def is_known(name: str) -> bool:
    """Whether a name says what a population is: not so ``unknown``, ``unknown 7`` and joins of such."""
    return bool(name) and not all(_UNKNOWN.fullmatch(part) for part in name.split(" + "))


def number_populations(names: Sequence[str], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of each cluster's population, from 1, the largest first.

    Parameters
    ----------
    names
        Population of each cluster; clusters of one name are one population.
    sizes
        Events of each cluster, shape (clusters,).
    """
    totals: dict[str, int] = {}
    for name, size in zip(names, sizes.tolist(), strict=True):
        totals[name] = totals.get(name, 0) + size
    order = sorted(totals, key=lambda name: -totals[name])
    numbers = {name: number for number, name in enumerate(order, start=1)}
    return np.array([numbers[name] for name in names], dtype=np.int64)


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
    """Population of each cluster; one that has none and looks like doublets of two others is called so.

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
    fits = [_fit(found, population, columns) for population in populations]
    scores, evidence = (np.array(part) for part in zip(*fits, strict=True))
    naming = _Naming(populations, columns)
    names = [naming.name(scores[:, k], evidence[:, k]) for k in range(len(found.sizes))]
    doublets = possible_doublets(found, populations, [is_known(name.population) for name in names])
    for k, halves in doublets.items():
        of = " and ".join(dict.fromkeys(names[half].population for half in halves))
        names[k] = replace(names[k], population=f"{DOUBLETS}{of}")
    return names


def _fit(
    found: Enrichment, population: Population, columns: dict[str, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and evidence of one row for every cluster; the evidence is -inf where the row is contradicted."""
    known = [(columns[marker], level) for marker, level in population.folded.items() if marker in columns]
    n_clusters = len(found.sizes)
    if not any(level != "-" for _, level in known):
        return np.zeros(n_clusters), np.full(n_clusters, -np.inf)
    agreed = np.column_stack([agreement(found.positions[:, column], level) for column, level in known])
    weights = np.array([NEGATIVE_WEIGHT if level == "-" else 1.0 for _, level in known])
    certain = np.where(np.isnan(agreed), 0.5, np.clip(agreed, 0.01, 1.0))  # an unknown level says nothing
    score = np.exp((np.log(certain) * weights).sum(axis=1) / weights.sum())
    among_cells = [agreement(found.cells[:, :, column], level).mean(axis=0) for column, level in known]
    told = np.fmin(score, np.fmin.reduce(among_cells))  # an unknown level says nothing
    missing = len(population.levels) - len(known)
    evidence = (np.log2(2 * certain) * weights).sum(axis=1) - MISSING_COST * missing
    out = (certain < CONTRADICTION).any(axis=1) | (score < LOWEST_SCORE) | (found.sizes == 0)
    for marker, level in population.within:
        if fold(marker) in columns:
            reached = found.levels[:, columns[fold(marker)]]
            out |= (reached >= 0) & (reached < LEVELS.index(level))
    return told, np.where(out, -np.inf, evidence)


class _Naming:
    """Which of the rows that fit a cluster may give it its name.

    Parameters
    ----------
    populations
        The reference.
    measured
        Markers of the panel, folded.
    """

    def __init__(self, populations: Sequence[Population], measured: Collection[str]) -> None:
        self.populations = populations
        self.measured = measured

    def name(self, scores: NDArray[np.float64], evidence: NDArray[np.float64]) -> Name:
        """Name of a cluster by the score and evidence of every row, -inf where the row does not fit."""
        fitting = [int(row) for row in np.argsort(-evidence, kind="stable") if np.isfinite(evidence[row])]
        nameable = [row for row in fitting if self._requirements_met(row)]
        if not nameable:
            return Name()
        best = self.populations[nameable[0]]
        # The best row, or else one that is broader than it: the narrowest first, which is the one with more evidence.
        given = next(
            (
                row
                for row in nameable
                if (self.populations[row].name == best.name or self.populations[row].broader_than(best))
                and self._told(row, fitting)
            ),
            None,
        )
        if given is None:
            return self._undecided(nameable, fitting, scores)
        chosen = self.populations[given]
        others = (
            row
            for row in nameable
            if self.populations[row].name != chosen.name and not self.populations[row].broader_than(chosen)
        )
        name = self._with_shared(chosen, fitting)
        return self._with_runner_up(name, float(scores[given]), next(others, None), scores)

    def _requirements_met(self, row: int) -> bool:
        return all(fold(marker) in self.measured for marker in self.populations[row].requires)

    def _told(self, row: int, fitting: Sequence[int]) -> bool:
        """Whether a row is set apart from all others that fit and are no part of it."""
        mine = self.populations[row]
        others = (self.populations[other] for other in fitting)
        return all(
            other.name == mine.name or mine.broader_than(other) or mine.told_from(other, self.measured)
            for other in others
        )

    def _with_shared(self, chosen: Population, fitting: Sequence[int]) -> str:
        """Name of a population with the measured levels that its fitting parts share and that rule out another part."""
        parts = [population for population in self.populations if chosen.broader_than(population)]
        fit = [self.populations[row] for row in fitting if chosen.broader_than(self.populations[row])]
        if not fit:
            return chosen.name
        shared = set.intersection(*(set(part.folded.items()) for part in fit))
        ruling_out = {marker for part in parts for marker in part.opposes(fit[0])} & set(self.measured)
        found = [
            f"{marker}{level}"
            for marker, level in fit[0].levels
            if (fold(marker), level) in shared and fold(marker) in ruling_out
        ]
        return f"{chosen.name}, {' '.join(found)}" if found else chosen.name

    def _undecided(self, nameable: Sequence[int], fitting: Sequence[int], scores: NDArray[np.float64]) -> Name:
        """Where no row is broad enough: both names of two that can't be told apart, or else none."""
        best = nameable[0]
        mine = self.populations[best]
        untold = {
            self.populations[row].name: row
            for row in reversed(fitting)
            if self.populations[row].name != mine.name
            and not mine.broader_than(self.populations[row])
            and not mine.told_from(self.populations[row], self.measured)
        }
        if len(untold) == 1:
            ((other, row),) = untold.items()
            return Name(f"{mine.name} or {other}", round(float(min(scores[best], scores[row])), 3))
        return self._with_runner_up(UNKNOWN, 0.0, best, scores)

    def _with_runner_up(self, name: str, score: float, other: int | None, scores: NDArray[np.float64]) -> Name:
        if other is None:
            return Name(name, round(score, 3))
        return Name(name, round(score, 3), self.populations[other].name, round(float(scores[other]), 3))


def with_populations(names: ClusterNames, found: Sequence[Name]) -> ClusterNames:
    """Names of clusters with the populations that :func:`name_clusters` found for them."""
    return ClusterNames(
        labels=names.labels,
        populations=_numbered([name.population for name in found]),
        source="reference",
        scores=tuple(name.score for name in found),
        runners_up=tuple(name.runner_up for name in found),
        runner_up_scores=tuple(name.runner_up_score for name in found),
    )


def _numbered(populations: Sequence[str]) -> tuple[str, ...]:
    """Populations in which unknown ones bear the number of their cluster: several are no population together."""
    return tuple(f"{name} {k}" if name == UNKNOWN else name for k, name in enumerate(populations, start=1))


def title_of(number: int, name: str, label: str) -> str:
    """What a figure writes behind a cluster's number: its name, and where that says nothing, its markers too."""
    if is_known(name):
        return name
    if not name:
        return label or "without a label"
    return f"{UNKNOWN if name == f'{UNKNOWN} {number}' else name} ({label})"


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
    others = names.populations or _numbered([UNKNOWN] * len(known_as))
    populations = tuple(known or other for known, other in zip(known_as, others, strict=True))
    source = "prior and reference" if names.source else "prior"
    if not names.scores:
        return replace(names, populations=populations, source=source)
    # What the reference says of a name that it did not give is nothing.
    kept = [given == other for given, other in zip(populations, others, strict=True)]
    return replace(
        names,
        populations=populations,
        source=source,
        scores=tuple(score if keep else 0.0 for score, keep in zip(names.scores, kept, strict=True)),
        runners_up=tuple(name if keep else "" for name, keep in zip(names.runners_up, kept, strict=True)),
        runner_up_scores=tuple(
            score if keep else 0.0 for score, keep in zip(names.runner_up_scores, kept, strict=True)
        ),
    )


def doubtful_names(clusters: Iterable[Mapping[str, Any]]) -> list[str]:
    """Clusters whose names a reference gave with little certainty, with their scores and equals: ``7 NK cells (0.55)``.

    Parameters
    ----------
    clusters
        Rows of ``clusters.csv``; without a score where no reference named them. A score of 0 is of a name that comes
        from elsewhere.
    """
    found = []
    for row in clusters:
        score = float(row.get("score") or 0)
        if not 0 < score < CERTAIN or not is_known(str(row["population"])) or not row["events"]:
            continue
        other = float(row.get("runner_up_score") or 0)
        equal = f", {row['runner_up']} {other:.2f}" if other >= score - TIED else ""
        found.append(f"{row['cluster']} {row['population']} ({score:.2f}{equal})")
    return found
