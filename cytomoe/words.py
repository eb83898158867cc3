"""How numbers and lists are written for people, the same in the terminal and in reports."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float) -> str:
    """A share as a percentage with one decimal; what is above 0 and would round to it is said to be little."""
    return "0 %" if share == 0 else f"{100 * share:.1f} %" if 100 * share >= 0.05 else "< 0.1 %"


def plural(thing: str, number: int) -> str:
    """What so many things are called."""
    return thing if number == 1 else f"{thing}s"


def counted(number: int, thing: str) -> str:
    """So many things: ``1 file``, ``2,000 files``."""
    return f"{number:,} {plural(thing, number)}"


def listed(names: Sequence[str], shown: int = 3, *, by: str = ", ") -> str:
    """Names one after the other, of many the first ``shown`` and how many more there are."""
    more = len(names) - shown
    return by.join(names[:shown]) + (f" and {more} more" if more > 0 else "")
