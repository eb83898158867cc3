"""A device's memory that runs out, and waiting for a device, tried on the CPU by the same code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_stacked import CPU, SETTINGS, lesson, prepared
from torch.utils._python_dispatch import TorchDispatchMode

from cytomoe.errors import RunError
from cytomoe.estimator import MoESimVAE
from cytomoe.model.networks import Experts
from cytomoe.training import loop, recovery, stacked
from cytomoe.training.stacked import train_stacked

SHORT = replace(SETTINGS, warm_steps=20, steps=20)
# Operations whose result the CPU must know to go on.
WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten._unique2", "aten.masked_select", "aten.equal")


class Waits(TorchDispatchMode):
    """Counts the operations for which a device would be waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.count += str(function).startswith(WAITING)
        return function(*arguments, **(named or {}))


@pytest.fixture
def small_device(monkeypatch):
    """No stack of more than two models comes further than its third step; sizes of the stacks that were tried."""
    tried, encode = [], stacked._Stack.encode
    monkeypatch.setattr(stacked, "collapse", lambda *_: None)  # which forty steps may not avoid

    def encode_or_fail(stack, scaled):
        stack.steps = getattr(stack, "steps", 0) + 1
        if stack.steps == 1:
            tried.append(stack.n_models)
        if stack.n_models > 2 and stack.steps > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return encode(stack, scaled)

    monkeypatch.setattr(stacked._Stack, "encode", encode_or_fail)
    return tried


def test_a_stack_too_large_for_the_device_is_trained_in_halves_from_the_beginning(small_device):
    results = train_stacked([lesson(prepared(seed)) for seed in range(5)], SHORT, device=CPU)
    assert small_device == [5, 2, 3, 1, 2]
    apart = train_stacked([lesson(prepared(seed)) for seed in range(2)], SHORT, device=CPU)
    for ours, theirs in zip(results[:2], apart, strict=True):
        for tensor, same in zip(ours.network.state_dict().values(), theirs.network.state_dict().values(), strict=True):
            assert torch.equal(tensor, same)
    assert [len(result.history.records) for result in results] == [40] * 5


def test_a_device_without_memory_for_one_model_is_said_in_a_line(monkeypatch):
    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(stacked._Stack, "encode", fail)
    for result in train_stacked([lesson(prepared(seed)) for seed in range(2)], SHORT, device=CPU):
        assert isinstance(result, RunError)
        assert "use --device cpu" in str(result)
    monkeypatch.setattr(recovery, "train", fail)
    with pytest.raises(RunError, match="use --device cpu"):
        MoESimVAE(settings=SHORT).fit_prepared(prepared(0))


def test_cells_that_the_device_has_no_memory_for_are_sent_batch_by_batch(monkeypatch):
    class Full:
        def to(self, device):
            raise torch.cuda.OutOfMemoryError("out of memory")

    whole = MoESimVAE(settings=SHORT).fit_prepared(prepared(0))
    from_numpy = torch.from_numpy
    size = len(whole.labels_)
    monkeypatch.setattr(torch, "from_numpy", lambda array: Full() if array.shape == (size, 6) else from_numpy(array))
    held = loop._held(np.zeros((size, 6), dtype=np.float32), CPU)
    monkeypatch.setattr(torch, "from_numpy", from_numpy)
    assert held is None
    monkeypatch.setattr(loop, "_held", lambda *_: None)
    sent = MoESimVAE(settings=SHORT).fit_prepared(prepared(0))
    assert sent.history_.records == whole.history_.records
    np.testing.assert_array_equal(sent.labels_, whole.labels_)


def test_training_waits_for_the_device_only_to_record(monkeypatch):
    layout = Experts._layout
    monkeypatch.setattr(Experts, "_layout", lambda experts, chosen, wait: layout(experts, chosen, wait=False))
    monkeypatch.setattr(loop, "_RECORDS", 2)
    one = lesson(prepared(0))
    network = loop.build_network(6, SHORT)
    with Waits() as waits:
        history = loop.train(network, one.scaled, one.similarity, SHORT, one.rng, device=CPU)
    numbers = sum(len(record) for record in history.records)
    assert len(history.records) == 2
    assert 0 < waits.count <= 2 * numbers
    monkeypatch.setattr(stacked, "_checked", lambda network, *_: network)
    with Waits() as waits:
        train_stacked([lesson(prepared(seed)) for seed in range(2)], SHORT, device=CPU)
    assert waits.count == 0
