"""The networks of MoE-Sim-VAE: encoder, gating network, experts. Tensors only.

N is the number of cells, D of markers, L the code size, K the number of experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


def hidden_layers(n_in: int, widths: Sequence[int], activation: str, batch_norm: bool) -> nn.Sequential:
    """Fully connected layers, each followed by batch normalisation (if asked for) and the activation."""
    layers: list[nn.Module] = []
    for width in widths:
        layers.append(nn.Linear(n_in, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(ACTIVATIONS[activation]())
        n_in = width
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Markers to code means: (N, D) -> (N, L)."""

    def __init__(
        self, n_markers: int, widths: Sequence[int], code_size: int, activation: str, batch_norm: bool
    ) -> None:
        super().__init__()
        self.hidden = hidden_layers(n_markers, widths, activation, batch_norm)
        self.mean = nn.Linear(widths[-1] if widths else n_markers, code_size)

    def forward(self, scaled: Tensor) -> Tensor:
        """Code means of cells, shape (N, L)."""
        return self.mean(self.hidden(scaled))


class GatingNetwork(nn.Module):
    """Codes to logits over experts: (N, L) -> (N, K). Dropout is applied on demand, for the DEPICT loss only."""

    def __init__(
        self, code_size: int, widths: Sequence[int], n_experts: int, activation: str, batch_norm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        n_ins = [code_size, *widths[:-1]]
        self.layers = nn.ModuleList(
            hidden_layers(n_in, [width], activation, batch_norm) for n_in, width in zip(n_ins, widths, strict=True)
        )
        self.logits = nn.Linear(widths[-1] if widths else code_size, n_experts)

    def forward(self, codes: Tensor, noisy: bool = False) -> Tensor:
        """Logits of cells, shape (N, K); ``noisy`` drops hidden units after each layer."""
        for layer in self.layers:
            codes = layer(codes)
            if noisy:
                codes = F.dropout(codes, self.dropout, training=True)
        return self.logits(codes)


class Experts(nn.Module):
    """K small decoders, computed together: codes (N, L) -> logits of the markers.

    Every layer holds the matrices of all experts, (K, n_in, n_out). Cells are laid out in blocks of one expert each, so
    that one batched product serves all experts and each cell passes its own expert only.
    """

    # Cells per block: small, so that few rows are padding; large enough for matrix products to pay.
    BLOCK = 32

    def __init__(self, n_experts: int, code_size: int, widths: Sequence[int], n_markers: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]()
        sizes = [code_size, *widths, n_markers]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            bound = 1 / math.sqrt(n_in)  # as torch.nn.Linear
            self.weights.append(nn.Parameter(torch.empty(n_experts, n_in, n_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(n_experts, 1, n_out).uniform_(-bound, bound)))

    def forward(self, codes: Tensor, experts: Tensor) -> Tensor:
        """Logits (N, D) of each cell from its own expert; ``experts`` int64, shape (N,)."""
        rows, block_experts = self._layout(experts, wait=experts.device.type == "cpu")
        hidden = codes.new_zeros(len(block_experts) * self.BLOCK, codes.shape[1])
        hidden = hidden.index_copy(0, rows, codes).unflatten(0, (len(block_experts), self.BLOCK))
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i:
                hidden = self.activation(hidden)
            hidden = torch.baddbmm(bias[block_experts], hidden, weight[block_experts])
        return hidden.flatten(0, 1)[rows]

    def _layout(self, experts: Tensor, *, wait: bool) -> tuple[Tensor, Tensor]:
        """Row of each cell among the blocks, shape (N,), and the expert of each block, shape (blocks,).

        How many blocks are filled is known once the device has counted; not to ``wait`` for it makes as many as there
        could be, of which some stay empty.
        """
        n_experts, n_cells = self.weights[0].shape[0], len(experts)
        counts = experts.new_zeros(n_experts).index_add_(0, experts, torch.ones_like(experts))
        blocks = (counts + self.BLOCK - 1) // self.BLOCK
        order = torch.argsort(experts, stable=True)
        ends, block_ends = counts.cumsum(0), blocks.cumsum(0)
        sorted_experts = experts[order]
        rank = torch.arange(n_cells, device=experts.device) - (ends - counts)[sorted_experts]
        rows = torch.empty_like(experts)
        rows[order] = (block_ends - blocks)[sorted_experts] * self.BLOCK + rank
        most = int(block_ends[-1]) if wait else n_cells // self.BLOCK + min(n_experts, n_cells)
        numbers = torch.arange(most, device=experts.device)
        return rows, torch.searchsorted(block_ends, numbers, right=True).clamp(max=n_experts - 1)

    def decode(self, codes: Tensor, expert: int) -> Tensor:
        """Logits (N, D) of codes that all go to one expert."""
        return self(codes, torch.full((len(codes),), expert, device=codes.device))


class MoESimVAENetwork(nn.Module):
    """Encoder, gating network and experts under one roof.

    Parameters
    ----------
    n_markers, code_size, n_experts
        D, L and K.
    encoder_widths, gating_widths, expert_widths
        Hidden layers of each part.
    activation
        ``relu`` or ``elu``.
    batch_norm
        Batch normalisation in encoder and gating network.
    dropout
        Share of hidden units dropped in the noisy pass of the gating network.
    """

    def __init__(
        self,
        n_markers: int,
        *,
        code_size: int,
        n_experts: int,
        encoder_widths: Sequence[int],
        gating_widths: Sequence[int],
        expert_widths: Sequence[int],
        activation: str,
        batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.encoder = Encoder(n_markers, encoder_widths, code_size, activation, batch_norm)
        self.gating = GatingNetwork(code_size, gating_widths, n_experts, activation, batch_norm, dropout)
        self.experts = Experts(n_experts, code_size, expert_widths, n_markers, activation)

    def keep_experts(self, order: Sequence[int]) -> None:
        """Reorder the experts and drop those not in ``order``, in gating network and decoders alike."""
        index = torch.as_tensor(list(order))
        with torch.no_grad():
            logits = self.gating.logits
            index = index.to(logits.weight.device)
            logits.weight, logits.bias = nn.Parameter(logits.weight[index]), nn.Parameter(logits.bias[index])
            logits.out_features = len(order)
            for parameters in (self.experts.weights, self.experts.biases):
                for i, parameter in enumerate(parameters):
                    parameters[i] = nn.Parameter(parameter[index])
        self.n_experts = len(order)
