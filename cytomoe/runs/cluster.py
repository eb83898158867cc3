"""The main job: cluster the events of FCS files and leave a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe import processes
from cytomoe.choices import warn_of_choices
from cytomoe.errors import InputError
from cytomoe.preparation import Prepared
from cytomoe.reference import Population, read_reference
from cytomoe.runs import outputs
from cytomoe.runs.ending import describe_not_numbers, end_run, prepare_outputs
from cytomoe.runs.events import Events
from cytomoe.runs.fitting import (
    get_ready,
    hold_out,
    known_cells,
    on_all_copies,
    prepare_fit,
    rows_that_train,
    train,
    unstable,
)
from cytomoe.runs.gating import GatedEvents, find_prior, warn_of_names
from cytomoe.runs.inputs import MODEL_FILE
from cytomoe.runs.job import Listener, RunResult, Stopwatch
from cytomoe.runs.mapping import map_and_name
from cytomoe.runs.opening import open_run
from cytomoe.runs.orders import ClusterJob
from cytomoe.runs.samples import refuse_marker_columns
from cytomoe.runs.sampling import FITTED_EVENTS
from cytomoe.saturation import warn_of_saturation
from cytomoe.similarity import OTHER, Prior
from cytomoe.twins import warn_of_twins
from cytomoe.words import counted

if TYPE_CHECKING:
    from cytomoe.clusterer import Clusterer
    from cytomoe.io.gates import Gates


@dataclass(frozen=True, eq=False)
class Begun:
    """A run whose files are read and whose network is still to be trained.

    Attributes
    ----------
    job, listener, watch
        What is done, who is told, and the seconds so far.
    events, gated, held_out
        The events, their gates if there are any, and whether a row is kept out of the fit, shape (events,), or None.
    n_fitted
        Events that train.
    known, prior
        Known populations of all events, and of those that train; None where nothing is known.
    reference
        Populations to name the clusters after, or None.
    prepared
        The cells that train, and their similarity.
    notes
        What the user should know of the events that train.
    """

    job: ClusterJob
    listener: Listener
    watch: Stopwatch
    events: Events
    gated: GatedEvents | None
    held_out: NDArray[np.bool_] | None
    n_fitted: int
    known: Gates | None
    prior: Prior | None
    reference: Sequence[Population] | None
    prepared: Prepared
    notes: list[str]


def run_cluster(job: ClusterJob, listener: Listener | None = None) -> RunResult:
    """Cluster files and write the results.

    Raises
    ------
    InputError
        If the files, markers, gates or settings are wrong; nothing is written then.
    RunError
        If the training fails.
    """
    get_ready(job)
    with outputs.output_folder(job.out, job.force, job.reads):
        begun = begin(job, listener or Listener())
        if job.key is None:  # the next sample of a batch has use for them
            processes.stop()  # that made partitions, and hold 130 MB each
        prepare_outputs(job, begun.events)  # while the training leaves cores idle
        return finish(begun, train(job, begun.prepared, begun.listener, begun.watch))


def begin(job: ClusterJob, listener: Listener) -> Begun:
    """Read the files of a run, and prepare its fit; raises InputError as :func:`run_cluster` does."""
    outputs.check_output(job.out, job.force)
    reference = None if job.reference is None else read_reference(job.reference)
    watch = Stopwatch()
    events, gated = open_run(job, listener, fitted=job.subsample or FITTED_EVENTS)
    known = _known(job, events, gated, listener)
    held_out = hold_out(job, events, gated)
    rows = rows_that_train(job, events, gated, held_out, known)
    n_fitted = sum(map(len, rows))
    if n_fitted < events.n_events and held_out is None and gated is None:
        listener.say(f"fitted on {n_fitted:,} of the events, evenly from each sample; all get a label (--subsample)")
    training = [events.take(i, rows[i]) for i in events.by_name.tolist() if len(rows[i])]
    watch.lap("read")
    prior = None if known is None else known_cells(events, rows, known)
    if prior is not None:
        listener.say(describe_known(prior))
    prepared, prior = prepare_fit(job, training, listener, watch, prior)
    refuse_marker_columns(events, prepared.preprocessor.markers)
    n_fitted = len(prepared.expression)
    notes = [*warn_of_choices(training[0], prepared.preprocessor), *warn_of_saturation(training, prepared.preprocessor)]
    if gated is None:
        notes = [*warn_of_twins(training), *notes]
    return Begun(job, listener, watch, events, gated, held_out, n_fitted, known, prior, reference, prepared, notes)


def _known(job: ClusterJob, events: Events, gated: GatedEvents | None, listener: Listener) -> Gates | None:
    """Known populations of the rows, the same for all rows of an event; None where nobody knows any."""
    known = find_prior(events, job.prior, listener)
    if known is None or gated is None:
        return known
    known, differing = on_all_copies(known, gated.overlaps)
    if differing:
        listener.warn(
            f"{counted(differing, 'event')} that the files of several gates hold, known as one population in one file "
            "and as another in the next: taken for unknown"
        )
    if not known.names:
        raise InputError("--prior: every known event is known as different populations in several files")
    return known


def finish(begun: Begun, model: Clusterer) -> RunResult:
    """Map the events of a run with the model that it made, and write the results."""
    job, events, gated, watch, listener = begun.job, begun.events, begun.gated, begun.watch, begun.listener
    listener.stage(f"mapping {events.n_events:,} events")
    mapped = map_and_name(model, events, gated, reference=begun.reference, unassigned=job.unassigned)
    watch.lap("map")
    held_out, known = begun.held_out, begun.known
    measured = held_out if known is None else ~known.gated if held_out is None else held_out & ~known.gated
    warnings = [
        *events.warnings,
        *warn_of_names(gated, known),
        *begun.notes,
        *describe_not_numbers(mapped),
        *model.notes_,
        *known_alone(begun.prior),
        *_without_cluster(begun.prior, model.known_as_),
        *_not_followed(known, mapped.nearest, model.known_as_, mapped.counted),
        *unstable(model),
    ]
    return end_run(
        job,
        mapped,
        gated,
        listener,
        watch,
        warnings=warnings,
        write_own=lambda folder: model.save(folder / MODEL_FILE),
        further={
            "events_fitted": begun.n_fitted,
            "holdout": job.holdout,
            "prior": None if begun.prior is None else begun.prior.counts(),
            "training": model.history_.records,
        },
        measured=measured,
    )


def describe_known(prior: Prior) -> str:
    """How many events of each population are known, in a line."""
    counts = prior.counts()
    others = counts.pop(OTHER, 0)
    line = f"{sum(counts.values()):,} events are known: {'; '.join(f'{name} {n:,}' for name, n in counts.items())}"
    return f"{line}. {others:,} are known to be of none of these ({OTHER})" if others else line


def known_alone(prior: Prior | None) -> list[str]:
    """A warning where a single population is known, and nothing that is none of it."""
    known = [] if prior is None else [name for name, n in prior.counts().items() if n]
    if len(known) != 1:
        return []
    return [
        f"{known[0]} is the only known population, so nothing says where it ends: whole clusters in which its known "
        f"cells lie are called so; to bound it, name some cells that are none of it {OTHER}"
    ]


def _without_cluster(prior: Prior | None, known_as: Sequence[str]) -> list[str]:
    """Warnings of known populations that are no cluster's majority."""
    counts = {} if prior is None else prior.counts()
    return [
        f"the known population {name} ({count} events) has no cluster of its own: its cells lie among those of others"
        for name, count in counts.items()
        if name not in known_as and name != OTHER
    ]


def _not_followed(
    known: Gates | None, clusters: NDArray[np.int32], known_as: Sequence[str], once: NDArray[np.bool_] | None
) -> list[str]:
    """A warning of known events that are in no cluster called as they are, of populations that have one."""
    if known is None:
        return []
    rows = np.flatnonzero((known.gated if once is None else known.gated & once) & (clusters > 0))
    called = np.array(["", *known_as], dtype=object)[clusters[rows]]
    told = np.array(known.names, dtype=object)[known.codes[rows]]
    parts = []
    for name in known.names:
        own = told == name
        apart = int(np.count_nonzero(called[own] != name))
        if apart and name in known_as:
            most = int(np.bincount(clusters[rows[own & (called != name)]]).argmax())
            parts.append(f"{name} {apart} of {int(own.sum())} (most in cluster {most})")
    if not parts:
        return []
    return [
        f"known events that lie among cells of another kind, and whose clusters are not called so: {'; '.join(parts)}"
    ]
