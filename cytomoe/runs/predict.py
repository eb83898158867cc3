"""Map new files with a saved model."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cytomoe.drift import Drift, measure_drift
from cytomoe.errors import InputError
from cytomoe.imports import load
from cytomoe.io.fcs_names import SUFFIXES
from cytomoe.io.written import write_csv
from cytomoe.reporting.moved import judge_markers, judge_moved
from cytomoe.runs import outputs
from cytomoe.runs.ending import describe_not_numbers, end_run, prepare_outputs
from cytomoe.runs.events import refuse_missing
from cytomoe.runs.gating import warn_of_names
from cytomoe.runs.inputs import MODEL_FILE, Checksum, Stamp, model_path
from cytomoe.runs.job import Listener, RunResult, Stopwatch
from cytomoe.runs.mapping import MappedEvents, map_events
from cytomoe.runs.opening import open_run
from cytomoe.runs.orders import PredictJob
from cytomoe.runs.samples import refuse_marker_columns
from cytomoe.twins import SharedEvents

_FILES_SHOWN = 2  # in the command that was meant


def run_predict(job: PredictJob, listener: Listener | None = None) -> RunResult:
    """Map files with a model and write the results.

    Raises
    ------
    InputError
        If the model or a file can't be read, or a file lacks a marker of the model; nothing is written then.
    """
    with outputs.output_folder(job.out, job.force, job.reads):
        return _predict(job, listener or Listener())


def _refuse_swapped(job: PredictJob) -> None:
    """Refuse an FCS file in the place of the model, with the command that was meant."""
    if not (job.model.is_file() and job.model.name.lower().endswith(SUFFIXES)):
        return
    model = next((path for path in job.files if path.is_dir() or path.name == MODEL_FILE), None)
    files = [job.model, *(path for path in job.files if path != model)]
    meant = shlex.join(map(str, [model or "MODEL", *files[:_FILES_SHOWN]]))
    more = " ..." if len(files) > _FILES_SHOWN else ""
    raise InputError(f"{job.model} is an FCS file, and the model comes first: cytomoe predict {meant}{more}")


def _predict(job: PredictJob, listener: Listener) -> RunResult:
    """Map files into an output folder that is ours."""
    _refuse_swapped(job)
    job = replace(job, model=model_path(job.model))
    refuse_missing([job.model, *job.files])

    watch = Stopwatch()
    model_stamp = Stamp.of(job.model)
    events, gated = open_run(job, listener)
    prepare_outputs(job, events)
    load("torch")  # not before the simplest mistakes are ruled out
    from cytomoe.clusterer import Clusterer

    model = Clusterer.load(job.model, device=job.device, nan=job.nan)
    refuse_marker_columns(events, model.preprocessor_.markers)
    watch.lap("read")
    of_batch = job.key is not None
    looks = of_batch or (len(events.files) > 1 and job.gates.pattern is None)
    shared = SharedEvents(events.names, events.n_events) if looks else None
    listener.stage(f"mapping {events.n_events:,} events")
    mapped = map_events(model, events, gated, unassigned=job.unassigned, shared=shared)
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
    twins = [] if shared is None or job.gates.pattern is not None else shared.warnings()
    odd_events = [*twins, *describe_not_numbers(mapped), *drift.warnings()]
    shares = model.summary_.sizes / model.summary_.sizes.sum()
    _tell(mapped, drift, shares, listener)
    model_file = {"path": str(job.model.resolve()), "sha256": Checksum.of(model_stamp, job.known).sha256}
    return end_run(
        job,
        mapped,
        gated,
        listener,
        watch,
        warnings=[*events.warnings, *warn_of_names(gated), *odd_events],
        write_own=lambda folder: write_csv(folder / "drift.csv", drift.markers),
        further={
            "model": model_file,
            "drift": drift.to_dict(),
            "fitted_shares": shares.astype(float).round(6).tolist(),
            **({"sketch": shared.sketch()} if of_batch and shared is not None else {}),
        },
    )


def _tell(mapped: MappedEvents, drift: Drift, fitted: NDArray[np.float64], listener: Listener) -> None:
    """Say what the report's verdict notes of markers and shares that are unlike those of the fit."""
    counts = outputs.abundance_counts(mapped)
    samples, numbers = mapped.events.samples, range(1, counts.shape[1])
    moved = judge_moved(counts[:, 1:], samples, numbers, what="cluster", fitted=fitted, events=counts.sum(axis=1))
    for finding in [*judge_markers(drift.markers, drift.to_dict()), *moved]:
        if finding.level == "note":
            listener.say(f"{finding.title}: {finding.detail}")
