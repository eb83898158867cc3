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

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe import processes
from cytomoe.cores import cores, on_threads
from cytomoe.settings import Settings
from cytomoe.similarity.neighbours import nearest_neighbours
from cytomoe.similarity.valley_tree import BIN, Tree

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

FloatArray = NDArray[np.float32]

# Neighbours averaged, one choice after the other over the partitions.
NEIGHBOURS = (10, 20)
# Cells among which neighbours are searched, at most: enough to fill every population that can be found.
REFERENCE = 20_000
# Share of the cells that grow each tree: partitions differ, so that what hangs on few cells is outvoted.
SHARE = 0.8
# Smallest part that a cut may leave.
SMALLEST = 20
# Micro-clusters in which the width of a part is measured, at most; cells that lay out each; rounds of k-means.
MICRO_CLUSTERS = 100
MICRO_CLUSTER_CELLS = 32
MICRO_CLUSTER_ROUNDS = 5
# Markers of the panels for which the confidence was chosen.
USUAL_MARKERS = 10
# Below this many negative values a marker's noise can't be measured.
_ENOUGH_NEGATIVE = 50
# Cells from which on processes are worth starting, where none are there yet.
_WORTH_PROCESSES = 20_000
# Cells whose neighbours are averaged at once: they stay in the processor's cache.
_AVERAGED_AT_ONCE = 1024


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
        Part of each cell, from 0, in each partition; shape (partitions, cells). Partitions of many cells are made side
        by side, in a process for each core; each has a generator of its own, so the result does not depend on theirs.
    """
    started_here = len(expression) >= _WORTH_PROCESSES and start_processes()
    try:
        with blas().limit(limits=1):
            values = widen_noise(spread_ties(expression, rng))
            means = neighbour_means(values, rng)
            tasks = list(enumerate(rng.spawn(settings.partitions)))
            return np.stack(processes.share_out(_Partitions, (values, means, settings), tasks))
    finally:
        if started_here:
            processes.stop()


class _Partitions:
    """Makes partitions of cells, on the means of each number of neighbours in turn.

    Parameters
    ----------
    values
        Marker values, shape (cells, markers).
    means
        Averages over neighbours, shape (cells, markers) each.
    settings
        As in :func:`valley_partitions`.
    """

    def __init__(self, values: FloatArray, means: list[FloatArray], settings: Settings) -> None:
        self.means = means
        self.views = [_Views.of(values, averaged) for averaged in means]
        self.depth = settings.valley_depth
        self.confidence = confidence_for(settings.valley_confidence, values.shape[1])
        self.widest = settings.widest_part / settings.resolution

    def __call__(self, task: tuple[int, np.random.Generator]) -> NDArray[np.int64]:
        """Part of each cell, from 0, shape (cells,), in the partition of a number."""
        number, rng = task
        which = number % len(self.means)
        parts = _tree(self.views[which], self.depth, self.confidence, rng).grow()
        return divide_wide_parts(parts, self.means[which], self.widest, rng)


@cache
def blas() -> ThreadpoolController:
    """The libraries that multiply matrices for numpy; looked for once, as that takes long beside an import."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def start_processes() -> bool:
    """Start the processes that make partitions, where there are several cores, as :func:`cytomoe.processes.start`."""
    return processes.start([processes.PARTITIONING])


def confidence_for(usual: float, n_markers: int) -> float:
    """Standard deviations for a panel of ``n_markers``: the more markers are looked at, the surer a valley must be.

    The chance that some marker shows a valley by noise is kept at that of ``USUAL_MARKERS`` (Bonferroni).
    """
    from scipy.special import ndtr, ndtri

    if n_markers <= USUAL_MARKERS:
        return usual
    return -float(ndtri(ndtr(-usual) * USUAL_MARKERS / n_markers))


@dataclass(frozen=True, eq=False)
class _Views:
    """Both views of the cells, raw markers and then neighbours' means, in bins above the lowest value of each column.

    Attributes
    ----------
    values
        Shape (cells, 2 * markers).
    lowest
        Lowest value of each column, in bins, shape (2 * markers,).
    """

    values: FloatArray
    lowest: FloatArray

    @classmethod
    def of(cls, values: FloatArray, means: FloatArray) -> _Views:
        views = np.concatenate([values, means], axis=1)
        views /= np.float32(BIN)
        lowest = views.min(axis=0)
        views -= lowest
        return cls(views, lowest)


def _tree(views: _Views, depth: float, confidence: float, rng: np.random.Generator) -> Tree:
    """A tree over both views of the cells, to grow on a draw of them."""
    n_cells, n_columns = views.values.shape
    n_growing = min(int(SHARE * n_cells), REFERENCE)
    growing = np.zeros(n_cells, dtype=bool)
    growing[rng.permutation(n_cells)[:n_growing]] = True
    jitter = rng.random(n_columns, dtype=np.float32)  # shifts each grid of bins
    return Tree(
        bins=(views.values + jitter).astype(np.int32),
        zeros=jitter - views.lowest,
        growing=growing,
        n_markers=n_columns // 2,
        smallest=SMALLEST * n_growing / n_cells,
        depth=depth,
        confidence=confidence,
    )


def spread_ties(expression: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Spread values that many cells share, such as whole counts, evenly up to half way to their neighbours.

    Counts are a comb, whose gaps are no valleys. A value that one cell has stays as it is.
    """
    spread = expression.copy()

    def draws() -> Iterator[tuple[int, NDArray[np.float64]]]:
        for marker in range(expression.shape[1]):
            if np.ptp(expression[:, marker]) > 0:
                yield marker, rng.random(len(expression)) - 0.5

    def spread_marker(draw: tuple[int, NDArray[np.float64]]) -> None:
        marker, places = draw
        distinct, inverse, counts = np.unique(expression[:, marker], return_inverse=True, return_counts=True)
        gaps = np.diff(distinct)
        width = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))
        width[counts == 1] = 0
        spread[:, marker] += (width[inverse] * places).astype(np.float32)

    on_threads(spread_marker, draws())
    return spread


def widen_noise(expression: FloatArray) -> FloatArray:
    """Widen the linear part of arcsinh to the noise around zero, marker by marker.

    True values are not negative, so negative ones measure the noise. Where twice their 95th percentile exceeds the
    cofactor it becomes the cofactor: otherwise noise alone has two peaks, one on either side of zero.
    """
    widened = expression.copy()

    def widen_marker(marker: int) -> None:
        values = expression[:, marker]
        negative = -np.sinh(values[values < 0])
        if len(negative) > _ENOUGH_NEGATIVE:
            factor = 2 * np.percentile(negative, 95)
            if factor > 1:
                widened[:, marker] = np.arcsinh(np.sinh(values) / factor)

    on_threads(widen_marker, range(expression.shape[1]))
    return widened


def neighbour_means(values: FloatArray, rng: np.random.Generator) -> list[FloatArray]:
    """Mean of each cell and its nearest neighbours, for each number of ``NEIGHBOURS``; shape (cells, markers) each."""
    reference = values if len(values) <= REFERENCE else values[rng.permutation(len(values))[:REFERENCE]]
    most = min(max(NEIGHBOURS) + 1, len(reference))
    indices = nearest_neighbours(values, reference, most, threads=cores())
    means = [np.empty_like(values) for _ in NEIGHBOURS]

    def average(start: int) -> None:
        rows = slice(start, start + _AVERAGED_AT_ONCE)
        nearest = reference[indices[rows]]
        total, done = np.float32(0), 0
        for number, averaged in zip(NEIGHBOURS, means, strict=True):
            first, done = done, min(number + 1, most)
            total = total + nearest[:, first:done].sum(axis=1)
            averaged[rows] = total / np.float32(done)

    on_threads(average, range(0, len(values), _AVERAGED_AT_ONCE))
    return means


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

    n_micro = min(MICRO_CLUSTERS, len(values) // MICRO_CLUSTER_CELLS)
    if n_micro < 4:
        return np.zeros(len(values), dtype=np.int64)
    fitted = values[rng.permutation(len(values))[: n_micro * MICRO_CLUSTER_CELLS]]
    if are_within(values, height):  # and so are all centres
        return np.zeros(len(values), dtype=np.int64)
    centres = micro_clusters(fitted, n_micro)
    joined = fcluster(average(centres), height, "distance")
    if joined.max() == 1:
        return np.zeros(len(values), dtype=np.int64)
    return np.unique(joined[_nearest(values, centres)], return_inverse=True)[1].astype(np.int64)


def are_within(values: FloatArray, distance: float) -> bool:
    """Whether no two cells can be ``distance`` apart, from how far they lie from their mean."""
    from_mean = values - values.mean(axis=0)
    return 2.001 * float(np.sqrt(np.einsum("ij,ij->i", from_mean, from_mean).max())) < distance


def micro_clusters(cells: FloatArray, number: int) -> FloatArray:
    """Centres of k-means from the first ``number`` cells, in a few rounds.

    What libraries have either keeps other threads waiting or costs more than these rounds to set up.
    """
    centres = cells[:number].copy()
    for _ in range(MICRO_CLUSTER_ROUNDS):
        nearest = _nearest(cells, centres)
        order = np.argsort(nearest, kind="stable")
        found, first = np.unique(nearest[order], return_index=True)
        sizes = np.diff(first, append=len(cells))
        centres[found] = np.add.reduceat(cells[order], first, axis=0) / sizes[:, None]
    return centres


def _nearest(cells: FloatArray, centres: FloatArray) -> NDArray[np.int64]:
    """Nearest centre of each cell, shape (cells,)."""
    return np.argmin(np.square(centres).sum(axis=1) / 2 - cells @ centres.T, axis=1)
