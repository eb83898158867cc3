"""One sample of a plate: a whole run in a folder of its own, done once, known by what it was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cytomoe import __version__
from cytomoe.errors import CytomoeError
from cytomoe.io.run_folder import MANIFEST, distinct_events
from cytomoe.runs.cluster import run_cluster
from cytomoe.runs.job import RunResult
from cytomoe.runs.orders import ClusterJob, PredictJob
from cytomoe.runs.predict import run_predict

# What a run, and the making of its report, writes into its folder.
_WRITTEN = {
    *("labels.csv", "labels.parquet", "clusters.csv", "enrichment.csv", "abundance.csv", "medians.csv", "states.csv"),
    *("drift.csv", "evaluation.csv", "evaluation.json", "cells.h5ad", "model.cytomoe", "report.html", "fcs", "figures"),
}
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class WellTask:
    """A sample to be clustered by itself, or mapped with a model.

    Attributes
    ----------
    name
        Of the sample.
    job
        The run; it writes into a folder of its own.
    key
        Checksum of the files, the settings, the model and the version of cytomoe.
    sums
        Checksum of each file.
    version
        Of the cytomoe that asks; another one must not answer.
    """

    name: str
    job: ClusterJob | PredictJob
    key: str
    sums: Sequence[str]
    version: str = __version__


@dataclass(frozen=True)
class WellResult:
    """What became of a sample.

    Attributes
    ----------
    events, clusters
        Counts, an event that stands in several files once; 0 where it failed.
    seconds
        Wall time.
    problem
        Why it failed; empty where it did not.
    reused
        Whether it was there already.
    """

    events: int = 0
    clusters: int = 0
    seconds: float = 0.0
    problem: str = ""
    reused: bool = False


def content_key(*parts: Any) -> str:
    """Checksum of anything that JSON can hold."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def finished(out: Path, key: str, sums: Sequence[str]) -> WellResult | None:
    """The result in a folder if it was made from the same and every file of it is there, whole; None otherwise."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        # A file that changed while it waited for its turn was not the one that the key is of.
        if manifest["key"] != key or [entry["sha256"] for entry in manifest["inputs"]] != list(sums):
            return None
        # Of a file that was deleted or cut. One of the same size is taken for what it was.
        if any((out / name).stat().st_size != size for name, size in manifest["outputs"].items()):
            return None
        seconds = sum(manifest["seconds"].values())
        return WellResult(distinct_events(manifest), manifest["clusters"], seconds, reused=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def run_well(task: WellTask) -> WellResult:
    """Cluster or map a sample, unless its folder holds just that already.

    What the user can mend (a damaged file, a missing marker, a full disk) is a result; anything else is raised.
    """
    done = finished(task.job.out, task.key, task.sums)
    if done is not None:
        return done
    return or_problem(_run, task)


def clear_rest(out: Path) -> None:
    """Take away what is left of a sample whose ``run.json`` is gone: without it a run would not replace the folder.

    A folder with anything that no run writes is left, and refused by the run.
    """
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    if all(path.name in _WRITTEN for path in out.iterdir()):
        shutil.rmtree(out)


def _run(task: WellTask) -> WellResult:
    clear_rest(task.job.out)
    if isinstance(task.job, ClusterJob):
        return well_result(run_cluster(replace(task.job, force=True, key=task.key)))
    return well_result(run_predict(replace(task.job, force=True, key=task.key)))


def well_result(result: RunResult) -> WellResult:
    """A run's result, as that of a sample."""
    return WellResult(result.n_distinct, result.n_clusters, round(sum(result.seconds.values()), 3))


def or_problem(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | WellResult:
    """What the work gives, or what the user can mend where it fails; other errors are raised."""
    try:
        return work(*arguments, **named)
    except CytomoeError as error:
        return WellResult(problem=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return WellResult(problem=f"{where}{error.strerror or error}")
