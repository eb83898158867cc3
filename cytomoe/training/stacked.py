"""Many models of one shape trained as one: each layer is a batched product over the models.

The networks of a well are so small that a step costs more in calls than in arithmetic; stacked, the calls are paid
once for all. Models share nothing but the calls: each draws its own batches and noise, from the same generators as
alone, has its own batch normalisation and its own gradient clipping, and Adam works on each number by itself. What
comes out is therefore what training one by one gives, but for rounding (and for the dropout of the DEPICT loss).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cytomoe.model.losses import depict_loss, kl_loss, similarity_loss
from cytomoe.model.networks import Experts, MoESimVAENetwork
from cytomoe.settings import Settings
from cytomoe.similarity import Similarity
from cytomoe.training.loop import Batches, History, build_network, loss_weights, on_device, seeded_torch, single_thread
from cytomoe.training.optimizer import Adam
from cytomoe.training.recovery import Trained, collapse, no_memory, train_safely


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one model is trained on.

    Attributes
    ----------
    scaled
        Marker values in [0, 1], shape (cells, markers).
    similarity
        S between the cells.
    rng
        Source of all randomness of the training.
    """

    scaled: NDArray[np.float32]
    similarity: Similarity
    rng: np.random.Generator

    def shape(self, settings: Settings) -> tuple[int, int, int]:
        """Markers, cells of a batch and warm steps: lessons that agree in these can be stacked."""
        warm = self.similarity.partition
        warm_steps = settings.warm_steps if warm is not None and warm.max() < settings.experts else 0
        return self.scaled.shape[1], min(settings.batch_size, len(self.scaled)), warm_steps


def train_stacked(lessons: Sequence[Lesson], settings: Settings, *, device: torch.device) -> list[Trained | Exception]:
    """Train a network for each lesson, all that have the same shape at once.

    Parameters
    ----------
    lessons
        What each is trained on.
    settings
        Of all trainings.
    device
        Where to compute.

    Returns
    -------
    list
        A trained network for each lesson, again with safer settings where it collapsed, or the error that ended it.
    """
    results: list[Trained | Exception] = [RuntimeError("not trained")] * len(lessons)
    groups: dict[tuple[int, int, int], list[int]] = {}
    for i, lesson in enumerate(lessons):
        groups.setdefault(lesson.shape(settings), []).append(i)
    for (_, _, warm_steps), members in groups.items():
        trained = _train_as_fits([lessons[i] for i in members], settings, warm_steps, device)
        for i, result in zip(members, trained, strict=True):
            results[i] = result
    return results


def _train_as_fits(
    lessons: Sequence[Lesson], settings: Settings, warm_steps: int, device: torch.device
) -> list[Trained | Exception]:
    """Train as one stack, or as two of half the models where the device's memory runs out, from the same beginnings."""
    beginnings = [lesson.rng.bit_generator.state for lesson in lessons]
    with suppress(torch.cuda.OutOfMemoryError):  # whose traceback holds the tensors until the block has ended
        return _train_group(lessons, settings, warm_steps, device)
    for lesson, beginning in zip(lessons, beginnings, strict=True):
        lesson.rng.bit_generator.state = beginning
    if len(lessons) == 1:
        return [no_memory(settings)]
    half = len(lessons) // 2
    parts = (lessons[:half], lessons[half:])
    return [result for part in parts for result in _train_as_fits(part, settings, warm_steps, device)]


def _train_group(
    lessons: Sequence[Lesson], settings: Settings, warm_steps: int, device: torch.device
) -> list[Trained | Exception]:
    networks, noises = [], []
    for lesson in lessons:
        with seeded_torch(int(lesson.rng.integers(2**63)), torch.device("cpu")):
            networks.append(build_network(lesson.scaled.shape[1], settings))
            noises.append(torch.Generator().set_state(torch.get_rng_state()))
    with seeded_torch(0, device), single_thread():
        stack = _Stack(networks, settings).to(device)
        history = _train(stack, lessons, noises, settings, warm_steps, device)
        stack.unstack(networks)
        results: list[Trained | Exception] = []
        for network, lesson, records in zip(networks, lessons, history, strict=True):
            try:
                results.append(_checked(network.to(device).eval(), lesson, records, settings, device))
            except Exception as error:  # of this model alone; the others are done
                results.append(error)
    return results


def _checked(
    network: MoESimVAENetwork, lesson: Lesson, history: History, settings: Settings, device: torch.device
) -> Trained:
    """The network, or one that is trained again where this one collapsed."""
    finite = all(np.isfinite(value) for record in history.records for value in record.values())
    problem = "the loss is no finite number any more"
    if finite:
        problem = collapse(network, lesson.scaled, lesson.similarity, lesson.rng) or ""
    if not problem:
        return Trained(network, history, settings, [])
    return train_safely(lesson.scaled, lesson.similarity, settings, lesson.rng, device=device, collapsed=problem)


class _Stack(nn.Module):
    """Networks of one shape; every parameter carries the models in its first dimension, experts K for each model."""

    def __init__(self, networks: Sequence[MoESimVAENetwork], settings: Settings) -> None:
        super().__init__()
        self.n_models, self.settings, self.n_experts = len(networks), settings, networks[0].n_experts
        states = [network.state_dict() for network in networks]
        self.tensors = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        self.trained = {name for name, _ in networks[0].named_parameters()}
        first = networks[0]
        self.encoder = [*first.encoder.hidden, first.encoder.mean]
        self.encoder_names = [*(f"encoder.hidden.{i}" for i in range(len(first.encoder.hidden))), "encoder.mean"]
        self.gating = [[*layer] for layer in first.gating.layers]  # type: ignore[misc]
        experts = first.experts
        widths = [experts.weights[0].shape[1], *(weight.shape[2] for weight in experts.weights)]
        self.experts = Experts(1, widths[0], widths[1:-1], widths[-1], settings.activation)
        for kind in ("weights", "biases"):
            for i in range(len(widths) - 1):
                stacked = self.tensors.pop(f"experts.{kind}.{i}").flatten(0, 1)
                getattr(self.experts, kind)[i] = nn.Parameter(stacked)
        for name in self.trained & set(self.tensors):
            self.tensors[name] = nn.Parameter(self.tensors[name])

    def to(self, device: torch.device) -> _Stack:  # type: ignore[override]
        """Move all tensors to a device."""
        self.experts.to(device)
        for name, tensor in self.tensors.items():
            moved = tensor.detach().to(device)
            self.tensors[name] = nn.Parameter(moved) if name in self.trained else moved
        return self

    def all_parameters(self) -> list[nn.Parameter]:
        """Everything that is trained."""
        own = [tensor for tensor in self.tensors.values() if isinstance(tensor, nn.Parameter)]
        return [*own, *self.experts.parameters()]

    def encode(self, scaled: Tensor) -> Tensor:
        """Code means (models, N, L) of cells (models, N, D)."""
        return self._through(self.encoder, self.encoder_names, scaled)

    def logits(self, codes: Tensor, noisy: bool = False) -> Tensor:
        """Logits over experts (models, N, K) of codes (models, N, L)."""
        for i, layer in enumerate(self.gating):
            codes = self._through(layer, [f"gating.layers.{i}.{j}" for j in range(len(layer))], codes)
            if noisy:
                codes = F.dropout(codes, self.settings.dropout, training=True)
        return self._linear("gating.logits", codes)

    def decode(self, codes: Tensor, experts: Tensor) -> Tensor:
        """Logits of the markers (models, N, D), each cell by its expert (models, N)."""
        own = experts + self.n_experts * torch.arange(self.n_models, device=experts.device)[:, None]
        return self.experts(codes.flatten(0, 1), own.flatten()).unflatten(0, experts.shape)

    def _through(self, layers: Sequence[nn.Module], names: Sequence[str], hidden: Tensor) -> Tensor:
        for layer, name in zip(layers, names, strict=True):
            if isinstance(layer, nn.Linear):
                hidden = self._linear(name, hidden)
            elif isinstance(layer, nn.BatchNorm1d):
                hidden = self._normalise(layer, name, hidden)
            else:
                hidden = layer(hidden)
        return hidden

    def _linear(self, name: str, hidden: Tensor) -> Tensor:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return torch.baddbmm(bias[:, None], hidden, weight.transpose(1, 2))

    def _normalise(self, layer: nn.BatchNorm1d, name: str, hidden: Tensor) -> Tensor:
        """Batch normalisation of each model by its own batch: the models' features stand beside each other."""
        self.tensors[f"{name}.num_batches_tracked"] += 1
        beside = hidden.transpose(0, 1).flatten(1)
        mean, variance, weight, bias = (
            self.tensors[f"{name}.{kind}"].view(-1) for kind in ("running_mean", "running_var", "weight", "bias")
        )
        assert layer.momentum is not None
        normal = F.batch_norm(
            beside, mean, variance, weight, bias, training=True, momentum=layer.momentum, eps=layer.eps
        )
        return normal.unflatten(1, (self.n_models, -1)).transpose(0, 1)

    def clip_gradients(self, largest: float) -> None:
        """Scale the gradients of each model to a norm of at most ``largest``, as torch's ``clip_grad_norm_`` does."""
        gradients = [p.grad.view(self.n_models, -1) for p in self.all_parameters() if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in gradients]).norm(dim=0)
        factors = (largest / (norms + 1e-6)).clamp(max=1.0)[:, None]
        for gradient in gradients:
            gradient.mul_(factors)

    @torch.no_grad()
    def unstack(self, networks: Sequence[MoESimVAENetwork]) -> None:
        """Copy what was trained into the networks that the stack was made of."""
        tensors = dict(self.tensors)
        for kind in ("weights", "biases"):
            for i, stacked in enumerate(getattr(self.experts, kind)):
                tensors[f"experts.{kind}.{i}"] = stacked.unflatten(0, (self.n_models, self.n_experts))
        for m, network in enumerate(networks):
            network.load_state_dict({name: tensor[m].detach().cpu() for name, tensor in tensors.items()})


class _Class:
    """The lessons side by side: their cells in one matrix, their batches drawn and stacked."""

    def __init__(self, lessons: Sequence[Lesson], settings: Settings, device: torch.device) -> None:
        self.lessons, self.device = lessons, device
        self.cells = torch.from_numpy(np.concatenate([lesson.scaled for lesson in lessons])).to(device)
        sizes = [len(lesson.scaled) for lesson in lessons]
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])[:, None]
        self.batches = [Batches(one.similarity.weights, settings.batch_size, one.rng) for one in lessons]

    def draw(self) -> tuple[list[NDArray[np.int64]], Tensor]:
        """Cells of each lesson's batch, and their markers (models, N, D)."""
        drawn = [batches.draw() for batches in self.batches]
        rows = on_device(np.stack(drawn) + self.starts, self.device)
        return drawn, self.cells.index_select(0, rows.flatten()).unflatten(0, rows.shape)

    def partitions(self, drawn: Sequence[NDArray[np.int64]]) -> Tensor:
        """Part of each cell of the batches, shape (models, N)."""
        parts = [one.similarity.partition for one in self.lessons]
        known = [part[cells] for part, cells in zip(parts, drawn, strict=True) if part is not None]
        return on_device(np.stack(known), self.device)

    def similarities(self, drawn: Sequence[NDArray[np.int64]]) -> Tensor:
        """S between the cells of each batch, shape (models, N, N)."""
        known = [one.similarity.batch(cells) for one, cells in zip(self.lessons, drawn, strict=True)]
        return on_device(np.stack(known), self.device)


def _train(
    stack: _Stack,
    lessons: Sequence[Lesson],
    noises: Sequence[torch.Generator],
    settings: Settings,
    warm_steps: int,
    device: torch.device,
) -> list[History]:
    """Train the stack in place; the losses of each model, and its share of the seconds."""
    started = time.perf_counter()
    together = _Class(lessons, settings, device)
    total = warm_steps + settings.steps
    optimizer = Adam(stack.all_parameters(), settings.learning_rate, total if settings.one_cycle else None)
    weights = loss_weights(settings)
    recorder = _Recorder(total, len(lessons))
    for step in range(1, total + 1):
        drawn, batch = together.draw()
        means = stack.encode(batch)
        noise = torch.stack([torch.randn(means.shape[1:], generator=noise) for noise in noises])
        codes = means + settings.code_noise * noise.to(device)
        logits = stack.logits(codes)
        if step <= warm_steps:
            experts = together.partitions(drawn)
            losses = {"partition": _cross_entropy(logits, experts)}
        else:
            probabilities = torch.softmax(logits, dim=2)
            experts = probabilities.argmax(dim=2)
            losses = {"similarity": similarity_loss(together.similarities(drawn), probabilities)}
            losses |= _further_losses(stack, codes, experts, probabilities, settings)
        decoded = stack.decode(codes, experts)
        losses["reconstruction"] = F.binary_cross_entropy_with_logits(decoded, batch, reduction="none").mean((1, 2))
        optimizer.zero_grad()
        torch.stack([weights[name] * value for name, value in losses.items()]).sum().backward()
        if settings.clip_gradient > 0:
            stack.clip_gradients(settings.clip_gradient)
        optimizer.step()
        recorder.add(step, losses, experts)
    share = (time.perf_counter() - started) / len(lessons)
    return [History(records, share) for records in recorder.records]


def _cross_entropy(logits: Tensor, parts: Tensor) -> Tensor:
    """Cross-entropy of logits (models, N, K) against parts (models, N), mean of each model's."""
    each = F.cross_entropy(logits.flatten(0, 1), parts.flatten(), reduction="none")
    return each.view(parts.shape).mean(1)


def _further_losses(
    stack: _Stack, codes: Tensor, experts: Tensor, probabilities: Tensor, settings: Settings
) -> dict[str, Tensor]:
    """The losses that only some settings have, model by model, shape (models,) each."""
    losses: dict[str, Tensor] = {}
    if settings.coef_kl > 0:
        losses["kl"] = torch.stack([kl_loss(*pair, stack.n_experts) for pair in zip(codes, experts, strict=True)])
    if settings.coef_depict > 0:
        noisy = torch.softmax(stack.logits(codes, noisy=True), dim=2)
        losses["depict"] = torch.stack([depict_loss(*pair) for pair in zip(probabilities, noisy, strict=True)])
    return losses


class _Recorder:
    """Means of each model's losses between records, read from the device once, at the end."""

    def __init__(self, total: int, n_models: int) -> None:
        self.total, self.n_models, self.every = total, n_models, max(1, total // 60)
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self._kept: list[tuple[int, dict[str, Tensor], Tensor]] = []

    def add(self, step: int, losses: dict[str, Tensor], experts: Tensor) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss.detach() if name in self.sums else loss.detach()
        self.count += 1
        if step % self.every and step != self.total:
            return
        self._kept.append((step, {name: total / self.count for name, total in self.sums.items()}, experts))
        self.sums, self.count = {}, 0

    @property
    def records(self) -> list[list[dict[str, float]]]:
        """Records of each model, as :class:`cytomoe.training.loop.History` holds them."""
        found: list[list[dict[str, float]]] = [[] for _ in range(self.n_models)]
        for step, losses, experts in self._kept:
            read = {name: values.tolist() for name, values in losses.items()}
            for m, own in enumerate(experts.cpu().numpy()):
                means = {name: values[m] for name, values in read.items()}
                found[m].append({"step": step, "clusters": len(np.unique(own)), **means})
        return found
