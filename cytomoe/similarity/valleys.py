"""Valley partitions: cells are parted, again and again, at the emptiest valley that any marker shows.

A person gates where a marker's histogram has a valley. This does the same without a person: in a group of cells it
smooths the histogram of every marker at several bandwidths, looks for the valley that is surest to be real, cuts there
and goes on in both parts until no sure valley is left. A valley is judged by the upper end of a confidence interval of
its depth, so that few cells prove nothing and no number of clusters is asked for. Each marker is looked at twice: as
measured, where fine valleys show, and averaged over each cell's nearest neighbours, where noise no longer fills them.
A part without a valley may still be too wide to be one population, where two overlap in every marker; such parts are
divided where a hierarchy of micro-clusters says so.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.settings import Settings
from cytomoe.similarity.neighbours import nearest_neighbours

FloatArray = NDArray[np.float32]

# Width of a histogram bin, in units of transformed values (arcsinh).
BIN = 0.02
# Standard deviations of the Gaussians that smooth the histograms. The finest shows valleys of raw markers alone:
# averages of neighbours have a grain of their own at that scale.
BANDWIDTHS = (0.025, 0.05, 0.1, 0.2, 0.4)
FINEST_OF_MEANS = 0.05
# Neighbours' averages are not independent of each other; their counts prove this much of what raw counts prove.
MEANS_WEIGHT = 0.5
# Neighbours averaged, one choice after the other over the partitions.
NEIGHBOURS = (10, 20)
# Cells among which neighbours are searched, at most: enough to fill every population that can be found.
REFERENCE = 20_000
# Share of the cells that grow each tree: partitions differ, so that what hangs on few cells is outvoted.
SHARE = 0.8
# Smallest part that a cut may leave.
SMALLEST = 20
# Cuts nearer to zero than this are no cuts: one count of mass cytometry (cofactor 5) lies between no signal and some
# signal, not between two populations. In units of transformed values.
NEAR_ZERO = 0.2
# Micro-clusters in which the width of a part is measured, at most; cells that make one, at least; cells that lay them
# out, at most.
MICRO_CLUSTERS = 100
MICRO_CLUSTER_CELLS = 32
MICRO_CLUSTER_FIT = 5_000
# Markers of the panels for which the confidence was chosen.
USUAL_MARKERS = 10
# Below this many negative values a marker's noise can't be measured.
_ENOUGH_NEGATIVE = 50


def valley_partitions(expression: FloatArray, settings: Settings, rng: np.random.Generator) -> NDArray[np.int64]:
    """Partition the cells by valleys, on another draw of the cells each time.

    Parameters
    ----------
    expression
        Transformed, unscaled marker values, not clipped at 0, shape (cells, markers).
    settings
        ``resolution``, ``partitions``, ``valley_depth``, ``valley_confidence`` and ``widest_part`` are used.
    rng
        Source of all randomness.

    Returns
    -------
    ndarray
        Part of each cell, from 0, in each partition; shape (partitions, cells). Partitions are made side by side on
        the cores there are; each has a generator of its own, so the result does not depend on their number.
    """
    from threadpoolctl import threadpool_limits

    values = widen_noise(spread_ties(expression, rng))
    widest = settings.widest_part / settings.resolution
    confidence = confidence_for(settings.valley_confidence, values.shape[1])

    def partition(number: int, own: np.random.Generator) -> NDArray[np.int64]:
        averaged = means[number % len(means)]
        parts = _tree(values, averaged, settings.valley_depth, confidence, own).grow()
        return divide_wide_parts(parts, averaged, widest, own)

    with threadpool_limits(1), ThreadPoolExecutor(_threads()) as pool:
        means = neighbour_means(values, rng)
        generators = rng.spawn(settings.partitions)
        return np.stack(list(pool.map(partition, range(settings.partitions), generators)))


def confidence_for(usual: float, n_markers: int) -> float:
    """Standard deviations for a panel of ``n_markers``: the more markers are looked at, the surer a valley must be.

    The chance that some marker shows a valley by noise is kept at that of ``USUAL_MARKERS`` (Bonferroni).
    """
    from scipy.special import ndtr, ndtri

    if n_markers <= USUAL_MARKERS:
        return usual
    return -float(ndtri(ndtr(-usual) * USUAL_MARKERS / n_markers))


def _threads() -> int:
    """Cores for the partitions: those that this process may use, or fewer where ``OMP_NUM_THREADS`` says so."""
    from joblib import cpu_count

    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cpu_count(), int(wanted) if wanted.isdecimal() else cpu_count()))


def _tree(values: FloatArray, means: FloatArray, depth: float, confidence: float, rng: np.random.Generator) -> _Tree:
    """A tree over both views of the cells, to grow on a draw of them."""
    n_cells, n_markers = values.shape
    n_growing = min(int(SHARE * n_cells), REFERENCE)
    growing = np.zeros(n_cells, dtype=bool)
    growing[rng.permutation(n_cells)[:n_growing]] = True
    views = np.concatenate([values, means], axis=1)
    jitter = BIN * rng.random(views.shape[1])
    lowest = views.min(axis=0) - jitter  # jitter shifts each grid of bins
    return _Tree(
        bins=((views - lowest) / BIN).astype(np.int32),
        zeros=-lowest / BIN,
        growing=growing,
        n_markers=n_markers,
        smallest=SMALLEST * n_growing / n_cells,
        depth=depth,
        confidence=confidence,
    )


def spread_ties(expression: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Spread values that many cells share, such as whole counts, evenly up to half way to their neighbours.

    Counts are a comb, whose gaps are no valleys. A value that one cell has stays as it is.
    """
    spread = expression.copy()
    for marker in range(expression.shape[1]):
        distinct, inverse, counts = np.unique(expression[:, marker], return_inverse=True, return_counts=True)
        if len(distinct) < 2:
            continue
        gaps = np.diff(distinct)
        width = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))
        width[counts == 1] = 0
        spread[:, marker] += (width[inverse] * (rng.random(len(expression)) - 0.5)).astype(np.float32)
    return spread


def widen_noise(expression: FloatArray) -> FloatArray:
    """Widen the linear part of arcsinh to the noise around zero, marker by marker.

    True values are not negative, so negative ones measure the noise. Where twice their 95th percentile exceeds the
    cofactor it becomes the cofactor: otherwise noise alone has two peaks, one on either side of zero.
    """
    widened = expression.copy()
    for marker in range(expression.shape[1]):
        values = expression[:, marker]
        negative = -np.sinh(values[values < 0])
        if len(negative) > _ENOUGH_NEGATIVE:
            factor = 2 * np.percentile(negative, 95)
            if factor > 1:
                widened[:, marker] = np.arcsinh(np.sinh(values) / factor)
    return widened


def neighbour_means(values: FloatArray, rng: np.random.Generator) -> list[FloatArray]:
    """Mean of each cell and its nearest neighbours, for each number of ``NEIGHBOURS``; shape (cells, markers) each."""
    reference = values if len(values) <= REFERENCE else values[rng.permutation(len(values))[:REFERENCE]]
    most = min(max(NEIGHBOURS) + 1, len(reference))
    indices = nearest_neighbours(values, reference, most, threads=_threads())
    means = []
    total, done = np.zeros_like(values), 0
    for number in NEIGHBOURS:
        for column in range(done, min(number + 1, most)):
            total += reference[indices[:, column]]
        done = min(number + 1, most)
        means.append(total / np.float32(done))
    return means


@dataclass(frozen=True)
class _Cut:
    """A cut of one column of the views: bins up to ``bin`` on one side."""

    column: int
    bin: int
    badness: float


@dataclass(frozen=True, eq=False)
class _Tree:
    """A tree of cuts.

    Attributes
    ----------
    bins
        Bin of each cell in each view, shape (cells, 2 * markers): raw markers, then neighbours' means.
    zeros
        Where the value 0 lies in each view, in bins, shape (2 * markers,).
    growing
        Cells that count in the histograms; all cells follow the cuts.
    n_markers
        Columns of ``bins`` that are raw.
    smallest
        Fewest growing cells on either side of a cut.
    depth
        Largest upper bound of (density in the valley) / (density at the lower peak) that is cut.
    confidence
        How far valley and peak are moved towards each other, in standard deviations.
    """

    bins: NDArray[np.int32]
    zeros: NDArray[np.floating[Any]]
    growing: NDArray[np.bool_]
    n_markers: int
    smallest: float
    depth: float
    confidence: float

    def grow(self) -> NDArray[np.int64]:
        """Part of each cell, from 0."""
        parts = np.zeros(len(self.bins), dtype=np.int64)
        open_groups = [np.arange(len(self.bins))]
        n_parts = 0
        while open_groups:
            cells = open_groups.pop()
            cut = self._best_cut(cells)
            if cut is None:
                parts[cells] = n_parts
                n_parts += 1
                continue
            below = self.bins[cells, cut.column] <= cut.bin
            open_groups += [cells[below], cells[~below]]
        return parts

    def _best_cut(self, cells: NDArray[np.int64]) -> _Cut | None:
        """The surest valley of a group of cells, over all views and bandwidths; None if no valley is sure."""
        growing = cells[self.growing[cells]]
        if len(growing) < 2 * self.smallest:
            return None
        lowest, histograms = self._histograms(growing)
        cumulative = histograms.cumsum(axis=1)
        enough = np.minimum(cumulative, cumulative[:, -1:] - cumulative) >= self.smallest
        from_zero = np.arange(histograms.shape[1]) + (lowest - self.zeros)[:, None]
        enough &= np.abs(from_zero) > NEAR_ZERO / BIN
        best: _Cut | None = None
        for bandwidth in BANDWIDTHS:
            n_columns = len(histograms) if bandwidth >= FINEST_OF_MEANS else self.n_markers
            cut = self._valley(histograms[:n_columns], enough[:n_columns], bandwidth)
            if cut is not None and (best is None or cut.badness < best.badness):
                best = cut
        return None if best is None else replace(best, bin=best.bin + int(lowest[best.column]))

    def _histograms(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Lowest bin of each column, and the counts from there on, as far as the widest column reaches."""
        bins = self.bins[cells]
        lowest = bins.min(axis=0)
        bins -= lowest
        n_columns, n_bins = bins.shape[1], int(bins.max()) + 1
        flat = (bins + np.arange(n_columns, dtype=np.int64) * n_bins).ravel()
        counts = np.bincount(flat, minlength=n_columns * n_bins).reshape(n_columns, n_bins)
        return lowest, counts.astype(np.float64)

    def _valley(self, histograms: NDArray[np.float64], enough: NDArray[np.bool_], bandwidth: float) -> _Cut | None:
        """The surest valley at one bandwidth.

        Smoothed counts are scaled to the number of cells that a Gaussian window effectively sees, whose square root has
        a standard deviation of 1/2. Valley and peak are moved towards each other by ``confidence`` of these.
        """
        from scipy.ndimage import gaussian_filter1d

        width = bandwidth / BIN
        counts = gaussian_filter1d(histograms, width, axis=1, mode="constant", truncate=3)
        counts *= 2 * np.sqrt(np.pi) * width
        counts[self.n_markers :] *= MEANS_WEIGHT
        from_left = np.maximum.accumulate(counts, axis=1)
        from_right = np.maximum.accumulate(counts[:, ::-1], axis=1)[:, ::-1]
        peaks = np.minimum(from_left, from_right)
        places = np.flatnonzero(enough & (peaks >= self.confidence**2))
        if not len(places):
            return None
        margin = self.confidence / 2
        upper = (np.sqrt(counts.ravel()[places]) + margin) / np.maximum(np.sqrt(peaks.ravel()[places]) - margin, 1e-9)
        surest = int(upper.argmin())
        badness = float(upper[surest] ** 2)
        if badness >= self.depth:
            return None
        column, lowest = divmod(int(places[surest]), counts.shape[1])
        # An empty valley has many lowest bins: cut in the middle of them.
        flat = enough[column] & (np.abs(counts[column] - counts[column, lowest]) < 1e-9)
        before = np.flatnonzero(~flat[:lowest])
        after = np.flatnonzero(~flat[lowest:])
        first = int(before[-1]) + 1 if len(before) else 0
        last = lowest + int(after[0]) - 1 if len(after) else len(flat) - 1
        return _Cut(column, (first + last) // 2, badness)


def divide_wide_parts(
    parts: NDArray[np.int64], means: FloatArray, widest: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Divide parts that are too wide to be one population.

    Parameters
    ----------
    parts
        Part of each cell, from 0, shape (cells,).
    means
        Values averaged over neighbours, shape (cells, markers).
    widest
        Average-linkage height, per square root of the number of markers over 10, at which micro-clusters of a part are
        no longer joined.
    rng
        Source of all randomness.

    Returns
    -------
    ndarray
        Part of each cell, from 0.
    """
    height = widest * np.sqrt(means.shape[1] / 10)
    divided = np.empty_like(parts)
    n_parts = 0
    order = np.argsort(parts, kind="stable")
    for cells in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1):
        pieces = _pieces(means[cells], height, rng)
        divided[cells] = n_parts + pieces
        n_parts += int(pieces.max()) + 1
    return divided


def _pieces(values: FloatArray, height: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Piece of each cell of one part, from 0."""
    from scipy.cluster.hierarchy import average, fcluster
    from sklearn.cluster import KMeans

    n_micro = min(MICRO_CLUSTERS, len(values) // MICRO_CLUSTER_CELLS)
    if n_micro < 4 or not np.ptp(values, axis=0).any():
        return np.zeros(len(values), dtype=np.int64)
    fitted = values[rng.permutation(len(values))[:MICRO_CLUSTER_FIT]]
    k_means = KMeans(n_micro, init="random", n_init=1, max_iter=10, random_state=int(rng.integers(2**31))).fit(fitted)
    joined = fcluster(average(k_means.cluster_centers_), height, "distance")
    if joined.max() == 1:
        return np.zeros(len(values), dtype=np.int64)
    return np.unique(joined[k_means.predict(values)], return_inverse=True)[1].astype(np.int64)
