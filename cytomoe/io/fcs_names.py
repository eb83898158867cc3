"""Names of channels and events: unambiguous for the one, cheap for the other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cytomoe.io.fcs_layout import Channel

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# From this many events on their names are kept by Arrow: 15 MB per million instead of 64, and made in 5 ms.
ARROW_NAMES_FROM = 200_000

# How the names of FCS files end, in any case.
SUFFIXES = (".fcs", ".lmd", ".fcs.gz", ".lmd.gz")

_REPEATING = 5  # digits written at once and copied


def channel_names(channels: Iterable[Channel]) -> list[str]:
    """One unambiguous name per channel: its antigen if no other channel has the same, else its $PnN.

    Names that are still the same are told apart as ``name``, ``name (2)``, ``name (3)``.
    """
    channels = list(channels)
    antigens = Counter(channel.antigen for channel in channels)
    return distinct(c.antigen if c.antigen and antigens[c.antigen] == 1 else c.name for c in channels)


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Make names unique, among themselves and against those taken, by appending (2), (3) and so on."""
    used = set(taken)
    result: list[str] = []
    reached: defaultdict[str, int] = defaultdict(lambda: 1)  # so that thousands of one name do not count from 2 each
    for name in names:
        candidate = name
        while candidate in used:
            reached[name] += 1
            candidate = f"{name} ({reached[name]})"
        used.add(candidate)
        result.append(candidate)
    return result


def without_suffix(name: str) -> str:
    """Name of a file without the suffix of FCS files, by which a sample of one file is called."""
    return name[: -len(next((s for s in reversed(SUFFIXES) if name.lower().endswith(s)), ""))] or name


def event_names(n_events: int) -> pd.Index:
    """The names "0", "1", ... of the events, as pandas strings or, for many events, as Arrow strings."""
    import pandas as pd

    if n_events < ARROW_NAMES_FROM:
        return pd.RangeIndex(n_events).astype(str)
    numbers = _numbers(1 << (n_events - 1).bit_length())
    return pd.Index(pd.arrays.ArrowStringArray(numbers.slice(0, n_events)))


@lru_cache(maxsize=1)
def _numbers(size: int) -> pa.ChunkedArray:
    """The numbers below ``size`` as strings, kept because the files of a plate share them.

    Arrow's own cast from integers takes longer than reading a million events does, hence the digits by hand.
    """
    import pyarrow as pa

    chunks = []
    for width in range(1, len(str(size - 1)) + 1):
        low, high = 10 ** (width - 1) if width > 1 else 0, min(size, 10**width)
        offsets = np.arange(0, (high - low) * width + 1, width, dtype=np.int64)
        buffers = pa.py_buffer(offsets), pa.py_buffer(_digits(low, high, width))
        chunks.append(pa.LargeStringArray.from_buffers(high - low, *buffers))
    return pa.chunked_array(chunks)


def missing_names(n_events: int) -> pd.Index:
    """As many missing names, for a table that is given its names later."""
    import pandas as pd
    import pyarrow as pa

    return pd.Index(pd.arrays.ArrowStringArray(pa.nulls(n_events, pa.large_string())))


def _digits(low: int, high: int, width: int) -> np.ndarray:
    """The decimal digits, as ASCII, of the numbers ``low`` to ``high - 1``, written with ``width`` of them."""
    if width <= 2:
        numbers = np.arange(low, high)[:, None] // 10 ** np.arange(width - 1, -1, -1)
        return (numbers % 10 + ord("0")).astype(np.uint8).ravel()
    # The last digits repeat, so they are written once and copied; only the heads are counted up.
    repeating = min(width - 1, _REPEATING)
    size = 10**repeating
    template = np.empty((size, width), dtype=np.uint8)
    template[:, -repeating:] = _digits(0, size, repeating).reshape(size, repeating)
    heads = np.arange(low // size, -(-high // size))
    table = np.empty((len(heads), size, width), dtype=np.uint8)
    table[...] = template
    for column in range(width - repeating - 1, -1, -1):
        table[:, :, column] = (heads % 10 + ord("0")).astype(np.uint8)[:, None]
        heads = heads // 10
    first = (low % size) * width
    return table.reshape(-1)[first : first + (high - low) * width]
