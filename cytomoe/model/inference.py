"""Running a trained network over cells, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cytomoe.model.networks import MoESimVAENetwork

# Cells mapped at once: large enough for full speed, small enough that memory does not depend on the file.
CHUNK = 65_536


def map_cells(
    network: MoESimVAENetwork, scaled: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Codes (n, L) and probabilities (n, K) of cells, for at most ``CHUNK`` cells at a time.

    Parameters
    ----------
    network
        In evaluation mode.
    scaled
        Marker values in [0, 1], shape (cells, markers).
    """
    device = next(network.parameters()).device
    for start in range(0, len(scaled), CHUNK):
        with torch.inference_mode():
            codes = network.encoder(torch.from_numpy(scaled[start : start + CHUNK]).to(device))
            probabilities = torch.softmax(network.gating(codes), dim=1)
        yield codes.cpu().numpy(), probabilities.cpu().numpy()


def codes_and_experts(
    network: MoESimVAENetwork, scaled: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Codes (cells, L) of all cells and the expert (cells,) each goes to."""
    mapped = [(codes, probabilities.argmax(axis=1)) for codes, probabilities in map_cells(network, scaled)]
    return np.concatenate([codes for codes, _ in mapped]), np.concatenate([experts for _, experts in mapped])


def decode(network: MoESimVAENetwork, codes: NDArray[np.float32], experts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scaled markers (n, D) that the experts make of codes (n, L), each by its own (n,), chunk by chunk."""
    parameter = next(network.parameters())
    decoded = [np.empty((0, network.experts.biases[-1].shape[-1]), dtype=np.float32)]
    for start in range(0, len(codes), CHUNK):
        rows = slice(start, start + CHUNK)
        with torch.inference_mode():
            chosen = torch.from_numpy(np.ascontiguousarray(experts[rows])).to(parameter.device)
            logits = network.experts(torch.from_numpy(codes[rows]).to(parameter), chosen)
            decoded.append(torch.sigmoid(logits).cpu().numpy())
    return np.concatenate(decoded)
