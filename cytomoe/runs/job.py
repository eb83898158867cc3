"""What the jobs share: the listener, the clock, what a job returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytomoe.training.loop import Progress


def _ignore(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Listener:
    """What a run tells while it works.

    Attributes
    ----------
    say
        Called with a line for the user.
    warn
        Called with a line that the user should not miss; it also goes into the manifest.
    progress
        Called while training.
    stage
        Called with what the run does now, as each of its long stages begins.
    """

    say: Callable[[str], None] = _ignore
    warn: Callable[[str], None] = _ignore
    progress: Callable[[Progress], None] | None = None
    stage: Callable[[str], None] = _ignore


@dataclass(frozen=True)
class RunResult:
    """What a run found, for the one who asked.

    Attributes
    ----------
    out
        Folder of the results.
    n_events
        Rows of all files.
    n_distinct
        Events: less than rows where some stand in several files.
    n_clusters
        Clusters of the model.
    evaluation
        Measures against gates, or None.
    seconds
        Wall time by step.
    summary
        One dictionary per cluster: cluster, label, events, fraction and, where named, population.
    report
        The report, or None if it was not made.
    unassigned
        Events that fit no cluster; None where none were looked for.
    dropped
        Events left out of all clusters for values that are not numbers; None unless that was asked for.
    repeats
        Whether files repeat events and were not told apart, so that the number of distinct ones is not known.
    """

    out: Path
    n_events: int
    n_distinct: int
    n_clusters: int
    evaluation: dict[str, Any] | None
    seconds: dict[str, float]
    summary: list[dict[str, Any]] = field(default_factory=list)
    report: Path | None = None
    unassigned: int | None = None
    dropped: int | None = None
    repeats: bool = False

    @property
    def n_occupied(self) -> int:
        """Clusters that hold an event."""
        return sum(row["events"] > 0 for row in self.summary)


class Stopwatch:
    """Wall time of the steps of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last lap on ``name``."""
        now = time.perf_counter()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 3)
        self._last = now

    def skip(self) -> None:
        """Book the time since the last lap on nothing: it was spent on other runs."""
        self._last = time.perf_counter()
