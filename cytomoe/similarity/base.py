"""What the training loop needs to know of a cell-cell similarity."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Similarity(Protocol):
    """A similarity S between cells, given batch by batch: the full (cells, cells) matrix is never built.

    Attributes
    ----------
    weights
        How likely each cell is drawn into a batch, up to a factor; shape (cells,).
    partition
        One partition of the cells (int64 from 0, shape (cells,)) from which training may start, or None.
    """

    weights: NDArray[np.float64]
    partition: NDArray[np.int64] | None

    def batch(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """S between the cells of a batch, shape (B, B), symmetric, in [0, 1], ones on the diagonal."""
        ...

    def stability(self, clusters: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """How surely each cluster (from 0) is found again, in [0, 1], shape (clusters,); None where S can't tell."""
        ...
