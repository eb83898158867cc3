"""Map new files with a saved model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cytomoe.drift import measure_drift
from cytomoe.io.atomic import atomic_directory
from cytomoe.io.remarks import told_once
from cytomoe.preprocessing import NanPolicy
from cytomoe.runs import outputs
from cytomoe.runs.events import GateSource, find_gates, open_events, refuse_missing
from cytomoe.runs.inputs import Checksum, Stamp, model_path
from cytomoe.runs.job import Listener, RunResult, Stopwatch
from cytomoe.runs.mapping import (
    H5adChoice,
    announce,
    count_unassigned,
    describe_gates,
    describe_not_numbers,
    map_events,
    measure,
    record_not_numbers,
    record_overlaps,
    result_of,
    write_results,
    writes_cells,
)
from cytomoe.runs.report import report_of_run
from cytomoe.runs.samples import with_samples


@dataclass(frozen=True)
class PredictJob:
    """A mapping to do.

    Attributes
    ----------
    model
        Model file of an earlier run.
    files, out, device, gates, samples, sample, min_population, data_set, allow_truncated, h5ad, unassigned, nan,
    force, report
        As in :class:`cytomoe.runs.cluster.ClusterJob`.
    command, key, known
        As in :class:`cytomoe.runs.cluster.ClusterJob`.
    """

    model: Path
    files: Sequence[Path]
    out: Path
    device: str = "auto"
    gates: GateSource = field(default_factory=GateSource)
    samples: Path | None = None
    sample: str | None = None
    min_population: int = 30
    data_set: int = 1
    allow_truncated: bool = False
    h5ad: H5adChoice = "auto"
    unassigned: bool = False
    nan: NanPolicy = "refuse"
    force: bool = False
    report: bool = True
    command: Sequence[str] = ()
    key: str | None = None
    known: Sequence[Checksum] = ()


def run_predict(job: PredictJob, listener: Listener | None = None) -> RunResult:
    """Map files with a model and write the results.

    Raises
    ------
    InputError
        If the model or a file can't be read, or a file lacks a marker of the model; nothing is written then.
    """
    with outputs.output_folder(job.out, job.force):
        return _predict(job, listener or Listener())


def _predict(job: PredictJob, listener: Listener) -> RunResult:
    """Map files into an output folder that is ours."""
    job = replace(job, model=model_path(job.model))
    refuse_missing([job.model, *job.files])

    from cytomoe.estimator import MoESimVAE  # brings torch: not before the simplest mistakes are ruled out

    watch = Stopwatch()
    model_stamp = Stamp.of(job.model)
    model = MoESimVAE.load(job.model, device=job.device, nan=job.nan)
    events = open_events(
        job.files,
        data_set=job.data_set,
        pattern=job.gates.pattern,
        sample=job.sample,
        allow_truncated=job.allow_truncated,
    )
    if job.samples is not None:
        events = with_samples(events, job.samples)
    announce(events, job.h5ad, listener)
    gated = find_gates(events, job.gates)
    if gated is not None:
        listener.say(describe_gates(gated))
    watch.lap("read")
    mapped = map_events(model, events, gated, unassigned=job.unassigned)
    watch.lap("map")
    evaluation = measure(mapped, gated, min_population=job.min_population)
    rows, expression = mapped.representative()
    drift = measure_drift(
        model.summary_,
        model.preprocessor_.markers,
        expression,
        model.misfit(expression),
        events.sample[rows],
        events.samples,
    )
    watch.lap("drift")
    warnings = [*events.warnings, *describe_not_numbers(mapped), *drift.warnings()]
    for line in told_once(warnings):
        listener.warn(line)
    with atomic_directory(job.out, replace=job.out.exists()) as folder:
        write_results(folder, mapped, gated, evaluation, h5ad=job.h5ad)
        outputs.write_csv(folder / "drift.csv", drift.markers)
        watch.lap("write")
        model_file = {"path": str(job.model.resolve()), "sha256": Checksum.of(model_stamp, job.known).sha256}
        outputs.write_manifest(
            folder,
            mapped,
            command=job.command,
            warnings=warnings,
            seconds=watch.seconds,
            known=job.known,
            further={
                "key": job.key,
                "model": model_file,
                "unassigned": count_unassigned(mapped),
                "not_numbers": record_not_numbers(mapped),
                "overlaps": record_overlaps(mapped, gated),
                "drift": drift.to_dict(),
            },
        )
    wanted = job.report and writes_cells(events, job.h5ad)  # the report is made from the cells
    report = report_of_run(job.out, listener) if wanted else None
    watch.lap("report")
    return result_of(mapped, job.out, evaluation, watch.seconds, report)
