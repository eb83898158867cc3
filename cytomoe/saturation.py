"""Markers whose brightest events all stand at one highest value: the end of the detector's or the file's scale.

Above it bright cells can't be told apart, and compensation subtracts too little of them from other channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.preprocessing.channels import source_name
from cytomoe.words import percent

if TYPE_CHECKING:
    from cytomoe.io.raw_events import Raw
    from cytomoe.preprocessing import Preprocessor

# A channel is called saturated where at least this share of the events, and so many, have its highest value ...
SHARE = 0.005
_FEWEST = 10
# ... and so many times as many as have the next lower one: channels of few whole numbers have no such pile.
_PILE = 3

ADVICE = (
    "brighter cells can't be told apart there, and compensation takes too little of them from other channels; leave "
    "the marker out with --markers if that matters, and record with a lower detector voltage"
)


@dataclass(frozen=True)
class Ceiling:
    """A saturated channel: its name, its highest value, and the share of the events that have it."""

    name: str
    value: float
    share: float

    def __str__(self) -> str:
        return f"{self.name} ({percent(self.share)} of the events at {self.value:g})"


def ceilings(values: NDArray[Any], names: Sequence[str]) -> list[Ceiling]:
    """Find saturated channels.

    Parameters
    ----------
    values
        (events, channels) as the file holds them: compensation spreads what stood at the ceiling.
    names
        Of the channels.
    """
    found = []
    for name, column in zip(names, np.asarray(values).T, strict=True):
        numbers = column[np.isfinite(column)]
        if len(numbers) < _FEWEST:
            continue
        top = numbers.max()
        below = numbers[numbers < top]
        n_top = len(numbers) - len(below)
        if n_top < max(_FEWEST, SHARE * len(numbers)) or not len(below):
            continue
        if n_top >= _PILE * np.count_nonzero(below == below.max()):
            found.append(Ceiling(name, float(top), n_top / len(numbers)))
    return found


def warn_of_saturation(adatas: Sequence[Raw], preprocessor: Preprocessor) -> list[str]:
    """A line for the user where markers are saturated: of each the file where it is worst.

    Parameters
    ----------
    adatas
        Events of each file, raw.
    preprocessor
        Knows the markers.
    """
    worst: dict[str, tuple[Ceiling, str, int]] = {}
    for adata in adatas:
        positions = [adata.var_names.get_loc(name) for name in preprocessor.locate(adata)]
        for ceiling in ceilings(np.asarray(adata.X)[:, positions], preprocessor.markers):
            known = worst.get(ceiling.name)
            files = 1 if known is None else known[2] + 1
            if known is not None and known[0].share >= ceiling.share:
                worst[ceiling.name] = (known[0], known[1], files)
            else:
                worst[ceiling.name] = (ceiling, Path(source_name(adata)).name, files)
    if not worst:
        return []
    where = [f"{c} in {file}{f' and {n - 1} more' * (n > 1)}" for c, file, n in worst.values()]
    return [f"saturated: {'; '.join(where)}: {ADVICE}"]
