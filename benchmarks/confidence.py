"""Is the confidence of a cell the chance that another fit puts it into the same population?

``python benchmarks/confidence.py`` fits every local data set with 5 seeds on the same four fifths of its cells. For
each held-out cell, the agreement is the share of the other fits that put it into the cluster matched with its own (one
to one, by F1 over all cells). The expected calibration error (Guo et al. 2017) compares it with the confidence: mean
distance over 15 bins of equal width, weighted by cells. Likewise the stability of each cluster, which one fit tells
from its partitions, stands beside its Jaccard index with the cluster most like it in each of the other fits. Writes
``docs/results/confidence.csv`` and ``confidence.md``; data are those of ``benchmarks/quality.py``.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from quality import DATA, RESULTS, load
from scipy.optimize import linear_sum_assignment

from cytomoe.estimator import MoESimVAE
from cytomoe.io.atomic import atomic_path
from cytomoe.metrics import Contingency

SEEDS = 5
BINS = 15
CONFIDENCE_EDGES = [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]
STABILITY_EDGES = [0.0, 0.5, 0.75, 0.9, 1.0]


def matched(reference: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """``labels`` in the numbers of ``reference``, clusters matched one to one by F1; -1 for those without a partner."""
    f1 = Contingency.of(reference, labels).f1
    rows, columns = linear_sum_assignment(f1, maximize=True)
    numbers = np.full(len(np.unique(labels)), -1)
    numbers[columns] = np.unique(reference)[rows]
    return numbers[np.unique(labels, return_inverse=True)[1]]


def calibration_error(confidence: NDArray[Any], agreement: NDArray[Any]) -> float:
    """Expected calibration error over ``BINS`` bins of equal width."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    apart = np.bincount(bins, confidence, minlength=BINS) - np.bincount(bins, agreement, minlength=BINS)
    return float(np.abs(apart).sum() / len(confidence))


def jaccard(clusters: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Jaccard index of each of ``clusters`` with the one of ``others`` that is most like it."""
    table = Contingency.of(clusters, others)
    either = table.gate_sizes[:, None] + table.cluster_sizes - table.counts
    return (table.counts / either).max(axis=1)


def measure(data: str, seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Confidence and agreement of the held-out cells of each seed, and stability and Jaccard index of the clusters."""
    problem = load(data)
    cells = problem.expression[problem.gated.overlaps.first]
    held_out = np.zeros(len(cells), dtype=bool)
    held_out[np.random.default_rng(0).permutation(len(cells))[: len(cells) // 5]] = True
    fits = [MoESimVAE(seed=seed, device="cpu").fit(cells[~held_out]) for seed in range(seeds)]
    mapped = [fit.map_all(cells) for fit in fits]
    clusters = [found.astype(np.int64) for _, found, _ in mapped]
    sure, stable = [], []
    for seed, own in enumerate(clusters):
        others = [other for i, other in enumerate(clusters) if i != seed]
        agreement = np.mean([matched(own, other)[held_out] == own[held_out] for other in others], axis=0)
        confidence = mapped[seed][2][held_out].astype(np.float64)
        sure.append(pd.DataFrame({"seed": seed, "confidence": confidence, "agreement": agreement}))
        found_again = np.mean([jaccard(own, other) for other in others], axis=0)
        stability = fits[seed].summary_.stability[np.unique(own) - 1]
        stable.append(pd.DataFrame({"seed": seed, "stability": stability, "found_again": found_again}))
    return pd.concat(sure, ignore_index=True), pd.concat(stable, ignore_index=True)


def summarise(data: str, cells: pd.DataFrame, clusters: pd.DataFrame) -> pd.DataFrame:
    """Rows of the CSV: the calibration error of each seed, then cells by confidence and clusters by stability."""
    rows: list[dict[str, Any]] = [
        {"data": data, "what": "error", "bin": seed, "n": len(own), "value": _error(own)}
        for seed, own in cells.groupby("seed")
    ]
    for what, table, edges in (("confidence", cells, CONFIDENCE_EDGES), ("stability", clusters, STABILITY_EDGES)):
        against = table.columns[2]
        for name, own in table.groupby(pd.cut(table[what], edges, include_lowest=True), observed=True):
            row = {"data": data, "what": what, "bin": _bin(max(name.left, 0), name.right), "n": len(own)}
            rows.append(row | {"value": round(own[what].mean(), 4), "found": round(own[against].mean(), 4)})
    return pd.DataFrame(rows)


def _error(cells: pd.DataFrame) -> float:
    return round(calibration_error(cells["confidence"].to_numpy(), cells["agreement"].to_numpy()), 5)


def _bin(low: float, high: float) -> str:
    return f"{low:g} to {high:g}"


INTRODUCTION = """# Is the confidence right?

Fits with {seeds} seeds on the same four fifths of the cells. Agreement is the share of the other fits that put a
held-out cell into the cluster matched with its own; the expected calibration error (15 bins) is the mean distance
between confidence and agreement, weighted by cells, mean and largest of the seeds. Below: cells of all seeds by their
confidence, as mean confidence / mean agreement (cells); clusters of all seeds by their stability, as mean stability /
mean Jaccard index with the most like cluster of the other fits (clusters).

Written by `python benchmarks/confidence.py`.

"""


def table(rows: pd.DataFrame) -> str:
    """Markdown: a column per data set; calibration error, cells by confidence, clusters by stability."""
    datasets = [data for data in DATA if data in set(rows["data"])]
    errors = rows[rows["what"] == "error"].groupby("data")["value"]
    lines = ["| | " + " | ".join(datasets) + " |", "|---" * (len(datasets) + 1) + "|"]
    for title, values in (("calibration error, mean", errors.mean()), ("calibration error, largest", errors.max())):
        lines.append(f"| {title} | " + " | ".join(f"{values[data]:.4f}" for data in datasets) + " |")
    for what, edges in (("confidence", CONFIDENCE_EDGES), ("stability", STABILITY_EDGES)):
        binned = rows[rows["what"] == what].set_index(["bin", "data"])
        for name in [_bin(low, high) for low, high in pairwise(edges)]:
            cells = []
            for data in datasets:
                own = binned.loc[(name, data)] if (name, data) in binned.index else None
                cells.append("-" if own is None else f"{own['value']:.3f} / {own['found']:.3f} ({own['n']:,.0f})")
            lines.append(f"| {what} {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=",".join(DATA), help="data sets, separated by commas")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "confidence.csv")
    arguments = parser.parse_args()
    rows = pd.read_csv(arguments.out) if arguments.out.exists() else pd.DataFrame({"data": []})
    for data in arguments.data.split(","):
        found = summarise(data, *measure(data, arguments.seeds))
        rows = pd.concat([rows[rows["data"] != data], found], ignore_index=True)
        with atomic_path(arguments.out) as path:
            rows.to_csv(path, index=False)
        print(table(found), flush=True)
    with atomic_path(arguments.out.with_suffix(".md")) as path:
        path.write_text(INTRODUCTION.format(seeds=arguments.seeds) + table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
