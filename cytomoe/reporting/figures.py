"""The figures of a report as PNG and SVG, for those who write papers. Colours are those of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.io.atomic import atomic_directory
from cytomoe.reporting.colours import CONFIDENCE, SEQUENTIAL, cluster_colour, ink_on
from cytomoe.reporting.histograms import BINS
from cytomoe.reporting.material import Material
from cytomoe.reporting.payload import confusion_of, drift_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "figures"
_DPI = 300
# Share of the map's width below which a clump of cells lies under its number.
_CLUMP = 0.02
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "cytomoe",  # and the file the same
}


def write_figures(material: Material) -> Path:
    """Write each figure as PNG and SVG into ``figures/`` of the run's folder, in place of earlier ones.

    Returns
    -------
    Path
        The folder of the figures.
    """
    folder = material.run.folder / FOLDER
    with atomic_directory(folder, replace=folder.exists()) as temporary, _style():
        for name, draw in _drawn(material):
            figure = draw(material)
            figure.savefig(temporary / f"{name}.png", dpi=_DPI, bbox_inches="tight")
            figure.savefig(temporary / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    return folder


def _drawn(material: Material) -> Iterator[tuple[str, Callable[[Material], Figure]]]:
    yield "map_clusters", _map_clusters
    yield "map_confidence", _map_confidence
    yield "map_markers", _map_markers
    yield "heatmap", _heatmap
    yield "histograms", _histograms
    if len(material.run.abundance) > 1:
        yield "abundance", _abundance
    if material.run.cells.gate is not None:
        yield "confusion", _confusion
    if material.run.manifest.get("training"):
        yield "training", _training
    if material.run.drift is not None:
        yield "drift", _drift
    if material.generated is not None:
        yield "generated", _generated
    yield "transforms", _transforms


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def _figure(width: float, height: float) -> Figure:
    """Figure of a size in inches that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _ramp(colours: tuple[str, ...]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("cytomoe", list(colours))


def _name(record: dict[str, Any], length: int = 34) -> str:
    text = f"{record['number']}  {record['title']}"
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    axes.set_aspect("equal", "datalim")


def _map_clusters(material: Material) -> Figure:
    from matplotlib.patheffects import withStroke

    figure = _figure(6.4, 4.6)
    axes = figure.add_subplot()
    points, clusters = material.embedding.points, material.run.cells.cluster[material.embedding.cells]
    for record in material.clusters:
        members = points[clusters == record["number"]]
        if not len(members):
            continue
        colour = cluster_colour(record["number"])
        axes.scatter(
            members[:, 0], members[:, 1], s=3, color=colour, linewidths=0, rasterized=True, label=_name(record)
        )
        if record["events"] >= 10:
            middle = np.median(members, axis=0)
            x, y = members[np.argmin(((members - middle) ** 2).sum(axis=1))]
            halo = [withStroke(linewidth=2, foreground="white")]
            # Above a clump that the number would cover.
            small = np.quantile(np.abs(members - middle).max(axis=1), 0.9) < _CLUMP * np.ptp(points, axis=0).max()
            axes.annotate(
                str(record["number"]), (x, y), (0, 7 if small else 0), textcoords="offset points",
                weight="bold", ha="center", va="center", path_effects=halo,
            )  # fmt: skip
    _bare(axes)
    axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False, fontsize=6.5, markerscale=3)
    return figure


def _map_confidence(material: Material) -> Figure:
    figure = _figure(4.8, 4.2)
    axes = figure.add_subplot()
    confidence = material.run.cells.confidence[material.embedding.cells]
    order = np.argsort(-confidence)  # the doubtful on top
    points = material.embedding.points[order]
    drawn = axes.scatter(
        points[:, 0], points[:, 1], c=confidence[order], s=3, cmap=_ramp(CONFIDENCE), vmin=0, vmax=1,
        linewidths=0, rasterized=True,
    )  # fmt: skip
    _bare(axes)
    figure.colorbar(drawn, ax=axes, label="confidence", shrink=0.6)
    return figure


def _grid(material: Material, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Figure with one panel for each marker, titled."""
    markers = material.run.markers
    columns = min(5, len(markers))
    rows = -(-len(markers) // columns)
    figure = _figure(width * columns, height * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in panels[len(markers) :]:
        axes.axis("off")
    for axes, marker in zip(panels, markers, strict=False):
        axes.set_title(marker, fontsize=8)
    return figure, list(panels[: len(markers)])


def _map_markers(material: Material) -> Figure:
    figure, panels = _grid(material, 1.7, 1.7)
    expression = material.run.cells.take("X", material.embedding.cells)
    for marker, (axes, step) in enumerate(zip(panels, material.run.manifest["preprocessing"]["steps"], strict=True)):
        order = np.argsort(expression[:, marker])  # the positive on top
        points = material.embedding.points[order]
        axes.scatter(
            points[:, 0], points[:, 1], c=expression[order, marker], s=1.2, cmap=_ramp(SEQUENTIAL),
            vmin=step["low"], vmax=step["high"], linewidths=0, rasterized=True,
        )  # fmt: skip
        _bare(axes)
        axes.set(xlabel="", ylabel="")
        axes.spines[:].set_visible(False)
    return figure


def _transforms(material: Material) -> Figure:
    """All cells, transformed; heights are square roots, dashed lines the limits of the scaling."""
    figure, panels = _grid(material, 1.6, 1.3)
    histograms = material.histograms
    for marker, (axes, step) in enumerate(zip(panels, material.run.manifest["preprocessing"]["steps"], strict=True)):
        values = np.linspace(histograms.low[marker], histograms.high[marker], BINS)
        axes.fill_between(values, np.sqrt(histograms.counts[:, marker].sum(axis=0)), color="#84b3d0", linewidth=0)
        for limit in (step["low"], step["high"]):
            axes.axvline(limit, color="#566273", linewidth=0.7, linestyle="--")
        axes.set(yticks=[], ylim=(0, None))
        axes.spines["left"].set_visible(False)
    figure.tight_layout()
    return figure


def _heatmap(material: Material) -> Figure:
    profiles, markers = material.profiles, material.run.markers
    order = profiles.order
    figure = _figure(2.6 + 0.32 * len(markers), 1.0 + 0.17 * len(order))
    tree, heat, bars = figure.subplots(
        1, 3, width_ratios=[0.7, 0.32 * len(markers), 0.8], gridspec_kw={"wspace": 0.03}, sharey=True
    )
    for joint in profiles.tree:
        tree.plot(joint[:, 1], joint[:, 0], color="#66717f", linewidth=0.7)
    tree.invert_xaxis()
    tree.axis("off")
    drawn = heat.imshow(profiles.scaled[order], aspect="auto", cmap=_ramp(SEQUENTIAL), vmin=0, vmax=1)
    heat.set_xticks(range(len(markers)), markers, rotation=90)
    heat.tick_params(length=0)
    bars.barh(
        range(len(order)),
        [material.clusters[k]["fraction"] for k in order],
        color=[cluster_colour(k + 1) for k in order.tolist()],
    )
    bars.set_yticks(range(len(order)), [_name(material.clusters[k]) for k in order])
    bars.yaxis.tick_right()
    bars.tick_params(axis="y", length=0, labelright=True, labelleft=False)
    heat.tick_params(axis="y", labelleft=False)
    bars.set_xlabel("share")
    for axes in (heat, bars):
        axes.spines[:].set_visible(False)
    bars.set_ylim(len(order) - 0.5, -0.5)
    room = 0.25 + 0.075 * max(map(len, markers))  # inches that the upright names take
    pad = min(room / figure.get_figheight(), 0.5)
    figure.colorbar(drawn, ax=[tree, heat, bars], label="scaled median", location="bottom", shrink=0.3, pad=pad)
    return figure


def _histograms(material: Material) -> Figure:
    """Ridges: a column for each marker, a row for each cluster, over all other cells in grey."""
    counts, markers = material.histograms.counts, material.run.markers
    shown = [k for k in material.profiles.order.tolist() if material.clusters[k]["events"] > 0]
    figure = _figure(1.8 + 0.8 * len(markers), 0.8 + 0.24 * len(shown))
    columns = np.atleast_1d(figure.subplots(1, len(markers), sharey=True, gridspec_kw={"wspace": 0.08}))
    for marker, axes in enumerate(columns):
        low, high = material.histograms.low[marker], material.histograms.high[marker]
        values = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
        total = counts[:, marker].sum(axis=0)
        for row, k in enumerate(shown):
            for heights, colour in ((total - counts[k, marker], "#cbd1d8"), (counts[k, marker], cluster_colour(k + 1))):
                ridge = 0.92 * heights / max(heights.max(), 1)
                axes.fill_between(values, -row, -row + ridge, color=colour, alpha=0.75, linewidth=0)
        axes.set_title(markers[marker], fontsize=8)
        axes.set_yticks([-row + 0.3 for row in range(len(shown))], [_name(material.clusters[k]) for k in shown])
        axes.set_ylim(0.2 - len(shown), 1)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def _abundance(material: Material) -> Figure:
    table = material.run.abundance
    columns = [f"cluster_{record['number']}" for record in material.clusters]
    shares = table[columns].to_numpy(float) / np.maximum(table["events"].to_numpy(float), 1)[:, None]
    figure = _figure(6.0, 1.0 + 0.26 * len(table))
    axes = figure.add_subplot()
    starts = np.cumsum(shares, axis=1) - shares
    for k, record in enumerate(material.clusters):
        colour = cluster_colour(record["number"])
        axes.barh(range(len(table)), shares[:, k], left=starts[:, k], color=colour, height=0.8)
        for row in np.flatnonzero(shares[:, k] > 0.04).tolist():
            middle, number = starts[row, k] + shares[row, k] / 2, str(record["number"])
            axes.text(middle, row, number, ha="center", va="center", fontsize=6, color=ink_on(colour))
    axes.set_yticks(range(len(table)), [str(name) for name in table["sample"]])
    axes.set(xlim=(0, 1), xlabel="share of the events")
    axes.invert_yaxis()
    return figure


def _confusion(material: Material) -> Figure:
    confusion = confusion_of(material.run)
    assert confusion is not None  # there are gates
    counts = np.array(confusion["counts"], dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(1.6 + 0.26 * shares.shape[1], 0.9 + 0.24 * shares.shape[0])
    axes = figure.add_subplot()
    drawn = axes.imshow(shares, aspect="auto", cmap=_ramp(SEQUENTIAL), vmin=0, vmax=1)
    for row, column in np.argwhere(shares >= 0.02).tolist():
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{int(100 * share + 0.5)}", ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(shares.shape[1]), [str(number) for number in confusion["clusters"]])
    axes.set_yticks(range(shares.shape[0]), confusion["gates"])
    axes.set_xlabel(material.run.what)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label="share of the gate's events")
    return figure


def _drift(material: Material) -> Figure:
    drift = drift_of(material.run)
    assert drift is not None  # the run has a drift.csv
    return _distances(material, drift["samples"], np.array(drift["distance"], dtype=float))


def _generated(material: Material) -> Figure:
    assert material.generated is not None  # the run has a model
    return _distances(material, [_name(record) for record in material.clusters], material.generated.distance)


def _distances(material: Material, rows: list[str], distances: NDArray[np.float64]) -> Figure:
    """Distance of each marker's distribution from that of the fit, a row per sample or cluster."""
    markers = material.run.markers
    figure = _figure(2.4 + 0.32 * len(markers), 1.0 + 0.2 * len(rows))
    axes = figure.add_subplot()
    drawn = axes.imshow(distances, aspect="auto", cmap=_ramp(SEQUENTIAL), vmin=0, vmax=1)
    axes.set_xticks(range(len(markers)), markers, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label="distance from the fit")
    return figure


def _training(material: Material) -> Figure:
    records = material.run.manifest["training"]
    names = list(dict.fromkeys(name for record in records for name in record if name != "step"))
    figure = _figure(2.1 * len(names), 1.9)
    for name, axes in zip(names, np.atleast_1d(figure.subplots(1, len(names))), strict=True):
        having = [record for record in records if name in record]
        axes.plot([r["step"] for r in having], [r[name] for r in having], color="#24629a", linewidth=1)
        axes.set(title=name if name == "clusters" else f"{name} loss", xlabel="step", xlim=(0, records[-1]["step"]))
    figure.tight_layout()
    return figure
