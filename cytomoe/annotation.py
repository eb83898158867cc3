"""What makes a cluster what it is: which markers are high or low in it, and a readable label made of them.

A label names the markers that a cluster carries, in the order of the panel, and then the fewest markers that it lacks
which tell it from every other cluster: ``CD3+ CD7+ CD4-``. What all cells carry, such as CD45 among leukocytes, is left
out. As in the labels of marker enrichment modelling (Diggins et al. 2017, Nat. Methods 14:275) a marker counts against
the cells outside the cluster, by medians and interquartile ranges, so that outliers do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.cores import on_threads

FloatArray = NDArray[np.float64]

# Levels of a marker in a cluster, by its median's place between the marker's negative (0) and positive (1) clusters.
LEVELS = ("-", "mid", "+", "hi")
# The same in tables, where a cell of - or + alone would look like a formula.
LEVEL_WORDS = ("negative", "mid", "positive", "high")
LEVEL_BOUNDS = (0.3, 0.7, 1.35)
# Most markers in a label that a cluster carries; where there are more, the most enriched.
MOST_CARRIED = 6
# A cluster's level says nothing if this share of the other cells has it too.
COMMON = 0.9
# A marker varies where positive and negative clusters are this far apart: in transformed units, and in standard
# deviations within clusters.
SMALLEST_RANGE = 0.5
SMALLEST_CONTRAST = 2.0
# A median this far above zero is positive where no cluster tells how the marker's negative cells look.
POSITIVE_ABOVE_ZERO = 1.5
# In fluorescence all cells glow: where no cluster tells how negative cells look, a marker is known to be carried only
# where it lies this far above zero (2,500 at a cofactor of 150), and below it is negative or not known. Chosen by no
# score: markers that few cells of Nilsson_rare carry have medians of 1.4 to 3.4 in the others.
POSITIVE_ABOVE_GLOW = 3.5
# Fewer cells do not decide where a marker's levels lie.
FEWEST_CELLS = 10
_BINS = 512
_QUARTILES = (0.25, 0.5, 0.75)
# Shares of a cluster's cells at which the positions of its cells are looked at.
_AMONG_CELLS = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)
_IQR_OF_NORMAL = 1.349


@dataclass(frozen=True, eq=False)
class Enrichment:
    """How each marker stands in each cluster.

    Attributes
    ----------
    markers
        Names of the markers.
    sizes
        Cells of each cluster, shape (clusters,).
    medians
        Median of the transformed values, NaN for an empty cluster; shape (clusters, markers).
    effects
        Median minus that of all other cells, over the pooled robust standard deviation (interquartile range / 1.349),
        shape (clusters, markers).
    positions
        Place of the median between the marker's negative clusters (0) and its positive ones (1); NaN where nothing
        tells them apart; shape (clusters, markers).
    cells
        The same place for ten cells of each cluster, from those with little to those with much of the marker (its 5th,
        15th, ... 95th percentile); shape (10, clusters, markers).
    """

    markers: tuple[str, ...]
    sizes: NDArray[np.int64]
    medians: FloatArray
    effects: FloatArray
    positions: FloatArray
    cells: FloatArray

    @property
    def levels(self) -> NDArray[np.int64]:
        """Index into ``LEVELS`` of each median, -1 where the position is not known; shape (clusters, markers)."""
        levels = np.digitize(np.nan_to_num(self.positions), LEVEL_BOUNDS)
        return np.where(np.isnan(self.positions), -1, levels)

    def table(self) -> pd.DataFrame:
        """One row per cluster and marker: cluster, marker, median, effect, level."""
        n_clusters, n_markers = self.medians.shape
        words = np.array([*LEVEL_WORDS, ""], dtype=object)
        return pd.DataFrame(
            {
                "cluster": np.repeat(np.arange(1, n_clusters + 1), n_markers),
                "marker": np.tile(np.array(self.markers, dtype=object), n_clusters),
                "median": np.round(self.medians.ravel(), 4),
                "effect": np.round(self.effects.ravel(), 3),
                "level": words[self.levels.ravel()],
            }
        )


def enrichment(
    expression: NDArray[np.float32],
    clusters: NDArray[np.int32],
    n_clusters: int,
    markers: Sequence[str],
    zeros: Sequence[float],
    *,
    sizes: NDArray[np.int64] | None = None,
    glow: bool = False,
) -> Enrichment:
    """Measure how each marker stands in each cluster against the other cells.

    Parameters
    ----------
    expression
        Transformed, unscaled values, shape (cells, markers).
    clusters
        Cluster of each cell, from 1, shape (cells,).
    n_clusters
        Number of clusters.
    markers
        Names of the columns.
    zeros
        Transformed value of no signal for each marker; NaN where it is not known.
    sizes
        Cells of each cluster, shape (clusters,), where the cells given are samples of the clusters.
    glow
        Whether cells without the marker may lie above zero, as in fluorescence.
    """
    if not len(expression):  # no event is of a cluster
        known = np.full((1 + len(_AMONG_CELLS), n_clusters, len(markers)), np.nan)
        none = np.zeros(n_clusters, dtype=np.int64)
        return Enrichment(tuple(markers), none, known[0], np.zeros_like(known[0]), known[0], known[1:])
    counts, edges = _histograms(expression, clusters, n_clusters)
    given = np.bincount(clusters, minlength=n_clusters + 1)[1:]
    sizes = given if sizes is None else sizes
    inside = _quantiles(counts, edges)
    weighted = counts * (sizes / np.maximum(given, 1))[:, None, None]
    outside = _quantiles(weighted.sum(axis=0) - weighted, edges)
    order = np.argsort(clusters, kind="stable")
    members = np.split(order, np.cumsum(given)[:-1])
    nothing = np.full(len(markers), np.nan)
    medians = np.array(
        on_threads(lambda rows: np.median(expression[rows], axis=0) if len(rows) else nothing, members)
    ).reshape(n_clusters, len(markers))
    spread = np.sqrt((_deviations(inside) ** 2 + _deviations(outside) ** 2) / 2)
    widths = edges[:, 1] - edges[:, 0]
    effects = (medians - outside[1]) / np.maximum(spread, widths)
    values = np.concatenate([medians[None], _quantiles(counts, edges, _AMONG_CELLS)])
    columns = [
        _positions(values[:, :, i], sizes, _deviations(inside)[:, i], float(zeros[i]), glow)
        for i in range(len(markers))
    ]
    positions = np.stack(columns, axis=2)
    return Enrichment(tuple(markers), sizes, medians, np.nan_to_num(effects), positions[0], positions[1:])


def _histograms(
    expression: NDArray[np.float32], clusters: NDArray[np.int32], n_clusters: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """Counts (clusters, markers, bins) of the values and the edges (markers, bins + 1) of the bins."""
    n_markers = expression.shape[1]
    counts = np.empty((n_clusters, n_markers, _BINS), dtype=np.int64)
    edges = np.empty((n_markers, _BINS + 1))

    def count(i: int) -> None:
        values = expression[:, i]
        low, high = float(values.min()), float(values.max())
        high = high if high > low else low + 1.0
        edges[i] = np.linspace(low, high, _BINS + 1)
        bins = np.minimum(((values - low) * np.float32(_BINS / (high - low))).astype(np.int64), _BINS - 1)
        flat = np.bincount((clusters - 1) * np.int64(_BINS) + bins, minlength=n_clusters * _BINS)
        counts[:, i] = flat.reshape(n_clusters, _BINS)

    on_threads(count, range(n_markers))
    return counts, edges


def _quantiles(
    counts: NDArray[np.int64] | FloatArray, edges: FloatArray, shares: Sequence[float] = _QUARTILES
) -> FloatArray:
    """Quantiles of histograms, shape (shares, clusters, markers), each the middle of its bin; NaN if empty."""
    cumulative = counts.cumsum(axis=2)
    totals = cumulative[:, :, -1]
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    found = np.empty((len(shares), *totals.shape))
    for i, share in enumerate(shares):
        bins = (cumulative < (share * totals)[:, :, None]).sum(axis=2)
        values = middles[np.arange(len(middles))[None, :], np.minimum(bins, _BINS - 1)]
        found[i] = np.where(totals > 0, values, np.nan)
    return found


def _deviations(quartiles: FloatArray) -> FloatArray:
    """Robust standard deviation from quartiles, shape (clusters, markers)."""
    return np.asarray((quartiles[2] - quartiles[0]) / _IQR_OF_NORMAL)


def _positions(
    values: FloatArray, sizes: NDArray[np.int64], deviations: FloatArray, zero: float, glow: bool
) -> FloatArray:
    """Place between the negative (0) and the positive (1) clusters of one marker.

    Parameters
    ----------
    values
        Of each cluster the median, and whatever else is to be placed, shape (1 + further, clusters).
    """
    medians = values[0]
    counted = np.flatnonzero(sizes >= FEWEST_CELLS)
    counted = counted if len(counted) else np.flatnonzero(sizes > 0)
    weights = np.sqrt(sizes[counted])
    negative, positive = _two_groups(medians[counted], weights)
    noise = float(np.average(deviations[counted], weights=weights))
    varies = positive - negative >= max(SMALLEST_RANGE, SMALLEST_CONTRAST * noise)
    if np.isnan(zero):
        return (values - negative) / (positive - negative) if varies else np.full(values.shape, np.nan)
    if not varies or positive - zero < SMALLEST_RANGE:
        level = float(np.average(medians[counted], weights=weights)) - zero
        positions = np.asarray((values - zero) / max(level, POSITIVE_ABOVE_ZERO))
        if glow and level < POSITIVE_ABOVE_GLOW:
            positions[:, positions[0] >= LEVEL_BOUNDS[0]] = np.nan
        return positions
    # Where even the lowest clusters carry the marker, none of them is negative: zero is.
    dark = max(0.5 * (positive - zero), POSITIVE_ABOVE_GLOW if glow else 0.0)
    base = negative if negative - zero < dark else zero
    return (values - base) / (positive - base)


def _two_groups(values: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Weighted means of the two groups into which values part best (least variance within the groups)."""
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    mass, moment = weights.cumsum(), (weights * values).cumsum()
    if len(values) < 2 or values[0] == values[-1]:
        return float(values[0]), float(values[0])
    below, above = moment[:-1] / mass[:-1], (moment[-1] - moment[:-1]) / (mass[-1] - mass[:-1])
    between = mass[:-1] * (mass[-1] - mass[:-1]) * (above - below) ** 2
    best = int(between.argmax())
    return float(below[best]), float(above[best])


def labels(found: Enrichment) -> list[str]:
    """Readable label of each cluster, such as ``CD3+ CD7+ CD4-``; clusters with the same levels get the same."""
    levels = found.levels
    return [_label(k, levels, found) for k in range(len(levels))]


def _label(k: int, levels: NDArray[np.int64], found: Enrichment) -> str:
    if found.sizes[k] == 0:
        return "empty"
    fewest = min(FEWEST_CELLS, int(found.sizes[k]))  # a stray cell or two need not be told from a population
    others = np.flatnonzero((np.arange(len(levels)) != k) & (found.sizes >= fewest))
    weights = found.sizes[others] / max(int(found.sizes[others].sum()), 1)
    common = ((levels[others] == levels[k]) * weights[:, None]).sum(axis=0) >= COMMON
    if len(others) == 0:
        common[:] = False
    carried = np.flatnonzero((levels[k] > 0) & ~common)
    if len(carried) > MOST_CARRIED:
        carried = np.sort(carried[np.argsort(-found.effects[k, carried], kind="stable")[:MOST_CARRIED]])
    alike = others[(levels[others][:, carried] == levels[k, carried]).all(axis=1)]
    further: list[int] = []
    while len(alike):
        telling = (levels[alike] != levels[k]) & (levels[k] >= 0)
        gain = (telling * found.sizes[alike, None]).sum(axis=0)
        if not gain.any():
            break
        marker = int(gain.argmax())
        further.append(marker)
        alike = alike[~telling[:, marker]]
    shown = [*carried.tolist(), *sorted(further, key=lambda m: (levels[k, m] == 0, m))]
    return " ".join(f"{found.markers[m]}{LEVELS[levels[k, m]]}" for m in shown) or "no distinct marker"


@dataclass(frozen=True)
class ClusterNames:
    """What the clusters of a model are called; it is stored with the model, so that new samples get the same names.

    Attributes
    ----------
    labels
        Readable label of each cluster, see :func:`labels`.
    populations
        Population of each cluster; empty strings where no reference, prior knowledge or table of names gave one.
    source
        Where the populations come from, in words; empty without any.
    scores, runners_up, runner_up_scores
        With a reference: how well the population fits (0 to 1), the next one and how well that fits; else empty.
    """

    labels: tuple[str, ...]
    populations: tuple[str, ...] = ()
    source: str = ""
    scores: tuple[float, ...] = ()
    runners_up: tuple[str, ...] = ()
    runner_up_scores: tuple[float, ...] = ()

    @property
    def columns(self) -> dict[str, Sequence[str | float]]:
        """Columns of a table with one row per cluster; those that are empty are left out."""
        values: dict[str, Sequence[str | float]] = {
            "label": self.labels,
            "population": self.populations,
            "score": self.scores,
            "runner_up": self.runners_up,
            "runner_up_score": self.runner_up_scores,
        }
        return {name: column for name, column in values.items() if column}

    def clusters_named(self, name: str) -> list[int]:
        """Clusters (from 1) of a population, or with a label, in any case; empty when none is called so."""
        wanted = name.casefold()
        for names in (self.populations, self.labels):
            found = [k for k, given in enumerate(names, start=1) if given.casefold() == wanted]
            if found:
                return found
        return []

    def to_dict(self) -> dict[str, Any]:
        """Names as JSON-ready values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClusterNames:
        """Names from :meth:`to_dict`; raises TypeError for what it can't have given."""
        arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        names = cls(**arguments)
        texts = [names.source, *names.labels, *names.populations, *names.runners_up]
        numbers = [*names.scores, *names.runner_up_scores]
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int | float) for n in numbers):
            raise TypeError("the names of the clusters are no texts, or their scores no numbers")
        return names
