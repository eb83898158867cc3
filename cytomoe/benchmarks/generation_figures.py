"""Figures of the generation experiment: digits on demand, codes apart, accuracy and draws, confusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.benchmarks.codes import draw_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PER_ROW = 4  # panels of confusion


def digit_grid(models: list[tuple[str, list[NDArray[np.uint8]], list[int]]]) -> Figure:
    """Figure 2: a block per model, a row per cluster in the order of its digit, generated images side by side.

    Parameters
    ----------
    models
        Title, images of each cluster, shape (images, side, side), and the most frequent digit of each cluster.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(models), 4.6), layout="constrained")
    for axes, (title, images, digit_of) in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        shown = max(len(block) for block in images)
        side = images[0].shape[1]
        sheet = np.zeros((len(images) * side, max(shown, 1) * side), np.uint8)
        for row, cluster in enumerate(np.argsort(digit_of, kind="stable")):
            for column, image in enumerate(images[cluster]):
                sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = image
        axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=255)
        axes.set(title=title, xticks=[], ylabel="digit asked for")
        axes.set_yticks((np.arange(len(images)) + 0.5) * side, sorted(digit_of))
    return figure


def clusters(pictures: list[tuple[str, dict[str, Any]]]) -> Figure:
    """Figure A3: discrepancies between the codes drawn from each two clusters, and a UMAP of them."""
    return draw_pictures(pictures, "cluster")


def thresholds(generated: pd.DataFrame) -> Figure:
    """Figure A5: accuracy, and draws per image, against VaDE's threshold; cytomoe has none and is a level line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (method, group) in enumerate(generated.groupby("method", sort=False)):
        means = group.groupby("threshold")[["accuracy", "draws_per_image"]].mean()
        for axes, column in ((left, "accuracy"), (right, "draws_per_image")):
            if len(means) == 1:
                axes.axhline(means[column].iloc[0], color=f"C{number}", label=method)
            else:
                axes.plot(means.index, means[column], "o-", color=f"C{number}", label=method)
    left.set(xlabel="posterior threshold of VaDE", ylabel="accuracy of the round trip")
    right.set(xlabel="posterior threshold of VaDE", ylabel="draws per cell or image", yscale="log")
    for axes in (left, right):
        axes.legend()
    return figure


def confusions(models: list[tuple[str, NDArray[np.int64], list[int]]]) -> Figure:
    """Figures A6, A7: clusters asked for against clusters found, a panel per model and threshold.

    Parameters
    ----------
    models
        Title, confusion (clusters, clusters), and the most frequent digit of each cluster.
    """
    from matplotlib.figure import Figure

    rows = -(-len(models) // _PER_ROW)
    figure = Figure(figsize=(3.4 * min(_PER_ROW, len(models)), 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, min(_PER_ROW, len(models)), squeeze=False).ravel()
    for axes, (title, confusion, digit_of) in zip(panels, models, strict=False):
        order = np.argsort(digit_of, kind="stable")
        shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares[np.ix_(order, order)], vmin=0, vmax=1, cmap="Blues")
        names = np.asarray(digit_of)[order].tolist()
        axes.set_xticks(range(len(order)), names)
        axes.set_yticks(range(len(order)), names)
        axes.set_title(title, fontsize=9)
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    figure.supxlabel("found: digit of the cluster")
    figure.supylabel("asked for")
    return figure
