"""Running a trained network over cells, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cytomoe.errors import RunError
from cytomoe.model.networks import MoESimVAENetwork

# Cells mapped at once: few enough that what lies between the layers stays in the processor's cache.
CHUNK = 16_384

T = TypeVar("T")


def in_chunks(n_cells: int, work: Callable[[slice], T]) -> Iterator[T]:
    """Do some work for at most ``CHUNK`` cells at a time, and for half as many once a device's memory has run out.

    Parameters
    ----------
    n_cells
        Cells to work on.
    work
        Gives a result for a slice of the cells; called again for a part of it where memory ran out.

    Raises
    ------
    RunError
        If the memory does not do for one cell.
    """
    start, size = 0, CHUNK
    while start < n_cells:
        rows = slice(start, min(start + size, n_cells))
        try:
            result = work(rows)
        except torch.cuda.OutOfMemoryError as error:
            if size == 1:
                raise RunError("the device has no memory left for a single cell; use --device cpu") from error
            torch.cuda.empty_cache()
            size = max(1, min(size, rows.stop - rows.start) // 2)
            continue
        yield result
        start = rows.stop


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

    def mapped(rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            codes = network.encoder(torch.from_numpy(scaled[rows]).to(device))
            probabilities = torch.softmax(network.gating(codes), dim=1)
        return codes.cpu().numpy(), probabilities.cpu().numpy()

    return in_chunks(len(scaled), mapped)


def map_all_cells(
    network: MoESimVAENetwork, scaled: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Codes (cells, L) and probabilities (cells, K) of all cells; see :func:`map_cells`."""
    codes, probabilities = zip(*map_cells(network, scaled), strict=True)
    return np.concatenate(codes), np.concatenate(probabilities)


def codes_and_experts(
    network: MoESimVAENetwork, scaled: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Codes (cells, L) of all cells and the expert (cells,) each goes to."""
    mapped = [(codes, probabilities.argmax(axis=1)) for codes, probabilities in map_cells(network, scaled)]
    return np.concatenate([codes for codes, _ in mapped]), np.concatenate([experts for _, experts in mapped])


def decode(network: MoESimVAENetwork, codes: NDArray[np.float32], experts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scaled markers (n, D) that the experts make of codes (n, L), each by its own (n,), chunk by chunk."""
    parameter = next(network.parameters())

    def decoded(rows: slice) -> NDArray[np.float32]:
        with torch.inference_mode():
            chosen = torch.from_numpy(np.ascontiguousarray(experts[rows])).to(parameter.device)
            logits = network.experts(torch.from_numpy(codes[rows]).to(parameter), chosen)
            return torch.sigmoid(logits).cpu().numpy()

    none = np.empty((0, network.experts.biases[-1].shape[-1]), dtype=np.float32)
    return np.concatenate([none, *in_chunks(len(codes), decoded)])
