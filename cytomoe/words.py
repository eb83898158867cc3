"""How numbers are written for people, the same in the terminal and in reports."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share as a percentage with one decimal; what is above 0 and would round to it is said to be little."""
    return "0 %" if share == 0 else f"{100 * share:.1f} %" if 100 * share >= 0.05 else "< 0.1 %"
