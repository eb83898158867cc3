"""The files of a run as the report reads them: manifest, tables, and the cells without holding them all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.io.run_folder import (
    distinct_events,
    read_abundance,
    read_clusters,
    read_drift,
    read_evaluation,
    read_manifest,
)

_ROWS_AT_ONCE = 200_000


@dataclass(frozen=True, eq=False)
class RunFiles:
    """A finished run.

    Attributes
    ----------
    folder
        Where its files are.
    manifest
        ``run.json``.
    clusters
        ``clusters.csv``: a row per cluster.
    abundance
        ``abundance.csv``: a row per sample.
    evaluation
        ``evaluation.json``, or None where the run had no gates.
    drift
        ``drift.csv``: a row per sample and marker; None of a run that did not map with an existing model.
    population_of
        Where clusters were merged (:func:`cytomoe.reporting.populations.by_population`): the number of each cluster's
        population, shape (clusters,); the populations then stand in the place of clusters.
    """

    folder: Path
    manifest: dict[str, Any]
    clusters: pd.DataFrame
    abundance: pd.DataFrame
    evaluation: dict[str, Any] | None
    drift: pd.DataFrame | None = None
    population_of: NDArray[np.int64] | None = None

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """Read the folder of a run.

        Raises
        ------
        InputError
            If it is no such folder, or lacks a file.
        """
        manifest = read_manifest(folder)
        clusters = read_clusters(folder, manifest)
        if not (folder / "cells.h5ad").is_file():
            raise InputError(f"{folder} has no cells.h5ad, from which the report is made; run again with --h5ad yes")
        evaluation, drift = folder / "evaluation.json", folder / "drift.csv"
        return cls(
            folder,
            manifest=manifest,
            clusters=clusters,
            abundance=read_abundance(folder, manifest, clusters),
            evaluation=read_evaluation(folder) if evaluation.is_file() else None,
            drift=read_drift(folder) if drift.is_file() else None,
        )

    @property
    def markers(self) -> list[str]:
        """Names of the markers that were used."""
        return [str(step["marker"]) for step in self.manifest["preprocessing"]["steps"]]

    @property
    def n_clusters(self) -> int:
        """Clusters of the model, of which a mapped sample may lack some."""
        return len(self.clusters)

    @property
    def what(self) -> str:
        """What the rows of ``clusters`` are called: clusters, or after a merge populations."""
        return "cluster" if self.population_of is None else "population"

    @property
    def n_events(self) -> int:
        """Events, each counted once though it may stand in several files."""
        return distinct_events(self.manifest)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Events of each cluster, each counted once, shape (clusters,)."""
        return self.clusters["events"].to_numpy(dtype=np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Events of each cluster in each sample, shape (samples, clusters)."""
        return self.abundance[[f"cluster_{k}" for k in self.clusters["cluster"]]].to_numpy(dtype=np.int64)

    @property
    def events_of_samples(self) -> NDArray[np.int64]:
        """Events of each sample, those without a cluster too, shape (samples,)."""
        return self.abundance["events"].to_numpy(dtype=np.int64)

    @property
    def unassigned(self) -> int:
        """Events with a marker far outside the range of their cluster, each counted once; they are in none."""
        if "unassigned" not in self.abundance:
            return 0
        return int(self.abundance["unassigned"].sum()) - self.not_numbers

    @property
    def not_numbers(self) -> int:
        """Events without a cluster since they hold values that are not numbers, each counted once."""
        return int(np.count_nonzero(self.cells.counted & (self.cells.cluster == 0)))

    @property
    def medians(self) -> NDArray[np.float64]:
        """Median transformed value of each marker, shape (clusters, markers); NaN for a cluster without events."""
        # By position, the last columns: a marker may be called label or events.
        return self.clusters.iloc[:, -len(self.markers) :].to_numpy(dtype=np.float64)

    def words(self, column: str) -> list[str]:
        """A column of ``clusters.csv`` before the markers, as text; empty where it is not there."""
        found = self._described(column)
        return [""] * self.n_clusters if found is None else [str(value) for value in found.fillna("")]

    @property
    def stability(self) -> NDArray[np.float64] | None:
        """How surely each cluster is found again, in [0, 1], shape (clusters,); None where that is not known."""
        found = self._described("stability")
        if found is None or found.isna().all():
            return None
        return found.to_numpy(dtype=np.float64)

    def _described(self, column: str) -> pd.Series[Any] | None:
        described = self.clusters.iloc[:, : -len(self.markers)]
        return described[column] if column in described.columns else None

    @cached_property
    def cells(self) -> Cells:
        """What ``cells.h5ad`` says of each cell."""
        cells = Cells.read(self.folder / "cells.h5ad")
        if self.population_of is None:
            return cells
        return replace(cells, cluster=np.concatenate([[0], self.population_of])[cells.cluster])

    @cached_property
    def holders(self) -> dict[str, tuple[int, float]]:
        """Of each gate, the cluster that holds most of its events of one gate alone, and the share that it holds."""
        gate, codes = self.cells.gate, self.cells.gate_codes
        if gate is None or (codes < 0).all():
            return {}
        table = pd.crosstab(codes[codes >= 0], self.cells.cluster[codes >= 0], normalize="index")
        numbers, shares = table.idxmax(axis=1), table.max(axis=1)
        return {str(gate.categories[code]): (int(numbers[code]), float(shares[code])) for code in table.index}


@dataclass(frozen=True, eq=False)
class Cells:
    """Labels of all cells; their markers and codes are read from the file in pieces.

    Attributes
    ----------
    path
        ``cells.h5ad``.
    cluster
        From 1, shape (cells,); of unassigned cells the nearest, 0 of those that hold values that are not numbers.
    assigned
        Whether each cell counts in its cluster, shape (cells,).
    confidence
        Shape (cells,).
    file, sample, gate
        Categorical; ``gate`` is None in a run without gates.
    in_one_gate
        Whether each cell's event lies in no second gate, shape (cells,); None in a run without gates.
    event
        Index within the file, from 0, shape (cells,).
    counted
        Whether each row is the first of its event, shape (cells,).
    """

    path: Path
    cluster: NDArray[np.int64]
    assigned: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    file: pd.Categorical
    sample: pd.Categorical
    gate: pd.Categorical | None
    in_one_gate: NDArray[np.bool_] | None
    event: NDArray[np.int64]
    counted: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> Cells:
        """Read the labels; raises InputError if the file can't be read."""
        import h5py

        try:
            with h5py.File(path) as file:
                obs = {name: _column(file["obs"][name]) for name in _obs_columns(file)}
        except (OSError, KeyError) as error:
            raise InputError(f"{path}: can't be read ({error})") from error
        return cls(
            path,
            cluster=obs.get("nearest_cluster", obs["cytomoe"]).astype(np.int64),
            assigned=obs["cytomoe"].astype(np.int64) > 0,
            confidence=obs["confidence"].astype(np.float32),
            file=pd.Categorical(obs["file"]),
            sample=pd.Categorical(obs["sample"]),
            gate=pd.Categorical(obs["gate"]) if "gate" in obs else None,
            in_one_gate=obs.get("in_one_gate"),
            event=obs["event"].astype(np.int64),
            counted=obs.get("counted", np.ones(len(obs["event"]), dtype=bool)),
        )

    def __len__(self) -> int:
        return len(self.cluster)

    @property
    def gate_codes(self) -> NDArray[np.int64]:
        """Gate of each cell that has a cluster and lies in one gate alone, -1 of the others, shape (cells,)."""
        if self.gate is None:
            return np.full(len(self), -1, dtype=np.int64)
        codes = np.where(self.cluster > 0, np.asarray(self.gate.codes, dtype=np.int64), -1)
        return codes if self.in_one_gate is None else np.where(self.in_one_gate, codes, -1)

    def expression_blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Give the transformed values of all cells, some rows at a time: rows, (rows, markers)."""
        import h5py

        with h5py.File(self.path) as file:
            for start in range(0, len(self), _ROWS_AT_ONCE):
                rows = slice(start, min(start + _ROWS_AT_ONCE, len(self)))
                yield rows, file["X"][rows].astype(np.float32, copy=False)

    def take(self, name: str, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of ``X`` or ``obsm/X_moesimvae`` for ascending cell numbers, read in pieces."""
        import h5py

        parts = []
        with h5py.File(self.path) as file:
            for start in range(0, len(self), _ROWS_AT_ONCE):
                here = cells[(cells >= start) & (cells < start + _ROWS_AT_ONCE)] - start
                if len(here):
                    parts.append(file[name][start : start + _ROWS_AT_ONCE][here])
            width = file[name].shape[1]
        return np.concatenate([np.empty((0, width), np.float32), *parts]).astype(np.float32, copy=False)


def _column(stored: Any) -> Any:
    """A column as runs store it; anndata, whose import takes as long as all, reads what others made of it."""
    import h5py

    kind = stored.attrs.get("encoding-type")
    if kind == "array":
        return stored[:]
    if kind == "categorical":
        categories = stored["categories"]
        if isinstance(categories, h5py.Dataset) and h5py.check_string_dtype(categories.dtype) is not None:
            return pd.Categorical.from_codes(stored["codes"][:], categories.asstr()[:])
    from anndata.io import read_elem

    return read_elem(stored)


def _obs_columns(file: Any) -> list[str]:
    optional = [name for name in ("gate", "in_one_gate", "counted", "nearest_cluster") if name in file["obs"]]
    return ["cytomoe", "confidence", "file", "sample", "event", *optional]
