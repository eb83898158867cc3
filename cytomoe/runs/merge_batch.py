"""Names for the clusters of a batch: its model with them, by which its samples are mapped anew."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytomoe import __version__
from cytomoe.annotation import ClusterNames
from cytomoe.errors import InputError
from cytomoe.fit_summary import QUANTILES
from cytomoe.io.atomic import atomic_directory
from cytomoe.io.run_folder import read_batch, read_levels
from cytomoe.naming import number_populations
from cytomoe.runs import outputs
from cytomoe.runs.inputs import MODEL_FILE
from cytomoe.runs.job import Listener
from cytomoe.runs.joins import called, differences, keep_unknown_apart, warn_of_differences
from cytomoe.runs.merge import MergeJob, MergeResult, populations_of

if TYPE_CHECKING:
    from cytomoe.clusterer import Clusterer


@dataclass(frozen=True, eq=False)
class BatchClusters:
    """The clusters of a batch.

    Attributes
    ----------
    model
        That found them.
    table
        A row per cluster, as of a run: number, names, events and share in all samples, medians of the fit.
    levels
        Of the markers in the first sample: see :func:`cytomoe.io.run_folder.read_levels`.
    n_events
        Events of all samples.
    """

    model: Clusterer
    table: pd.DataFrame
    levels: pd.DataFrame | None
    n_events: int

    @classmethod
    def read(cls, run: Path) -> BatchClusters:
        """Read them from the folder of a batch.

        Raises
        ------
        InputError
            If the batch can't be read, or has no model of its own.
        """
        of_first, abundance = read_batch(run)
        if not (run / MODEL_FILE).is_file():
            raise InputError(f"{run}: its samples were mapped with the model of another run; give the folder of that")
        from cytomoe.clusterer import Clusterer

        model = Clusterer.load(run / MODEL_FILE, device="cpu")
        events = abundance[[f"cluster_{k}" for k in of_first["cluster"]]].sum().to_numpy(dtype=np.int64)
        medians = model.summary_.cluster_quantiles[:, int(np.argmin(np.abs(QUANTILES - 0.5)))]
        columns = [
            of_first[[name for name in ("cluster", "label", "population") if name in of_first]],
            pd.DataFrame({"events": events, "fraction": events / max(int(events.sum()), 1)}),
            pd.DataFrame(medians, columns=model.preprocessor_.markers),
        ]
        levels = read_levels(run / "wells" / abundance["sample"][0], of_first)
        return cls(model, pd.concat(columns, axis=1), levels, int(abundance["events"].sum()))


def run_merge_batch(job: MergeJob, listener: Listener) -> MergeResult:
    """Write the model of a batch with its clusters named; every table and report follows from mapping with it.

    Raises
    ------
    InputError
        If the batch can't be read, has no model of its own, or its clusters can't be named so.
    """
    with outputs.output_folder(job.out, job.force, [job.run / MODEL_FILE]):
        batch = BatchClusters.read(job.run)
        clusters, events = batch.table, batch.table["events"].to_numpy(dtype=np.int64)
        apart = keep_unknown_apart(called(clusters))
        names, provenance = job.naming.names(clusters, apart)
        parted = [] if batch.levels is None else differences(names, events, batch.levels, apart)
        found = [each.in_words(apart) for each in parted]
        warnings = warn_of_differences(found)
        for warning in warnings:
            listener.warn(warning)
        batch.model.names_ = ClusterNames(tuple(clusters["label"]), tuple(names), "merge")
        with atomic_directory(job.out, replace=job.out.exists()) as folder:
            batch.model.save(folder / MODEL_FILE)
            manifest = {"version": __version__, "command": shlex.join(job.command), "model_of": str(job.run.resolve())}
            outputs.write_json(folder / outputs.MANIFEST, {**manifest, "merged": {**provenance, "apart": found}})
        where = shlex.join(["--model", str(job.out), "--out", f"{job.out}_mapped"])
        listener.say(f"map the samples with these names: cytomoe batch FILES {where}")
        populations = populations_of(clusters, names, pd.Series(number_populations(list(names), events), names.index))
        return MergeResult(populations, batch.n_events, None, None, provenance.get("tree", []), warnings)
