"""How every run begins: its files opened, their samples and gates found, and the user told how much there is."""

from __future__ import annotations

from cytomoe.errors import InputError
from cytomoe.runs import memory, sampling
from cytomoe.runs.cells import writes_cells
from cytomoe.runs.events import Events, open_events
from cytomoe.runs.gating import GatedEvents, describe_gates, find_gates
from cytomoe.runs.job import Listener
from cytomoe.runs.orders import RunJob
from cytomoe.runs.samples import with_samples
from cytomoe.words import counted, listed


def open_run(job: RunJob, listener: Listener, *, fitted: int = 0) -> tuple[Events, GatedEvents | None]:
    """The events of a run and their gates, None where nobody names any.

    Parameters
    ----------
    job
        The run.
    listener
        Told how much there is.
    fitted
        Events that will be fitted on, at most.

    Raises
    ------
    InputError
        If a file, the table of samples or the gates can't be read, or do not belong together.
    """
    listener.stage("reading the files")
    events = open_events(
        job.files,
        data_set=job.data_set,
        pattern=job.gates.pattern,
        sample=job.sample,
        allow_truncated=job.allow_truncated,
    )
    if events.n_events == 0:
        raise InputError(f"{listed(events.names)}: {'hold' if len(events.names) > 1 else 'holds'} no events")
    if job.samples is not None:
        events = with_samples(events, job.samples)
    _announce(events, job, listener, fitted)
    gated = find_gates(events, job.gates, listener)
    if gated is not None:
        listener.say(describe_gates(gated))
    return events, gated


def _announce(events: Events, job: RunJob, listener: Listener, fitted: int) -> None:
    """Say what is read and how much memory that takes, before anything slow happens."""
    files, samples = len(events.names), len(events.samples)
    of_samples = f" of {counted(samples, 'sample')}" if samples != files else ""
    cells = writes_cells(events, job.h5ad)
    needed = memory.estimate(events, fitted=fitted, cells=cells, beside=cells and job.key is None)
    listener.say(
        f"{counted(events.n_events, 'event')} in {counted(files, 'file')}{of_samples}, "
        f"about {needed / 1e9:.1f} GB of memory"
    )
    short = memory.shortage(needed)
    if short:
        listener.warn(short)
    if job.h5ad == "auto" and not cells:
        listener.say(
            f"above {sampling.KEPT_EVENTS:,} events cells.h5ad and the report are left out unless --h5ad yes asks for "
            "them"
        )
