"""The losses against hand-computed values and finite differences."""

import math

import pytest
import torch

from cytomoe.model.losses import depict_loss, depict_target, kl_loss, reconstruction_loss, similarity_loss


def test_reconstruction_by_hand():
    scaled = torch.tensor([[1.0, 0.25]])
    logits = torch.tensor([[0.0, math.log(3)]])  # sigmoid: 1/2, 3/4
    expected = -(math.log(0.5) + 0.25 * math.log(0.75) + 0.75 * math.log(0.25)) / 2
    assert reconstruction_loss(scaled, logits).item() == pytest.approx(expected, rel=1e-6)


def test_similarity_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    similarity = torch.tensor([[1.0, 0.3], [0.3, 1.0]])
    pairs = [(1.0, 0.82), (0.3, 0.26), (0.3, 0.26), (1.0, 0.68)]
    expected = -sum(s * math.log(a) + (1 - s) * math.log(1 - a) for s, a in pairs) / 4
    assert similarity_loss(similarity, probabilities).item() == pytest.approx(expected, rel=1e-5)


def test_similarity_is_lowest_where_probabilities_reproduce_it():
    labels = torch.tensor([0, 0, 1, 2, 2])
    similarity = (labels[:, None] == labels).float()
    right = torch.nn.functional.one_hot(labels, 3).float()
    wrong = torch.nn.functional.one_hot(labels.roll(1), 3).float()
    assert similarity_loss(similarity, right) < 1e-4 < similarity_loss(similarity, wrong)


def test_kl_by_hand():
    codes = torch.tensor([[0.0, 0.0], [4.0, 2.0], [7.0, 7.0]])
    experts = torch.tensor([1, 1, 0])  # cluster 0 has one cell and does not count; variances of cluster 1: 4 and 1
    expected = 0.5 * (4 + 1 - 2 - math.log(4) - math.log(1))
    assert kl_loss(codes, experts, 3).item() == pytest.approx(expected, rel=1e-6)


def test_kl_is_zero_for_codes_of_unit_variance():
    codes = torch.tensor([[1.0], [-1.0], [11.0], [9.0]])
    assert kl_loss(codes, torch.tensor([0, 0, 1, 1]), 2).item() == pytest.approx(0, abs=1e-6)


def test_kl_without_any_pair_is_zero_and_has_a_gradient():
    codes = torch.randn(3, 2, requires_grad=True)
    loss = kl_loss(codes, torch.tensor([0, 1, 2]), 4)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(codes.grad, torch.zeros(3, 2))


def test_kl_of_identical_codes_is_finite():
    codes = torch.ones(4, 3, requires_grad=True)
    loss = kl_loss(codes, torch.zeros(4, dtype=torch.int64), 2)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(codes.grad).all()


def test_depict_target_by_hand():
    probabilities = torch.tensor([[0.8, 0.2], [0.8, 0.2]])
    weights = (0.8 / math.sqrt(1.6), 0.2 / math.sqrt(0.4))
    assert depict_target(probabilities)[0, 0].item() == pytest.approx(weights[0] / sum(weights), rel=1e-6)


def test_depict_by_hand():
    probabilities = torch.tensor([[0.5, 0.5]])
    noisy = torch.tensor([[0.25, 0.75]])
    expected = -0.5 * (math.log(0.25) + math.log(0.75))
    assert depict_loss(probabilities, noisy).item() == pytest.approx(expected, rel=1e-6)


def test_depict_has_no_gradient_through_its_target():
    logits = torch.randn(4, 3, requires_grad=True)
    noisy = torch.softmax(torch.randn(4, 3), 1)
    assert not depict_loss(torch.softmax(logits, 1), noisy).requires_grad


@pytest.mark.parametrize("name", ["reconstruction", "similarity", "kl", "depict"])
def test_gradients_by_finite_differences(name):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    other = torch.rand(6, 3, generator=generator, dtype=torch.float64)
    similarity = torch.rand(6, 6, generator=generator, dtype=torch.float64)
    similarity = (similarity + similarity.T) / 2
    experts = torch.tensor([0, 0, 1, 1, 1, 2])
    losses = {
        "reconstruction": lambda x: reconstruction_loss(other, x),
        "similarity": lambda x: similarity_loss(similarity, torch.softmax(x, 1)),
        "kl": lambda x: kl_loss(x, experts, 4),
        "depict": lambda x: depict_loss(other, torch.softmax(x, 1)),
    }
    assert torch.autograd.gradcheck(losses[name], (inputs,), eps=1e-6, atol=1e-6)
