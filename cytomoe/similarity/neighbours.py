"""Nearest neighbours among many cells, exact, by comparing with all of them.

Cells have too many markers for search trees to pay, and all comparisons are one matrix product per batch of cells. To
choose the nearest from a row of distances would cost more than that: a limit that holds them is found on few numbers,
the distances of the nearest cell of each group, and only what lies within it is sorted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cytomoe.cores import on_threads

# Cells searched for at once: their distances stay in the processor's cache. Cells of a group.
_BATCH = 64
_GROUP = 32


def nearest_neighbours(
    values: NDArray[np.float32], reference: NDArray[np.float32], n_neighbours: int, *, threads: int = 1
) -> NDArray[np.int64]:
    """The nearest cells of a reference by Euclidean distance.

    Parameters
    ----------
    values
        Cells to search for, shape (cells, markers).
    reference
        Cells to search in, shape (others, markers).
    n_neighbours
        How many; at most ``len(reference)``.
    threads
        Batches searched for side by side; the result does not depend on it.

    Returns
    -------
    ndarray
        Rows of ``reference``, the nearest first, shape (cells, n_neighbours). Distances are compared in single
        precision: which of two cells equally far to a millionth comes first is left open.
    """
    group = max(1, min(_GROUP, len(reference) // n_neighbours))  # so that there are as many groups as neighbours
    n_groups = -(-len(reference) // group)
    centre = reference.mean(axis=0)  # small numbers lose least precision in the product
    padded = np.zeros((n_groups * group, reference.shape[1]), dtype=np.float32)
    padded[: len(reference)] = reference - centre
    # |x - y|^2 / 2 up to |x|^2 / 2, which is the same for all y; what fills the last places is no neighbour.
    half_squares = np.square(padded).sum(axis=1) / 2
    half_squares[len(reference) :] = np.inf
    columns = np.ascontiguousarray(padded.T)
    n_columns = columns.shape[1]
    found = np.empty((len(values), n_neighbours), dtype=np.int64)

    def search(start: int) -> None:
        rows = centre - values[start : start + _BATCH]
        distances = rows @ columns
        distances += half_squares
        # The nearest cells of different groups: n of them lie within the limit, and so do the n nearest cells.
        nearest_members = distances.reshape(len(rows), group, n_groups).min(axis=1)
        nearest_members.partition(n_neighbours - 1, axis=1)
        near = np.flatnonzero(distances <= nearest_members[:, n_neighbours - 1, None])
        if len(near) > group * n_neighbours * len(rows):  # which only cells equally far can be
            chosen = np.argpartition(distances, n_neighbours - 1, axis=1)[:, :n_neighbours]
            near = np.sort(chosen + n_columns * np.arange(len(rows))[:, None], axis=None)
        row = near // n_columns
        near = near[np.lexsort((distances.ravel()[near], row))]
        first = np.searchsorted(row, np.arange(len(rows)))
        found[start : start + len(rows)] = near[first[:, None] + np.arange(n_neighbours)] % n_columns

    on_threads(search, range(0, len(values), _BATCH), threads)
    return found
