"""The similarity for data that is no cytometry: Gaussians that overlap in every dimension, projected images.

Such data has no valleys in single dimensions, which cytomoe's default looks for. Here cells are grouped into k-means
micro-clusters, these merged by Ward's method, and two cells are as similar as often they meet over several partitions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cytomoe.model.inference import codes_and_experts
from cytomoe.preprocessing.scaling import fit_limits, scale
from cytomoe.settings import Settings
from cytomoe.similarity import Similarity, build_similarity
from cytomoe.similarity.consensus import ConsensusSimilarity, agreed_clusters
from cytomoe.training.recovery import train_safely

FloatArray = NDArray[np.float32]
Build = Callable[[FloatArray, Settings, np.random.Generator], Similarity]


class SimilarityModel:
    """MoE-Sim-VAE on plain values, trained on a similarity that an experiment brings along.

    Parameters
    ----------
    build
        Called with the values, the settings and a generator; None takes the similarity that the settings name.
    settings
        Of the model and its training.
    seed
        Of all randomness.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Attributes
    ----------
    labels_
        Cluster of each cell, from 0, shape (cells,).
    n_clusters_
        Clusters that have cells.
    """

    def __init__(self, build: Build | None, *, settings: Settings, seed: int = 0, device: str = "auto") -> None:
        self.build = build or build_similarity
        self.settings, self.seed, self.device = settings, seed, device

    def fit(self, values: FloatArray) -> SimilarityModel:
        """Cluster cells.

        Parameters
        ----------
        values
            Shape (cells, dimensions).
        """
        import torch

        on_gpu = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        building, training = np.random.default_rng(self.seed).spawn(2)
        similarity = self.build(values, self.settings, building)
        limits = np.array([fit_limits(column, from_zero=False) for column in values.T], dtype=np.float32)
        scaled = scale(values, limits[:, 0], limits[:, 1])
        trained = train_safely(
            scaled, similarity, self.settings, training, device=torch.device("cuda" if on_gpu else "cpu")
        )
        _, experts = codes_and_experts(trained.network, scaled)
        used, self.labels_ = np.unique(experts, return_inverse=True)
        self.n_clusters_ = len(used)
        return self


def ward_similarity(
    points: FloatArray,
    *,
    clusters: int | None,
    most: int,
    micro_clusters: int,
    partitions: int,
    rng: np.random.Generator,
    starts: int = 1,
) -> ConsensusSimilarity:
    """Consensus of partitions, each of k-means micro-clusters merged by Ward's method.

    Parameters
    ----------
    points
        Where cells lie, shape (cells, dimensions); neighbours in Euclidean distance must be alike.
    clusters
        Number of clusters to cut at; None cuts where the height of the next merger grows by the largest factor, at the
        median of what the partitions say.
    most
        Upper bound on the number of clusters.
    micro_clusters, partitions
        How many of both.
    rng
        Source of all randomness.
    starts
        Starts of k-means, of which the best counts.
    """
    from scipy.cluster.hierarchy import fcluster, ward
    from sklearn.cluster import KMeans

    n_micro = min(micro_clusters, len(points))
    grouped = []
    for _ in range(partitions):
        k_means = KMeans(n_micro, n_init=starts, max_iter=50, random_state=int(rng.integers(2**31))).fit(points)
        grouped.append((k_means.labels_, ward(k_means.cluster_centers_)))
    number = clusters or int(np.median([widest_gap(tree[:, 2], most) for _, tree in grouped]))
    found = np.stack([(fcluster(tree, number, "maxclust") - 1)[micro] for micro, tree in grouped]).astype(np.int64)
    agreed = agreed_clusters(found, points, most=most)
    return ConsensusSimilarity(found, agreed, np.ones(len(points)))


def widest_gap(heights: NDArray[np.float64], most: int) -> int:
    """Number of clusters, 2 to ``most``, at which the next merger is higher than the last by the largest factor.

    Parameters
    ----------
    heights
        Heights of the mergers of a hierarchy, increasing.
    most
        Upper bound.
    """
    last = np.minimum(most, len(heights))
    factors = [heights[-n + 1] / max(heights[-n], 1e-12) for n in range(2, last + 1)]
    return int(np.argmax(factors)) + 2 if factors else 1


def principal_components(values: FloatArray, number: int, seed: int) -> FloatArray:
    """The first principal components of cells, not scaled, shape (cells, number); all there are if fewer."""
    from sklearn.decomposition import PCA

    number = min(number, *values.shape)
    return PCA(number, random_state=seed).fit_transform(values).astype(np.float32)
