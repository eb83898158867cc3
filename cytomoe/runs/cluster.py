"""The main job: cluster the events of FCS files and leave a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.io.atomic import atomic_directory
from cytomoe.reference import read_reference
from cytomoe.runs import outputs
from cytomoe.runs.events import (
    Events,
    GatedEvents,
    GateSource,
    PriorSource,
    find_gates,
    find_prior,
    read_events,
)
from cytomoe.runs.job import Listener, RunResult, Stopwatch
from cytomoe.runs.mapping import count_events, map_and_name, measure, summary, write_results
from cytomoe.runs.report import report_of_run
from cytomoe.runs.samples import with_samples
from cytomoe.settings import Settings
from cytomoe.similarity import Prior

if TYPE_CHECKING:
    from cytomoe.preprocessing import CompensateMode, Preprocessor, TransformChoice


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
        Fit on at most this many events; None for all.
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
    min_population
        Smaller gates are left out of the measures.
    data_set
        Which data set of files that hold several.
    allow_truncated
        Whether files that break off are read as far as whole events go.
    force
        Whether an earlier run in ``out`` is replaced.
    report
        Whether ``report.html`` is made, after everything else is written.
    command
        What the user typed, for the manifest.
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
    min_population: int = 30
    data_set: int = 1
    allow_truncated: bool = False
    force: bool = False
    report: bool = True
    command: Sequence[str] = ()


def run_cluster(job: ClusterJob, listener: Listener | None = None) -> RunResult:
    """Cluster files and write the results.

    Raises
    ------
    InputError
        If the files, markers, gates or settings are wrong; nothing is written then.
    RunError
        If the training fails.
    """
    listener = listener or Listener()
    outputs.check_output(job.out, job.force)
    reference = None if job.reference is None else read_reference(job.reference)
    watch = Stopwatch()
    events = read_events(
        job.files, data_set=job.data_set, pattern=job.gates.pattern, allow_truncated=job.allow_truncated
    )
    if job.samples is not None:
        events = with_samples(events, job.samples)
    gated = find_gates(events, job.gates)
    known = find_prior(events, job.prior)
    watch.lap("read")
    listener.say(count_events(events, gated))
    held_out = _hold_out(job, events, gated)
    fitted = _rows_to_fit(events, gated, held_out)
    prior = None if known is None else Prior(known.codes[fitted].astype(np.int64), known.names)
    if prior is not None:
        listener.say(f"{int(prior.known.sum()):,} events are known: {_count_known(prior)}")
    preprocessor = _preprocessor(job, events, fitted)
    for line in preprocessor.describe():
        listener.say(line)
    expressions = [preprocessor.expression(adata) for adata in events.adatas]
    watch.lap("preprocess")

    from cytomoe.estimator import MoESimVAE  # brings torch: not before the input is known to be right

    watch.lap("import")
    model = MoESimVAE(
        settings=job.settings,
        subsample=job.subsample,
        seed=job.seed,
        device=job.device,
        preprocessor=preprocessor,
        progress=listener.progress,
    ).fit(np.concatenate(expressions)[fitted], prior=prior)
    watch.lap("fit")
    mapped = map_and_name(model, events, expressions, reference=reference)
    watch.lap("map")
    measured = held_out if known is None else ~known.gated if held_out is None else held_out & ~known.gated
    evaluation = measure(mapped, gated, held_out=measured, min_population=job.min_population)
    warnings = [*events.warnings, *model.notes_, *_without_cluster(prior, model.known_as_)]
    for warning in warnings:
        listener.warn(warning)
    with atomic_directory(job.out, replace=job.out.exists()) as folder:
        write_results(folder, mapped, gated, evaluation)
        model.save(folder / "model.cytomoe")
        watch.lap("write")
        manifest = {
            "events_fitted": min(int(np.count_nonzero(fitted)), job.subsample or events.n_events),
            "holdout": job.holdout,
            "prior": None if prior is None else prior.counts(),
            "training": model.history_.records,
        }
        outputs.write_manifest(
            folder, mapped, command=job.command, warnings=warnings, seconds=watch.seconds, further=manifest
        )
    report = report_of_run(job.out, listener) if job.report else None
    watch.lap("report")
    return RunResult(
        job.out, events.n_events, model.n_clusters_, evaluation, watch.seconds, summary(mapped), report=report
    )


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


def _hold_out(job: ClusterJob, events: Events, gated: GatedEvents | None) -> NDArray[np.bool_] | None:
    """Rows kept out of the fit, all rows of one event on the same side; None without hold-out."""
    from cytomoe.evaluation import holdout_mask

    if not job.holdout:
        return None
    event = np.arange(events.n_events) if gated is None else gated.overlaps.event
    return holdout_mask(event, job.holdout, np.random.default_rng([job.seed, 1]))


def _rows_to_fit(events: Events, gated: GatedEvents | None, held_out: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Rows to train on: each event once, none that is held out."""
    rows = np.ones(events.n_events, dtype=bool) if gated is None else gated.overlaps.first
    return rows if held_out is None else rows & ~held_out


def _preprocessor(job: ClusterJob, events: Events, fitted: NDArray[np.bool_]) -> Preprocessor:
    """Preprocessing fitted to the rows that train."""
    from cytomoe.preprocessing import Panel, Preprocessor

    choice = job.preprocessing
    parts = np.split(fitted, np.cumsum(events.sizes)[:-1])
    adatas = [adata[rows] for adata, rows in zip(events.adatas, parts, strict=True) if rows.any()]
    return Preprocessor.fit(
        adatas,
        markers=choice.markers,
        panel=None if choice.panel is None else Panel.read(choice.panel),
        transform=choice.transform,
        cofactor=choice.cofactor,
        compensate=choice.compensate,
        clip=job.settings.clips_noise,
        exclude=[name for name in (job.gates.channel, job.prior.channel) if name is not None],
    )
