"""Cells that fit no cluster: a marker of theirs lies far outside the range that their cluster spans.

Populations differ by a marker or two, so one marker has to be enough: Stahel and Donoho's outlyingness, the largest
robust distance over all projections, with the markers as the projections. What a fit keeps for it are percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.cores import on_threads

FloatArray = NDArray[np.float32]

# Percentiles between which the cells of a cluster lie in a marker. Wider ones hang on single cells; narrower ones cut
# into markers that are not spread like a Gaussian.
EDGES = (0.005, 0.995)
# Least distance from median to edge, as a share of the marker's range over all cells: a cluster that lacks a marker
# spans so little of it that noise would leave its range.
NARROWEST = 0.2
# Share of cells like those of the fit that are unassigned.
BEYOND = 0.04
# Parts of the cells whose distance is measured from the others, so that the limit holds for cells that are new.
FOLDS = 4
# Cells that the limit is measured on, at most, so that more cells cost no more.
MOST_MEASURED = 20_000


def marker_quantiles(expression: FloatArray, shares: Sequence[float]) -> NDArray[np.floating[Any]]:
    """Quantiles of each marker over the cells, shape (shares, markers)."""
    return np.stack(on_threads(lambda marker: np.quantile(marker, shares), expression.T), axis=1)


def marker_ranges(expression: FloatArray, experts: NDArray[np.int64], n_clusters: int) -> FloatArray:
    """Range of each marker in each cluster.

    Parameters
    ----------
    expression
        Transformed values, shape (cells, markers).
    experts
        Cluster of each cell, from 0, shape (cells,).
    n_clusters
        How many clusters there are; some may be empty.

    Returns
    -------
    ndarray
        Lower edge, median and upper edge, the edges at least as far from the median as ``NARROWEST`` says; shape
        (clusters, 3, markers). The range of an empty cluster is that of all cells.
    """
    overall = marker_quantiles(expression, [EDGES[0], 0.5, EDGES[1]])
    narrowest = NARROWEST * (overall[2] - overall[0])
    ranges = np.repeat(overall[None], n_clusters, axis=0)
    order = np.argsort(experts, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(experts[order])) + 1)
    own = on_threads(lambda rows: np.quantile(expression[rows], [EDGES[0], 0.5, EDGES[1]], axis=0), members)
    ranges[[experts[rows[0]] for rows in members]] = own
    ranges[:, 0] = np.minimum(ranges[:, 0], ranges[:, 1] - narrowest)
    ranges[:, 2] = np.maximum(ranges[:, 2], ranges[:, 1] + narrowest)
    return ranges.astype(np.float32)


def outlyingness(ranges: FloatArray, expression: FloatArray, experts: NDArray[np.int64]) -> FloatArray:
    """Largest distance of a cell from its cluster's medians over the markers, in distances from median to edge.

    Parameters
    ----------
    ranges
        From :func:`marker_ranges`.
    expression
        Transformed values, shape (cells, markers).
    experts
        Cluster of each cell, from 0, shape (cells,).

    Returns
    -------
    ndarray
        Shape (cells,); 1 on the edge of the range of one marker, and within that of all others.
    """
    widths = np.maximum(np.diff(ranges, axis=1), np.float32(1e-6))  # below and above the median
    apart = expression - ranges[experts, 1]
    widths = np.where(apart < 0, widths[experts, 0], widths[experts, 1])
    return np.asarray((np.abs(apart) / widths).max(axis=1), dtype=np.float32)


def outlyingness_limit(expression: FloatArray, experts: NDArray[np.int64]) -> float:
    """Outlyingness that a share ``BEYOND`` of cells like these exceeds, each measured by ranges of other cells."""
    step = -(-len(expression) // MOST_MEASURED)
    expression, experts = expression[::step], experts[::step]
    found = np.zeros(len(expression), dtype=np.float32)
    fold = np.arange(len(expression)) % FOLDS
    for i in range(min(FOLDS, len(expression))):
        here = fold == i
        ranges = marker_ranges(expression[~here], experts[~here], int(experts.max()) + 1)
        found[here] = outlyingness(ranges, expression[here], experts[here])
    return float(np.quantile(found, 1 - BEYOND))
