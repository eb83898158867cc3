"""What the experiments on cytometry files share: a method, cytomoe or a peer, fitted to the events of a sample."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.settings import Settings

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.preprocessing import Preprocessor

OWN = "cytomoe"


@dataclass(frozen=True, eq=False)
class Clustered:
    """What a method said of the events of a sample.

    Attributes
    ----------
    clusters
        Cluster of each event, shape (events,).
    seconds
        Wall time of fitting and mapping, without reading and imports.
    cpu_seconds
        Time of all cores together, which other work on the machine does not change.
    """

    clusters: NDArray[np.integer[Any]]
    seconds: float
    cpu_seconds: float


def cluster_events(
    method: str,
    expression: NDArray[np.float32],
    fitted: NDArray[np.bool_],
    *,
    preprocessor: Preprocessor,
    settings: Settings,
    seed: int,
    device: str = "auto",
) -> Clustered:
    """Cluster the events of a sample with cytomoe or a peer.

    Parameters
    ----------
    method
        ``cytomoe`` or a name of :data:`cytomoe.benchmarks.baselines.BASELINES`.
    expression
        Transformed marker values, shape (events, markers).
    fitted
        Events that train cytomoe; the others are mapped. Peers, which can't map, see every event.
    preprocessor
        Made ``expression``, and scales it for cytomoe's network.
    settings, seed, device
        As :class:`cytomoe.estimator.MoESimVAE` takes them; peers take the seed.
    """
    from cytomoe.benchmarks.baselines import BASELINES
    from cytomoe.estimator import MoESimVAE

    started, cpu_started = time.perf_counter(), time.process_time()
    if method == OWN:
        model = MoESimVAE(settings=settings, seed=seed, device=device, preprocessor=preprocessor)
        clusters: NDArray[np.integer[Any]] = model.fit(expression[fitted]).predict(expression)
    else:
        clusters = BASELINES[method](expression, seed=seed)
    return Clustered(clusters, time.perf_counter() - started, time.process_time() - cpu_started)


def fit_preprocessor(
    adatas: Sequence[AnnData], markers: Sequence[str], settings: Settings, *, cofactor: float | None = None
) -> Preprocessor:
    """Preprocessing for named markers, as the settings' similarity wants it."""
    from cytomoe.preprocessing import Preprocessor

    return Preprocessor.fit(adatas, markers=markers, cofactor=cofactor, clip=settings.clips_noise)
