"""Generate cells with a saved model, in the units of the files that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.errors import InputError, did_you_mean
from cytomoe.imports import load
from cytomoe.io.lock import alone
from cytomoe.io.written import write_csv
from cytomoe.runs.events import refuse_missing
from cytomoe.runs.inputs import model_path, refuse_to_replace
from cytomoe.runs.job import Listener
from cytomoe.words import percent

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.clusterer import Clusterer

# A cluster of whose synthetic cells fewer are assigned to it is warned of.
FAITHFUL = 0.9


@dataclass(frozen=True)
class GenerateJob:
    """Cells to generate.

    Attributes
    ----------
    model
        Model file of a run.
    out
        The FCS or CSV file to write.
    n
        Cells; None takes as many as ``like`` has, or 10,000.
    clusters, names
        Clusters to generate, by number or by population or label; all of them if both are empty.
    like
        FCS file in whose proportions the clusters are generated; else those of the fit.
    seed
        Of all randomness.
    data_set
        Which data set of ``like``.
    force
        Whether an existing file is replaced.
    """

    model: Path
    out: Path
    n: int | None = None
    clusters: Sequence[int] = ()
    names: Sequence[str] = ()
    like: Path | None = None
    seed: int = 0
    data_set: int = 1
    force: bool = False


@dataclass(frozen=True)
class Generated:
    """What was generated.

    Attributes
    ----------
    out
        The file.
    cells
        Cells in it.
    clusters
        One dictionary per cluster generated: cluster, name, cells, and ``assigned``, the share of these cells that the
        model itself assigns to the cluster.
    """

    out: Path
    cells: int
    clusters: list[dict[str, Any]]


def run_generate(job: GenerateJob, listener: Listener | None = None) -> Generated:
    """Generate cells and write them.

    Raises
    ------
    InputError
        If the model can't be read, a cluster or name is unknown, or the file exists or is of another kind.
    """
    listener = listener or Listener()
    if job.out.suffix.lower() not in (".fcs", ".csv"):
        raise InputError(f"--out {job.out}: give a name that ends in .fcs or .csv")
    if job.out.exists() and not job.force:
        raise InputError(f"{job.out} exists already; give another --out, or --force to replace it")
    job = replace(job, model=model_path(job.model))
    refuse_missing([job.model, *([] if job.like is None else [job.like])])
    refuse_to_replace(job.out, [job.model, *([] if job.like is None else [job.like])])
    with alone(job.out):
        return _generate(job, listener)


def _generate(job: GenerateJob, listener: Listener) -> Generated:
    """Generate into an output file that is ours."""
    load("torch")  # not before the simplest mistakes are ruled out
    from cytomoe.clusterer import Clusterer

    model = Clusterer.load(job.model, device="cpu")
    chosen = _chosen(job, model)
    n, weights = _proportions(job, model)
    shares = weights[np.array(chosen) - 1]
    if not shares.any():
        raise InputError(f"{job.like}: none of its events lies in the clusters asked for")

    cells = model.generate(n, clusters=chosen, weights=shares.tolist(), seed=job.seed)
    _write(job, model, cells)
    report = _report(model, cells)
    for row in report:
        if row["assigned"] < FAITHFUL:
            fitted = int(model.summary_.sizes[row["cluster"] - 1])
            listener.warn(
                f"cluster {row['cluster']} can't be generated faithfully, from {fitted} cells in the fit: the model "
                f"assigns {percent(row['assigned'])} of its synthetic cells to it"
            )
    return Generated(job.out, cells.n_obs, report)


def _chosen(job: GenerateJob, model: Clusterer) -> list[int]:
    """Clusters asked for, in order, each once."""
    chosen = list(job.clusters)
    for cluster in chosen:
        if not 1 <= cluster <= model.n_clusters_:
            raise InputError(f"--cluster {cluster}: the model has clusters 1 to {model.n_clusters_}")
    for name in job.names:
        found = model.names_.clusters_named(name) if model.names_ is not None else []
        if not found:
            known = [] if model.names_ is None else sorted({*model.names_.populations, *model.names_.labels})
            near = did_you_mean(name, known) or (f"; there are: {'; '.join(known)}" if known else "; none is named")
            raise InputError(f"--name '{name}': the model has no such population or label{near}")
        chosen += found
    return sorted(set(chosen)) or list(range(1, model.n_clusters_ + 1))


def _proportions(job: GenerateJob, model: Clusterer) -> tuple[int, NDArray[np.float64]]:
    """Cells to generate, and the weight of each cluster, shape (clusters,)."""
    if job.like is None:
        return job.n or 10_000, model.summary_.sizes.astype(np.float64)
    from cytomoe.io import read_fcs

    sample = read_fcs(job.like, data_set=job.data_set)
    counts = np.bincount(model.predict(sample), minlength=model.n_clusters_ + 1)[1:]
    return job.n or sample.n_obs, counts.astype(np.float64)


def _report(model: Clusterer, cells: AnnData) -> list[dict[str, Any]]:
    assigned, clusters = model.predict(cells), cells.obs["cluster"].to_numpy()
    names = model.names_
    called = () if names is None else names.populations or names.labels
    return [
        {
            "cluster": k,
            "name": called[k - 1] if called else "",
            "cells": int(np.count_nonzero(clusters == k)),
            "assigned": round(float(np.mean(assigned[clusters == k] == k)), 4),
        }
        for k in np.unique(clusters).tolist()
    ]


def _write(job: GenerateJob, model: Clusterer, cells: AnnData) -> None:
    clusters, names = cells.obs["cluster"].to_numpy(), model.names_
    if job.out.suffix.lower() == ".csv":
        table = pd.DataFrame(cells.X, columns=model.preprocessor_.markers)
        table["cluster"] = clusters
        if names is not None and names.populations:
            table["population"] = np.array(names.populations, dtype=object)[clusters - 1]
        write_csv(job.out, table, decimals="%.6g")
        return

    from cytomoe.io import write_fcs

    called = () if names is None else names.populations or names.labels
    keywords = {f"CYTOMOE_CLUSTER_{k}": name for k, name in enumerate(called, start=1)}
    write_fcs(cells, job.out, extra={"cluster": clusters}, keywords=keywords)
