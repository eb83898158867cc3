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


@pytest.mark.parametrize("n_cells", [1, 31, 33, 500])
def test_blocks_that_nobody_waits_for_give_the_same(n_cells):
    """On a GPU nothing waits for the device to count: more blocks than are needed, of which some are empty."""
    experts = Experts(7, 3, (8,), 5, "relu")
    chosen = torch.randint(0, 7, (n_cells,), generator=torch.Generator().manual_seed(n_cells))
    rows, filled = experts._layout(chosen, wait=True)
    same_rows, blocks = experts._layout(chosen, wait=False)
    torch.testing.assert_close(rows, same_rows)
    torch.testing.assert_close(filled, blocks[: len(filled)])
    codes = torch.randn(n_cells, 3)
    expected = torch.stack([experts.decode(code[None], int(k))[0] for code, k in zip(codes, chosen, strict=True)])
    torch.testing.assert_close(experts(codes, chosen), expected)


def test_where_memory_runs_out_half_as_many_cells_are_mapped_at_once(monkeypatch):
    from cytomoe.errors import RunError
    from cytomoe.model import inference

    done, limit = [], [300]

    def work(rows):
        if rows.stop - rows.start > limit[0]:
            raise torch.cuda.OutOfMemoryError("out of memory")
        done.append((rows.start, rows.stop))
        return rows.stop - rows.start

    monkeypatch.setattr(inference, "CHUNK", 1000)
    assert list(inference.in_chunks(1700, work)) == [250] * 6 + [200]
    assert done[-1] == (1500, 1700)
    limit[0] = 0
    with pytest.raises(RunError, match="--device cpu"):
        list(inference.in_chunks(10, work))
