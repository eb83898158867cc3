"""Codes of the clusters of a model: how far apart their distributions are, and a picture of them (figures A3, A4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float32]

# Codes of each cluster behind the discrepancies and the picture.
PER_CLUSTER = 300


def sample_rows(labels: NDArray[np.int64], rng: np.random.Generator, per_cluster: int = PER_CLUSTER) -> NDArray[Any]:
    """Rows of at most ``per_cluster`` cells of each cluster, drawn at random, sorted by cluster."""
    chosen = []
    for cluster in np.unique(labels):
        rows = np.flatnonzero(labels == cluster)
        chosen.append(rng.permutation(rows)[:per_cluster])
    return np.concatenate(chosen)


def discrepancies(codes: FloatArray, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Unbiased squared maximum mean discrepancy (eq. 14) between the codes of every two clusters, one kernel for all.

    Parameters
    ----------
    codes
        Some thousand, shape (codes, L).
    labels
        Cluster of each, shape (codes,).

    Returns
    -------
    ndarray
        Shape (clusters, clusters), in the order of the sorted labels; on the diagonal, between two halves of a
        cluster; NaN for clusters under four codes.
    """
    from scipy.spatial.distance import pdist

    from cytomoe.metrics import mmd2_unbiased

    names = np.unique(labels)
    parts = [codes[labels == name] for name in names]
    spread = np.concatenate([part[:: max(1, len(part) // 100)] for part in parts])
    apart = pdist(spread.astype(np.float64))
    bandwidth = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    found = np.full((len(names), len(names)), np.nan)
    for i, first in enumerate(parts):
        for j, second in enumerate(parts[: i + 1]):
            pair = (first[::2], first[1::2]) if i == j else (first, second)
            if min(map(len, pair)) >= 2:
                found[i, j] = found[j, i] = mmd2_unbiased(*pair, bandwidth=bandwidth)
    return found


def separation(matrix: NDArray[np.float64]) -> dict[str, float]:
    """Smallest and mean discrepancy between clusters, and the largest between halves of one."""
    between = matrix[~np.eye(len(matrix), dtype=bool)]
    known = between[~np.isnan(between)]
    within = np.diag(matrix)[~np.isnan(np.diag(matrix))]
    return {
        "mmd2_smallest": float(known.min()) if known.size else float("nan"),
        "mmd2_mean": float(known.mean()) if known.size else float("nan"),
        "mmd2_within": float(within.max()) if within.size else float("nan"),
    }


def picture(codes: FloatArray, labels: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """Discrepancies and a UMAP of codes as JSON-ready values, for :func:`draw_pictures`.

    Parameters
    ----------
    codes
        Shape (cells, L); at most ``PER_CLUSTER`` of each cluster are used.
    labels
        Cluster of each cell, shape (cells,).
    seed
        Of all randomness.
    """
    from cytomoe.similarity.projection import umap_projection

    rng = np.random.default_rng(seed)
    rows = sample_rows(labels, rng)
    codes, labels = codes[rows], labels[rows]
    points = umap_projection(codes, metric="euclidean", neighbours=15, rng=rng, epochs=200)
    return {
        "_discrepancies": np.round(discrepancies(codes, labels), 5).tolist(),
        "_points": np.round(points, 3).tolist(),
        "_labels": labels.tolist(),
    }


def draw_pictures(pictures: list[tuple[str, dict[str, Any]]], group: str) -> Figure:
    """Heat map of the discrepancies above, UMAP of the codes below, a column per model.

    Parameters
    ----------
    pictures
        Titles, and what :func:`picture` gave.
    group
        What the labels are, for the axes.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(pictures), 8.6), layout="constrained")
    axes = figure.subplots(2, len(pictures), squeeze=False)
    top = max(float(np.nanmax(np.array(shown["_discrepancies"], dtype=float))) for _, shown in pictures)
    for column, (title, shown) in enumerate(pictures):
        labels, points = np.array(shown["_labels"]), np.array(shown["_points"])
        names = np.unique(labels)
        image = axes[0, column].imshow(np.array(shown["_discrepancies"], dtype=float), vmin=0, vmax=top, cmap="viridis")
        axes[0, column].set(title=title, xlabel=group, ylabel=group)
        axes[0, column].set_xticks(range(len(names)), names.tolist())
        axes[0, column].set_yticks(range(len(names)), names.tolist())
        for number, name in enumerate(names):
            chosen = labels == name
            colour = colormaps["tab20"](number % 20)
            axes[1, column].plot(*points[chosen].T, ".", markersize=2, color=colour)
            axes[1, column].text(*np.median(points[chosen], axis=0), str(name), weight="bold", ha="center")
        axes[1, column].set(xticks=[], yticks=[], xlabel="UMAP of the codes")
    figure.colorbar(image, ax=axes[0, :].tolist(), label="squared MMD", shrink=0.8)
    return figure
