"""The optimizer against torch's own, and the imports that it is there to avoid."""

import subprocess
import sys

import pytest
import torch

from cytomoe.training.optimizer import Adam


@pytest.mark.parametrize("total", [None, 40, 41, 3])
def test_same_parameters_as_torch(total):
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(size, generator=generator) for size in ((5, 3), (7,), (2, 2, 2))]
    theirs = [parameter.clone().requires_grad_() for parameter in ours]
    adam = Adam(ours, 5e-3, total)
    reference = torch.optim.Adam(theirs, lr=5e-3, fused=True)
    schedule = None if total is None else torch.optim.lr_scheduler.OneCycleLR(reference, 5e-3, total_steps=total)
    for step in range(total or 20):
        for i, (own, other) in enumerate(zip(ours, theirs, strict=True)):
            # One parameter goes without a gradient in some steps, as an expert without cells does.
            gradient = None if i == 1 and step % 3 == 1 else torch.randn(own.shape, generator=generator)
            own.grad, other.grad = gradient, None if gradient is None else gradient.clone()
        adam.step()
        reference.step()
        if schedule is not None and step + 1 < total:
            schedule.step()
        for own, other in zip(ours, theirs, strict=True):
            assert torch.equal(own, other.detach())


def test_training_loads_no_compiler():
    code = (
        "import sys, numpy as np; from cytomoe.estimator import MoESimVAE; from cytomoe.settings import Settings;"
        "rng = np.random.default_rng(0); groups = np.eye(4)[rng.integers(4, size=600)] * 5;"
        "cells = (groups + rng.normal(0, 0.3, (600, 4))).astype('float32');"
        "MoESimVAE(settings=Settings(steps=20, warm_steps=60)).fit(cells); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("largest", [0.5, 1e6])
def test_gradients_are_clipped_as_by_torch(largest):
    ours, theirs = ([torch.nn.Parameter(torch.zeros(3, n)) for n in (1, 20)] for _ in range(2))
    for mine, yours in zip(ours, theirs, strict=True):
        mine.grad = torch.randn(mine.shape, generator=torch.Generator().manual_seed(0))
        yours.grad = mine.grad.clone()
    Adam(ours, 0.1).clip(largest)
    torch.nn.utils.clip_grad_norm_(theirs, largest)
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, yours.grad, rtol=0, atol=0)
