"""Two models that generate cells of a cluster on demand, behind one signature: MoE-Sim-VAE and VaDE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cytomoe.model.inference import codes_and_experts, decode

if TYPE_CHECKING:
    from cytomoe.benchmarks.vade import VaDENetwork
    from cytomoe.model.networks import MoESimVAENetwork

FloatArray = NDArray[np.float32]

# Thresholds on the posterior below which VaDE rejects a code: those of figure A5.
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999)
# That of figure A3, and draws per wanted code after which VaDE gives up.
SHOWN_THRESHOLD, _MOST_DRAWS = 0.8, 1000


class Generator(Protocol):
    """A fitted model that draws codes of a cluster, decodes them, and clusters what it is shown.

    Attributes
    ----------
    n_clusters
        Clusters, numbered from 0.
    thresholds
        Those it knows, smallest first.
    """

    n_clusters: int
    thresholds: tuple[float, ...]

    def draw(self, cluster: int, n: int, threshold: float, rng: np.random.Generator) -> tuple[FloatArray, int]:
        """Draw codes (n, L), or fewer where they are too rare, and count the draws that it took."""
        ...

    def decode(self, codes: FloatArray, cluster: int) -> FloatArray:
        """Scaled values (n, D) of codes of a cluster."""
        ...

    def assign(self, scaled: FloatArray) -> NDArray[np.int64]:
        """Cluster of each row of scaled values, shape (n,)."""
        ...


class ExpertGenerator:
    """MoE-Sim-VAE: codes from N(centre, I), each decoded by the expert of its cluster; none is rejected.

    Parameters
    ----------
    network
        Trained; every expert is a cluster.
    centres
        Mean code of each cluster, shape (clusters, L).
    """

    thresholds: tuple[float, ...] = (0.0,)

    def __init__(self, network: MoESimVAENetwork, centres: FloatArray) -> None:
        self.network, self.centres, self.n_clusters = network, centres, len(centres)

    def draw(self, cluster: int, n: int, threshold: float, rng: np.random.Generator) -> tuple[FloatArray, int]:
        """Draw n codes in n draws, shape (n, L); there is no threshold to pass."""
        return self.centres[cluster] + rng.standard_normal((n, self.centres.shape[1]), dtype=np.float32), n

    def decode(self, codes: FloatArray, cluster: int) -> FloatArray:
        """Scaled values (n, D) by the cluster's expert."""
        return decode(self.network, codes, np.full(len(codes), cluster))

    def assign(self, scaled: FloatArray) -> NDArray[np.int64]:
        """Cluster of each row by the gating network, shape (n,)."""
        return codes_and_experts(self.network, scaled)[1].astype(np.int64)


class VaDEGenerator:
    """VaDE: codes from a component of the prior, rejected below a posterior, decoded by the one decoder.

    Parameters
    ----------
    network
        Trained.
    """

    thresholds: tuple[float, ...] = THRESHOLDS

    def __init__(self, network: VaDENetwork) -> None:
        self.network, self.n_clusters = network, len(network.centres)

    def draw(self, cluster: int, n: int, threshold: float, rng: np.random.Generator) -> tuple[FloatArray, int]:
        """Draw codes whose posterior reaches the threshold, shape (n, L), and count all draws."""
        from cytomoe.benchmarks.vade import draw_accepted

        return draw_accepted(self.network, cluster, n, threshold, rng, most=_MOST_DRAWS * n)

    def decode(self, codes: FloatArray, cluster: int) -> FloatArray:
        """Scaled values (n, D)."""
        from cytomoe.benchmarks.vade import decode_codes

        return decode_codes(self.network, codes)

    def assign(self, scaled: FloatArray) -> NDArray[np.int64]:
        """Component with the largest posterior at the mean code of each row, shape (n,)."""
        from cytomoe.benchmarks.vade import encode_means, posteriors

        return posteriors(self.network, encode_means(self.network, scaled)).argmax(axis=1)


def round_trip(
    generator: Generator, n: int, threshold: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[int]]:
    """Generate n cells of every cluster and let the model cluster them again.

    Parameters
    ----------
    generator
        The model.
    n
        Cells of each cluster.
    threshold
        For the posterior; see :meth:`Generator.draw`.
    rng
        Source of all randomness.

    Returns
    -------
    confusion, draws
        How many cells of each cluster (rows) fell into each (columns), shape (clusters, clusters), and the draws that
        each cluster took.
    """
    confusion = np.zeros((generator.n_clusters, generator.n_clusters), dtype=np.int64)
    draws = []
    for cluster in range(generator.n_clusters):
        codes, number = generator.draw(cluster, n, threshold, rng)
        found = generator.assign(generator.decode(codes, cluster))
        confusion[cluster] = np.bincount(found, minlength=generator.n_clusters)
        draws.append(number)
    return confusion, draws


def returned(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each cluster's cells that came back to it; NaN for a cluster of which none could be drawn."""
    totals = confusion.sum(axis=1).astype(np.float64)
    return np.divide(np.diag(confusion), totals, out=np.full(len(totals), np.nan), where=totals > 0)
