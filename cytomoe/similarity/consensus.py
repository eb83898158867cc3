"""Consensus similarity: the share of several partitions of the cells in which two cells meet.

Each partition is a k-means with many centres (micro-clusters) whose centres are merged by an average-linkage hierarchy.
For a batch S = H H^T with H the stacked one-hot memberships, so nothing of size (cells, cells) is ever built.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cytomoe.settings import Settings


class ConsensusSimilarity:
    """Similarity from partitions of the cells.

    Parameters
    ----------
    partitions
        Cluster of each cell in each partition, shape (R, cells), integers from 0.
    weights
        Sampling weight of each cell, shape (cells,).
    """

    def __init__(self, partitions: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        self.weights = weights
        self.partition: NDArray[np.int64] | None = partitions[0]
        sizes = partitions.max(axis=1) + 1
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._columns = (partitions + offsets[:, None]).T.copy()  # (cells, R), column of H of each membership
        self._n_columns = int(sizes.sum())

    def batch(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Share of partitions in which the cells of the batch meet, shape (B, B)."""
        memberships = np.zeros((len(cells), self._n_columns), dtype=np.float32)  # H
        np.put_along_axis(memberships, self._columns[cells], 1.0, axis=1)
        return (memberships @ memberships.T) / np.float32(self._columns.shape[1])


def metric_rows(expression: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Rows whose Euclidean distance stands for ``metric``: centred and of unit length for correlation, cosine."""
    if metric == "euclidean":
        return expression
    rows = expression - expression.mean(axis=1, keepdims=True) if metric == "correlation" else expression
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.float32(1e-6))


def consensus_similarity(
    expression: NDArray[np.float32], settings: Settings, rng: np.random.Generator
) -> ConsensusSimilarity:
    """Partition the cells ``settings.partitions`` times and return the consensus.

    Parameters
    ----------
    expression
        Transformed, unscaled marker values, shape (cells, markers).
    settings
        ``partitions``, ``micro_clusters``, ``partition_clusters``, ``metric`` and ``sampling_power`` are used.
    rng
        Source of all randomness.
    """
    rows = metric_rows(expression, settings.metric)
    found = [_partition(rows, settings, rng) for _ in range(settings.partitions)]
    partitions = np.stack([clusters for clusters, _ in found])
    weights = np.mean([sizes**-settings.sampling_power for _, sizes in found], axis=0)
    return ConsensusSimilarity(partitions, weights)


def _partition(
    rows: NDArray[np.float32], settings: Settings, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """One partition: cluster of each cell, and the size of each cell's micro-cluster."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.cluster import MiniBatchKMeans

    n_centres = min(settings.micro_clusters, len(rows))
    k_means = MiniBatchKMeans(
        n_centres, batch_size=2048, n_init=1, max_iter=20, random_state=int(rng.integers(2**31))
    ).fit(rows)
    micro = k_means.labels_
    if n_centres > 1:
        tree = linkage(k_means.cluster_centers_, "average")
        merged = fcluster(tree, settings.partition_clusters, "maxclust") - 1
    else:
        merged = np.zeros(1, dtype=np.int64)
    sizes = np.bincount(micro, minlength=n_centres).astype(np.float64)
    return merged[micro].astype(np.int64), sizes[micro]
