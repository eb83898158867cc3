"""What a reader should know, in words: findings, and the verdict that they come to.

Levels are ``good``, ``note`` (know this) and ``check`` (look before you use the result).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cytomoe.words import listed

Level = Literal["good", "note", "check"]
_HEADLINES: dict[Level, str] = {
    "good": "The clusters can be read as they are",
    "note": "The clusters can be used; know the notes below",
    "check": "Look at the points marked “check” before you use these clusters",
}


_NAMED = 6  # samples, or clusters, that a finding names
# A gate whose best cluster has an F1 below this is lost in it.
_LOST = 0.5


def lost_gates(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Populations of a block of an evaluation that no cluster matches well."""
    return [population for population in block["populations"] if population["f1"] < _LOST]


def mostly_lost(n_lost: int, n_gates: int) -> bool:
    """Whether so many gates are lost that clusters and gates can't be of the same populations."""
    return 2 * n_lost >= n_gates


@dataclass(frozen=True)
class Finding:
    """One thing the reader should know.

    Attributes
    ----------
    level
        How much it matters.
    title
        The finding in a few words.
    detail
        The numbers behind it.
    advice
        What to do; empty where nothing needs to be done.
    commands
        Commands that do it.
    """

    level: Level
    title: str
    detail: str
    advice: str = ""
    commands: tuple[str, ...] = ()


def by_weight(findings: list[Finding]) -> list[Finding]:
    """Findings with the serious ones first."""
    rank = {"check": 0, "note": 1, "good": 2}
    return sorted(findings, key=lambda finding: rank[finding.level])


def named(names: Sequence[str], *, by: str = ", ") -> str:
    """Names of samples or clusters in a sentence, the first six of many."""
    return listed(names, _NAMED, by=by)


def headline(findings: list[Finding]) -> tuple[Level, str]:
    """Level and words of the whole: those of the most serious finding."""
    levels = {finding.level for finding in findings}
    worst: Level = "check" if "check" in levels else "note" if "note" in levels else "good"
    return worst, _HEADLINES[worst]
