"""Adam with an optional one-cycle schedule, step for step what torch's Adam and OneCycleLR do.

torch's own optimizers load its compiler when they are made, some 2.5 seconds of imports that nothing here uses; this
one calls the same fused kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

_EPS = 1e-8
_BETA1, _BETA2 = 0.9, 0.999
# OneCycleLR's defaults: share of the steps that warm up, how far below the peak it starts, how far below the start it
# ends, and the two ends between which beta1 goes, opposite to the rate.
_WARM_UP = 0.3
_START_DIVISOR, _END_DIVISOR = 25.0, 1e4
_BETA1_HIGH, _BETA1_LOW = 0.95, 0.85


class Adam:
    """Adam (Kingma & Ba 2015), its rate constant or one cycle (Smith & Topin 2019).

    Parameters
    ----------
    parameters
        What is trained; every one needs a gradient when :meth:`step` is called, or is left as it is.
    learning_rate
        The rate, or the peak of the cycle.
    total_steps
        Steps of the cycle; None for a constant rate.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float, total_steps: int | None = None) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.total_steps = learning_rate, total_steps
        self._step = 0
        self._means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._counts = [torch.zeros((), dtype=torch.float32, device=parameter.device) for parameter in self.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def rate(self) -> tuple[float, float]:
        """Rate and beta1 of the next step."""
        if self.total_steps is None:
            return self.learning_rate, _BETA1
        peak, start = self.learning_rate, self.learning_rate / _START_DIVISOR
        warm_end, end = _WARM_UP * self.total_steps - 1, self.total_steps - 1
        if self._step <= warm_end:
            share = self._step / warm_end
            return _cosine(start, peak, share), _cosine(_BETA1_HIGH, _BETA1_LOW, share)
        share = (self._step - warm_end) / (end - warm_end)
        return _cosine(peak, start / _END_DIVISOR, share), _cosine(_BETA1_LOW, _BETA1_HIGH, share)

    @torch.no_grad()
    def clip(self, largest: float) -> None:
        """Scale all gradients to a common norm of at most ``largest``: torch's ``clip_grad_norm_`` in half the time."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, torch.clamp(largest / (norm + 1e-6), max=1.0))

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        rate, beta1 = self.rate()
        self._step += 1
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        counts = [self._counts[i] for i in moved]
        torch._foreach_add_(counts, 1)
        torch._fused_adam_(
            [self.parameters[i] for i in moved],
            [self.parameters[i].grad for i in moved],  # type: ignore[misc]
            [self._means[i] for i in moved],
            [self._squares[i] for i in moved],
            [],
            counts,
            lr=rate,
            beta1=beta1,
            beta2=_BETA2,
            weight_decay=0.0,
            eps=_EPS,
            amsgrad=False,
            maximize=False,
        )


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (1 + math.cos(math.pi * share))
