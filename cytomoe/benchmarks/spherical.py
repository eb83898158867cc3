"""Mixtures of spherical Gaussians of one common variance, and how many of them the data holds.

scikit-learn's spherical mixtures give each Gaussian a variance of its own: one that holds a single cell then has no
variance and an unbounded likelihood, and wins every comparison between numbers of Gaussians.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Labels = NDArray[np.int64]
_STEPS, _TOLERANCE = 200, 1e-4  # of expectation maximisation; nats per cell
_MICRO_PER_CLUSTER = 5  # of a start by Ward's method


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture.

    Attributes
    ----------
    labels
        The likeliest Gaussian of each cell, from 0, shape (cells,); one that is never the likeliest has no number.
    log_likelihood
        Of all cells, in nats.
    parameters
        How many numbers were fitted: means, weights and the variance.
    """

    labels: Labels
    log_likelihood: float
    parameters: int

    @property
    def aic3(self) -> float:
        """Akaike's criterion with the factor 3 in place of 2 (Bozdogan 1994); the lowest is the best."""
        return 3 * self.parameters - 2 * self.log_likelihood


def fit_mixture(values: FloatArray, labels: Labels) -> Mixture:
    """Fit a mixture by expectation maximisation, started from a partition.

    Parameters
    ----------
    values
        Shape (cells, dimensions).
    labels
        Cluster of each cell, 0 to K - 1, none empty; shape (cells,).
    """
    n, dimensions = values.shape
    counts = np.bincount(labels).astype(np.float64)
    means = _sums(values, labels, len(counts)) / counts[:, None]
    squares = float(np.square(values, dtype=np.float64).sum())
    last = -np.inf
    for _ in range(_STEPS):
        # What the means leave of the sum of squares; the same for hard and for soft assignments to their own means.
        variance = max((squares - float(counts @ np.square(means).sum(axis=1))) / values.size, 1e-12)
        shares = np.log(np.maximum(counts, 1e-12) / n) - np.square(means).sum(axis=1) / (2 * variance)
        logits = values @ (means.T / variance).astype(np.float32) + shares.astype(np.float32)
        top = logits.max(axis=1, keepdims=True)
        weights = np.exp(logits - top)
        total = weights.sum(axis=1, keepdims=True)
        mixed = float((top + np.log(total)).mean(dtype=np.float64))
        likelihood = mixed - squares / (2 * n * variance) - dimensions / 2 * np.log(2 * np.pi * variance)
        weights /= total
        counts = weights.sum(axis=0, dtype=np.float64)
        means = (weights.T @ values) / np.maximum(counts, 1e-12)[:, None]
        if likelihood - last < _TOLERANCE:
            break
        last = likelihood
    found = np.unique(logits.argmax(axis=1), return_inverse=True)[1].astype(np.int64)
    return Mixture(found, n * likelihood, len(counts) * (dimensions + 1))


def start_partitions(points: FloatArray, clusters: int, starts: int, rng: np.random.Generator) -> Iterator[Labels]:
    """Partitions from which mixtures start, each of ``clusters`` clusters or fewer, numbered from 0.

    k-means alone loses clusters that overlap, and a mixture keeps what its start has joined. So half of the starts are
    k-means, which serves clusters that overlap, and half are micro-clusters merged by Ward's method, which joins no two
    that lie apart.

    Parameters
    ----------
    points
        Principal components of the cells, shape (cells, components).
    clusters
        Number of clusters.
    starts
        Partitions of either kind.
    rng
        Source of all randomness.
    """
    from scipy.cluster.hierarchy import fcluster, ward
    from sklearn.cluster import KMeans

    for start in range(2 * starts):
        seed = int(rng.integers(2**31))
        if start % 2 or clusters == 1:
            labels = KMeans(clusters, n_init=3, random_state=seed).fit(points).labels_
        else:
            micro = KMeans(min(_MICRO_PER_CLUSTER * clusters, len(points)), n_init=1, random_state=seed).fit(points)
            labels = fcluster(ward(micro.cluster_centers_), clusters, "maxclust")[micro.labels_]
        yield np.unique(labels, return_inverse=True)[1].astype(np.int64)


def likeliest_mixture(values: FloatArray, points: FloatArray, clusters: int, *, starts: int, seed: int) -> Mixture:
    """The likeliest of the mixtures that start from :func:`start_partitions`.

    Parameters
    ----------
    values
        Shape (cells, dimensions).
    points, clusters, starts
        As :func:`start_partitions` takes them.
    seed
        Of all randomness.
    """
    partitions = start_partitions(points, clusters, starts, np.random.default_rng([seed, clusters]))
    return max((fit_mixture(values, labels) for labels in partitions), key=lambda mixture: mixture.log_likelihood)


def best_number(fit: Callable[[int], Mixture], most: int) -> int:
    """Number of Gaussians, 1 to ``most``, with the lowest AIC3, searched in coarse steps first.

    BIC, whose factor grows with the number of cells, prefers one Gaussian to thirty that are there but overlap; with
    the factor 2 a few too many are found.

    Parameters
    ----------
    fit
        Makes the mixture of a given number.
    most
        Upper bound.
    """
    step = 2 ** max(0, int(np.log2(most / 5))) if most > 5 else 1
    criteria = {number: fit(number).aic3 for number in sorted({1, *range(step, most + 1, step), most})}
    while True:
        best = min(criteria, key=lambda number: criteria[number])
        beside = {number for number in (best - step, best + step) if 1 <= number <= most} - criteria.keys()
        criteria |= {number: fit(number).aic3 for number in sorted(beside)}
        if not beside:
            if step == 1:
                return best
            step //= 2


def _sums(values: FloatArray, labels: Labels, clusters: int) -> NDArray[np.float64]:
    """Sum of the cells of each cluster, shape (clusters, dimensions)."""
    return np.array([values[labels == k].sum(axis=0, dtype=np.float64) for k in range(clusters)])
