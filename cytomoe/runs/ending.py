"""How every run ends: its clusters measured, the folder of its results written, the report made, the user answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.io.atomic import atomic_directory
from cytomoe.io.remarks import told_once
from cytomoe.io.written import write_csv
from cytomoe.preprocessing import describe_non_finite
from cytomoe.reporting.embedding import prepare_map
from cytomoe.runs import outputs
from cytomoe.runs.cells import H5adChoice, cells_written, prepare_cells, writes_cells
from cytomoe.runs.events import Events
from cytomoe.runs.gating import GatedEvents
from cytomoe.runs.job import Listener, RunResult, Stopwatch
from cytomoe.runs.manifest import write_manifest
from cytomoe.runs.mapping import MappedEvents
from cytomoe.runs.medians import median_table, state_table
from cytomoe.runs.orders import RunJob
from cytomoe.runs.report import report_of_run
from cytomoe.twins import SharedEvents, tells_of_twins


def prepare_outputs(job: RunJob, events: Events) -> None:
    """Have processes load what the outputs take and the run does not, while it trains or maps.

    A sample of a batch does not: the next one finds loaded what it has loaded.
    """
    if job.key is not None or not writes_cells(events, job.h5ad):
        return
    if job.report:
        prepare_map()
    else:  # beside UMAP too, anndata slows a mapping on two cores, 4.0 s in place of 3.6
        prepare_cells()


def end_run(
    job: RunJob,
    mapped: MappedEvents,
    gated: GatedEvents | None,
    listener: Listener,
    watch: Stopwatch,
    *,
    warnings: Sequence[str],
    write_own: Callable[[Path], None],
    further: Mapping[str, Any],
    measured: NDArray[np.bool_] | None = None,
) -> RunResult:
    """Write the results of a run whose events are mapped.

    Parameters
    ----------
    job, mapped, gated
        The run, its events with their clusters, and their gates if they have any.
    listener, watch
        Who is told, and the seconds so far.
    warnings
        What the user should know.
    write_own
        Writes what only such a run has into the folder.
    further
        What only the manifest of such a run has.
    measured
        Whether a row counts for the measures, shape (events,); None where all do.
    """
    evaluation = _measure(mapped, gated, measured, job.min_population)
    for line in told_once(warnings):
        listener.warn(line)
    listener.stage("writing the results")
    with atomic_directory(job.out, replace=job.out.exists()) as folder:
        _write_results(folder, mapped, gated, evaluation, job.h5ad)
        write_own(folder)
        watch.lap("write")
        if job.key is not None and "sketch" not in further:  # by which a batch compares its samples
            further = {**further, "sketch": _sketch(mapped.events)}
        write_manifest(folder, job, mapped, gated, warnings=warnings, seconds=watch.seconds, further=further)
    wanted = job.report and writes_cells(mapped.events, job.h5ad)  # the report is made from the cells
    report = report_of_run(job.out, listener) if wanted else None
    watch.lap("report")
    result = _result(mapped, job.out, evaluation, watch.seconds, report)
    return replace(result, repeats=tells_of_twins(warnings))


def _sketch(events: Events) -> str:
    """What tells whether other samples of a batch hold the same events."""
    shared = SharedEvents(events.names, events.n_events)
    for i in range(len(events.files)):
        for _, raw in events.chunks(i):
            shared.look(i, raw)
    return shared.sketch()


def describe_not_numbers(mapped: MappedEvents) -> list[str]:
    """What was done to values that are not numbers, a warning for each file that has any."""
    warnings = []
    for i, name in enumerate(mapped.events.names):
        counts = mapped.not_numbers.get(name)
        if not counts:
            continue
        if mapped.model.nan == "zero":
            done = f"{sum(map(sum, counts.values())):,} values that are not numbers were set to 0 (--nan zero)"
        else:
            start = int(mapped.events.starts[i])
            dropped = np.count_nonzero(mapped.nearest[start : start + mapped.events.sizes[i]] == 0)
            done = f"{dropped:,} events with values that are not numbers are in no cluster (--nan drop)"
        warnings.append(f"{name}: {done}: {describe_non_finite(counts)}")
    return warnings


def _measure(
    mapped: MappedEvents,
    gated: GatedEvents | None,
    held_out: NDArray[np.bool_] | None,
    min_population: int,
) -> dict[str, Any] | None:
    """Measures of the clusters against the gates, unassigned events in the nearest; None without gates.

    Events that were dropped have no cluster and are not measured.
    """
    from cytomoe.evaluation import evaluate

    if gated is None:
        return None
    there = mapped.nearest > 0
    return evaluate(
        mapped.nearest[there],
        gated.gates.take(there),
        unique=gated.overlaps.unique[there],
        holdout=None if held_out is None else held_out[there],
        sample=np.array(mapped.events.samples, dtype=object)[mapped.events.sample[there]],
        min_population=min_population,
    )


def _write_results(
    folder: Path,
    mapped: MappedEvents,
    gated: GatedEvents | None,
    evaluation: dict[str, Any] | None,
    h5ad: H5adChoice,
) -> None:
    """Write labels, tables, AnnData and FCS files of mapped events, and the measures if there are any."""
    path = folder / "cells.h5ad"
    with cells_written(path, mapped, gated) if writes_cells(mapped.events, h5ad) else nullcontext():
        outputs.write_labels(folder, mapped)
        write_csv(folder / "clusters.csv", outputs.cluster_table(mapped))
        write_csv(folder / "enrichment.csv", mapped.enrichment.table())
        write_csv(folder / "abundance.csv", outputs.abundance_table(mapped))
        write_csv(folder / "medians.csv", median_table(mapped))
        states = state_table(mapped)
        if states is not None:
            write_csv(folder / "states.csv", states)
        outputs.write_fcs_files(folder, mapped)
        if evaluation is not None:
            outputs.write_evaluation(folder, evaluation)


def _result(
    mapped: MappedEvents,
    out: Path,
    evaluation: dict[str, Any] | None,
    seconds: dict[str, float],
    report: Path | None,
) -> RunResult:
    """What the run found, for the one who asked."""
    n_dropped = int(mapped.count(mapped.nearest)[0])
    unassigned = None if mapped.outlyingness is None else int(mapped.count(mapped.clusters)[0]) - n_dropped
    return RunResult(
        out,
        mapped.events.n_events,
        mapped.n_counted,
        mapped.model.n_clusters_,
        evaluation,
        seconds,
        _summary(mapped),
        report,
        unassigned,
        n_dropped if mapped.model.nan == "drop" else None,
    )


def _summary(mapped: MappedEvents) -> list[dict[str, Any]]:
    """Each cluster with its names, events and fraction, as the run prints them."""
    sizes, columns, stability = mapped.sizes, mapped.names.columns, mapped.model.summary_.stability
    return [
        {
            "cluster": k,
            **{name: column[k - 1] for name, column in columns.items()},
            "events": int(size),
            "fraction": round(int(size) / max(mapped.n_counted, 1), 6),
            "stability": None if np.isnan(stable) else round(stable, 3),
        }
        for k, (size, stable) in enumerate(zip(sizes.tolist(), stability.tolist(), strict=True), start=1)
    ]
