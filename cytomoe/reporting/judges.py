"""Judgements that the verdict on a run and the verdict on a batch share, with the same limits and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.fit_summary import STABLE, UNSTABLE, as_shown
from cytomoe.naming import CERTAIN, doubtful_names
from cytomoe.outlyingness import BEYOND
from cytomoe.reporting.findings import Finding, named
from cytomoe.words import counted, percent

# Doubtful clusters are to be looked at where they hold more than this share of the events.
_DOUBTFUL = 0.05
# A cluster of at least so many events, of which more than this share lies in one sample that holds less than that share
# of all events, is told.
_FEWEST, _IN_ONE, _OF_ALL = 30, 0.9, 0.6
# Times as many unassigned events as cells like those of the fit have are a lead to follow.
_MANY_UNASSIGNED = 1.5


def judge_stability(
    stability: NDArray[np.float64],
    sizes: NDArray[np.int64],
    numbers: Sequence[int],
    *,
    what: str,
    scale: str,
    look_at: str = "their histograms",
) -> list[Finding]:
    """Whether the clusters are found again in the partitions of the cells that the fit drew.

    Parameters
    ----------
    stability
        In [0, 1], NaN where it is not known, shape (clusters,).
    sizes
        Events of each cluster, shape (clusters,).
    numbers
        What each cluster is numbered.
    what
        What they are called: cluster, or population.
    scale
        What the numbers mean, in a sentence.
    look_at
        What shows the cells of doubtful ones.
    """
    stability = as_shown(stability)
    joined = int(np.count_nonzero(np.isnan(stability)))
    n = len(stability)
    if joined == n:
        return []
    if joined:
        scale += f" That of {joined} is not known."
    weak = np.flatnonzero(stability < STABLE).tolist()
    if weak and n == 1:  # it has no border that could move
        return []
    if not weak:
        every = f"All {n} {what}s are stable" if n > 1 else f"The {what} is stable"
        title = (
            f"{n - joined} of {counted(n, what)} {'is' if n - joined == 1 else 'are'} known to be stable"
            if joined
            else every
        )
        return [Finding("good", title, f"Lowest stability {np.nanmin(stability):.2f}. {scale}")]
    total = max(int(sizes.sum()), 1)
    many = "s" if len(weak) > 1 else ""
    weakest = named([f"{numbers[k]} ({stability[k]:.2f})" for k in weak])
    return [
        Finding(
            "check" if sizes[stability < UNSTABLE].sum() > _DOUBTFUL * total else "note",
            f"{len(weak)} of {counted(n, what)} {'are' if many else 'is'} less than stable",
            f"{what.capitalize()}{many} {weakest}: {percent(sizes[weak].sum() / total)} of the events. {scale}",
            f"Expect their borders to move with another seed or sample; look at {look_at} before you count them.",
        )
    ]


def judge_names(clusters: Iterable[Mapping[str, Any]], *, what: str) -> list[Finding]:
    """Clusters whose names the reference table gave with little certainty.

    Parameters
    ----------
    clusters
        As :func:`cytomoe.naming.doubtful_names` takes them.
    what
        As for :func:`judge_stability`.
    """
    doubtful = doubtful_names(clusters)
    if not doubtful:
        return []
    return [
        Finding(
            "note",
            f"{counted(len(doubtful), what)} named with little certainty",
            f"{named(doubtful, by='; ')}: the score, from 0 to 1, says how well the markers fit the name; below "
            f"{CERTAIN:g} they fit in part, or a part of the cells does.",
            "Look at their markers before you use these names; cytomoe merge gives them others.",
        )
    ]


def judge_one_sample(
    counts: NDArray[np.int64],
    samples: Sequence[str],
    numbers: Sequence[int],
    *,
    what: str,
) -> list[Finding]:
    """Clusters that come nearly all from one of several samples: a true difference, or a batch effect.

    Parameters
    ----------
    counts
        Events of each cluster in each sample, shape (samples, clusters).
    samples, numbers
        Names of the samples, numbers of the clusters.
    what
        As for :func:`judge_stability`.
    """
    if len(counts) < 2:
        return []
    totals = counts.sum(axis=0)
    shares = counts.sum(axis=1) / max(int(counts.sum()), 1)
    found = []
    for k in np.flatnonzero(totals >= _FEWEST).tolist():
        sample = int(counts[:, k].argmax())
        if counts[sample, k] > _IN_ONE * totals[k] and shares[sample] < _OF_ALL:
            found.append(f"{numbers[k]} ({samples[sample]})")
    if not found:
        return []
    return [
        Finding(
            "check",
            f"{len(found)} {what}{'s come' if len(found) > 1 else ' comes'} nearly all from one sample",
            f"More than nine tenths of {what} {named(found)}.",
            "A true difference between samples, or one between batches: compare the markers of the samples.",
        )
    ]


def judge_unassigned(unassigned: int, events: int) -> list[Finding]:
    """Whether many of all events have a marker far outside the range of their cluster, and so none."""
    if not unassigned:
        return []
    share = unassigned / events
    many = share > _MANY_UNASSIGNED * BEYOND
    return [
        Finding(
            "note" if many else "good",
            f"{counted(unassigned, 'event')} {'is' if unassigned == 1 else 'are'} unassigned",
            f"{percent(share)} of the events have a marker far outside the range of their cluster; of cells like those "
            f"of the fit {percent(BEYOND)} do. They count in no cluster; shares are of all events.",
            "They may be populations that the fit never saw, doublets or debris: look at their markers."
            if many
            else "",
        )
    ]
