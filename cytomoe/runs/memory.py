"""How much memory a run needs, said before it starts."""

from __future__ import annotations

from pathlib import Path

from cytomoe.runs import sampling
from cytomoe.runs.events import CHUNK_BYTES, HELD_BYTES, Events

# Estimates on the safe side of the peaks that benchmarks/scale.py and runs with cells.h5ad have shown, of all processes
# together: the program with all it imports; a process beside it that loads what the outputs take; of each event its
# label, confidence and what sorting them takes; of each event in cells.h5ad its row of obs, as anndata writes it; of
# each event and channel that is fitted on, or kept for tables, its copies.
_PROGRAM = 600 << 20
_BESIDE = 250 << 20
_BYTES_PER_EVENT = 24
_BYTES_PER_ROW_OF_CELLS = 160
_BYTES_PER_FITTED_VALUE = 48
_BYTES_PER_KEPT_VALUE = 24
_CHUNKS = 6  # pieces of a file that are alive at once: raw, transformed, scaled, hidden layers


def estimate(events: Events, *, fitted: int, cells: bool, beside: bool) -> int:
    """Bytes that a run needs at its peak, about; the number of events counts little, unless cells.h5ad is written.

    Parameters
    ----------
    events
        The files of the run.
    fitted
        Events that are fitted on.
    cells
        Whether ``cells.h5ad`` is written.
    beside
        Whether a process beside this one loads what the outputs take.
    """
    channels = max((file.n_channels for file in events.files), default=0)
    raw = 4 * sum(file.n_events * file.n_channels for file in events.files)
    pieces = min(raw, HELD_BYTES) if events.held else _CHUNKS * CHUNK_BYTES
    kept = min(sampling.KEPT_EVENTS, events.n_events)
    values = _BYTES_PER_FITTED_VALUE * min(fitted, events.n_events) + _BYTES_PER_KEPT_VALUE * kept
    per_event = _BYTES_PER_EVENT + (_BYTES_PER_ROW_OF_CELLS if cells else 0)
    programs = _PROGRAM + (_BESIDE if beside else 0)
    return programs + per_event * events.n_events + pieces + channels * values


def available() -> int | None:
    """Bytes of memory that the system can give; None where it does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in text.splitlines())
        return int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return None


def shortage(needed: int) -> str | None:
    """One line for the user where the memory will not do, else None."""
    free = available()
    if free is None or needed <= free:
        return None
    return (
        f"about {needed / 1e9:.1f} GB of memory are needed, but only {free / 1e9:.1f} GB are free; fit on fewer events "
        "with --subsample, or write no cells.h5ad (--h5ad no)"
    )
