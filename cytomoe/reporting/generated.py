"""How good the cells are that a run's model generates: beside those of the fit, and mapped by the model again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytomoe.reporting.histograms import BINS, Histograms, count_in_bins
from cytomoe.reporting.run_files import RunFiles

MODEL = "model.cytomoe"
# Cells generated of each cluster: enough for a histogram, and a share to within two hundredths.
CELLS_EACH = 500


@dataclass(frozen=True, eq=False)
class Generated:
    """Cells generated of each cluster.

    Attributes
    ----------
    returned
        Share of each cluster's generated cells that the model assigns to it, shape (clusters,).
    distance
        Of each marker's distribution from that in the cluster's cells of the fit (:func:`cytomoe.drift.distance`),
        shape (clusters, markers).
    counts
        Histograms with the bins of the run's, shape (clusters, markers, bins).
    """

    returned: NDArray[np.float64]
    distance: NDArray[np.float64]
    counts: NDArray[np.int64]


def generate(run: RunFiles, histograms: Histograms) -> Generated | None:
    """Generate cells of each cluster with the model in the run's folder; None where there is none.

    Of a merged population, as many of each of its clusters as their sizes ask for.
    """
    path = run.folder / MODEL
    if not path.is_file():
        return None
    from cytomoe.clusterer import Clusterer
    from cytomoe.drift import distance
    from cytomoe.fit_summary import pooled_quantiles

    model = Clusterer.load(path, device="cpu")
    returned = np.empty(run.n_clusters)
    distances = np.empty((run.n_clusters, len(run.markers)))
    counts = np.zeros((run.n_clusters, len(run.markers), BINS), dtype=np.int64)
    own = run.population_of if run.population_of is not None else np.arange(1, model.n_clusters_ + 1)
    for k in range(run.n_clusters):
        clusters = np.flatnonzero(own == k + 1)
        ends = np.round(np.cumsum(model.summary_.sizes[clusters]) / model.summary_.sizes[clusters].sum() * CELLS_EACH)
        numbers = np.diff(ends, prepend=0).astype(np.int64)
        drawn = [model.sample(int(cluster) + 1, int(n)) for cluster, n in zip(clusters, numbers, strict=True)]
        expression = model.preprocessor_.transformed(np.concatenate(drawn))
        returned[k] = np.mean(own[model.predict(expression) - 1] == k + 1)
        distances[k] = distance(expression, pooled_quantiles(model.summary_.cluster_quantiles[clusters], numbers))
        counts[k] = count_in_bins(expression, np.zeros(CELLS_EACH, np.int64), 1, histograms.low, histograms.high)[0]
    return Generated(returned, distances, counts)
