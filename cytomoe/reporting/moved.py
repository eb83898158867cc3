"""Samples in which shares of clusters or values of markers are unlike those of other samples, or of the model's fit.

Shares are compared as angles, arcsin(sqrt(share)), whose sampling deviation is 1 / (2 sqrt(events)) whatever the share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.drift import BY_CHANCE, MOST_UNFIT
from cytomoe.reporting.findings import Finding, named
from cytomoe.words import counted, percent, plural

# Fewer samples do not tell how far they lie apart as a rule: only shares as far from the median as from a fit are told.
_FEWEST_SAMPLES = 6
# Fewer do not tell which of them is unlike the others.
_FEWEST_OF_ALL = 3
# A share has moved where it lies further from the median than so many deviations: the robust one over the samples
# (median absolute deviation), but no less than that of sampling, nor than the spread of technical replicates.
_DEVIATIONS = 5.0
_MAD_OF_NORMAL = 1.4826
_REPLICATES = 0.02  # of angles: about 1.4 points of a share of 15 %
# Samples of other donors differ from the fit without being wrong: only angles this far apart are told, which is 35 %
# in place of 50 %, or 2.9 % in place of 10 %.
_FROM_FIT = 0.15
FAR = 0.3  # distance of a marker's distribution from that of the fit, above which a sample is not like it
CAUSES = "A true difference, another stain, or other events gated out beforehand: compare the markers."
OF_OTHER_MODELS = (
    "A true difference; or, as each sample has a model of its own, a population lies in another cluster there: see "
    "matching.csv. One model for all (without --per-sample) has the same clusters in each."
)


@dataclass(frozen=True)
class Moved:
    """A share that is unlike the others.

    Attributes
    ----------
    sample, cluster
        Indices.
    share, usual
        What it is, and what the median of the samples, or the fit, has.
    """

    sample: int
    cluster: int
    share: float
    usual: float


def moved_among(counts: NDArray[np.int64], events: NDArray[np.int64] | None = None) -> list[Moved]:
    """Outliers among samples, the furthest first; none with fewer than three.

    Parameters
    ----------
    counts
        Events of each cluster in each sample, shape (samples, clusters).
    events
        Events of each sample, those without a cluster too, shape (samples,); by default all have one.
    """
    events = counts.sum(axis=1) if events is None else events
    there = events > 0
    if np.count_nonzero(there) < _FEWEST_OF_ALL:
        return []
    shares = counts / np.maximum(events, 1)[:, None]
    angles = np.arcsin(np.sqrt(shares))
    median = np.median(angles[there], axis=0)
    if np.count_nonzero(there) < _FEWEST_SAMPLES:
        return moved_from_fit(counts, np.sin(median) ** 2, events)
    spread = _MAD_OF_NORMAL * np.median(np.abs(angles[there] - median), axis=0)
    sampling = 0.5 / np.sqrt(np.maximum(events, 1))
    deviation = np.maximum(np.maximum(spread, _REPLICATES)[None, :], sampling[:, None])
    return _further(np.abs(angles - median) / deviation, _DEVIATIONS, there, shares, np.sin(median) ** 2)


def moved_from_fit(
    counts: NDArray[np.int64], fitted: NDArray[np.float64], events: NDArray[np.int64] | None = None
) -> list[Moved]:
    """Shares of mapped samples that are far from those of the fit, the furthest first.

    Parameters
    ----------
    counts
        Events of each cluster in each sample, shape (samples, clusters).
    fitted
        Share of each cluster in the fit, shape (clusters,).
    events
        As in :func:`moved_among`.
    """
    events = counts.sum(axis=1) if events is None else events
    shares = counts / np.maximum(events, 1)[:, None]
    apart = np.abs(np.arcsin(np.sqrt(shares)) - np.arcsin(np.sqrt(np.minimum(fitted, 1))))  # a sum
    limits = np.maximum(_FROM_FIT, _DEVIATIONS * 0.5 / np.sqrt(np.maximum(events, 1)))
    return _further(apart / limits[:, None], 1.0, events > 0, shares, fitted)


def _further(
    distance: NDArray[np.float64],
    limit: float,
    there: NDArray[np.bool_],
    shares: NDArray[np.float64],
    usual: NDArray[np.float64],
) -> list[Moved]:
    far = np.argwhere((distance > limit) & there[:, None])
    order = np.argsort(-distance[far[:, 0], far[:, 1]], kind="stable")
    return [Moved(int(i), int(k), float(shares[i, k]), float(usual[k])) for i, k in far[order]]


def judge_moved(
    counts: NDArray[np.int64],
    samples: Sequence[str],
    numbers: Sequence[int],
    *,
    what: str,
    fitted: NDArray[np.float64] | None = None,
    events: NDArray[np.int64] | None = None,
    causes: str = CAUSES,
) -> list[Finding]:
    """Findings about shares that moved between samples, and from the fit where they were mapped.

    Parameters
    ----------
    counts
        Events of each cluster in each sample, shape (samples, clusters).
    samples, numbers
        Names of the samples, numbers of the clusters.
    what
        What the clusters are called: cluster, or population.
    fitted
        Share of each cluster in the fit of mapped samples, shape (clusters,); None where they were fitted.
    events
        As in :func:`moved_among`.
    causes
        What may be behind it, in a sentence.
    """
    events = counts.sum(axis=1) if events is None else events
    against = [("the other samples", moved_among(counts, events))]
    if fitted is not None:
        against.append(("the model's fit", moved_from_fit(counts, fitted, events)))
    found = _judge_two(counts, samples, numbers, what, events, causes) if fitted is None else []
    for others, moved in against:
        if not moved:
            continue
        n = len({each.sample for each in moved})
        which = f"{n} of {len(samples)} samples" if len(samples) > 1 else "the sample"
        told = [
            f"{samples[each.sample] + ': ' if len(samples) > 1 else ''}{what} {numbers[each.cluster]} "
            f"{percent(each.share)} ({percent(each.usual)})"
            for each in moved
        ]
        found.append(
            Finding(
                "note",
                f"In {which} shares lie far from those of {others}",
                f"{named(told)}; in brackets {'the median' if others == 'the other samples' else 'the fit'}.",
                causes,
            )
        )
    return found


def _judge_two(
    counts: NDArray[np.int64],
    samples: Sequence[str],
    numbers: Sequence[int],
    what: str,
    events: NDArray[np.int64],
    causes: str,
) -> list[Finding]:
    """That two samples have shares far apart; which of them is unlike others is not known."""
    if len(counts) != 2 or not events.all():
        return []
    few, many = np.argsort(events, kind="stable")  # few events move a share by chance
    moved = moved_from_fit(counts[[few]], counts[many] / events[many], events[[few]])
    if not moved:
        return []
    told = [f"{what} {numbers[each.cluster]} {percent(each.share)} ({percent(each.usual)})" for each in moved]
    detail = f"In {samples[few]}: {named(told)}; in brackets {samples[many]}."
    return [Finding("note", "The shares of the two samples lie far apart", detail, causes)]


def far_from(events: pd.Series[int]) -> pd.Series[float]:
    """Distance above which a marker lies far from the fit: what chance makes of a few events is no distance."""
    return (BY_CHANCE / np.sqrt(events)).clip(lower=FAR)


def judge_markers(markers: pd.DataFrame, unfit: Mapping[str, Any]) -> list[Finding]:
    """Whether the markers of mapped samples lie as in the cells of the fit; nothing where warnings say more.

    Parameters
    ----------
    markers
        As in :class:`cytomoe.drift.Drift`.
    unfit
        What :meth:`cytomoe.drift.Drift.to_dict` gives.
    """
    shares = unfit["fits_no_expert"]
    if markers["left_range"].any() or max(shares.values()) > MOST_UNFIT:
        return []
    many = len(shares) > 1
    limits = far_from(markers["events"]) if "events" in markers else FAR
    far = markers[markers["distance"] > limits].sort_values("distance", ascending=False)
    if len(far):
        told = ", ".join(
            f"{row.marker} {row.distance:.2f}" + (f" ({row.sample})" if many else "") for row in far.itertuples()
        )
        n = far["marker"].nunique()
        return [
            Finding(
                "note",
                f"{counted(n, 'marker')} {'lies' if n == 1 else 'lie'} far from the model's training",
                f"Distance of the distribution above {FAR:g}: {told}; 0 is the same, 1 has no value in common.",
                "Other proportions of the populations do this, and so does another stain: see Drift and the histograms "
                "before you compare abundances.",
            )
        ]
    return [
        Finding(
            "good",
            f"The markers of the {plural('sample', len(shares))} stay in the range of the model's training",
            f"{'At most ' if many else ''}{percent(max(shares.values()))} of the events fit no cluster "
            f"({percent(unfit['expected'])} in the training).",
        )
    ]
