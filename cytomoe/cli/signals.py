"""Ctrl-C and SIGTERM: the command ends where it is, temporary files go, one line says what became of the results."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Ending:
    """Which signal asked the command to end.

    Attributes
    ----------
    signal
        Its number; None while nobody asked.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells count: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def word(self) -> str:
        """What happened: interrupted by the user, or terminated by the system."""
        return "terminated" if self.signal == signal.SIGTERM else "interrupted"

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        raise KeyboardInterrupt


@contextmanager
def ended_by_signals() -> Iterator[Ending]:
    """Let SIGTERM end the block as Ctrl-C does, by a KeyboardInterrupt, and remember which of them it was.

    The memory matters where a library swallows the interruption, or makes another error of it. Only a process's main
    thread can listen to signals; elsewhere they stay as they are.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    # A process that was started with Ctrl-C ignored, as a script's background jobs are, goes on ignoring it.
    listened = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, ending._ask) for number in listened}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
