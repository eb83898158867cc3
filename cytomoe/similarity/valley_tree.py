"""Trees of cuts: a group of cells is cut at the surest valley of any marker, and so are both parts, while one is sure.

Histograms are smoothed at several bandwidths, the wider ones on wider bins, which lose nothing that they could show.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Width of the finest histogram bin, in units of transformed values (arcsinh).
BIN = 0.02
# Standard deviations of the Gaussians that smooth the histograms, by the width of the bins that they are applied to, in
# finest bins. The finest shows valleys of raw markers alone: averages of neighbours have a grain of their own there.
BANDWIDTHS = {1: (0.025, 0.05), 4: (0.1, 0.2, 0.4)}
FINEST_OF_MEANS = 0.05
# Neighbours' averages are not independent of each other; their counts prove this much of what raw counts prove.
MEANS_WEIGHT = 0.5
# Cuts nearer to zero than this are no cuts: one count of mass cytometry (cofactor 5) lies between no signal and some
# signal, not between two populations. In units of transformed values.
NEAR_ZERO = 0.2


@dataclass(frozen=True)
class _Cut:
    """A cut of one column of the views: bins up to ``bin`` on one side."""

    column: int
    bin: int
    badness: float


@dataclass(frozen=True, eq=False)
class Tree:
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
        lowest, counts = self._histograms(growing)
        cuts = [self._valley(_wider(counts, width), lowest, width, some) for width, some in BANDWIDTHS.items()]
        return min((cut for cut in cuts if cut is not None), key=lambda cut: cut.badness, default=None)

    def _histograms(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Lowest bin of each column, and the counts from there on, as far as the widest column reaches."""
        bins = self.bins[cells]
        lowest = bins.min(axis=0)
        bins -= lowest
        n_columns, n_bins = bins.shape[1], int(bins.max()) + 1
        flat = (bins + np.arange(n_columns, dtype=np.int64) * n_bins).ravel()
        counts = np.bincount(flat, minlength=n_columns * n_bins).reshape(n_columns, n_bins)
        return lowest, counts.astype(np.float32)

    def _valley(
        self, counts: NDArray[np.float32], lowest: NDArray[np.int32], width: int, bandwidths: tuple[float, ...]
    ) -> _Cut | None:
        """The surest valley at some bandwidths; valley and peak are moved towards each other by the confidence.

        Parameters
        ----------
        counts
            Cells in each bin of each column, shape (columns, bins).
        lowest
            Finest bin at which each column begins.
        width
            Finest bins in one of ``counts``.
        bandwidths
            Standard deviations of the Gaussians.
        """
        n_bins = counts.shape[1]
        seen, peaks, column_of = self._smoothed(counts, width, bandwidths)
        candidates = np.flatnonzero((seen < peaks) & (peaks >= self.confidence**2))
        margin = self.confidence / 2
        badness = np.sqrt(seen.ravel()[candidates]) + margin
        badness /= np.maximum(np.sqrt(peaks.ravel()[candidates]) - margin, 1e-9)
        badness **= 2
        sure = badness < self.depth
        if not sure.any():
            return None
        badness, (rows, bins) = badness[sure], np.divmod(candidates[sure], n_bins)
        there = np.bincount(column_of[rows], minlength=len(counts)) > 0
        columns, own = np.flatnonzero(there), (np.cumsum(there) - 1)[column_of[rows]]
        places = lowest[columns, None] + width * np.arange(n_bins) + (width - 1) // 2
        may_be_cut = self._may_be_cut(counts[columns], places, self.zeros[columns])
        badness[~may_be_cut[own, bins]] = np.inf
        surest = int(badness.argmin())
        if not np.isfinite(badness[surest]):
            return None
        which = int(own[surest])
        middle = _middle_of_valley(seen[rows[surest]], may_be_cut[which], int(bins[surest]))
        return _Cut(int(columns[which]), int(places[which, middle]), float(badness[surest]))

    def _smoothed(
        self, counts: NDArray[np.float32], width: int, bandwidths: tuple[float, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Cells that a Gaussian effectively sees from each bin: the square root has a standard deviation of 1/2.

        Returns
        -------
        seen
            A row for each bandwidth and column, shape (rows, bins).
        peaks
            Seen from the lower of the highest peaks on both sides, shape (rows, bins).
        column_of
            Column of each row, shape (rows,).
        """
        from scipy.ndimage import correlate1d

        n_columns = [len(counts) if bandwidth >= FINEST_OF_MEANS else self.n_markers for bandwidth in bandwidths]
        seen = np.empty((sum(n_columns), counts.shape[1]), dtype=np.float32)
        for rows, n, bandwidth in zip(np.split(seen, np.cumsum(n_columns)[:-1]), n_columns, bandwidths, strict=True):
            spread = bandwidth / (width * BIN)  # in bins
            correlate1d(counts[:n], _gaussian(spread), axis=1, mode="constant", output=rows)
            rows *= np.float32(2 * np.sqrt(np.pi) * spread)
            rows[self.n_markers :] *= np.float32(MEANS_WEIGHT)
        from_left = np.maximum.accumulate(seen, axis=1)
        from_right = np.maximum.accumulate(seen[:, ::-1], axis=1)[:, ::-1]
        return seen, np.minimum(from_left, from_right), np.concatenate([np.arange(n) for n in n_columns])

    def _may_be_cut(
        self, counts: NDArray[np.float32], places: NDArray[np.int64], zeros: NDArray[np.floating[Any]]
    ) -> NDArray[np.bool_]:
        """Where a cut leaves enough cells on both sides and is not too near to zero, shape (columns, bins)."""
        below = counts.cumsum(axis=1)
        from_zero = np.abs(places - zeros[:, None])
        return (np.minimum(below, below[:, -1:] - below) >= self.smallest) & (from_zero > NEAR_ZERO / BIN)


@cache
def _gaussian(spread: float) -> NDArray[np.float64]:
    """Weights of a Gaussian of a standard deviation in bins, as far as three of them."""
    from scipy.ndimage import gaussian_filter1d

    reach = int(3 * spread + 0.5)
    one = np.zeros(2 * reach + 1)
    one[reach] = 1
    return np.asarray(gaussian_filter1d(one, spread, mode="constant", truncate=3))


def _middle_of_valley(seen: NDArray[np.float32], may_be_cut: NDArray[np.bool_], lowest: int) -> int:
    """Bin in the middle of those that are as low as ``lowest``: an empty valley has many."""
    flat = may_be_cut & (np.abs(seen - seen[lowest]) < 1e-9)
    before = np.flatnonzero(~flat[:lowest])
    after = np.flatnonzero(~flat[lowest:])
    first = int(before[-1]) + 1 if len(before) else 0
    last = lowest + int(after[0]) - 1 if len(after) else len(flat) - 1
    return (first + last) // 2


def _wider(counts: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Counts of bins so many times as wide."""
    if width == 1:
        return counts
    padded = np.pad(counts, ((0, 0), (0, -counts.shape[1] % width)))
    return padded.reshape(len(counts), -1, width).sum(axis=2)
