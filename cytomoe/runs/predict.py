"""Map new files with a saved model."""

from __future__ import annotations

from dataclasses import replace

from cytomoe.drift import measure_drift
from cytomoe.io.written import write_csv
from cytomoe.runs import outputs
from cytomoe.runs.ending import describe_not_numbers, end_run
from cytomoe.runs.events import refuse_missing
from cytomoe.runs.inputs import Checksum, Stamp, model_path
from cytomoe.runs.job import Listener, RunResult, Stopwatch
from cytomoe.runs.mapping import map_events
from cytomoe.runs.opening import open_run
from cytomoe.runs.orders import PredictJob
from cytomoe.runs.samples import refuse_marker_columns


def run_predict(job: PredictJob, listener: Listener | None = None) -> RunResult:
    """Map files with a model and write the results.

    Raises
    ------
    InputError
        If the model or a file can't be read, or a file lacks a marker of the model; nothing is written then.
    """
    with outputs.output_folder(job.out, job.force, job.reads):
        return _predict(job, listener or Listener())


def _predict(job: PredictJob, listener: Listener) -> RunResult:
    """Map files into an output folder that is ours."""
    job = replace(job, model=model_path(job.model))
    refuse_missing([job.model, *job.files])

    from cytomoe.estimator import MoESimVAE  # brings torch: not before the simplest mistakes are ruled out

    watch = Stopwatch()
    model_stamp = Stamp.of(job.model)
    model = MoESimVAE.load(job.model, device=job.device, nan=job.nan)
    events, gated = open_run(job, listener)
    refuse_marker_columns(events, model.preprocessor_.markers)
    watch.lap("read")
    mapped = map_events(model, events, gated, unassigned=job.unassigned)
    watch.lap("map")
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
    shares = model.summary_.sizes / model.summary_.sizes.sum()
    model_file = {"path": str(job.model.resolve()), "sha256": Checksum.of(model_stamp, job.known).sha256}
    return end_run(
        job,
        mapped,
        gated,
        listener,
        watch,
        warnings=warnings,
        write_own=lambda folder: write_csv(folder / "drift.csv", drift.markers),
        further={
            "model": model_file,
            "drift": drift.to_dict(),
            "fitted_shares": shares.astype(float).round(6).tolist(),
        },
    )
