"""Training that notices when it has collapsed, and tries again with safer settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cytomoe.errors import RunError
from cytomoe.model.inference import codes_and_experts
from cytomoe.model.networks import MoESimVAENetwork
from cytomoe.settings import Settings
from cytomoe.similarity import Similarity
from cytomoe.training.loop import History, Progress, build_network, seeded_torch, single_thread, train
from cytomoe.words import counted, percent

_ATTEMPTS = 3


@dataclass(frozen=True)
class Trained:
    """A network that did not collapse, and how it came about.

    Attributes
    ----------
    network
        In evaluation mode.
    history
        Of the training that worked.
    settings
        Of the training that worked; they differ from those asked for if an earlier one collapsed.
    notes
        What happened to earlier ones, for the user.
    """

    network: MoESimVAENetwork
    history: History
    settings: Settings
    notes: list[str]


def train_safely(
    scaled: NDArray[np.float32],
    similarity: Similarity,
    settings: Settings,
    rng: np.random.Generator,
    *,
    device: torch.device,
    report: Callable[[Progress], None] | None = None,
    collapsed: str | None = None,
) -> Trained:
    """Build and train a network, again with safer settings where it collapses.

    Parameters
    ----------
    scaled, similarity, settings, rng, device, report
        As :func:`cytomoe.training.loop.train` takes them.
    collapsed
        How a first attempt collapsed that was made elsewhere; None if there was none.

    Raises
    ------
    RunError
        If every attempt collapsed, or the device has no memory for it.
    """
    problem, notes = collapsed, []
    for _ in range(_ATTEMPTS if collapsed is None else _ATTEMPTS - 1):
        if problem is not None:
            settings = safer(settings)
            notes.append(
                f"training collapsed ({problem}); tried again with learning rate {settings.learning_rate:g} "
                "and without the DEPICT loss"
            )
        with seeded_torch(int(rng.integers(2**63)), device), single_thread():
            network = build_network(scaled.shape[1], settings)
            try:
                history = train(network, scaled, similarity, settings, rng, device=device, report=report)
                problem = collapse(network, scaled, similarity, rng)
            except FloatingPointError as error:
                problem = str(error)
            except torch.cuda.OutOfMemoryError as error:
                raise no_memory(settings) from error
        if problem is None:
            return Trained(network, history, settings, notes)
    raise RunError(
        f"training collapsed {_ATTEMPTS} times ({problem}); try --similarity consensus or another --seed, and look at "
        "the markers with cytomoe check"
    )


def no_memory(settings: Settings) -> RunError:
    """The error of a device whose memory does not do for a single model."""
    return RunError(
        f"the device has no memory left to train on {settings.batch_size} cells at a time; use --device cpu"
    )


def collapse(
    network: MoESimVAENetwork, scaled: NDArray[np.float32], similarity: Similarity, rng: np.random.Generator
) -> str | None:
    """What is wrong if the clusters are far coarser than the similarity they were trained on, else None.

    Two cells drawn at random share a cluster with probability ``sum_k share_k^2``, and are similar with the mean of S.
    The two agree in a training that worked; a collapse drives the first towards 1. The clusters from which the training
    started are never too coarse: few cells may leave one on which the partitions agree.
    """
    cells = rng.choice(len(scaled), size=min(2048, len(scaled)), replace=False)
    similar = similarity.batch(cells)
    n = len(cells)
    expected = (float(similar.sum()) - n) / max(n * (n - 1), 1)
    if similarity.partition is not None:
        expected = max(expected, _together(similarity.partition[cells]))
    _, experts = codes_and_experts(network, scaled[cells])
    if _together(experts) <= (1 + expected) / 2:
        return None
    shares = np.bincount(experts) / n
    used = int(np.count_nonzero(shares))
    return f"{percent(float(shares.max()))} of the cells in one of {counted(used, 'cluster')}"


def _together(clusters: NDArray[np.int64]) -> float:
    """Probability that two cells drawn at random share a cluster; clusters from 0, shape (cells,)."""
    return float(np.square(np.bincount(clusters) / len(clusters)).sum())


def safer(settings: Settings) -> Settings:
    """Settings less prone to collapse: no DEPICT, a third of the learning rate with warm-up, clipped gradients."""
    return replace(
        settings, coef_depict=0.0, learning_rate=settings.learning_rate / 3, one_cycle=True, clip_gradient=1.0
    )
