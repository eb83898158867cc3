"""Nearest neighbours among many cells, exact, by comparing with all of them.

Cells have too many markers for search trees to pay, and all comparisons are one matrix product per batch of cells. What
costs most is to choose the nearest from a row of distances; here that is done twice on few numbers: the nearest cells
lie in the groups whose nearest cell is among the nearest.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

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
    n_groups = -(-len(reference) // _GROUP)
    centre = reference.mean(axis=0)  # small numbers lose least precision in the product
    padded = np.zeros((n_groups * _GROUP, reference.shape[1]), dtype=np.float32)
    padded[: len(reference)] = reference - centre
    # |x - y|^2 / 2 up to |x|^2 / 2, which is the same for all y; what fills the last places is no neighbour.
    half_squares = np.square(padded).sum(axis=1) / 2
    half_squares[len(reference) :] = np.inf
    columns = np.ascontiguousarray(padded.T)
    n_nearest_groups = min(n_neighbours, n_groups)
    members = (np.arange(_GROUP) * n_groups)[:, None]  # member m of group g is column m * n_groups + g
    found = np.empty((len(values), n_neighbours), dtype=np.int64)

    def search(start: int) -> None:
        rows = centre - values[start : start + _BATCH]
        distances = rows @ columns
        distances += half_squares
        nearest_members = distances.reshape(len(rows), _GROUP, n_groups).min(axis=1)
        groups = np.argpartition(nearest_members, n_nearest_groups - 1, axis=1)[:, :n_nearest_groups]
        candidates = (groups[:, None, :] + members).reshape(len(rows), -1)
        candidate_distances = np.take_along_axis(distances, candidates, 1)
        places = np.argpartition(candidate_distances, n_neighbours - 1, axis=1)[:, :n_neighbours]
        order = np.argsort(np.take_along_axis(candidate_distances, places, 1), axis=1, kind="stable")
        found[start : start + len(rows)] = np.take_along_axis(candidates, np.take_along_axis(places, order, 1), 1)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, range(0, len(values), _BATCH)))
    return found
