"""Marker histograms of every cluster, over all cells, in one pass through the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytomoe.reporting.run_files import RunFiles

BINS = 64


@dataclass(frozen=True, eq=False)
class Histograms:
    """Counts of cells by cluster, marker and transformed value.

    Attributes
    ----------
    low, high
        Ends of the histogram of each marker, shape (markers,). What lies beyond is counted in the last bin.
    counts
        Shape (clusters, markers, bins).
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]

    def percentile(self, percent: float) -> NDArray[np.float64]:
        """Percentile of each marker over all cells, as exact as the bins are narrow; shape (markers,)."""
        totals = self.counts.sum(axis=0)
        reached = np.cumsum(totals, axis=1) >= percent / 100 * totals.sum(axis=1, keepdims=True)
        return self.low + (reached.argmax(axis=1) + 0.5) / BINS * (self.high - self.low)


def marker_histograms(run: RunFiles) -> Histograms:
    """Count the cells of each cluster by marker value, between the model's limits and a tenth beyond."""
    steps = run.manifest["preprocessing"]["steps"]
    limits = np.array([[step["low"], step["high"]] for step in steps], dtype=np.float64)
    width = np.where(limits[:, 1] > limits[:, 0], limits[:, 1] - limits[:, 0], 1.0)
    low, high = limits[:, 0] - 0.05 * width, limits[:, 1] + 0.1 * width
    counts = np.zeros((run.n_clusters, len(steps), BINS), dtype=np.int64)
    cells = run.cells
    for rows, expression in cells.expression_blocks():
        clusters = cells.cluster[rows]
        there = clusters > 0
        counts += count_in_bins(expression[there], clusters[there] - 1, run.n_clusters, low, high)
    return Histograms(low, high, counts)


def count_in_bins(
    expression: NDArray[np.float32],
    clusters: NDArray[np.int64],
    n_clusters: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Count cells by cluster, marker and bin.

    Parameters
    ----------
    expression
        Transformed values, shape (cells, markers).
    clusters
        From 0, shape (cells,).
    n_clusters
        Number of clusters.
    low, high
        Ends of the bins of each marker, shape (markers,). What lies beyond is counted in the last bin.

    Returns
    -------
    ndarray
        Shape (clusters, markers, bins).
    """
    counts = np.empty((n_clusters, expression.shape[1], BINS), dtype=np.int64)
    for marker in range(expression.shape[1]):
        position = (expression[:, marker] - low[marker]) * (BINS / (high[marker] - low[marker]))
        bins = clusters * BINS + np.clip(position.astype(np.int64), 0, BINS - 1)
        counts[:, marker] = np.bincount(bins, minlength=n_clusters * BINS).reshape(n_clusters, BINS)
    return counts
