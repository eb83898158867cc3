"""The report of a finished run: made at the end of a run, where it may fail without harm, or later from its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cytomoe.io.lock import alone
from cytomoe.runs.job import Listener


def run_report(folder: Path, *, figures: bool = False) -> Path:
    """Make ``report.html`` in the folder of a run from its files, with ``figures/`` if wanted, and return its path.

    Raises
    ------
    InputError
        If the folder is not that of a finished run, or a file in it can't be read.
    """
    with alone(folder):
        return _write(folder, figures)


def _write(folder: Path, figures: bool = False) -> Path:
    from cytomoe.reporting.page import write_report

    return write_report(folder, figures=figures)


def report_of_run(folder: Path, listener: Listener) -> Path | None:
    """Make the report of a run whose results are all written; None, with a warning, where that fails.

    Nothing that goes wrong here may cost the user the run, so every error becomes a warning. The folder is the caller's
    (:func:`cytomoe.io.lock.alone`).
    """
    listener.stage("writing the report")
    later = f"try: cytomoe report {folder}"
    try:
        return made_or_told(lambda: _write(folder), listener, f"the results are complete; {later}")
    except KeyboardInterrupt as stop:
        stop.add_note(f"the results in {folder} are complete, but for the report; {later}")
        raise


def made_or_told(make: Callable[[], Path], listener: Listener, what_is_left: str) -> Path | None:
    """Make a report; whatever goes wrong becomes a warning that says what the user has all the same."""
    try:
        return make()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        listener.warn(f"the report was not made ({reason}); {what_is_left}")
        return None
