"""The similarity for data that is no cytometry: Gaussians that overlap in every dimension, projected images.

Such data has no valleys in single dimensions, which cytomoe's default looks for. Here it is partitioned by
mixtures of spherical Gaussians or several times by spectral clustering, and two cells are as similar as often as they
meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.benchmarks.spherical import best_number, likeliest_mixture, start_partitions
from cytomoe.model.inference import codes_and_experts
from cytomoe.preprocessing.scaling import fit_limits, scale
from cytomoe.settings import Settings
from cytomoe.similarity import Similarity, build_similarity
from cytomoe.similarity.consensus import ConsensusSimilarity, agreed_clusters
from cytomoe.training.recovery import train_safely

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float32]
# The neighbour whose distance is the scale around a cell, in the graph of spectral clustering.
_LOCAL = 6
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
    scaled
        Whether values lie in [0, 1] by their nature, as pixels do, and are left as they are.

    Attributes
    ----------
    network_
        Trained; its experts are those that have cells.
    codes_
        Code of each cell, shape (cells, L).
    labels_
        Cluster of each cell, from 0, shape (cells,).
    n_clusters_
        Clusters that have cells.
    centres_
        Mean code of each cluster (eq. 6), shape (clusters, L).
    """

    def __init__(
        self, build: Build | None, *, settings: Settings, seed: int = 0, device: str = "auto", scaled: bool = False
    ) -> None:
        self.build = build or build_similarity
        self.settings, self.seed, self.device, self.scaled = settings, seed, device, scaled

    def fit(self, values: FloatArray) -> SimilarityModel:
        """Cluster cells.

        Parameters
        ----------
        values
            Shape (cells, dimensions).
        """
        building, training = np.random.default_rng(self.seed).spawn(2)
        similarity = self.build(values, self.settings, building)
        scaled = values if self.scaled else to_unit_interval(values)
        trained = train_safely(scaled, similarity, self.settings, training, device=choose_device(self.device))
        self.network_ = trained.network
        self.codes_, experts = codes_and_experts(self.network_, scaled)
        used, self.labels_ = np.unique(experts, return_inverse=True)
        self.network_.keep_experts(used.tolist())
        self.n_clusters_ = len(used)
        self.centres_ = cluster_means(self.codes_, self.labels_)
        return self


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or for ``auto`` the GPU where there is one."""
    import torch

    on_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if on_gpu else "cpu")


def to_unit_interval(values: FloatArray) -> FloatArray:
    """Each column brought to [0, 1] between its 0.1st and 99.9th percentile, shape (cells, dimensions)."""
    limits = np.array([fit_limits(column, from_zero=False) for column in values.T], dtype=np.float32)
    return scale(values, limits[:, 0], limits[:, 1])


def cluster_means(codes: FloatArray, labels: NDArray[np.int64]) -> FloatArray:
    """Mean code of each cluster from 0 (eq. 6), shape (clusters, L); no cluster is empty."""
    return np.array([codes[labels == k].mean(axis=0) for k in range(int(labels.max()) + 1)], dtype=np.float32)


def spherical_similarity(
    values: FloatArray, points: FloatArray, *, clusters: int, starts: int, rng: np.random.Generator
) -> ConsensusSimilarity:
    """The likeliest of several mixtures of spherical Gaussians, started from partitions of principal components.

    Parameters
    ----------
    values
        Shape (cells, dimensions).
    points
        Their principal components, shape (cells, components).
    clusters
        Number of clusters.
    starts
        Starts of either kind, see :func:`cytomoe.benchmarks.spherical.start_partitions`.
    rng
        Source of all randomness.
    """
    from sklearn.mixture import GaussianMixture

    mixtures = []
    for labels in start_partitions(points, clusters, starts, rng):
        if labels.max() + 1 < clusters:
            continue
        variance = np.mean([values[labels == k].var(axis=0).mean() for k in range(clusters)])
        mixture = GaussianMixture(
            clusters,
            covariance_type="spherical",
            max_iter=200,
            weights_init=np.full(clusters, 1 / clusters),
            means_init=cluster_means(values, labels),
            precisions_init=np.full(clusters, 1 / max(float(variance), 1e-12)),
            random_state=0,
        )
        mixtures.append(mixture.fit(values))
    best = max(mixtures, key=lambda mixture: mixture.lower_bound_)
    found = np.unique(best.predict(values), return_inverse=True)[1].astype(np.int64)
    return ConsensusSimilarity(found[None], found, np.ones(len(values)))


def counted_similarity(
    values: FloatArray, points: FloatArray, *, most: int, starts: int, rng: np.random.Generator
) -> ConsensusSimilarity:
    """One partition, into as many clusters as the data says: the number whose mixture has the lowest AIC3.

    Parameters
    ----------
    values, points
        As :func:`spherical_similarity` takes them.
    most
        Upper bound on the number of clusters.
    starts
        Starts of either kind for the mixture that is kept; numbers are compared by one start of either kind.
    rng
        Source of all randomness.
    """
    fit = partial(likeliest_mixture, values, points, seed=int(rng.integers(2**31)))
    found = fit(best_number(partial(fit, starts=1), most), starts=starts).labels
    return ConsensusSimilarity(found[None], found, np.ones(len(values)))


def spectral_similarity(
    points: FloatArray, *, clusters: int, neighbours: Sequence[int], rng: np.random.Generator
) -> ConsensusSimilarity:
    """Consensus of spectral clusterings, one for each number of neighbours in the graph.

    Parameters
    ----------
    points
        Where cells lie, shape (cells, dimensions); near neighbours in Euclidean distance must be alike.
    clusters
        Number of clusters.
    neighbours
        Neighbours of each cell in the graph, a partition each.
    rng
        Source of all randomness.
    """
    from sklearn.neighbors import NearestNeighbors

    wanted = sorted({min(number, len(points) - 1) for number in neighbours})
    search = NearestNeighbors(n_neighbors=wanted[-1], algorithm="brute").fit(points)
    distances, indices = search.kneighbors()  # of the points themselves, without each one's own
    found = np.stack([_spectral_partition(distances[:, :k], indices[:, :k], clusters, rng) for k in wanted])
    return ConsensusSimilarity(found, agreed_clusters(found, points, most=clusters), np.ones(len(points)))


def _spectral_partition(
    distances: NDArray[np.float64], indices: NDArray[np.int64], clusters: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Ng, Jordan & Weiss 2001 on a graph of neighbours scaled by local distances (Zelnik-Manor & Perona 2004)."""
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import eigsh
    from sklearn.cluster import KMeans

    n, k = distances.shape
    local = np.maximum(distances[:, min(_LOCAL, k) - 1], 1e-12)
    weights = np.exp(-np.square(distances) / (local[:, None] * local[indices]))
    directed = csr_matrix((weights.ravel(), indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    graph = directed + directed.T
    root = diags(1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel()))
    _, vectors = eigsh(root @ graph @ root, clusters, which="LA", v0=np.ones(n), tol=1e-4)
    rows = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    k_means = KMeans(clusters, n_init=10, random_state=int(rng.integers(2**31))).fit(rows)
    return k_means.labels_.astype(np.int64)


def principal_components(values: FloatArray, number: int, seed: int) -> FloatArray:
    """The first principal components of cells, not scaled, shape (cells, number); all there are if fewer."""
    from sklearn.decomposition import PCA

    number = min(number, *values.shape)
    return PCA(number, random_state=seed).fit_transform(values).astype(np.float32)
