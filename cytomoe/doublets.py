"""Clusters that look like doublets: two cells of different lineages, measured as one event.

A cluster is suspected with much caution, since rare populations look alike: it carries two markers that no population
of the reference carries together; other, larger clusters are what the two halves would be; and every marker of it
stands where the higher of the two halves has it, as the sum of two signals does on a logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from cytomoe.annotation import LEVELS, Enrichment
from cytomoe.reference import Population, columns_of

# Doublets are rarer than their halves: a cluster with more than this share of the smaller half's cells is none.
_MOST = 0.25
# Most that a marker's position (see Enrichment) may differ from that of the half that has more of it.
_APART = 0.35
_POSITIVE = LEVELS.index("+")
PREFIX = "possible doublets of "


class Halves(NamedTuple):
    """The two clusters (from 0) whose cells a cluster may hold together, the larger first."""

    first: int
    second: int


def exclusive_markers(populations: Sequence[Population]) -> set[frozenset[str]]:
    """Pairs of markers, folded, that only cells of two lineages carry together.

    Some population carries the one and lacks the other, another the reverse; these two have no marker in common, and
    no population carries both. CD4 and CD8 are no such pair, since both stand on T cells.
    """
    carried = [{m for m, level in row.folded.items() if level != "-"} for row in populations]
    lacked = [{m for m, level in row.folded.items() if level == "-"} for row in populations]
    together = {frozenset(pair) for markers in carried for pair in combinations(markers, 2)}
    found = set()
    for i, j in combinations(range(len(populations)), 2):
        if not carried[i] & carried[j]:
            found |= {frozenset((a, b)) for a in carried[i] & lacked[j] for b in carried[j] & lacked[i]}
    return found - together


def possible_doublets(found: Enrichment, populations: Sequence[Population], named: Sequence[bool]) -> dict[int, Halves]:
    """Clusters (from 0) that may be doublets, with the named clusters whose cells they would hold.

    Parameters
    ----------
    found
        How the markers stand in each cluster.
    populations
        The reference.
    named
        Whether each cluster has a name; one that has is no doublet, and only those that have are halves.
    """
    columns = columns_of(found.markers)
    pairs = [
        tuple(columns[marker] for marker in sorted(pair))
        for pair in exclusive_markers(populations)
        if all(marker in columns for marker in pair)
    ]
    doublets = {}
    for k in np.flatnonzero(~np.array(named) & (found.sizes > 0)).tolist():
        halves = _halves(k, found, pairs, np.array(named))
        if halves is not None:
            doublets[k] = halves
    return doublets


def _halves(k: int, found: Enrichment, pairs: Sequence[tuple[int, ...]], named: np.ndarray) -> Halves | None:
    """The pair of clusters that explains cluster ``k`` best; None where none does."""
    carries, lacks = found.levels >= _POSITIVE, found.levels == 0
    larger = np.flatnonzero(named & (_MOST * found.sizes >= found.sizes[k]))
    best, closest = None, _APART
    for a, b in pairs:
        if not (carries[k, a] and carries[k, b]):
            continue
        for i in larger[carries[larger, a] & lacks[larger, b]].tolist():
            for j in larger[carries[larger, b] & lacks[larger, a]].tolist():
                expected = np.maximum(found.positions[i], found.positions[j])
                apart = float(np.nanmax(np.abs(found.positions[k] - expected)))
                if apart <= closest:
                    best, closest = Halves(*sorted((i, j), key=lambda c: -found.sizes[c])), apart
    return best
