"""The tables, files and manifest that a run leaves in its folder."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe import __version__
from cytomoe.errors import InputError
from cytomoe.io.atomic import atomic_path

if TYPE_CHECKING:
    from cytomoe.annotation import ClusterNames, Enrichment
    from cytomoe.runs.events import Events, GatedEvents
    from cytomoe.runs.mapping import MappedEvents

# The last file of a run: where it stands, the run is complete.
MANIFEST = "run.json"


def check_output(out: Path, force: bool) -> None:
    """Refuse an output folder that exists, before any work is done.

    Raises
    ------
    InputError
        If the folder exists and ``force`` is off, or if it holds anything but an earlier run.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file; give another --out")
    if not any(out.iterdir()):
        return
    if not force:
        raise InputError(f"{out} exists already; give another --out, or --force to replace it")
    if not (out / MANIFEST).is_file():
        raise InputError(
            f"{out} is not the folder of an earlier run, so --force does not replace it; give another --out"
        )


def write_labels(
    folder: Path,
    events: Events,
    clusters: NDArray[np.int32],
    confidence: NDArray[np.float32],
    names: ClusterNames,
) -> None:
    """Write ``labels.csv`` and ``labels.parquet``: a row per event, in file order.

    Columns file, event, cluster, confidence, and population where populations are named.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    table = pa.table(
        {
            "file": pa.DictionaryArray.from_arrays(pa.array(events.file, pa.int32()), pa.array(events.names)),
            "event": pa.array(events.event),
            "cluster": pa.array(clusters),
            "confidence": pa.array(confidence),
        }
    )
    if names.populations:
        table = table.append_column(
            "population", pa.DictionaryArray.from_arrays(pa.array(clusters - 1), pa.array(names.populations))
        )
    parquet.write_table(table, folder / "labels.parquet")
    readable = table
    for i, column in enumerate(table.schema.names):
        if column in ("file", "population"):
            readable = readable.set_column(i, column, table[column].cast(pa.string()))
    readable = readable.set_column(3, "confidence", pa.array(np.round(confidence.astype(np.float64), 4)))
    csv.write_csv(readable, folder / "labels.csv", csv.WriteOptions(quoting_style="needed"))


def cluster_table(found: Enrichment, names: ClusterNames) -> pd.DataFrame:
    """Clusters with their names, events, fraction and the median of each marker (transformed values, NaN where empty).

    Parameters
    ----------
    found
        How the markers stand in each cluster.
    names
        What the clusters are called.
    """
    sizes = found.sizes
    described = {
        "cluster": np.arange(1, len(sizes) + 1),
        **names.columns,
        "events": sizes,
        "fraction": np.round(sizes / max(int(sizes.sum()), 1), 6),
    }
    # Beside each other, not in one dictionary: a marker may be called label.
    medians = pd.DataFrame(np.round(found.medians, 4), columns=list(found.markers))
    return pd.concat([pd.DataFrame(described), medians], axis=1)


def abundance_table(events: Events, clusters: NDArray[np.int32], n_clusters: int) -> pd.DataFrame:
    """Events of each cluster in each sample: sample, events, cluster_1 to cluster_n."""
    counts = np.zeros((len(events.samples), n_clusters + 1), dtype=np.int64)
    np.add.at(counts, (events.sample, clusters), 1)
    table = pd.DataFrame(counts[:, 1:], columns=[f"cluster_{k}" for k in range(1, n_clusters + 1)])
    table.insert(0, "sample", list(events.samples))
    table.insert(1, "events", counts.sum(axis=1))
    return with_conditions(table, events.conditions)


def median_table(mapped: MappedEvents) -> pd.DataFrame:
    """Median of each marker (transformed values) in each cluster of each sample that has events of it.

    Columns sample, the samples' conditions, cluster, population where named, events, markers: the long form that
    diffcyt's and statsmodels' tests of cell states start from.
    """
    events, n_clusters = mapped.events, mapped.model.n_clusters_
    groups = events.sample * np.int64(n_clusters) + (mapped.clusters - 1)
    order = np.argsort(groups, kind="stable")
    found, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    parts = np.split(mapped.expression[order], starts[1:])
    described: dict[str, Any] = {
        "sample": np.array(events.samples, dtype=object)[found // n_clusters],
        "cluster": found % n_clusters + 1,
    }
    if mapped.names.populations:
        described["population"] = np.array(mapped.names.populations, dtype=object)[found % n_clusters]
    described["events"] = counts
    medians = pd.DataFrame(
        np.round([np.median(part, axis=0) for part in parts], 4), columns=list(mapped.enrichment.markers)
    )
    return with_conditions(pd.concat([pd.DataFrame(described), medians], axis=1), events.conditions)


def with_conditions(table: pd.DataFrame, conditions: pd.DataFrame | None) -> pd.DataFrame:
    """Put the conditions of the samples behind the column sample of a table."""
    if conditions is None:
        return table
    for i, column in enumerate(conditions.columns, start=1):
        table.insert(i, column, conditions[column].reindex(table["sample"]).to_numpy())
    return table


def write_h5ad(path: Path, mapped: MappedEvents, gated: GatedEvents | None) -> None:
    """Write all events as one AnnData.

    ``X`` holds the transformed values of the markers that were used; ``layers["raw"]`` the file's values of the same
    channels; ``obsm["channels"]`` the file's values of every other channel that all files share;
    ``obsm["X_moesimvae"]`` the codes. ``obs`` has file, event, sample, cytomoe (the cluster), confidence, label (of
    the cluster) and, where known, population and gate.
    """
    from anndata import AnnData

    events, model = mapped.events, mapped.model
    markers = model.preprocessor_.markers
    located = [model.preprocessor_.locate(adata) for adata in events.adatas]
    numbers = [str(k) for k in range(1, model.n_clusters_ + 1)]
    obs = pd.DataFrame(
        {
            "file": pd.Categorical.from_codes(events.file, events.names),
            "event": events.event,
            "sample": pd.Categorical.from_codes(events.sample, events.samples),
            "cytomoe": pd.Categorical.from_codes(mapped.clusters - 1, numbers),
            "confidence": mapped.confidence,
        },
        index=pd.RangeIndex(events.n_events).astype(str),
    )
    if events.conditions is not None:
        for column in events.conditions:
            obs[column] = pd.Categorical(events.conditions[column].to_numpy(dtype=object)[events.sample])
    for column in ("label", "population"):
        if column in mapped.names.columns:
            obs[column] = pd.Categorical(np.array(mapped.names.columns[column], dtype=object)[mapped.clusters - 1])
    if gated is not None:
        obs["gate"] = gated.gates.to_categorical()
    raw = np.concatenate([adata[:, names].X for adata, names in zip(events.adatas, located, strict=True)])
    var = events.adatas[0].var.loc[located[0]].set_axis(pd.Index(markers), axis=0)
    cells = AnnData(mapped.expression, obs=obs, var=var, layers={"raw": raw})
    cells.obsm["X_moesimvae"] = mapped.codes
    cells.obsm["channels"] = _other_channels(events, located[0], obs.index)
    cells.uns["cytomoe"] = {
        "version": __version__,
        "settings": json.dumps(model.settings_.to_dict()),
        "seed": model.seed,
    }
    with atomic_path(path) as temporary:
        cells.write_h5ad(temporary)


def _other_channels(events: Events, used: Sequence[str], index: pd.Index) -> pd.DataFrame:
    shared = [
        name
        for name in events.adatas[0].var_names
        if name not in set(used) and all(name in adata.var_names for adata in events.adatas)
    ]
    values = np.concatenate([adata[:, shared].X for adata in events.adatas])
    # HDF5 takes a slash in a name for a folder.
    return pd.DataFrame(values, columns=[name.replace("/", "_") for name in shared], index=index)


def write_fcs_files(
    folder: Path,
    events: Events,
    clusters: NDArray[np.int32],
    confidence: NDArray[np.float32],
    names: ClusterNames,
) -> list[str]:
    """Write ``fcs/<name>.fcs`` for each file: its own channels, cluster and confidence; returns warnings.

    The keywords CYTOMOE_CLUSTER_1, ... say what the clusters are called.
    """
    from cytomoe.io import write_fcs

    (folder / "fcs").mkdir()
    warnings: list[str] = []
    called = names.populations or names.labels
    keywords = {f"CYTOMOE_CLUSTER_{k}": name for k, name in enumerate(called, start=1)}
    stop = 0
    for adata, name in zip(events.adatas, fcs_names(events.names), strict=True):
        start, stop = stop, stop + adata.n_obs
        added = {"cluster": clusters[start:stop], "confidence": confidence[start:stop]}
        warnings += write_fcs(adata, folder / "fcs" / name, extra=added, keywords=keywords)
    return warnings


def fcs_names(names: Sequence[str]) -> list[str]:
    """File names for written FCS files: flat, with the suffix ``.fcs``, all different."""
    flat = []
    for name in names:
        base = name.removesuffix(".gz")
        base = base if base.lower().endswith(".fcs") else f"{base}.fcs"
        flat.append(base.replace("/", "_").replace("\\", "_").lstrip("._") or "cells.fcs")
    if len(set(flat)) != len(flat):
        flat = [f"{i:03d}_{name}" for i, name in enumerate(flat, start=1)]
    return flat


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_evaluation(folder: Path, evaluation: dict[str, Any]) -> None:
    """Write ``evaluation.json`` and ``evaluation.csv``."""
    from cytomoe.evaluation import evaluation_table

    write_json(folder / "evaluation.json", evaluation)
    write_csv(folder / "evaluation.csv", evaluation_table(evaluation))


def write_manifest(
    folder: Path,
    mapped: MappedEvents,
    *,
    command: Sequence[str],
    warnings: Sequence[str],
    seconds: Mapping[str, float],
    further: Mapping[str, Any],
) -> None:
    """Write ``run.json``: what was computed, from what, with what. It is the last file of a run."""
    import torch

    events, model = mapped.events, mapped.model
    content = {
        "version": __version__,
        "command": shlex.join(command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": [
            {"file": name, "path": str(path.resolve()), "events": size, "sha256": sha256(path)}
            for name, path, size in zip(events.names, events.paths, events.sizes, strict=True)
        ],
        "samples": events.samples,
        "events": events.n_events,
        "clusters": model.n_clusters_,
        "seed": model.seed,
        "settings": model.settings_.to_dict(),
        "preprocessing": model.preprocessor_.to_dict(),
        "software": software(),
        "threads": torch.get_num_threads(),
        "device": str(next(model.network_.parameters()).device),
        "seconds": dict(seconds),
        "warnings": list(warnings),
        **further,
    }
    write_json(folder / MANIFEST, content)


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def software() -> dict[str, str]:
    """Versions of what computes the result."""
    import torch

    return {
        "cytomoe": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{sys.platform} {platform.machine()}",
    }
