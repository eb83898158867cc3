"""How far a run has come, in plain lines, for logs too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cytomoe.training.loop import Progress

# Seconds from which on a run tells its stages: a short one is over before anybody asks.
LASTS = 10.0
_PARTS = 4  # of a training that are told


class Stages:
    """Tells the stages of a run that lasts; one that begins earlier is told once the run has lasted, if it is still on.

    Parameters
    ----------
    tell
        Takes a line.
    lasts
        Seconds before which nothing is told.
    """

    def __init__(self, tell: Callable[[str], None], lasts: float = LASTS) -> None:
        self._tell, self._lasts = tell, lasts
        self._start = time.monotonic()
        self._waiting: threading.Timer | None = None
        self._part = 0

    def begin(self, stage: str) -> None:
        """Tell that a stage begins, in the words of the user; the stage before it is over."""
        self.end()
        left = self._lasts - (time.monotonic() - self._start)
        if left <= 0:
            self._line(stage)
            return
        self._waiting = threading.Timer(left, self._line, [stage])
        self._waiting.daemon = True  # a run that fails does not wait for it
        self._waiting.start()

    def train(self, progress: Progress) -> None:
        """Tell of every quarter of a training but the last; of one that is repeated anew."""
        part = _PARTS * progress.step // progress.total
        if 0 < part < _PARTS and part != self._part:
            self.begin(f"training: {100 * part // _PARTS} %")
        self._part = part

    def end(self) -> None:
        """Tell no more of the present stage."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _line(self, stage: str) -> None:
        self._tell(f"[{time.monotonic() - self._start:.0f} s] {stage}")
