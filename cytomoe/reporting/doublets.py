"""Clusters that are named as possible doublets, beside what the file says of their size: DNA, length, scatter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.doublets import PREFIX
from cytomoe.reporting.findings import Finding, named
from cytomoe.reporting.run_files import RunFiles
from cytomoe.words import counted, plural

# Channels that grow with the number of cells in an event.
_SIZE = re.compile(r"(?i).*(dna|ir-?19[13]|19[13]-?ir|(cell|event)_?length|fsc-?a$).*")
_DNA = re.compile(r"(?i)dna|19[13]")
_SHOWN = 3
# Two cells have twice the DNA of one: from halfway on a median speaks for doublets, below the second against. Length
# and scatter, which differ between populations too, are asked only where DNA was not measured.
_LARGER, _ALIKE = 1.5, 1.2


def judge_doublets(run: RunFiles) -> list[Finding]:
    """Clusters that may be doublets by their markers, with how large their events are beside all others."""
    suspected = {k: name for k, name in enumerate(run.words("population"), start=1) if name.startswith(PREFIX)}
    sizes = {k: size_in_words(_sizes(run, k)[:_SHOWN]) for k in suspected}
    return tell_doublets(suspected, dict(enumerate(run.sizes.tolist(), start=1)), sizes, what=run.what)


def tell_doublets(
    names: Mapping[int, str], events: Mapping[int, int], sizes: Mapping[int, str], *, what: str = "cluster"
) -> list[Finding]:
    """The finding that clusters may be doublets; none where no name says so.

    Parameters
    ----------
    names
        What clusters are called, by their number.
    events
        Events of each cluster, by its number.
    sizes
        In words, how large the events of a cluster are beside all others, by its number; not of each.
    what
        What the clusters are called: cluster, or population.
    """
    suspected = {k: name.removeprefix(PREFIX) for k, name in names.items() if name.startswith(PREFIX)}
    if not suspected:
        return []
    told = [
        f"{k} ({halves}; {counted(events[k], 'event')}{f'; {sizes[k]}' if sizes.get(k) else ''})"
        for k, halves in suspected.items()
    ]
    rule = "" if any(sizes.values()) else " DNA twice that of the other events speaks for doublets, the same against."
    return [
        Finding(
            "note",
            f"{counted(len(suspected), what)} may be doublets",
            f"{plural(what, len(suspected)).capitalize()} {named(told)}: the markers of two populations that no "
            "population carries together, as high as in each of them.",
            f"Gate singlets and fit again, or leave them out of your counts.{rule}",
        )
    ]


def size_in_words(ratios: Sequence[tuple[str, float]]) -> str:
    """How large the events of a cluster are, and whether that speaks for doublets; empty where no channel tells.

    Parameters
    ----------
    ratios
        Channels of size, with the median of the cluster's events over that of the other events.
    """
    if not ratios:
        return ""
    dna = [ratio for channel, ratio in ratios if _DNA.search(channel)]
    largest = max(dna or [ratio for _, ratio in ratios])
    verdict = "which speaks for doublets" if largest >= _LARGER else "which decides nothing"
    if largest < _ALIKE:
        verdict = "which speaks against doublets"
    told = ", ".join(f"{channel} {ratio:.1f}" for channel, ratio in ratios)
    return f"median over that of the other events: {told}, {verdict}"


def _sizes(run: RunFiles, cluster: int) -> list[tuple[str, float]]:
    """Channels of size, with the median of a cluster's events over that of the other events."""
    own = run.cells.cluster == cluster
    ratios = []
    for channel, values in _channels(run).items():
        rest = float(np.median(values[~own])) if not own.all() else 0.0
        if own.any() and rest > 0:
            ratios.append((channel, float(np.median(values[own])) / rest))
    return ratios


def _channels(run: RunFiles) -> dict[str, NDArray[np.float32]]:
    import h5py

    with h5py.File(run.cells.path) as file:
        stored: Any = file.get("obsm/channels", {})
        return {str(name): stored[name][:] for name in stored if _SIZE.fullmatch(name)}
