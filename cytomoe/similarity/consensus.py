"""Consensus similarity: the share of several partitions of the cells in which two cells meet.

For a batch S = H H^T with H the stacked one-hot memberships, so nothing of size (cells, cells) is ever built; to count
in how many partitions two cells meet is quicker than the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.settings import Settings

# Distinct combinations of parts that are merged by a hierarchy; the rest are few cells each and join the nearest.
_MOST_COMBINATIONS = 500
# The rest are compared with the hierarchy this many at once, to bound the memory.
_JOINED_AT_ONCE = 10_000
# How much the markers weigh beside the partitions: less than any disagreement between them.
_TIE_BREAK = 1e-3


class ConsensusSimilarity:
    """Similarity from partitions of the cells.

    Parameters
    ----------
    partitions
        Part of each cell in each partition, from 0, shape (R, cells).
    partition
        The partition from which training starts, shape (cells,).
    weights
        Sampling weight of each cell, shape (cells,).
    agree
        Gives the clusters on which partitions of these cells agree; None where training starts from the first of them.
    """

    def __init__(
        self,
        partitions: NDArray[np.int64],
        partition: NDArray[np.int64],
        weights: NDArray[np.float64],
        agree: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None,
    ) -> None:
        self.agree = agree
        self.weights = weights
        self.partition: NDArray[np.int64] | None = partition
        self.partitions = partitions
        self._memberships = partitions.T.astype(np.min_scalar_type(int(partitions.max())))  # (cells, R), small

    def batch(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Share of partitions in which the cells of the batch meet, shape (B, B)."""
        memberships = self._memberships[cells]
        return _meetings(memberships, memberships).astype(np.float32) / np.float32(memberships.shape[1])

    def stability(self, clusters: NDArray[np.int64]) -> NDArray[np.float64]:
        """How surely each cluster is found again: its Jaccard index with the part most like it, mean over partitions.

        Parameters
        ----------
        clusters
            Cluster of each cell, from 0, shape (cells,); no cluster is empty.

        Returns
        -------
        ndarray
            Shape (clusters,), 1 where every partition has exactly this cluster (Hennig 2007's cluster-wise stability,
            with partitions of most of the cells in place of bootstraps).
        """
        sizes = np.bincount(clusters)
        found = np.empty((len(sizes), len(self.partitions)))
        for r, parts in enumerate(self.partitions):
            n_parts = int(parts.max()) + 1
            shared = np.bincount(clusters * n_parts + parts, minlength=len(sizes) * n_parts).reshape(-1, n_parts)
            either = sizes[:, None] + shared.sum(axis=0) - shared
            found[:, r] = (shared / either).max(axis=1)
        return found.mean(axis=1)


def valley_similarity(
    expression: NDArray[np.float32], settings: Settings, rng: np.random.Generator
) -> ConsensusSimilarity:
    """Consensus of valley partitions; training starts from the clusters on which they agree.

    A valley that is only just sure shows in some draws of the cells and not in others. Each partition therefore cuts at
    all sure valleys, and two groups of cells are two clusters where nearly all partitions part them.

    Parameters
    ----------
    expression
        Transformed, unscaled marker values, not clipped at 0, shape (cells, markers).
    settings
        ``experts``, ``agreement``, ``resolution``, ``sampling_power``, and what
        :func:`cytomoe.similarity.valleys.valley_partitions` uses.
    rng
        Source of all randomness.
    """
    from cytomoe.similarity.valleys import SMALLEST, valley_partitions

    partitions = valley_partitions(expression, settings, rng)
    apart = settings.agreement**settings.resolution

    def agree(partitions: NDArray[np.int64]) -> NDArray[np.int64]:
        return agreed_clusters(partitions, expression, most=settings.experts, smallest=SMALLEST, apart=apart)

    agreed = agree(partitions)
    weights = np.bincount(agreed).astype(np.float64)[agreed] ** -settings.sampling_power
    return ConsensusSimilarity(partitions, agreed, weights, agree)


def hierarchy_similarity(
    expression: NDArray[np.float32], settings: Settings, rng: np.random.Generator
) -> ConsensusSimilarity:
    """Consensus of k-means micro-clusters, merged by a hierarchy and cut at a fixed number in each partition.

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
    found = [_hierarchy(rows, settings, rng) for _ in range(settings.partitions)]
    partitions = np.stack([clusters for clusters, _ in found])
    weights = np.mean([sizes**-settings.sampling_power for _, sizes in found], axis=0)
    return ConsensusSimilarity(partitions, partitions[0], weights)


def metric_rows(expression: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Rows whose Euclidean distance stands for ``metric``: centred and of unit length for correlation, cosine."""
    if metric == "euclidean":
        return expression
    rows = expression - expression.mean(axis=1, keepdims=True) if metric == "correlation" else expression
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.float32(1e-6))


def _hierarchy(
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


def agreed_clusters(
    partitions: NDArray[np.int64],
    expression: NDArray[np.float32],
    *,
    most: int,
    smallest: int = 1,
    apart: float = 0.5,
) -> NDArray[np.int64]:
    """Clusters on which the partitions agree: cells that few enough of them part, by average linkage.

    Cells on whose place the partitions disagree are left over in splinters, which join the cluster that they meet
    most often, or the one most like them in its markers where they meet none.

    Parameters
    ----------
    partitions
        Part of each cell in each partition, from 0, shape (R, cells).
    expression
        Marker values, shape (cells, markers).
    most
        Upper bound on the number of clusters; merging goes on until it holds.
    smallest
        Fewest cells of a cluster.
    apart
        Share of the partitions that must part two groups of cells to keep them apart.

    Returns
    -------
    ndarray
        Cluster of each cell, from 0, shape (cells,).
    """
    combinations, inverse, counts = _combinations(partitions)
    kept = np.argsort(-counts, kind="stable")[:_MOST_COMBINATIONS]
    rest = np.setdiff1d(np.arange(len(combinations)), kept)
    merged = np.empty(len(combinations), dtype=np.int64)
    means = np.stack([np.bincount(inverse, values) for values in expression.T], axis=1) / counts[:, None]
    parted = len(partitions) - _meetings(combinations[kept], combinations[kept])
    distances = parted / len(partitions) + _TIE_BREAK * _unlikeness(means[kept])
    merged[kept] = _weighted_average_linkage(distances, counts[kept].astype(float), most, smallest, apart)
    for some in np.split(rest, range(_JOINED_AT_ONCE, len(rest), _JOINED_AT_ONCE)):
        merged[some] = merged[kept][_meetings(combinations[some], combinations[kept]).argmax(axis=1)]
    return np.unique(merged[inverse], return_inverse=True)[1].astype(np.int64)


def _combinations(
    partitions: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct combinations of parts in order, the combination of each cell, and the cells of each combination.

    As ``np.unique`` with an axis gives them, which compares number by number and takes thirty times as long.
    """
    in_order = np.ascontiguousarray(partitions.T.astype(">u4"))  # most significant byte first: bytes sort as numbers do
    as_bytes = in_order.view(f"V{in_order.itemsize * in_order.shape[1]}").ravel()
    _, first, inverse, counts = np.unique(as_bytes, return_index=True, return_inverse=True, return_counts=True)
    return partitions.T[first], inverse, counts


def _meetings(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    """In how many partitions one meets the other, shape (n, m), from the parts of each, (n, R) and (m, R)."""
    meetings = np.zeros((len(some), len(others)), dtype=np.min_scalar_type(some.shape[1]))
    for own, theirs in zip(some.T.copy(), others.T.copy(), strict=True):
        meetings += own[:, None] == theirs
    return meetings


def _unlikeness(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distances, the largest being 1, shape (n, n)."""
    squares = np.zeros((len(means), len(means)))
    for values in means.T:
        squares += np.square(values[:, None] - values)
    distances = np.sqrt(squares)
    return distances / max(distances.max(), 1e-12)


def _weighted_average_linkage(
    distances: NDArray[np.float64], sizes: NDArray[np.float64], most: int, smallest: int, apart: float
) -> NDArray[np.int64]:
    """Average linkage of groups of cells, each counting by its size.

    Merges down to distance ``apart``, then the groups below ``smallest``, then down to ``most`` groups.
    """
    distances = distances.copy()
    np.fill_diagonal(distances, np.inf)
    labels = np.arange(len(sizes))

    def join(i: int, j: int) -> None:
        joined = (sizes[i] * distances[i] + sizes[j] * distances[j]) / (sizes[i] + sizes[j])
        distances[i] = distances[:, i] = joined
        distances[j] = distances[:, j] = np.inf
        distances[i, i] = np.inf
        sizes[i] += sizes[j]
        sizes[j] = np.inf
        labels[labels == j] = i

    for _ in range(len(sizes) - 1):
        i, j = divmod(int(distances.argmin()), len(sizes))
        if distances[i, j] >= apart:
            smaller = int(sizes.argmin())
            if sizes[smaller] < smallest:
                i, j = int(distances[smaller].argmin()), smaller
            elif np.count_nonzero(np.isfinite(sizes)) <= most:
                break
        join(i, j)
    return labels
