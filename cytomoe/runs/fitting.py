"""The fit of a run: which events train, their preprocessing and similarity, and the network."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe import processes
from cytomoe.choices import warn_of_choices
from cytomoe.errors import CytomoeError, InputError
from cytomoe.fit_summary import UNSTABLE, as_shown
from cytomoe.imports import load
from cytomoe.preparation import Prepared, prepare, refuse_unscaled
from cytomoe.preprocessing import numeric
from cytomoe.runs.events import Events
from cytomoe.runs.gating import GatedEvents
from cytomoe.runs.job import Listener, Stopwatch
from cytomoe.runs.orders import ClusterJob
from cytomoe.runs.sampling import rows_to_fit, with_rows
from cytomoe.saturation import warn_of_saturation
from cytomoe.similarity import Prior
from cytomoe.similarity.valleys import blas, start_processes
from cytomoe.twins import warn_of_twins
from cytomoe.words import plural

if TYPE_CHECKING:
    from cytomoe.clusterer import Clusterer
    from cytomoe.io.gates import Gates
    from cytomoe.io.overlaps import Overlaps
    from cytomoe.io.raw_events import RawEvents
    from cytomoe.preprocessing import Preprocessor

# Share of the cells in unstable clusters above which a run warns of them.
SHAKY_SHARE = 0.01


def get_ready(job: ClusterJob) -> None:
    """Start what a fit will need, while files are still to be read."""
    if job.settings.similarity == "valleys":
        start_processes()
        blas()


def hold_out(job: ClusterJob, events: Events, gated: GatedEvents | None) -> NDArray[np.bool_] | None:
    """Rows kept out of the fit, all rows of one event on the same side; None without hold-out."""
    from cytomoe.evaluation import holdout_mask

    if not job.holdout:
        return None
    event = np.arange(events.n_events) if gated is None else gated.overlaps.event
    return holdout_mask(event, job.holdout, np.random.default_rng([job.seed, 1]))


def rows_that_train(
    job: ClusterJob,
    events: Events,
    gated: GatedEvents | None,
    held_out: NDArray[np.bool_] | None,
    known: Gates | None,
) -> list[NDArray[np.int64]]:
    """Ascending positions in each file of the events that train: each event once, none that is held out."""
    eligible = None if held_out is None else ~held_out
    if gated is not None:
        eligible = gated.overlaps.first if eligible is None else gated.overlaps.first & eligible
    rows = rows_to_fit(events, eligible, job.subsample, np.random.default_rng([job.seed, 3]))
    if known is None:
        return rows
    return with_rows(events, rows, known.gated if eligible is None else known.gated & eligible)


def on_all_copies(known: Gates, overlaps: Overlaps) -> tuple[Gates, int]:
    """Known populations on every row of an event of which some row names one; where rows name several, on none.

    Parameters
    ----------
    known
        Known population of each row.
    overlaps
        Which rows hold the same event.

    Returns
    -------
    known : Gates
        The same for all rows of an event.
    differing : int
        Events whose rows name different populations.
    """
    from cytomoe.io.gates import Gates

    rows = np.flatnonzero(known.gated)
    events, codes = overlaps.event[rows], known.codes[rows]
    n_events = int(overlaps.event.max(initial=-1)) + 1
    lowest, highest = np.full(n_events, len(known.names), dtype=np.int32), np.full(n_events, -1, dtype=np.int32)
    np.minimum.at(lowest, events, codes)
    np.maximum.at(highest, events, codes)
    differing = (highest >= 0) & (lowest != highest)
    agreed = np.where(differing, np.int32(-1), highest)[overlaps.event]
    return Gates.from_labels(np.array([*known.names, None], dtype=object)[agreed]), int(differing.sum())


def known_cells(events: Events, rows: Sequence[NDArray[np.int64]], known: Gates) -> Prior:
    """What is known of the events that are fitted on."""
    fitted = np.concatenate([events.starts[i] + rows[i] for i in events.by_name.tolist()])
    return Prior(known.codes[fitted].astype(np.int64), known.names)


def prepare_fit(
    job: ClusterJob, training: Sequence[RawEvents], listener: Listener, watch: Stopwatch, prior: Prior | None
) -> tuple[Prepared, Prior | None]:
    """Fit preprocessing to the events that train, and work out how alike they are; what is known of those kept."""
    preprocessor = _preprocessor(job, training)
    for line in preprocessor.describe():
        listener.say(line)
    expression = np.concatenate([preprocessor.expression(raw, nan=job.nan) for raw in training])
    if job.nan == "drop":
        there = ~np.isnan(expression).any(axis=1)
        expression, prior = expression[there], None if prior is None else prior.take(there)
        if prior is not None and not prior.known.any():
            raise InputError("--prior: no known event has numbers in all markers")
    watch.lap("preprocess")
    if job.device == "cuda":
        from cytomoe.clusterer import find_device

        find_device(job.device)  # refused now, if at all, and not after a minute of work
    _load_torch()
    listener.stage(f"finding out which of {len(expression):,} cells are alike")
    prepared = prepare(expression, preprocessor, job.settings, seed=job.seed, prior=prior)
    watch.lap("similarity")
    return prepared, prior


def train(job: ClusterJob, prepared: Prepared, listener: Listener, watch: Stopwatch) -> Clusterer:
    """Train the network of a fit that is prepared."""
    from cytomoe.clusterer import Clusterer

    watch.lap("import")
    listener.stage("training")
    model = Clusterer(
        settings=job.settings,
        seed=job.seed,
        device=job.device,
        preprocessor=prepared.preprocessor,
        nan=job.nan,
        progress=listener.progress,
    ).fit_prepared(prepared)
    watch.lap("fit")
    return model


def fit_model(job: ClusterJob, training: Sequence[RawEvents], listener: Listener) -> tuple[Clusterer, list[str]]:
    """Fit preprocessing and a model to the events that train, raw as files hold them.

    Returns
    -------
    model : Clusterer
        The model.
    notes : list of str
        What the user should know of the events and the clusters, which the listener was warned of.

    Raises
    ------
    InputError
        If markers or values are wrong.
    RunError
        If the training fails.
    """
    watch = Stopwatch()
    prepared, _ = prepare_fit(job, training, listener, watch, None)
    processes.stop()  # many files may be mapped yet
    of_choices = warn_of_choices(training[0], prepared.preprocessor)
    notes = [*of_choices, *warn_of_twins(training), *warn_of_saturation(training, prepared.preprocessor)]
    for warning in notes:
        listener.warn(warning)
    model = train(job, prepared, listener, watch)
    shaky = unstable(model)
    for warning in shaky:
        listener.warn(warning)
    return model, [*notes, *shaky]


def unstable(model: Clusterer) -> list[str]:
    """A warning that names the clusters that another look at the same cells would not find again.

    None where they hold less than ``SHAKY_SHARE`` of the cells: most runs have some such, and the table shows them. Nor
    where a single cluster was asked for, which no look at the cells would draw otherwise.
    """
    if model.settings_.experts == 1:
        return []
    below = as_shown(model.summary_.stability) < UNSTABLE
    if model.summary_.sizes[below].sum() <= SHAKY_SHARE * model.summary_.sizes.sum():
        return []
    shaky = [int(k) + 1 for k in np.flatnonzero(below)]
    which = f"{plural('cluster', len(shaky))} {', '.join(map(str, shaky))}"
    return [
        f"{which} of {model.n_clusters_}: stability below {UNSTABLE} (see clusters.csv), another look at the same "
        "cells may draw other borders; look at them before you count on them"
        + (", or merge them (cytomoe merge)" if model.n_clusters_ > 1 else "")
    ]


def read_training(job: ClusterJob, events: Events, listener: Listener) -> tuple[dict[int, RawEvents], dict[int, str]]:
    """Events of many files to fit one model on, and the files that can't be used.

    Returns
    -------
    training
        Events drawn of each usable file, by the file's index.
    problems
        Why a file can't be used, by its index: it breaks off, lacks a marker, or holds values that are not numbers.
    """
    get_ready(job)
    listener.stage("reading the files")
    rows = rows_to_fit(events, None, job.subsample, np.random.default_rng([job.seed, 3]))
    drawn = sum(map(len, rows))
    evenly = f"{drawn:,} rows drawn, as many of each sample as it has, up to an even share"
    listener.say(f"one model for all, fitted on {'all events' if drawn == events.n_events else evenly}")
    training: dict[int, RawEvents] = {}
    problems: dict[int, str] = {}
    first: Preprocessor | None = None
    for i in events.by_name.tolist():
        try:
            if not len(rows[i]):  # a small file among many, of which no event was drawn
                continue
            raw = events.take(i, rows[i])
            own = _preprocessor(job, [raw])
            first = first or own
            if own.instrument != first.instrument:
                raise InputError(f"{events.paths[i]} is {own.instrument} cytometry, the first file {first.instrument}")
            expression = first.expression(raw, nan=job.nan)
            if job.settings.similarity == "valleys":
                refuse_unscaled(numeric(expression), first)
        except (CytomoeError, OSError) as error:
            problems[i] = str(error)
            continue
        training[i] = raw
    return training, problems


def _preprocessor(job: ClusterJob, training: Sequence[RawEvents]) -> Preprocessor:
    """Preprocessing fitted to the events that train."""
    from cytomoe.preprocessing import Panel, Preprocessor

    choice = job.preprocessing
    return Preprocessor.fit(
        training,
        markers=choice.markers,
        panel=None if choice.panel is None else Panel.read(choice.panel),
        transform=choice.transform,
        cofactor=choice.cofactor,
        compensate=choice.compensate,
        clip=job.settings.clips_noise,
        nan=job.nan,
        exclude=[name for name in (job.gates.channel, job.prior.channel) if name is not None],
    )


def _load_torch() -> None:
    """Start to import torch in a thread: a second or two that pass while similarities are worked out on another core.

    Called when the input is known to be right, so that a wrong one is refused at once. Torch alone: a package that both
    threads import, as scipy, can reach one of them half loaded.
    """
    if "torch" not in sys.modules:
        threading.Thread(target=_load_quietly, args=("torch",), daemon=True).start()


def _load_quietly(package: str) -> None:
    with contextlib.suppress(
        Exception
    ):  # what is wrong with it is said where it is needed; at an early end nobody asks
        load(package)
