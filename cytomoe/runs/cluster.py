"""The main job: cluster the events of FCS files and leave a folder of results."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import CytomoeError, InputError
from cytomoe.io.atomic import atomic_directory
from cytomoe.io.remarks import told_once
from cytomoe.preparation import Prepared, prepare
from cytomoe.reference import Population, read_reference
from cytomoe.runs import outputs
from cytomoe.runs.events import (
    Events,
    GatedEvents,
    GateSource,
    PriorSource,
    find_gates,
    find_prior,
    open_events,
)
from cytomoe.runs.inputs import Checksum
from cytomoe.runs.job import Listener, RunResult, Stopwatch
from cytomoe.runs.mapping import (
    H5adChoice,
    announce,
    count_unassigned,
    describe_gates,
    describe_not_numbers,
    map_and_name,
    measure,
    record_not_numbers,
    record_overlaps,
    result_of,
    unstable,
    write_results,
    writes_cells,
)
from cytomoe.runs.report import report_of_run
from cytomoe.runs.samples import with_samples
from cytomoe.runs.sampling import FITTED_EVENTS, rows_to_fit, with_rows
from cytomoe.saturation import warn_of_saturation
from cytomoe.settings import Settings
from cytomoe.similarity import Prior
from cytomoe.twins import warn_of_twins

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.estimator import MoESimVAE
    from cytomoe.io.gates import Gates
    from cytomoe.preprocessing import CompensateMode, NanPolicy, Preprocessor, TransformChoice


@dataclass(frozen=True)
class PreprocessingChoice:
    """What the user asks of preprocessing; see :meth:`cytomoe.preprocessing.Preprocessor.fit`."""

    markers: Sequence[str] | None = None
    panel: Path | None = None
    transform: TransformChoice = "auto"
    cofactor: float | None = None
    compensate: CompensateMode = "auto"


@dataclass(frozen=True)
class ClusterJob:
    """A clustering to do.

    Attributes
    ----------
    files
        FCS files, one sample each unless the gate pattern says otherwise.
    out
        Folder of the results.
    preprocessing
        Markers, transform, compensation.
    settings
        Of similarity, model and training.
    seed
        Of all randomness.
    device
        ``auto``, ``cpu`` or ``cuda``.
    subsample
        Fit on at most this many events; None for :data:`cytomoe.runs.sampling.FITTED_EVENTS`.
    gates
        Where manual gates stand, to measure against. The fit never sees them.
    prior
        Where known cells stand, if some are: they guide the fit, and gates are then measured on the others.
    reference
        Table of populations to name the clusters after: a file, or one that ships with cytomoe.
    holdout
        Share of the events kept out of the fit; the measures are taken on them alone.
    samples
        Table of the samples: file, sample, and conditions to carry through.
    sample
        Name of the one sample that all files belong to, where there is no such table.
    min_population
        Smaller gates are left out of the measures.
    data_set
        Which data set of files that hold several.
    allow_truncated
        Whether files that break off are read as far as whole events go.
    h5ad
        Whether ``cells.h5ad`` is written: ``yes``, ``no``, or ``auto`` for runs of moderate size.
    unassigned
        Whether events that fit no cluster are left out of all: see :mod:`cytomoe.outlyingness`.
    nan
        What is done to events with values that are not numbers: ``refuse``, ``drop`` or ``zero``.
    force
        Whether an earlier run in ``out`` is replaced.
    report
        Whether ``report.html`` is made, after everything else is written.
    command
        What the user typed, for the manifest.
    key
        Checksum of all that the result depends on, for the manifest; None where nobody asks.
    known
        Checksums of files that the caller worked out; files that have changed since get new ones.
    """

    files: Sequence[Path]
    out: Path
    preprocessing: PreprocessingChoice = field(default_factory=PreprocessingChoice)
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    device: str = "auto"
    subsample: int | None = None
    gates: GateSource = field(default_factory=GateSource)
    prior: PriorSource = field(default_factory=PriorSource)
    reference: str | None = None
    holdout: float = 0.0
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
    with outputs.output_folder(job.out, job.force):
        begun = begin(job, listener or Listener())
        return finish(begun, _train(job, begun.prepared, begun.listener, begun.watch))


def begin(job: ClusterJob, listener: Listener) -> Begun:
    """Read the files of a run, and prepare its fit; raises InputError as :func:`run_cluster` does."""
    outputs.check_output(job.out, job.force)
    reference = None if job.reference is None else read_reference(job.reference)
    watch = Stopwatch()
    events = open_events(
        job.files,
        data_set=job.data_set,
        pattern=job.gates.pattern,
        sample=job.sample,
        allow_truncated=job.allow_truncated,
    )
    if job.samples is not None:
        events = with_samples(events, job.samples)
    announce(events, job.h5ad, listener, fitted=job.subsample or FITTED_EVENTS)
    gated = find_gates(events, job.gates)
    if gated is not None:
        listener.say(describe_gates(gated))
    known = find_prior(events, job.prior)
    held_out = _hold_out(job, events, gated)
    eligible = _rows_to_fit(gated, held_out)
    rows = rows_to_fit(events, eligible, job.subsample, np.random.default_rng([job.seed, 3]))
    if known is not None:
        rows = with_rows(events, rows, known.gated if eligible is None else known.gated & eligible)
    n_fitted = sum(map(len, rows))
    if n_fitted < events.n_events and held_out is None and gated is None:
        listener.say(f"fitted on {n_fitted:,} of the events, evenly from each sample; all get a label (--subsample)")
    training = [events.take(i, rows[i]) for i in events.by_name.tolist() if len(rows[i])]
    watch.lap("read")
    prior = None if known is None else _prior(events, rows, known)
    if prior is not None:
        listener.say(f"{int(prior.known.sum()):,} events are known: {_count_known(prior)}")
    prepared, prior = _prepare(job, training, listener, watch, prior)
    n_fitted = len(prepared.expression)
    notes = warn_of_saturation(training, prepared.preprocessor)
    if gated is None:
        notes = [*warn_of_twins(training), *notes]
    return Begun(job, listener, watch, events, gated, held_out, n_fitted, known, prior, reference, prepared, notes)


def finish(begun: Begun, model: MoESimVAE) -> RunResult:
    """Map the events of a run with the model that it made, and write the results."""
    job, events, gated, watch, listener = begun.job, begun.events, begun.gated, begun.watch, begun.listener
    mapped = map_and_name(model, events, gated, reference=begun.reference, unassigned=job.unassigned)
    watch.lap("map")
    held_out, known = begun.held_out, begun.known
    measured = held_out if known is None else ~known.gated if held_out is None else held_out & ~known.gated
    evaluation = measure(mapped, gated, held_out=measured, min_population=job.min_population)
    warnings = [
        *events.warnings,
        *begun.notes,
        *describe_not_numbers(mapped),
        *model.notes_,
        *_without_cluster(begun.prior, model.known_as_),
        *unstable(model),
    ]
    for line in told_once(warnings):
        listener.warn(line)
    with atomic_directory(job.out, replace=job.out.exists()) as folder:
        write_results(folder, mapped, gated, evaluation, h5ad=job.h5ad)
        model.save(folder / "model.cytomoe")
        watch.lap("write")
        manifest = {
            "key": job.key,
            "events_fitted": begun.n_fitted,
            "holdout": job.holdout,
            "unassigned": count_unassigned(mapped),
            "not_numbers": record_not_numbers(mapped),
            "overlaps": record_overlaps(mapped, gated),
            "prior": None if begun.prior is None else begun.prior.counts(),
            "training": model.history_.records,
        }
        outputs.write_manifest(
            folder,
            mapped,
            command=job.command,
            warnings=warnings,
            seconds=watch.seconds,
            known=job.known,
            further=manifest,
        )
    wanted = job.report and writes_cells(events, job.h5ad)  # the report is made from the cells
    report = report_of_run(job.out, listener) if wanted else None
    watch.lap("report")
    return result_of(mapped, job.out, evaluation, watch.seconds, report)


def _count_known(prior: Prior) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in prior.counts().items())


def _without_cluster(prior: Prior | None, known_as: Sequence[str]) -> list[str]:
    """Warnings of known populations that are no cluster's majority."""
    counts = {} if prior is None else prior.counts()
    return [
        f"the known population {name} ({count} events) has no cluster of its own: its cells lie among those of others"
        for name, count in counts.items()
        if name not in known_as
    ]


def _prior(events: Events, rows: Sequence[NDArray[np.int64]], known: Gates) -> Prior:
    """What is known of the events that are fitted on."""
    fitted = np.concatenate([events.starts[i] + rows[i] for i in events.by_name.tolist()])
    return Prior(known.codes[fitted].astype(np.int64), known.names)


def fit_model(
    job: ClusterJob,
    training: Sequence[AnnData],
    listener: Listener,
    watch: Stopwatch | None = None,
) -> tuple[MoESimVAE, list[str]]:
    """Fit preprocessing and a model to the events that train, raw as files hold them.

    Returns
    -------
    model : MoESimVAE
        The model.
    notes : list of str
        What the user should know of the events, which the listener was warned of.

    Raises
    ------
    InputError
        If markers or values are wrong.
    RunError
        If the training fails.
    """
    watch = watch or Stopwatch()
    prepared, _ = _prepare(job, training, listener, watch, None)
    notes = [*warn_of_twins(training), *warn_of_saturation(training, prepared.preprocessor)]
    for warning in notes:
        listener.warn(warning)
    return _train(job, prepared, listener, watch), notes


def _prepare(
    job: ClusterJob, training: Sequence[AnnData], listener: Listener, watch: Stopwatch, prior: Prior | None
) -> tuple[Prepared, Prior | None]:
    """Fit preprocessing to the events that train, and work out how alike they are; what is known of those kept."""
    preprocessor = _preprocessor(job, training)
    for line in preprocessor.describe():
        listener.say(line)
    expression = np.concatenate([preprocessor.expression(adata, nan=job.nan) for adata in training])
    if job.nan == "drop":
        there = ~np.isnan(expression).any(axis=1)
        expression, prior = expression[there], None if prior is None else prior.take(there)
        if prior is not None and not prior.known.any():
            raise InputError("--prior: no known event has numbers in all markers")
    watch.lap("preprocess")
    if job.device == "cuda":
        from cytomoe.estimator import find_device

        find_device(job.device)  # refused now, if at all, and not after a minute of work
    load_torch()
    prepared = prepare(expression, preprocessor, job.settings, seed=job.seed, prior=prior)
    watch.lap("similarity")
    return prepared, prior


def _train(job: ClusterJob, prepared: Prepared, listener: Listener, watch: Stopwatch) -> MoESimVAE:
    from cytomoe.estimator import MoESimVAE

    watch.lap("import")
    model = MoESimVAE(
        settings=job.settings,
        seed=job.seed,
        device=job.device,
        preprocessor=prepared.preprocessor,
        nan=job.nan,
        progress=listener.progress,
    ).fit_prepared(prepared)
    watch.lap("fit")
    return model


def load_torch() -> None:
    """Start to import torch in a thread: a second or two that pass while similarities are worked out on another core.

    Called when the input is known to be right, so that a wrong one is refused at once.
    """
    if "torch" not in sys.modules:
        threading.Thread(target=importlib.import_module, args=("torch",)).start()


def read_training(job: ClusterJob, events: Events, listener: Listener) -> tuple[dict[int, AnnData], dict[int, str]]:
    """Events of many files to fit one model on, and the files that can't be used.

    Returns
    -------
    training
        Events drawn of each usable file, by the file's index.
    problems
        Why a file can't be used, by its index: it breaks off, lacks a marker, or holds values that are not numbers.
    """
    rows = rows_to_fit(events, None, job.subsample, np.random.default_rng([job.seed, 3]))
    drawn = sum(map(len, rows))
    evenly = f"{drawn:,} rows drawn, as many of each sample as it has, up to an even share"
    listener.say(f"one model for all, fitted on {'all events' if drawn == events.n_events else evenly}")
    training: dict[int, AnnData] = {}
    problems: dict[int, str] = {}
    first: Preprocessor | None = None
    for i in events.by_name.tolist():
        try:
            if not len(rows[i]):  # a small file among many, of which no event was drawn
                continue
            adata = events.take(i, rows[i])
            own = _preprocessor(job, [adata])
            first = first or own
            if own.instrument != first.instrument:
                raise InputError(f"{events.paths[i]} is {own.instrument} cytometry, the first file {first.instrument}")
            first.expression(adata, nan=job.nan)
        except (CytomoeError, OSError) as error:
            problems[i] = str(error)
            continue
        training[i] = adata
    return training, problems


def _hold_out(job: ClusterJob, events: Events, gated: GatedEvents | None) -> NDArray[np.bool_] | None:
    """Rows kept out of the fit, all rows of one event on the same side; None without hold-out."""
    from cytomoe.evaluation import holdout_mask

    if not job.holdout:
        return None
    event = np.arange(events.n_events) if gated is None else gated.overlaps.event
    return holdout_mask(event, job.holdout, np.random.default_rng([job.seed, 1]))


def _rows_to_fit(gated: GatedEvents | None, held_out: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Rows that may train: each event once, none that is held out; None for all."""
    if gated is None:
        return None if held_out is None else ~held_out
    rows = gated.overlaps.first
    return rows if held_out is None else rows & ~held_out


def _preprocessor(job: ClusterJob, training: Sequence[AnnData]) -> Preprocessor:
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
