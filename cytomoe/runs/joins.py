"""What joined clusters are called, which of them a marker parts, and gates that lose their cluster by it, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.annotation import LEVEL_WORDS
from cytomoe.doublets import PREFIX as DOUBLETS
from cytomoe.naming import UNKNOWN, is_known
from cytomoe.reporting.findings import lost_gates, mostly_lost
from cytomoe.words import listed

# Both sides of a marker must hold this share of a population's events, and so many, before the join is told: a splinter
# that is put back does not change what the population is. A small cluster is told where it is called otherwise.
_LEAST_SHARE, _FEWEST = 0.05, 30
_NAMED = 6  # joins, or gates, that a line names
_SHOWN = 4  # clusters that a side lists
_Rows = NDArray[np.int64]
_Flags = NDArray[np.bool_]
_OFF, _ON = (LEVEL_WORDS[0],), LEVEL_WORDS[2:]


@dataclass(frozen=True)
class Difference:
    """Clusters of one population that differ in a marker.

    Attributes
    ----------
    lack, carry
        Numbers of the clusters that lack the marker and that carry it.
    marker
        The marker; of several, the one that divides the population's events most evenly.
    """

    lack: tuple[int, ...]
    carry: tuple[int, ...]
    marker: str

    def in_words(self, called: pd.Series[str]) -> str:
        """The clusters and the marker; ``called``: what the clusters were called before, by their numbers."""
        lack, carry = (listed([f"{k} {called[k]}" for k in side], _SHOWN, by=" + ") for side in (self.lack, self.carry))
        return f"{lack} without {self.marker}, {carry} with it"


def differences(
    names: pd.Series[str], sizes: NDArray[np.int64], levels: pd.DataFrame, apart: pd.Series[str]
) -> list[Difference]:
    """What parts the clusters of joined populations, the largest populations first.

    Of each population one marker, where both sides of it are large; and for each small cluster that is called otherwise
    than the others, one that parts it from most of them.

    Parameters
    ----------
    names
        Population of each cluster, by its number from 1.
    sizes
        Events of each cluster, shape (clusters,).
    levels
        Level of each marker in each cluster, in words; clusters x markers.
    apart
        What each cluster is called by itself.
    """
    off, on = levels.isin(_OFF).to_numpy(), levels.isin(_ON).to_numpy()
    found = []
    for population in names.unique():
        parts = np.flatnonzero((names == population).to_numpy())
        total = int(sizes[parts].sum())
        told = [_even(parts, sizes, off, on), *_small(parts, sizes, off, on, apart.to_numpy())]
        for lack, carry, marker in filter(None, told):
            without, having = (tuple(int(k) + 1 for k in side) for side in (lack, carry))
            found.append((total, Difference(without, having, str(levels.columns[marker]))))
    return [difference for _, difference in sorted(found, key=lambda each: -each[0])]


def _even(parts: _Rows, sizes: _Rows, off: _Flags, on: _Flags) -> tuple[_Rows, _Rows, int] | None:
    """Clusters without and with the marker that divides a population's events most evenly; None where none does."""
    lacking, carrying = (sizes[parts] @ side[parts] for side in (off, on))
    smaller = np.minimum(lacking, carrying)
    if not len(smaller) or smaller.max() < max(_FEWEST, _LEAST_SHARE * sizes[parts].sum()):
        return None
    marker = int(smaller.argmax())
    return parts[off[parts, marker]], parts[on[parts, marker]], marker


def _small(
    parts: _Rows, sizes: _Rows, off: _Flags, on: _Flags, apart: NDArray[Any]
) -> Iterator[tuple[_Rows, _Rows, int]]:
    """Small clusters called otherwise than the others, each with the marker that parts it from most of their events."""
    total = int(sizes[parts].sum())
    for k in parts:
        others = parts[parts != k]
        named = is_known(apart[k]) and not apart[k].startswith(DOUBLETS) and apart[k] not in apart[others]
        if not named or not _FEWEST <= sizes[k] < _LEAST_SHARE * total:
            continue
        against = sizes[others] @ ((off[others] & on[k]) | (on[others] & off[k]))
        marker = int(against.argmax()) if len(against) else 0
        if not len(against) or against[marker] <= 0.5 * sizes[others].sum():
            continue
        mine = parts[parts == k]
        rest = others[(off if on[k, marker] else on)[others, marker]]
        yield (rest, mine, marker) if on[k, marker] else (mine, rest, marker)


def warn_of_differences(found: Sequence[str]) -> list[str]:
    """A warning that names the joined clusters that a marker parts, from words; none where there are none."""
    if not found:
        return []
    return [f"clusters that a marker parts are joined: {listed(found, _NAMED, by='; ')}; are they one population?"]


def warn_of_lost_gates(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    """A warning where half of the gates or more have no population of their own, some of which had a cluster."""
    if before is None or after is None:
        return []
    block = after["unique"]
    had = {population["gate"] for population in lost_gates(before["unique"])}
    lost = lost_gates(block)
    newly = [population for population in lost if population["gate"] not in had]
    if not newly or not mostly_lost(len(lost), len(block["populations"])):
        return []
    where = listed([f"{gate['gate']} in population {gate['most_in']}" for gate in newly], _NAMED, by="; ")
    return [
        f"{len(lost)} of {len(block['populations'])} gates have no population of their own (F1 below 0.5), of which "
        f"{len(newly)} had a cluster: {where}. Leave more populations, or choose the joins yourself (cytomoe "
        "merge)"
    ]


def called(clusters: pd.DataFrame) -> pd.Series[str]:
    """What each cluster of a run is called, by its number from 1: its population, or else its label."""
    named = clusters["population" if "population" in clusters else "label"].fillna("").astype(str)
    return named.replace("", UNKNOWN).set_axis(range(1, len(clusters) + 1))


def keep_unknown_apart(names: pd.Series[str]) -> pd.Series[str]:
    """Names by number of cluster, where several unknown ones are no population: each is called ``unknown 7``."""
    unknown = names.str.casefold() == UNKNOWN
    return names.where(~unknown, [f"{UNKNOWN} {k}" for k in names.index])


def group_names(
    events: NDArray[np.int64], names: pd.Series[str], groups: NDArray[Any], taken: Collection[str] = ()
) -> pd.Series[str]:
    """Name of each cluster's group: what its parts are called, joined by " + ", the largest part first.

    No group is named after its largest part alone, and no two have the same name: the smaller of two that would is
    numbered, as in ``NK cells (2)``.

    Parameters
    ----------
    events, groups
        Events and group of each cluster, shape (clusters,).
    names
        What each cluster is called by itself.
    taken
        Names that no group may have.
    """
    parts = pd.Series(events).groupby([groups, names.to_numpy()]).sum()
    by_size = parts.groupby(level=0).sum().sort_values(ascending=False, kind="stable").index
    found: dict[Any, str] = {}
    for group in by_size:
        name = listed(parts[group].sort_values(ascending=False, kind="stable").index.tolist(), by=" + ")
        free = (name if n == 1 else f"{name} ({n})" for n in count(1))
        found[group] = next(each for each in free if each not in found.values() and each not in taken)
    return pd.Series([found[group] for group in groups], index=names.index)


def without_parted(
    events: NDArray[np.int64], before: pd.Series[str], names: pd.Series[str], apart: pd.Series[str]
) -> pd.Series[str]:
    """Names in which what is left of a joined population is named by its own parts, not by those taken out of it.

    Parameters
    ----------
    events
        Events of each cluster, shape (clusters,).
    before, names
        Name of each cluster before and now, by its number from 1.
    apart
        What each cluster is called by itself.
    """
    kept = names == before
    joined = set(before[kept & (apart != before)])  # named after several clusters
    left = kept & before.isin(joined & set(before[~kept]))
    if not left.any():
        return names
    rest = left.to_numpy()
    found = group_names(events[rest], apart[left], before[left].to_numpy(), set(names[~left]))
    return names.mask(left, found)
