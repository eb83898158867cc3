"""What a batch asks of each sample: a run in a folder of its own, and the key by which it is known when it is done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cytomoe import __version__
from cytomoe.plates.samples import Sample
from cytomoe.preprocessing.compensation import Spillover
from cytomoe.reference import SHIPPED
from cytomoe.runs.gating import GateSource
from cytomoe.runs.inputs import Checksum, Stamp, sha256
from cytomoe.runs.orders import ClusterJob, PredictJob
from cytomoe.runs.wells import WellTask, content_key

if TYPE_CHECKING:
    from cytomoe.runs.batch import BatchJob


def choices(job: BatchJob) -> dict[str, Any]:
    """All that decides the result of a sample but the files and the model."""
    choice = asdict(job.preprocessing)
    if job.preprocessing.panel is not None:
        choice["panel"] = sha256(job.preprocessing.panel)
    if isinstance(job.preprocessing.compensate, Spillover):
        choice["compensate"] = job.preprocessing.compensate.to_keyword()
    named_after = job.reference
    if named_after is not None and Path(named_after).is_file():
        named_after = sha256(Path(named_after))
    further = {"seed": job.seed, "reference": named_after, "data_set": job.data_set, "nan": job.nan}
    if job.allow_truncated:
        further["allow_truncated"] = True
    return {"preprocessing": choice, "settings": job.settings.to_dict(), **further}


def decisions(job: BatchJob) -> dict[str, Any]:
    """:func:`choices` as one level of names, with how the batch is done: to tell those of two batches apart."""
    found = choices(job)
    nested = {**found.pop("preprocessing"), **found.pop("settings")}
    decided: dict[str, Any] = {"mode": job.mode, "unassigned": job.unassigned, "allow_truncated": job.allow_truncated}
    if job.model_sum is None:
        decided |= {"subsample": job.subsample, **nested, **found}
    else:  # which has settings of its own
        decided |= {"model": job.model_sum.sha256, "data_set": job.data_set, "nan": job.nan}
    return cast(dict[str, Any], json.loads(json.dumps(decided, default=str)))


def warn_of_changes(before: Any, now: dict[str, Any], out: Path) -> list[str]:
    """A warning where a batch is resumed with other settings, so that what was done with the earlier ones is replaced.

    Parameters
    ----------
    before
        :func:`decisions` that the folder was begun with, read from a file; None where it does not tell.
    now
        Those of this batch.
    out
        Its folder.
    """
    if not isinstance(before, dict):
        return []
    changed = [name for name in now if name in before and before[name] != now[name]]
    if not changed:
        return []
    return [
        f"other settings than those that {out} was begun with: {', '.join(changed)}; what was done with the others is "
        "done anew and replaced"
    ]


def well_tasks(
    job: BatchJob, samples: Sequence[Sample], sums: dict[str, list[Checksum]], model: Path | None
) -> list[WellTask]:
    """A run for each sample, which need not work out again the checksums of its files and model."""
    if model is None:
        decided = choices(job)
        return [_clustering(job, sample, sums[sample.name], decided) for sample in samples]
    of_model = job.model_sum if model == job.model and job.model_sum else Checksum.of(Stamp.of(model.absolute()))
    return [_mapping(job, sample, sums[sample.name], of_model) for sample in samples]


def _clustering(job: BatchJob, sample: Sample, sums: list[Checksum], decided: dict[str, Any]) -> WellTask:
    found = sums_of(sums)
    further = job.subsample, job.h5ad, job.unassigned, sample.name, gates_key(job.gates), job.min_population
    key = content_key("per-sample", __version__, found, decided, *further)
    clustering = replace(
        cluster_job(job, sample.paths, job.out / "wells" / sample.name),
        sample=sample.name,
        gates=_below_root(job.gates),
        min_population=job.min_population,
    )
    return WellTask(sample.name, replace(clustering, known=sums), key, found)


def _mapping(job: BatchJob, sample: Sample, sums: list[Checksum], model: Checksum) -> WellTask:
    found = sums_of(sums)
    further = (
        *(job.data_set, job.allow_truncated, job.h5ad, job.unassigned, job.nan, sample.name, gates_key(job.gates)),
        job.min_population,
    )
    key = content_key("map", __version__, found, model.sha256, *further)
    mapping = PredictJob(
        model=model.stamp.path,
        files=[path.absolute() for path in sample.paths],
        out=(job.out / "wells" / sample.name).absolute(),
        device=job.device,
        gates=_below_root(job.gates),
        min_population=job.min_population,
        sample=sample.name,
        data_set=job.data_set,
        allow_truncated=job.allow_truncated,
        h5ad=job.h5ad,
        unassigned=job.unassigned,
        nan=job.nan,
        report=False,
        command=job.command,
        known=[*sums, model],
    )
    return WellTask(sample.name, mapping, key, found)


def cluster_job(job: BatchJob, paths: Sequence[Path], out: Path) -> ClusterJob:
    """A clustering whose paths mean the same to a worker that stands in another folder."""
    panel, table = job.preprocessing.panel, job.reference
    return ClusterJob(
        files=[path.absolute() for path in paths],
        out=out.absolute(),
        preprocessing=replace(job.preprocessing, panel=None if panel is None else panel.absolute()),
        settings=job.settings,
        seed=job.seed,
        device=job.device,
        subsample=job.subsample,
        reference=table if table is None or table in SHIPPED else str(Path(table).absolute()),
        data_set=job.data_set,
        allow_truncated=job.allow_truncated,
        h5ad=job.h5ad,
        unassigned=job.unassigned,
        nan=job.nan,
        report=False,
        command=job.command,
    )


def gates_key(gates: GateSource) -> dict[str, Any]:
    """What results depend on of where gates stand: what a table of names holds, not where it is."""
    return asdict(gates) | {"names": None if gates.names is None else sha256(gates.names)}


def _below_root(gates: GateSource) -> GateSource:
    """Where gates stand, in paths that mean the same to a worker that stands in another folder."""
    return replace(gates, names=None if gates.names is None else gates.names.absolute())


def sums_of(sums: Sequence[Checksum]) -> list[str]:
    """Checksums of files, in hexadecimal."""
    return [one.sha256 for one in sums]
