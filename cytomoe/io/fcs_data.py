"""The DATA segment: read and decoded slice by slice into one matrix of floats.

So the whole file never stands in memory beside the whole result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cytomoe.io.fcs_layout import Channel, Layout
from cytomoe.io.fcs_source import FCSSource

Values = npt.NDArray[np.floating[Any]]

_SLICE_BYTES = 16 << 20
# float32 holds integers of this many bits exactly, float64 those of 53.
_FLOAT32_INTEGER_BITS = 24


def value_dtype(layout: Layout) -> type[np.float32] | type[np.float64]:
    """The smallest float type that holds every channel's values unrounded (integers of over 53 bits excepted)."""
    for channel in layout.channels:
        if channel.datatype == "D" or (channel.datatype == "I" and channel.mask.bit_length() > _FLOAT32_INTEGER_BITS):
            return np.float64
    return np.float32


def read_values(source: FCSSource, layout: Layout, begin: int, start: int, stop: int) -> tuple[Values, list[int]]:
    """Decode the events ``start`` to ``stop``.

    Parameters
    ----------
    source
        The file.
    layout
        How an event is laid out.
    begin
        Position of the first event in the file.
    start, stop
        Events to read, ``stop`` excluded; both within the data set.

    Returns
    -------
    values : ndarray, shape (stop - start, channels)
        The file's values, integers masked by their range; neither gain nor logarithm is applied.
    masked : list of int
        Positions of the channels where masking took bits away.
    """
    values: Values = np.empty((stop - start, len(layout.channels)), dtype=value_dtype(layout))
    if values.size == 0:
        return values, []
    masked: set[int] = set()
    step = max(1, _SLICE_BYTES * 8 // layout.event_bits)
    with source.reader() as read:
        for first in range(start, stop, step):
            last = min(first + step, stop)
            first_byte, skipped_bits = divmod(first * layout.event_bits, 8)  # packed events begin amid a byte
            raw = read(begin + first_byte, layout.data_size(last) - first_byte)
            block = values[first - start : last - start]
            if layout.is_packed:
                _decode_packed(raw, skipped_bits, layout, block, masked)
            else:
                _decode_bytes(raw, layout, block, masked)
    return values, sorted(masked)


def _decode_bytes(raw: npt.NDArray[np.uint8], layout: Layout, block: Values, masked: set[int]) -> None:
    """Decode values that begin on whole bytes."""
    first = layout.channels[0]
    dtype = _native_dtype(first, layout)
    if dtype is not None and all((c.bits, c.datatype) == (first.bits, first.datatype) for c in layout.channels):
        matrix = raw.view(dtype).reshape(block.shape)
        masks = np.array([channel.mask for channel in layout.channels], dtype=np.uint64)
        if first.datatype == "I" and (masks < (1 << first.bits) - 1).any():
            counted = matrix & masks.astype(dtype)
            masked.update(np.flatnonzero((counted != matrix).any(axis=0)).tolist())
            matrix = counted
        block[...] = matrix
        return
    rows = raw.reshape(len(block), -1)
    offset = 0
    for n, channel in enumerate(layout.channels):
        width = channel.bits // 8
        column = _decode_column(rows[:, offset : offset + width], channel, layout)
        block[:, n] = column if channel.datatype != "I" else _mask(column, channel, n, masked)
        offset += width


def _native_dtype(channel: Channel, layout: Layout) -> np.dtype[Any] | None:
    """NumPy's type of a channel's values; None for widths that NumPy does not have."""
    if channel.bits not in (8, 16, 32, 64):
        return None
    return np.dtype(f"{layout.byte_order}{'u' if channel.datatype == 'I' else 'f'}{channel.bits // 8}")


def _decode_column(column: npt.NDArray[np.uint8], channel: Channel, layout: Layout) -> npt.NDArray[Any]:
    """Decode one channel from the bytes of its values, shape (events, bytes)."""
    dtype = _native_dtype(channel, layout)
    if dtype is not None:
        return column.view(dtype)[:, 0]
    bytes_high_to_low = column.T if layout.byte_order == ">" else column.T[::-1]
    integers = np.zeros(len(column), dtype=np.uint64)
    for byte in bytes_high_to_low:
        integers = (integers << np.uint64(8)) | byte
    return integers


def _decode_packed(
    raw: npt.NDArray[np.uint8], skipped_bits: int, layout: Layout, block: Values, masked: set[int]
) -> None:
    """Decode big-endian integers that follow each other bit by bit, without padding."""
    size = len(block) * layout.event_bits
    bits = np.unpackbits(raw)[skipped_bits : skipped_bits + size].reshape(len(block), layout.event_bits)
    offset = 0
    for n, channel in enumerate(layout.channels):
        integers = np.zeros(len(block), dtype=np.uint64)
        for bit in bits[:, offset : offset + channel.bits].T:
            integers = (integers << np.uint64(1)) | bit
        block[:, n] = _mask(integers, channel, n, masked)
        offset += channel.bits


def _mask(integers: npt.NDArray[Any], channel: Channel, position: int, masked: set[int]) -> npt.NDArray[Any]:
    """The bits of a channel's integers that its range lets count; notes the channel where others were set."""
    counted = np.bitwise_and(integers, integers.dtype.type(channel.mask))
    if (counted != integers).any():
        masked.add(position)
    return counted
