"""The training loop of MoE-Sim-VAE: batches, losses, schedule, and what is measured on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cytomoe.model.losses import depict_loss, kl_loss, reconstruction_loss, similarity_loss
from cytomoe.model.networks import MoESimVAENetwork
from cytomoe.settings import Settings
from cytomoe.similarity.base import Similarity
from cytomoe.training.optimizer import Adam

# Losses are recorded and reported this many times over a training, enough for a curve and for a lively display.
_RECORDS = 60


@dataclass(frozen=True)
class Progress:
    """Where a training stands, handed to the progress callback.

    Attributes
    ----------
    step, total
        Steps done and to do.
    losses
        Mean of each loss since the last report, and ``total``, their weighted sum.
    clusters
        Experts that got a cell in the latest batch.
    """

    step: int
    total: int
    losses: dict[str, float]
    clusters: int


@dataclass
class History:
    """What a training left behind.

    Attributes
    ----------
    records
        One dictionary per report: ``step``, ``clusters`` and the mean losses since the report before.
    seconds
        Wall time of the training.
    """

    records: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


@contextmanager
def seeded_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Run with torch's generators seeded, and leave them afterwards as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch's operations on one thread.

    Batches are so small that threads cost more than they bring, several times more where the cores have other work; and
    a result that does not depend on the number of threads is the same on machines with more cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def build_network(n_markers: int, settings: Settings) -> MoESimVAENetwork:
    """Untrained network with the shapes of ``settings`` for ``n_markers`` markers."""
    return MoESimVAENetwork(
        n_markers,
        code_size=settings.code_size,
        n_experts=settings.experts,
        encoder_widths=settings.encoder_widths,
        gating_widths=settings.gating_widths,
        expert_widths=settings.expert_widths,
        activation=settings.activation,
        batch_norm=settings.batch_norm,
        dropout=settings.dropout,
    )


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device, sent without waiting for what the device is doing."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _held(scaled: NDArray[np.float32], device: torch.device) -> Tensor | None:
    """All cells on the device; None where its memory does not do, and each batch is to be sent."""
    with suppress(torch.cuda.OutOfMemoryError):
        return torch.from_numpy(scaled).to(device)
    return None


class Batches:
    """Draws batches of cells with the sampling weights of the similarity."""

    def __init__(self, weights: NDArray[np.float64], size: int, rng: np.random.Generator) -> None:
        self._cumulative = np.cumsum(weights / weights.sum())
        self._size = min(size, len(weights))
        self._rng = rng

    def draw(self) -> NDArray[np.int64]:
        """Cells of the next batch."""
        cells = np.searchsorted(self._cumulative, self._rng.random(self._size))
        return np.minimum(cells, len(self._cumulative) - 1)  # rounding may leave the last sum just below 1


def _joint_losses(
    network: MoESimVAENetwork, scaled: Tensor, similarity: Tensor, settings: Settings
) -> tuple[dict[str, Tensor], Tensor]:
    """The losses of one batch, unweighted, and the expert of each cell."""
    means = network.encoder(scaled)
    codes = means + settings.code_noise * torch.randn_like(means)
    probabilities = torch.softmax(network.gating(codes), dim=1)
    experts = probabilities.argmax(dim=1)
    losses = {
        "reconstruction": reconstruction_loss(scaled, network.experts(codes, experts)),
        "similarity": similarity_loss(similarity, probabilities),
    }
    if settings.coef_kl > 0:
        losses["kl"] = kl_loss(codes, experts, network.n_experts)
    if settings.coef_depict > 0:
        noisy = torch.softmax(network.gating(codes, noisy=True), dim=1)
        losses["depict"] = depict_loss(probabilities, noisy)
    return losses, experts


def _warm_losses(
    network: MoESimVAENetwork, scaled: Tensor, partition: Tensor, settings: Settings
) -> tuple[dict[str, Tensor], Tensor]:
    """Cross-entropy of the gating network against a known partition, with the reconstruction by its experts."""
    means = network.encoder(scaled)
    codes = means + settings.code_noise * torch.randn_like(means)
    logits = network.gating(codes)
    losses = {
        "partition": torch.nn.functional.cross_entropy(logits, partition),
        "reconstruction": reconstruction_loss(scaled, network.experts(codes, partition)),
    }
    return losses, logits.argmax(dim=1)


def loss_weights(settings: Settings) -> dict[str, float]:
    """How much each loss counts in their sum."""
    return {
        "reconstruction": settings.coef_reconstruction,
        "similarity": settings.coef_clustering,
        "partition": settings.coef_clustering,
        "kl": settings.coef_kl,
        "depict": settings.coef_clustering * settings.coef_depict,
    }


class _Recorder:
    """Means of the losses between reports, without waiting for the device at every step."""

    def __init__(self, history: History, total: int, report: Callable[[Progress], None] | None) -> None:
        self.history, self.total, self.report = history, total, report
        self.every = max(1, total // _RECORDS)
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, step: int, losses: dict[str, Tensor], experts: Tensor) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.detach()
        self.count += 1
        if step % self.every and step != self.total:
            return
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        if not all(math.isfinite(mean) for mean in means.values()):
            raise FloatingPointError(f"the loss is no finite number any more at step {step}")
        clusters = int(torch.unique(experts).numel())
        self.history.records.append({"step": step, "clusters": clusters, **means})
        if self.report is not None:
            self.report(Progress(step, self.total, means, clusters))
        self.sums, self.count = {}, 0


def train(
    network: MoESimVAENetwork,
    scaled: NDArray[np.float32],
    similarity: Similarity,
    settings: Settings,
    rng: np.random.Generator,
    *,
    device: torch.device,
    report: Callable[[Progress], None] | None = None,
) -> History:
    """Train the network in place.

    Parameters
    ----------
    network
        Moved to ``device`` and left there in evaluation mode.
    scaled
        Marker values in [0, 1], shape (cells, markers).
    similarity
        S between the cells, given per batch.
    settings
        Losses, steps, rates.
    rng
        Draws the batches. Noise and dropout come from torch's generator: see :func:`seeded_torch`.
    device
        Where to compute.
    report
        Called with a :class:`Progress` some 60 times over the training.

    Raises
    ------
    FloatingPointError
        If the loss is no longer a finite number.
    """
    network.to(device).train()
    cells = _held(scaled, device)
    warm = similarity.partition
    warm_steps = settings.warm_steps if warm is not None and warm.max() < settings.experts else 0
    total = warm_steps + settings.steps
    optimizer = Adam(network.parameters(), settings.learning_rate, total if settings.one_cycle else None)
    batches = Batches(similarity.weights, settings.batch_size, rng)
    weights = loss_weights(settings)
    history = History()
    recorder = _Recorder(history, total, report)
    started = time.perf_counter()
    for step in range(1, total + 1):
        drawn = batches.draw()
        batch = (
            cells.index_select(0, on_device(drawn, device)) if cells is not None else on_device(scaled[drawn], device)
        )
        if step <= warm_steps and warm is not None:
            losses, experts = _warm_losses(network, batch, on_device(warm[drawn], device), settings)
        else:
            known = on_device(similarity.batch(drawn), device)
            losses, experts = _joint_losses(network, batch, known, settings)
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        if settings.clip_gradient > 0:
            optimizer.clip(settings.clip_gradient)
        optimizer.step()
        recorder.add(step, losses, experts)
    network.eval()
    history.seconds = time.perf_counter() - started
    return history
