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
    """Generate cells of each cluster with the model in the run's folder; None where there is none."""
    path = run.folder / MODEL
    if not path.is_file():
        return None
    from cytomoe.drift import distance
    from cytomoe.estimator import MoESimVAE

    model = MoESimVAE.load(path, device="cpu")
    returned = np.empty(run.n_clusters)
    distances = np.empty((run.n_clusters, len(run.markers)))
    counts = np.zeros((run.n_clusters, len(run.markers), BINS), dtype=np.int64)
    for k in range(run.n_clusters):
        expression = model.preprocessor_.transformed(model.sample(k + 1, CELLS_EACH))
        returned[k] = np.mean(model.predict(expression) == k + 1)
        distances[k] = distance(expression, model.summary_.cluster_quantiles[k])
        counts[k] = count_in_bins(expression, np.zeros(CELLS_EACH, np.int64), 1, histograms.low, histograms.high)[0]
    return Generated(returned, distances, counts)
