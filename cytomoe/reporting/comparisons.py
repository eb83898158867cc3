"""The report of a comparison: what differs between conditions, every population's change, and every sample's share.

One HTML file that needs nothing but itself, as the report of a run. Its numbers are those of ``comparison.csv``,
``pairs.csv`` and of the abundance that was compared: nothing is tested here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cytomoe.comparison import LEVEL
from cytomoe.io.atomic import atomic_path
from cytomoe.reporting.colours import cluster_colour
from cytomoe.reporting.comparison_methods import methods_of_comparison
from cytomoe.reporting.comparison_verdict import headline_of, judge_comparison, pairs_in_words
from cytomoe.reporting.page import FILE_NAME, render_page, scripts

# Rows of pairs that the page lists, the surest first.
_PAIRS_LISTED = 300


@dataclass(frozen=True, eq=False)
class ComparisonSummary:
    """What the report of a comparison shows.

    Attributes
    ----------
    run
        Name of the folder whose samples were compared.
    by, adjust
        Column that was compared, and those accounted for.
    groups
        Conditions, the baseline first.
    table, pairs
        From :func:`cytomoe.comparison.compare_abundance`, with ``moved_by``, and
        :func:`cytomoe.comparison.compare_pairs`.
    moved_by, moved
        From :func:`cytomoe.comparison.moved_by_others`.
    counts
        Events of each population in each sample, samples x populations.
    totals
        Events of each sample.
    conditions
        A row per sample, with the columns ``by`` and ``adjust``.
    warnings
        What speaks against relying on it.
    command
        What the user typed.
    inputs
        Files that were read, each with ``file`` and ``sha256``.
    """

    run: str
    by: str
    adjust: Sequence[str]
    groups: Sequence[str]
    table: pd.DataFrame
    pairs: pd.DataFrame | None
    moved_by: Sequence[str]
    moved: Sequence[str]
    counts: pd.DataFrame
    totals: pd.Series[int]
    conditions: pd.DataFrame
    warnings: Sequence[str]
    command: str
    inputs: Sequence[Mapping[str, str]]

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each condition."""
        return {group: int((self.conditions[self.by] == group).sum()) for group in self.groups}

    @property
    def tested(self) -> int:
        """Populations that have a p."""
        return int(self.table["p"].notna().sum())

    @cached_property
    def differing(self) -> list[str]:
        """Populations with an adjusted p below the level, the surest first."""
        return [row["population"] for row in self.rows if row["differs"]]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every population as its row of ``comparison.csv`` has it, the surest first; None where there is no number.

        ``log2`` has a number for each condition but the baseline, ``sure`` whether that one differs from it, and
        ``absent`` the conditions in no sample of which the population has an event.
        """
        sure = self._sure()
        return [
            {
                "population": row["population"],
                "percent": [row[f"percent_{group}"] for group in self.groups],
                "log2": [row[f"log2_{group}_over_{self.groups[0]}"] for group in self.groups[1:]],
                **{name: _known(row[name]) for name in ("dispersion", "F", "p", "p_adjusted")},
                "differs": bool(row["p_adjusted"] < LEVEL),
                "moved_by": row["moved_by"],
                "sure": [
                    (row["population"], group) in sure if self.pairs is not None else bool(row["p_adjusted"] < LEVEL)
                    for group in self.groups[1:]
                ],
                "absent": [
                    group
                    for group in self.groups
                    if not self.counts.loc[self.conditions[self.by] == group, row["population"]].any()
                ],
            }
            for row in self.table.to_dict("records")
        ]

    def _sure(self) -> set[tuple[str, str]]:
        """Population and condition of the pairs that differ from the baseline."""
        if self.pairs is None:
            return set()
        own = self.pairs[(self.pairs["over"] == self.groups[0]) & (self.pairs["p_adjusted"] < LEVEL)]
        return set(zip(own["population"], own["condition"], strict=True))

    @property
    def paired(self) -> str | None:
        """Column of ``adjust`` each of whose values has one sample of a condition at most, and some have several."""
        for column in self.adjust:
            sizes = self.conditions.groupby([column, self.by]).size()
            if (sizes == 1).all() and self.conditions[column].duplicated().any():
                return column
        return None


def write_comparison_report(folder: Path, summary: ComparisonSummary) -> Path:
    """Write ``report.html`` into the folder of a comparison."""
    page = render_page("comparison.html", _context(summary))
    with atomic_path(folder / FILE_NAME) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a folder's name may be no text
    return folder / FILE_NAME


def _context(summary: ComparisonSummary) -> dict[str, Any]:
    findings = judge_comparison(summary)
    level, words = headline_of(summary, findings)
    pairs = summary.pairs
    return {
        "title": f"{summary.run} by {summary.by}",
        "by": summary.by,
        "adjust": summary.adjust,
        "paired": summary.paired,
        "groups": [(name, n, cluster_colour(i + 1)) for i, (name, n) in enumerate(summary.sizes.items())],
        "n_samples": len(summary.totals),
        "events": int(summary.totals.sum()),
        "differing": summary.differing,
        "limit": LEVEL,
        "level": level,
        "headline": words,
        "findings": findings,
        "rows": summary.rows,
        "pairs": None if pairs is None else pairs.head(_PAIRS_LISTED).to_dict("records"),
        "n_pairs": 0 if pairs is None else len(pairs),
        "pairs_said": "" if pairs is None else pairs_in_words(pairs),
        "methods": methods_of_comparison(summary),
        "command": summary.command,
        "inputs": summary.inputs,
        "data": _payload(summary),
        **scripts("core", "frame", "multiples", "comparison"),
    }


def _payload(summary: ComparisonSummary) -> dict[str, Any]:
    """What the figures draw: rows of the tables, counts and events of the samples."""
    conditions, paired = summary.conditions, summary.paired
    place = {group: i for i, group in enumerate(summary.groups)}
    return {
        "by": summary.by,
        "groups": [{"name": group, "colour": cluster_colour(i + 1)} for i, group in enumerate(summary.groups)],
        "samples": [str(name) for name in conditions.index],
        "condition": [place[group] for group in conditions[summary.by]],
        "events": summary.totals.tolist(),
        "within": {column: conditions[column].tolist() for column in summary.adjust},
        "paired": None if paired is None else conditions[paired].tolist(),
        "populations": [{**row, "counts": summary.counts[row["population"]].tolist()} for row in summary.rows],
    }


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)
