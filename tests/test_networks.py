"""The networks: shapes, routing of cells to experts, dropping of experts."""

import pytest
import torch

from cytomoe.model.networks import Experts, GatingNetwork, MoESimVAENetwork


@pytest.fixture
def experts():
    torch.manual_seed(0)
    return Experts(5, 3, [7, 4], 2, "elu")


def test_each_cell_passes_its_own_expert(experts):
    codes = torch.randn(200, 3)
    routes = torch.randint(0, 4, (200,))  # expert 4 gets no cell
    together = experts(codes, routes)
    for expert in range(5):
        alone = experts.decode(codes[routes == expert], expert)
        torch.testing.assert_close(together[routes == expert], alone)


def test_an_expert_is_a_plain_multilayer_perceptron(experts):
    codes = torch.randn(3, 3)
    hidden = torch.nn.functional.elu(codes @ experts.weights[0][2] + experts.biases[0][2])
    hidden = torch.nn.functional.elu(hidden @ experts.weights[1][2] + experts.biases[1][2])
    torch.testing.assert_close(experts.decode(codes, 2), hidden @ experts.weights[2][2] + experts.biases[2][2])


def test_gradient_reaches_only_the_experts_used(experts):
    experts(torch.randn(40, 3), torch.full((40,), 3)).sum().backward()
    touched = [bool(gradient.abs().sum() > 0) for gradient in experts.weights[0].grad]
    assert touched == [False, False, False, True, False]


def test_dropout_acts_only_in_the_noisy_pass():
    gating = GatingNetwork(3, [16, 16], 4, "relu", batch_norm=False, dropout=0.5).train()
    codes = torch.randn(8, 3)
    assert torch.equal(gating(codes), gating(codes))
    assert not torch.equal(gating(codes, noisy=True), gating(codes, noisy=True))


def test_kept_experts_answer_as_before():
    network = MoESimVAENetwork(
        4, code_size=3, n_experts=6, encoder_widths=[8], gating_widths=[5], expert_widths=[7],
        activation="relu", batch_norm=True, dropout=0.0,
    ).eval()  # fmt: skip
    codes = torch.randn(10, 3)
    logits, decoded = network.gating(codes), network.experts.decode(codes, 4)
    network.keep_experts([4, 1])
    torch.testing.assert_close(network.gating(codes), logits[:, [4, 1]])
    torch.testing.assert_close(network.experts.decode(codes, 0), decoded)
    assert network.n_experts == 2
