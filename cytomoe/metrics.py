"""How well clusters agree with gates, and how far two sets of codes lie apart: pure functions on arrays.

Two measures called F exist in the field and differ by 0.1 to 0.3 on the same clustering: the F-measure of FlowCAP
(:func:`f_measure`) and the mean F1 of Weber & Robinson (:func:`mean_f1`). They have different names here and never
share a column. All measures of a clustering derive from one table of counts, :class:`Contingency`; the functions of the
same names build that table and read one number off it.

Events without a gate (``""``, ``None``, NaN, or a negative number where gates are numbers) are left out of every
measure.

References
----------
Aghaeepour et al. 2013, "Critical assessment of automated flow cytometry data analysis techniques", Nat. Methods 10.
Weber & Robinson 2016, "Comparison of clustering methods for high-dimensional single-cell flow and mass cytometry data",
Cytometry A 89.
Gretton et al. 2012, "A kernel two-sample test", JMLR 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class PopulationScore:
    """How one gated population was found, under the one-to-one matching of the mean F1.

    Attributes
    ----------
    gate
        Name of the population.
    n
        Events in the gate.
    cluster
        The cluster matched with it; None when no cluster was left for it or the one that was shares no event with it.
    precision
        Share of the cluster's events measured that lie in the gate.
    recall
        Share of the gate's events that lie in the cluster.
    f1
        Harmonic mean of both.
    most_in
        The cluster that holds most of the gate's events, matched with it or not.
    most_share
        Share of the gate's events that lie there.
    """

    gate: Any
    n: int
    cluster: Any
    precision: float
    recall: float
    f1: float
    most_in: Any
    most_share: float


@dataclass(frozen=True)
class Contingency:
    """Counts of events by gate and cluster: all that a comparison of two labellings needs.

    Attributes
    ----------
    counts
        (gates, clusters) events in both; no row and no column is all zero.
    gates
        (gates,) sorted names of the populations.
    clusters
        (clusters,) sorted names of the clusters that hold gated events.
    """

    counts: NDArray[np.int64]
    gates: NDArray[Any]
    clusters: NDArray[Any]

    @classmethod
    def of(cls, gates: ArrayLike, clusters: ArrayLike) -> Contingency:
        """Count the events of every gate in every cluster.

        Parameters
        ----------
        gates
            (events,) reference population of each event; ``""``, ``None``, NaN and negative numbers mean no gate.
        clusters
            (events,) cluster of each event.

        Raises
        ------
        ValueError
            If the lengths differ, no event has a gate, or a gated event has no cluster.
        """
        gate_codes, gate_names = _encode(np.asarray(gates), negative_is_missing=True)
        cluster_codes, cluster_names = _encode(np.asarray(clusters), negative_is_missing=False)
        if gate_codes.shape != cluster_codes.shape:
            raise ValueError(f"{gate_codes.size} gates for {cluster_codes.size} cluster labels")
        gated = gate_codes >= 0
        if not gated.any():
            raise ValueError("no event has a gate")
        if (cluster_codes[gated] < 0).any():
            raise ValueError("every gated event needs a cluster")
        shape = (len(gate_names), len(cluster_names))
        cells = gate_codes[gated] * shape[1] + cluster_codes[gated]
        counts = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        used = counts.any(axis=0)
        return cls(counts[:, used], gate_names, cluster_names[used])

    @cached_property
    def gate_sizes(self) -> NDArray[np.int64]:
        """(gates,) events per gate."""
        return self.counts.sum(axis=1)

    @cached_property
    def cluster_sizes(self) -> NDArray[np.int64]:
        """(clusters,) gated events per cluster."""
        return self.counts.sum(axis=0)

    @property
    def n(self) -> int:
        """Gated events."""
        return int(self.counts.sum())

    @cached_property
    def f1(self) -> NDArray[np.float64]:
        """(gates, clusters) harmonic mean of precision and recall of every pair."""
        return 2.0 * self.counts / (self.gate_sizes[:, None] + self.cluster_sizes[None, :])

    def f_measure(self) -> float:
        """F-measure of FlowCAP; see :func:`f_measure`."""
        return float(self.gate_sizes @ self.f1.max(axis=1) / self.n)

    def mean_f1(self) -> float:
        """Mean F1 of Weber & Robinson; see :func:`mean_f1`."""
        rows, columns = self._matching
        return float(self.f1[rows, columns].sum() / len(self.gates))

    def accuracy(self) -> float:
        """Hungarian accuracy; see :func:`accuracy`."""
        rows, columns = _best_pairs(self.counts)
        return float(self.counts[rows, columns].sum() / self.n)

    def adjusted_rand_index(self) -> float:
        """Rand index corrected for chance; see :func:`adjusted_rand_index`."""
        together = _pairs(self.counts)
        same_gate = _pairs(self.gate_sizes)
        same_cluster = _pairs(self.cluster_sizes)
        if together == same_gate == same_cluster:  # equal partitions, where the quotient may be 0 / 0
            return 1.0
        all_pairs = self.n * (self.n - 1) // 2
        expected = same_gate * same_cluster / all_pairs
        return float((together - expected) / ((same_gate + same_cluster) / 2 - expected))

    def normalized_mutual_information(self) -> float:
        """Mutual information over the mean entropy; see :func:`normalized_mutual_information`."""
        if self.counts.shape == (1, 1):  # neither labelling splits the events: they agree
            return 1.0
        gate_entropy = _entropy(self.gate_sizes)
        cluster_entropy = _entropy(self.cluster_sizes)
        information = gate_entropy + cluster_entropy - _entropy(self.counts.ravel())
        return float(np.clip(2.0 * information / (gate_entropy + cluster_entropy), 0.0, 1.0))

    def populations(self) -> list[PopulationScore]:
        """How each population was found, largest first; see :class:`PopulationScore`."""
        matched = dict(zip(*(indices.tolist() for indices in self._matching), strict=True))
        order = np.argsort(-self.gate_sizes, kind="stable")
        return [self._population(row, matched.get(row)) for row in order.tolist()]

    def best_of(self, row: int) -> PopulationScore:
        """How one population is found by its best cluster, the others being its rest; see :class:`PopulationScore`.

        The measure of rare populations of Weber & Robinson 2016.
        """
        return self._population(row, int(self.f1[row].argmax()))

    @cached_property
    def _matching(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the one-to-one matching that maximises the summed F1."""
        return _best_pairs(self.f1)

    def _population(self, row: int, column: int | None) -> PopulationScore:
        gate, size = _scalar(self.gates[row]), int(self.gate_sizes[row])
        most = int(self.counts[row].argmax())
        where = {"most_in": _scalar(self.clusters[most]), "most_share": int(self.counts[row, most]) / size}
        if column is None or self.counts[row, column] == 0:
            return PopulationScore(gate, size, None, 0.0, 0.0, 0.0, **where)
        shared = int(self.counts[row, column])
        return PopulationScore(
            gate=gate,
            n=size,
            cluster=_scalar(self.clusters[column]),
            precision=shared / int(self.cluster_sizes[column]),
            recall=shared / size,
            f1=float(self.f1[row, column]),
            **where,
        )


def f_measure(gates: ArrayLike, clusters: ArrayLike) -> float:
    """F-measure of FlowCAP: the best F1 of each population, weighted by its size.

    ``sum over populations c of |c| / N * max over clusters k of F1(c, k)``. The sum runs over the reference
    populations; several may share a cluster, and large ones dominate. Aghaeepour et al. 2013; equation 12 of the
    MoE-Sim-VAE paper.

    Parameters
    ----------
    gates
        (events,) reference population of each event; ``""``, ``None``, NaN and negative numbers mean no gate.
    clusters
        (events,) cluster of each event.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the lengths differ, no event has a gate, or a gated event has no cluster.
    """
    return Contingency.of(gates, clusters).f_measure()


def mean_f1(gates: ArrayLike, clusters: ArrayLike) -> float:
    """Mean F1 of Weber & Robinson 2016: one cluster per population, every population counts alike.

    Populations and clusters are matched one to one so that the summed F1 is largest (Hungarian algorithm); a
    population without a cluster counts 0; the mean over populations is not weighted.

    Parameters
    ----------
    gates, clusters
        As for :func:`f_measure`.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        As for :func:`f_measure`.
    """
    return Contingency.of(gates, clusters).mean_f1()


def adjusted_rand_index(gates: ArrayLike, clusters: ArrayLike) -> float:
    """Rand index corrected for chance (Hubert & Arabie 1985): 1 for equal partitions, about 0 for unrelated ones.

    Parameters
    ----------
    gates, clusters
        As for :func:`f_measure`.

    Raises
    ------
    ValueError
        As for :func:`f_measure`.
    """
    return Contingency.of(gates, clusters).adjusted_rand_index()


def normalized_mutual_information(gates: ArrayLike, clusters: ArrayLike) -> float:
    """Mutual information divided by the arithmetic mean of the two entropies, between 0 and 1.

    Parameters
    ----------
    gates, clusters
        As for :func:`f_measure`.

    Raises
    ------
    ValueError
        As for :func:`f_measure`.
    """
    return Contingency.of(gates, clusters).normalized_mutual_information()


def accuracy(gates: ArrayLike, clusters: ArrayLike) -> float:
    """Share of events in the cluster matched with their gate, under the one-to-one matching that makes it largest.

    Parameters
    ----------
    gates, clusters
        As for :func:`f_measure`.

    Raises
    ------
    ValueError
        As for :func:`f_measure`.
    """
    return Contingency.of(gates, clusters).accuracy()


def mmd2_unbiased(X: ArrayLike, Y: ArrayLike, *, bandwidth: float | None = None) -> float:
    """Squared maximum mean discrepancy between two samples, unbiased (equation 14 of the MoE-Sim-VAE paper).

    The kernel is ``exp(-|x - y|^2 / (2 bandwidth^2))``. All pairwise distances are held at once: some thousand rows.

    Parameters
    ----------
    X
        (m, dimensions) the first sample, such as the codes of one cluster; m >= 2.
    Y
        (n, dimensions) the second sample; n >= 2.
    bandwidth
        Width of the kernel. By default the median of the distances between distinct points of both samples together.
        Give one value to compare several pairs with each other.

    Returns
    -------
    float
        About 0 for samples of one distribution (it may be slightly negative), larger the further apart they are.

    Raises
    ------
    ValueError
        If a sample has fewer than two rows or the dimensions differ.
    """
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1]:
        raise ValueError(f"two samples of equal dimensions are needed, not shapes {X.shape} and {Y.shape}")
    m, n = len(X), len(Y)
    if m < 2 or n < 2:
        raise ValueError(f"an unbiased estimate needs two rows of each sample, not {m} and {n}")
    from scipy.spatial.distance import cdist

    within_x, within_y, between = (cdist(*pair, "sqeuclidean") for pair in ((X, X), (Y, Y), (X, Y)))
    if bandwidth is None:
        bandwidth = _median_distance(within_x, within_y, between)
    gamma = 0.5 / bandwidth**2
    kernel_x, kernel_y, kernel_xy = (np.exp(-gamma * squared) for squared in (within_x, within_y, between))
    mean_x = (kernel_x.sum() - m) / (m * (m - 1))  # the diagonal, all ones, is no pair
    mean_y = (kernel_y.sum() - n) / (n * (n - 1))
    return float(mean_x + mean_y - 2.0 * kernel_xy.mean())


def _median_distance(
    within_x: NDArray[np.float64], within_y: NDArray[np.float64], between: NDArray[np.float64]
) -> float:
    """Median distance of the pairs of distinct points; 1 when all points coincide, where any width gives 0."""
    pairs = np.concatenate(
        [within_x[np.triu_indices_from(within_x, 1)], within_y[np.triu_indices_from(within_y, 1)], between.ravel()]
    )
    apart = pairs[pairs > 0]
    return float(np.median(np.sqrt(apart))) if apart.size else 1.0


def _encode(labels: NDArray[Any], *, negative_is_missing: bool) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Codes 0, 1, ... in the sorted order of the names, -1 for a missing label, and the names."""
    if labels.ndim != 1:
        raise ValueError(f"labels must have one dimension, not {labels.ndim}")
    present = ~_missing(labels)
    if negative_is_missing and labels.dtype.kind in "if":
        present &= labels >= 0
    names, inverse = np.unique(labels[present], return_inverse=True)
    codes = np.full(len(labels), -1, dtype=np.int64)
    codes[present] = inverse
    return codes, names


def _missing(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(events,) whether a label is ``""``, ``None`` or NaN."""
    if labels.dtype.kind in "biu":
        return np.zeros(labels.shape, dtype=bool)
    missing = labels != labels  # NaN is the one value unequal to itself
    if labels.dtype.kind in "OU":
        missing = missing | (labels == "")
    if labels.dtype.kind == "O":
        missing = missing | (labels == None)  # noqa: E711 (elementwise)
    return np.asarray(missing, dtype=bool)


def _best_pairs(values: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the one-to-one matching of the largest sum (Hungarian)."""
    from scipy.optimize import linear_sum_assignment  # a fifth of a second to load

    return linear_sum_assignment(values, maximize=True)


def _pairs(sizes: NDArray[np.int64]) -> int:
    """Pairs of events within groups of these sizes, as a Python integer that can't overflow in a product."""
    return int((sizes * (sizes - 1) // 2).sum())


def _entropy(sizes: NDArray[np.int64]) -> float:
    """Entropy in nats of a partition into groups of these sizes."""
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def _scalar(value: Any) -> Any:
    """Return a plain Python value, as JSON wants it."""
    return value.item() if isinstance(value, np.generic) else value
