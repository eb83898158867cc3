"""Events that stand in more than one population file of a sample.

Population files exported from gates that overlap hold the same event twice, identical in every channel. Such events
must not be trained on twice, and a measure against gates needs to say whether it counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytomoe.io.gates import Gates


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Which rows are the same event, and which events lie in one gate only.

    Attributes
    ----------
    event
        (rows,) int64: the first row that holds the same event; the row itself for most.
    unique
        (rows,) whether the row's event lies in at most one gate, and the row counts for it: a row without a gate does
        not where another one of its event has a gate, or is the first without.
    shared
        Events by the gates they share, most frequent first: ``{("cd14-surf-", "nk"): 1644, ...}``.
    """

    event: NDArray[np.int64]
    unique: NDArray[np.bool_]
    shared: dict[tuple[str, ...], int]

    @property
    def first(self) -> NDArray[np.bool_]:
        """(rows,) one row of every event: the rows to train on."""
        return self.event == np.arange(len(self.event))

    @property
    def n_events(self) -> int:
        """Distinct events."""
        return int(np.count_nonzero(self.first))

    @property
    def n_shared(self) -> int:
        """Distinct events that lie in more than one gate."""
        return sum(self.shared.values())

    def message(self) -> str:
        """One line for the user; empty when no event stands in two files."""
        rows = len(self.event)
        if rows == self.n_events:
            return ""
        text = f"{rows:,} rows hold {self.n_events:,} distinct events"
        if not self.shared:
            return text
        most = "; ".join(f"{' and '.join(gates)} {count:,}" for gates, count in list(self.shared.items())[:3])
        return f"{text}; {self.n_shared:,} of them lie in more than one gate (most: {most})"


def find_overlaps(values: NDArray[Any], gates: Gates, *, file: ArrayLike, sample: ArrayLike | None = None) -> Overlaps:
    """Find the events that stand in more than one file of a sample.

    Two rows are the same event when they agree in every channel (``-0.0`` equals ``0.0``, NaN equals NaN), belong to
    the same sample and stand in different files. Identical rows of *one* file are different events: an export lists
    an event once, and coarse or short measurements do coincide. So the first copy in one file is the same event as the
    first copy in another, the second as the second, and so on.

    Parameters
    ----------
    values
        (rows, channels) float32 or float64 raw values of every channel, Time included where there is one.
    gates
        The gate of each row.
    file
        (rows,) code of the file each row comes from.
    sample
        (rows,) code of the sample each row belongs to; all rows are one sample by default.

    Returns
    -------
    Overlaps
    """
    rows = len(values)
    file_codes = np.unique(np.asarray(file), return_inverse=True)[1]
    sample_codes = np.zeros(rows, dtype=np.int64)
    if sample is not None:
        sample_codes = np.unique(np.asarray(sample), return_inverse=True)[1]
    event = np.arange(rows)
    unique = np.ones(rows, dtype=bool)
    candidates = _rows_with_a_twin(values, sample_codes)
    if len(candidates) == 0:
        return Overlaps(event, unique, {})
    content = _group_equal_rows(values[candidates], sample_codes[candidates])
    copy = _rank_within(content, file_codes[candidates])
    group = np.unique(content * (copy.max() + 1) + copy, return_inverse=True)[1]
    leader = np.full(group.max() + 1, rows)
    np.minimum.at(leader, group, candidates)
    event[candidates] = leader[group]
    gated_group, gate = _gates_of_groups(group, gates.codes[candidates])
    in_several = np.bincount(gated_group, minlength=len(leader)) > 1
    in_any = np.bincount(gated_group, minlength=len(leader)) > 0
    alone = ~in_any[group] & (candidates == leader[group])
    unique[candidates] = ~in_several[group] & ((gates.codes[candidates] >= 0) | alone)
    several = in_several[gated_group]
    return Overlaps(event, unique, _count_shared(gated_group[several], gate[several], gates.names))


def one_of_each_gate(overlaps: Overlaps, gates: Gates) -> NDArray[np.bool_]:
    """One row of every event, but one of each of its gates where its rows lie in several; shape (rows,).

    A row without a gate is none where another of its event has a gate.
    """
    in_a_gate = np.zeros(len(overlaps.event), dtype=bool)
    in_a_gate[overlaps.event[gates.gated]] = True
    pairs = overlaps.event * (len(gates.names) + 1) + gates.codes + 1
    first = np.zeros(len(pairs), dtype=bool)
    first[np.unique(pairs, return_index=True)[1]] = True
    return first & (gates.gated | ~in_a_gate[overlaps.event])


def _rows_with_a_twin(values: NDArray[Any], sample: NDArray[np.int64]) -> NDArray[np.intp]:
    """Rows whose 64-bit hash occurs more than once: all that have an equal row, and next to no others."""
    hashes = np.empty(len(values), dtype=np.uint64)
    width = values.shape[1] * values.dtype.itemsize // 4
    # Fixed odd multipliers: a multilinear hash only narrows the search, equality is checked on the values.
    weights = np.random.default_rng(0).integers(0, 2**63, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    chunk = 65_536
    for start in range(0, len(values), chunk):
        bits = _canonical(values[start : start + chunk]).view(np.uint32)
        hashes[start : start + chunk] = bits.astype(np.uint64) @ weights
    hashes += sample.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    order = np.argsort(hashes)
    equal_next = hashes[order[1:]] == hashes[order[:-1]]
    twin = np.zeros(len(values), dtype=bool)
    twin[order[1:][equal_next]] = True
    twin[order[:-1][equal_next]] = True
    return np.flatnonzero(twin)


def _canonical(values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous copy in which equal values have equal bits: one zero, one NaN."""
    values = np.ascontiguousarray(values) + values.dtype.type(0)  # -0.0 + 0.0 is 0.0
    values[np.isnan(values)] = np.nan
    return values


def _group_equal_rows(values: NDArray[Any], sample: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) code of the group of equal rows of one sample."""
    rows = _canonical(values)
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.dtype.itemsize))).ravel()
    content = np.unique(keys, return_inverse=True)[1]
    return np.unique(content * (sample.max() + 1) + sample, return_inverse=True)[1]


def _rank_within(content: NDArray[np.int64], file: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) 0 for the first row of its content in its file, 1 for the second, in row order."""
    order = np.lexsort((file, content))
    changed = np.ones(len(order), dtype=bool)
    changed[1:] = (content[order[1:]] != content[order[:-1]]) | (file[order[1:]] != file[order[:-1]])
    starts = np.flatnonzero(changed)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return rank


def _gates_of_groups(group: NDArray[np.int64], codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct pairs of group and gate as two arrays; rows without a gate make none."""
    gated = codes >= 0
    pairs = np.unique(np.stack([group[gated], codes[gated].astype(np.int64)], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _count_shared(
    group: NDArray[np.int64], gate: NDArray[np.int64], names: tuple[str, ...]
) -> dict[tuple[str, ...], int]:
    """Events by the gates that share them, most frequent first, from the distinct pairs of group and gate."""
    groups, row = np.unique(group, return_inverse=True)
    member = np.zeros((len(groups), len(names)), dtype=bool)
    member[row, gate] = True
    combinations, counts = np.unique(member, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {tuple(names[i] for i in np.flatnonzero(combinations[k])): int(counts[k]) for k in order.tolist()}
