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


class SmallDevice(TorchDispatchMode):
    """Has room for a stack of so many models; a larger one comes no further than its third step."""

    def __init__(self, room):
        super().__init__()
        self.room = room
        self.tried = []  # sizes of the stacks that were tried, one after the other
        self.steps = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        # Once a step the cells, of six markers, enter the encoders: shape (models, cells, markers).
        if str(function).startswith("aten.baddbmm") and arguments[1].shape[2] == 6:
            size = arguments[1].shape[0]
            if self.tried[-1:] != [size]:
                self.tried.append(size)
                self.steps = 0
            self.steps += 1
            if size > self.room and self.steps > 3:
                raise torch.cuda.OutOfMemoryError("out of memory")
        return function(*arguments, **(named or {}))


def test_a_stack_too_large_for_the_device_is_trained_in_halves_from_the_beginning(monkeypatch):
    monkeypatch.setattr(stacked, "collapse", lambda *_: None)  # which forty steps may not avoid
    with SmallDevice(room=2) as device:
        results = train_stacked([lesson(prepared(seed)) for seed in range(5)], SHORT, device=CPU)
    assert device.tried == [5, 2, 3, 1, 2]
    apart = train_stacked([lesson(prepared(seed)) for seed in range(2)], SHORT, device=CPU)
    for ours, theirs in zip(results[:2], apart, strict=True):
        for tensor, same in zip(ours.network.state_dict().values(), theirs.network.state_dict().values(), strict=True):
            assert torch.equal(tensor, same)
    assert [len(result.history.records) for result in results] == [40] * 5


def test_a_device_without_memory_for_one_model_is_said_in_a_line(monkeypatch):
    with SmallDevice(room=0):
        results = train_stacked([lesson(prepared(seed)) for seed in range(2)], SHORT, device=CPU)
    for result in results:
        assert isinstance(result, RunError)
        assert "use --device cpu" in str(result)

    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(recovery, "train", fail)
    with pytest.raises(RunError, match="use --device cpu"):
        MoESimVAE(settings=SHORT).fit_prepared(prepared(0))


def test_cells_that_the_device_has_no_memory_for_are_sent_batch_by_batch(monkeypatch):
    class Full:
        def to(self, device):
            refused.append(device)
            raise torch.cuda.OutOfMemoryError("out of memory")

    whole, one = MoESimVAE(settings=SHORT).fit_prepared(prepared(0)), prepared(0)
    from_numpy, refused = torch.from_numpy, []

    def all_cells_are_too_many(array):
        return Full() if not refused and array.shape == one.training.shape else from_numpy(array)

    monkeypatch.setattr(torch, "from_numpy", all_cells_are_too_many)
    sent = MoESimVAE(settings=SHORT).fit_prepared(one)
    assert refused == [CPU]
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
