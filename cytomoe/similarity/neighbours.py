"""Nearest neighbours among many cells, exact, by comparing with all of them.

Cells have too many markers for search trees to pay, and all comparisons are one matrix product per batch of cells. What
costs most is to choose the nearest from a row of distances; here that is done twice on few numbers: the nearest cells
lie in the blocks whose nearest cell is among the nearest.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

# Cells searched for at once: their distances stay in the processor's cache. Columns of a block.
_BATCH = 128
_BLOCK = 64


def nearest_neighbours(
    values: NDArray[np.float32], reference: NDArray[np.float32], n_neighbours: int
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

    Returns
    -------
    ndarray
        Rows of ``reference``, the nearest first, shape (cells, n_neighbours). Distances are compared in single
        precision: which of two cells equally far to a millionth comes first is left open.
    """
    n_blocks = -(-len(reference) // _BLOCK)
    centre = reference.mean(axis=0)  # small numbers lose least precision in the product
    columns = torch.zeros(n_blocks * _BLOCK, reference.shape[1])
    columns[: len(reference)] = torch.from_numpy(reference - centre)
    # |x - y|^2 / 2 up to |x|^2 / 2, which is the same for all y; what fills the last block is no neighbour.
    half_squares = columns.square().sum(1) / 2
    half_squares[len(reference) :] = torch.inf
    columns = columns.T
    n_nearest_blocks = min(n_neighbours, n_blocks)
    found = np.empty((len(values), n_neighbours), dtype=np.int64)
    for start in range(0, len(values), _BATCH):
        rows = torch.from_numpy(values[start : start + _BATCH] - centre)
        distances = torch.addmm(half_squares, rows, columns, alpha=-1).view(len(rows), n_blocks, _BLOCK)
        blocks = distances.amin(2).topk(n_nearest_blocks, largest=False, sorted=False).indices
        candidates = distances.gather(1, blocks[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
        places = candidates.topk(n_neighbours, largest=False).indices
        nearest = blocks.gather(1, places // _BLOCK) * _BLOCK + places % _BLOCK
        found[start : start + len(rows)] = nearest.numpy()
    return found
