"""Marker profiles of the clusters: medians on three scales, their tree, and what each cluster is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.fit_summary import STABLE, UNSTABLE, as_shown
from cytomoe.naming import is_known, title_of
from cytomoe.reporting.histograms import Histograms
from cytomoe.reporting.run_files import RunFiles


@dataclass(frozen=True, eq=False)
class Profiles:
    """Medians of the clusters; NaN for a cluster without events.

    Attributes
    ----------
    scaled
        Between the 1st percentile of all cells (0) and the model's upper limit, the 99.9th of the fit (1); shape
        (clusters, markers).
    transformed
        As in ``clusters.csv``; same shape.
    raw
        In the units of the file, after compensation: the transform undone; same shape.
    order
        Clusters (from 0) in the order of the tree, empty ones last, shape (clusters,).
    tree
        Joints of the tree, shape (joints, 4, 2): position along the order and height of four points of a bracket.
    """

    scaled: NDArray[np.float64]
    transformed: NDArray[np.float64]
    raw: NDArray[np.float64]
    order: NDArray[np.int64]
    tree: NDArray[np.float64]


def profiles_of(run: RunFiles, histograms: Histograms) -> Profiles:
    """Profiles of all clusters of a run."""
    from cytomoe.preprocessing.transform import MarkerTransform

    steps = run.manifest["preprocessing"]["steps"]
    transformed = run.medians
    low = histograms.percentile(1)
    width = np.array([float(step["high"]) for step in steps]) - low
    scaled = np.clip((transformed - low) / np.where(width > 0, width, 1.0), 0.0, 1.0)
    transforms = [MarkerTransform(**step["transform"]) for step in steps]
    raw = np.stack(
        [t.invert(column).astype(np.float64) for t, column in zip(transforms, transformed.T, strict=True)], axis=1
    )
    order, tree = _tree(scaled)
    return Profiles(scaled, transformed, raw, order, tree)


def _tree(scaled: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order and joints of the average-linkage tree of the clusters that have events."""
    from scipy.cluster.hierarchy import dendrogram, linkage

    full = np.flatnonzero(~np.isnan(scaled).any(axis=1))
    empty = np.setdiff1d(np.arange(len(scaled)), full)
    if len(full) < 2:
        return np.concatenate([full, empty]), np.empty((0, 4, 2))
    drawn = dendrogram(linkage(scaled[full], "average", optimal_ordering=True), no_plot=True)
    # scipy puts leaf i at 5 + 10 i.
    tree = np.stack([(np.array(drawn["icoord"]) - 5) / 10, np.array(drawn["dcoord"])], axis=2)
    return np.concatenate([full[drawn["leaves"]], empty]), tree


def cluster_records(run: RunFiles) -> list[dict[str, Any]]:
    """One dictionary per cluster for tables and figures: number, name, label, size, confidence, stability, main gate.

    ``name`` is the population that a reference or the user gave it, or empty; ``label`` lists its markers; ``title`` is
    the name, and where that is unknown the label too. ``holds`` says in a word how surely the cluster is found again.
    ``parts`` lists the clusters of a merged population. ``least`` and ``most`` are its shares in the samples that have
    the fewest and the most of it.
    """
    cells = run.cells
    own = np.where(cells.assigned & cells.counted, cells.cluster, 0)  # as the sizes count: each event once
    sums = np.bincount(own, weights=cells.confidence, minlength=run.n_clusters + 1)[1:]
    confidence = sums / np.maximum(np.bincount(own, minlength=run.n_clusters + 1)[1:], 1)
    gates = _main_gates(run)
    stability = run.stability if run.stability is not None else np.full(run.n_clusters, np.nan)
    lowest, highest = _shares_in_samples(run)
    names, labels, parts = (run.words(column) for column in ("population", "label", "parts"))
    return [
        {
            "number": k + 1,
            "name": names[k],
            "label": labels[k],
            "parts": parts[k],
            "known": is_known(names[k]),
            "title": title_of(k + 1, names[k], labels[k]),
            "events": int(run.sizes[k]),
            "fraction": float(run.sizes[k] / max(run.n_events, 1)),
            "confidence": float(confidence[k]) if run.sizes[k] else None,
            "stability": None if np.isnan(stability[k]) else float(stability[k]),
            "holds": stability_word(stability[k]),
            "least": float(lowest[k]),
            "most": float(highest[k]),
            "gate": gates[k][0],
            "gate_share": gates[k][1],
        }
        for k in range(run.n_clusters)
    ]


def stability_word(stability: float) -> str:
    """What a cluster's stability means, in a word; NaN has none."""
    if np.isnan(stability):
        return ""
    shown = float(as_shown(stability)[0])
    return "stable" if shown >= STABLE else "loose" if shown >= UNSTABLE else "doubtful"


def _shares_in_samples(run: RunFiles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest share of each cluster in a sample, shapes (clusters,)."""
    shares = run.counts / np.maximum(run.events_of_samples, 1)[:, None]
    return shares.min(axis=0), shares.max(axis=0)


def _main_gates(run: RunFiles) -> list[tuple[str, float]]:
    """Gate in which most of each cluster's events lie, or ``no gate``, with the share of its events that lie there.

    An event that lies in several gates counts in each of them, and once in the cluster.
    """
    cells = run.cells
    if cells.gate is None:
        return [("", 0.0)] * run.n_clusters
    names = [*map(str, cells.gate.categories), "no gate"]
    codes = np.asarray(cells.gate.codes, dtype=np.int64)
    has_cluster = cells.cluster > 0
    counts = np.zeros((run.n_clusters, len(names)), dtype=np.int64)
    np.add.at(counts, (cells.cluster[has_cluster] - 1, codes[has_cluster]), 1)  # code -1 is the last column: no gate
    totals = np.bincount(cells.cluster[cells.counted], minlength=run.n_clusters + 1)[1:]
    return [
        (names[row.argmax()], min(1.0, float(row.max() / total))) if total else ("", 0.0)
        for row, total in zip(counts, totals, strict=True)
    ]
