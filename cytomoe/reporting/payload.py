"""The data of the figures as the page's script takes them: plain JSON, with long arrays packed in base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.reporting.colours import CLUSTERS, CONFIDENCE, SEQUENTIAL, cluster_colour
from cytomoe.reporting.embedding import Embedding
from cytomoe.reporting.generated import CELLS_EACH, Generated
from cytomoe.reporting.histograms import Histograms
from cytomoe.reporting.material import Material
from cytomoe.reporting.profiles import Profiles
from cytomoe.reporting.run_files import RunFiles
from cytomoe.reporting.verdict import TINY


def payload_of(material: Material) -> dict[str, Any]:
    """Everything the figures of the page draw."""
    run, histograms = material.run, material.histograms
    return {
        "what": run.what,
        "clusters": [{**record, "colour": cluster_colour(record["number"])} for record in material.clusters],
        "markers": run.markers,
        "spare": CLUSTERS,
        "palettes": {"sequential": SEQUENTIAL, "confidence": CONFIDENCE},
        "tiny": TINY,
        "map": _map(run, material.embedding),
        "heatmap": _heatmap(material.profiles),
        "histograms": _histograms(histograms),
        "transforms": _transforms(run, histograms),
        "abundance": _abundance(run),
        "confusion": confusion_of(run),
        "drift": drift_of(run),
        "generated": _generated(material.generated),
        "training": run.manifest.get("training") or [],
    }


def packed(values: NDArray[Any], dtype: str) -> dict[str, Any]:
    """Pack an array as little-endian numbers in base64; the script makes a typed array of it."""
    data = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    return {"dtype": dtype, "shape": list(data.shape), "base64": base64.b64encode(data.tobytes()).decode("ascii")}


def _map(run: RunFiles, embedding: Embedding) -> dict[str, Any]:
    cells, drawn = run.cells, embedding.cells
    expression = cells.take("X", drawn)
    steps = run.manifest["preprocessing"]["steps"]
    low = np.array([step["low"] for step in steps])
    width = np.array([max(step["high"] - step["low"], 1e-6) for step in steps])
    values = np.rint(255 * np.clip((expression - low) / width, 0, 1))
    content = {
        "x": packed(embedding.points[:, 0], "float32"),
        "y": packed(embedding.points[:, 1], "float32"),
        "cluster": packed(cells.cluster[drawn], "uint16"),
        "confidence": packed(np.rint(255 * np.clip(cells.confidence[drawn], 0, 1)), "uint8"),
        "values": packed(values.T, "uint8"),
        "low": low.tolist(),
        "width": width.tolist(),
        "sample": packed(cells.sample.codes[drawn], "uint16"),
        "samples": [str(name) for name in cells.sample.categories],
        "drawn": len(drawn),
        "cells": len(cells),
    }
    if cells.gate is not None:
        content["gate"] = packed(cells.gate.codes[drawn], "int16")
        content["gates"] = [str(name) for name in cells.gate.categories]
    return content


def _heatmap(profiles: Profiles) -> dict[str, Any]:
    scales = {"scaled": profiles.scaled, "transformed": profiles.transformed, "raw": profiles.raw}
    return {
        "order": profiles.order.tolist(),
        "tree": np.round(profiles.tree, 4).tolist(),
        **{name: _rounded(values) for name, values in scales.items()},
    }


def _rounded(values: NDArray[np.float64]) -> list[list[float | None]]:
    """Rows of numbers with four significant digits; None where there is none."""
    return [[float(f"{value:.4g}") if np.isfinite(value) else None for value in row] for row in values]


def _histograms(histograms: Histograms) -> dict[str, Any]:
    """Shares of each cluster's cells per bin, in 65535ths."""
    sizes = np.maximum(histograms.counts.sum(axis=2, keepdims=True), 1)
    return {
        "low": histograms.low.tolist(),
        "high": histograms.high.tolist(),
        "shares": packed(np.rint(65535 * histograms.counts / sizes), "uint16"),
    }


def _transforms(run: RunFiles, histograms: Histograms) -> list[dict[str, Any]]:
    """Histogram of each marker over all cells, with its transform and the limits of its scaling."""
    from cytomoe.preprocessing.transform import MarkerTransform

    totals = histograms.counts.sum(axis=0)
    return [
        {
            "marker": step["marker"],
            "channel": step["channel"],
            "transform": MarkerTransform(**step["transform"]).describe(),
            "low": step["low"],
            "high": step["high"],
            "counts": total.tolist(),
        }
        for step, total in zip(run.manifest["preprocessing"]["steps"], totals, strict=True)
    ]


def _abundance(run: RunFiles) -> dict[str, Any]:
    columns = [f"cluster_{number}" for number in run.clusters["cluster"]]
    return {
        "samples": [str(name) for name in run.abundance["sample"]],
        "events": run.abundance["events"].tolist(),
        "counts": run.abundance[columns].to_numpy().tolist(),
        "unassigned": run.abundance["unassigned"].tolist() if "unassigned" in run.abundance else [],
    }


def drift_of(run: RunFiles) -> dict[str, Any] | None:
    """Distance of each marker of each sample from the model's training."""
    if run.drift is None:
        return None
    samples = [name for name in run.manifest["samples"] if name in set(run.drift["sample"])]
    rows = run.drift.set_index(["sample", "marker"])
    names = pd.MultiIndex.from_product([samples, run.markers])
    shape = (len(samples), len(run.markers))
    unfit = run.manifest["drift"]["fits_no_expert"]
    return {
        "samples": samples,
        "unfit": [unfit[name] for name in samples],
        **{
            name: rows[name].reindex(names).to_numpy(dtype=np.float64).reshape(shape).tolist()
            for name in ("distance", "outside")
        },
    }


def _generated(generated: Generated | None) -> dict[str, Any] | None:
    """Generated cells of each cluster: share that returns, distance of the markers, histograms as those of the run."""
    if generated is None:
        return None
    return {
        "each": CELLS_EACH,
        "returned": np.round(generated.returned, 4).tolist(),
        "distance": np.round(generated.distance, 3).tolist(),
        "shares": packed(np.rint(65535 * generated.counts / CELLS_EACH), "uint16"),
    }


def confusion_of(run: RunFiles) -> dict[str, Any] | None:
    """Cells of one gate alone in each cluster: gates by size, clusters in the order that makes the matrix diagonal."""
    cells, codes = run.cells, run.cells.gate_codes
    if cells.gate is None or (codes < 0).all():
        return None
    table = pd.crosstab(codes[codes >= 0], cells.cluster[codes >= 0])
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    counts = table.to_numpy()
    # A cluster stands below the gate that most of it comes from.
    columns = np.lexsort((-counts.max(axis=0), counts.argmax(axis=0)))
    return {
        "gates": [str(cells.gate.categories[code]) for code in table.index],
        "clusters": [int(table.columns[column]) for column in columns],
        "counts": counts[:, columns].tolist(),
    }
