"""Which events a run is fitted on, and which of them are kept in memory: samples that do not grow with the files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cytomoe.runs.events import Events

# A run is fitted on at most this many events unless the user says otherwise. Each partition is
# grown on 20,000 events whatever is given.
FITTED_EVENTS = 50_000
# Events whose markers are kept in memory for tables and figures; of more, all clusters give as many.
KEPT_EVENTS = 500_000


def rows_to_fit(
    events: Events, eligible: NDArray[np.bool_] | None, subsample: int | None, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Draw the events to fit on, as many of each sample as of any other where there are enough.

    The files are gone through by name, so the same events are drawn in whatever order they are given.

    Parameters
    ----------
    events
        The events of the run.
    eligible
        Whether a row may be drawn, shape (events,); None for all.
    subsample
        How many to draw at most; None for ``FITTED_EVENTS``.
    rng
        Source of randomness.

    Returns
    -------
    list of ndarray
        Ascending positions of the events drawn in each file.
    """
    limit = FITTED_EVENTS if subsample is None else subsample
    bounds = [(start, start + size) for start, size in zip(events.starts.tolist(), events.sizes, strict=True)]
    able = [stop - start if eligible is None else int(eligible[start:stop].sum()) for start, stop in bounds]
    order = events.by_name
    owners = events.file_sample[order]
    samples = [order[owners == sample] for sample in dict.fromkeys(owners.tolist())]
    shares = fair_shares([sum(able[i] for i in files) for files in samples], limit)
    numbers = np.zeros(len(able), dtype=np.int64)
    for files, share in zip(samples, shares, strict=True):
        numbers[files] = proportional([able[i] for i in files], share)
    rows = [np.empty(0, dtype=np.int64)] * len(bounds)
    for i in order.tolist():
        start, stop = bounds[i]
        positions = np.arange(stop - start) if eligible is None else np.flatnonzero(eligible[start:stop])
        if numbers[i] < able[i]:
            positions = positions[np.sort(rng.choice(able[i], size=int(numbers[i]), replace=False, shuffle=False))]
        rows[i] = positions
    return rows


def with_rows(events: Events, rows: Sequence[NDArray[np.int64]], wanted: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The events drawn and, unless they are more than is fitted anyway, all that are wanted, shape (events,)."""
    if np.count_nonzero(wanted) > FITTED_EVENTS:
        return list(rows)
    parts = np.split(wanted, np.cumsum(events.sizes)[:-1])
    return [np.union1d(positions, np.flatnonzero(part)) for positions, part in zip(rows, parts, strict=True)]


def fair_shares(sizes: Sequence[int], total: int) -> list[int]:
    """Split a number as evenly as the sizes allow: who has less than an even share gives all, the others the rest."""
    shares = [0] * len(sizes)
    left = min(total, sum(sizes))
    for rank, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        shares[i] = min(sizes[i], left // (len(sizes) - rank))
        left -= shares[i]
    return shares


def proportional(sizes: Sequence[int], total: int) -> list[int]:
    """Split a number in proportion to the sizes, in whole parts that sum to it and exceed no size."""
    ends = np.cumsum(sizes)
    cuts = ends * min(total, int(ends[-1])) // max(int(ends[-1]), 1)
    return np.diff(cuts, prepend=0).tolist()  # type: ignore[no-any-return]


def rows_of_clusters(clusters: NDArray[np.int32], limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ascending rows of at most ``limit`` events, evenly over the clusters: small clusters whole.

    Parameters
    ----------
    clusters
        Cluster of each event, from 1, shape (events,); events of 0 are not drawn.
    limit
        Most rows.
    rng
        Source of randomness.
    """
    counts = np.bincount(clusters, minlength=1)
    counts[0] = 0
    if counts.sum() <= limit:
        return np.flatnonzero(clusters)
    shares = np.array(fair_shares(counts.tolist(), limit))
    # A little more than the share is likely to get through by its key; the surplus goes by rank within the cluster.
    keys = rng.random(len(clusters), dtype=np.float32)
    likely = np.minimum(1.0, (shares + 6 * np.sqrt(shares) + 10) / np.maximum(counts, 1)).astype(np.float32)
    candidates = np.flatnonzero(keys < likely[clusters])
    order = candidates[np.lexsort((keys[candidates], clusters[candidates]))]
    ordered = clusters[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return np.sort(order[rank < shares[ordered]])
