"""The report of a batch: a verdict, every cluster over the wells of each plate, abundance, drift, and what failed.

One HTML file that needs nothing but itself, as the report of a run, and no JavaScript: the plates are drawn as SVG.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.io.atomic import atomic_path
from cytomoe.naming import is_known, title_of
from cytomoe.reporting.colours import SEQUENTIAL
from cytomoe.reporting.findings import headline
from cytomoe.reporting.page import FILE_NAME, render_page
from cytomoe.reporting.plate_verdict import judge_batch
from cytomoe.reporting.profiles import stability_word

# Rows and columns of the plates that are made.
LAYOUTS = ((8, 12), (16, 24))
# Maps of fewer wells say less than the table of abundance and are folded away.
_FEWEST_DRAWN = 8
# A marker whose medians spread less than this share of the widest spread stays pale in the profiles.
_PALE = 0.5
_WELL = re.compile(r"([A-P])(\d{1,2})")


@dataclass(frozen=True, eq=False)
class PlateDrift:
    """How far the samples of a batch lie from the cells of the fit, tables of samples x markers.

    Attributes
    ----------
    distance
        Of each marker's distribution, 0 to 1.
    left_range
        Whether the marker left the range of the fit.
    unfit
        Share of each sample's events that fit no cluster.
    limits
        Distance above which a sample's marker lies far from the fit: more where it has few events.
    """

    distance: pd.DataFrame
    left_range: pd.DataFrame
    unfit: pd.Series[float]
    limits: pd.Series[float]


@dataclass(frozen=True, eq=False)
class BatchSummary:
    """What the report of a batch shows.

    Attributes
    ----------
    title
        Its heading.
    mode
        ``pooled``, ``per-sample`` or ``model``.
    abundance
        As ``abundance.csv``: sample, plate, well, further columns, events, unassigned where events may be so, then a
        column per cluster.
    clusters
        A row per cluster, by its column in ``abundance``: number, population (empty where not named), label, stability
        (NaN where not known), samples that hold some, events; of a reference table also score, runner_up and
        runner_up_score.
    failed
        Samples that failed: sample, reason, plate, well.
    command
        What the user typed.
    profiles
        Median of each marker in each cluster, on the transformed scale, by the clusters' numbers: clusters x markers.
        None without clusters.
    loose
        Of samples with models of their own: clusters (whose stability is known), loose (those less than stable), share
        (of its events in these); else None.
    drift
        Of the samples; None where each has a model of its own.
    fitted
        Share of each cluster in the fit of the model that they were mapped with, shape (clusters,); None where the
        model is that of the samples.
    measures
        F-measure and mean F1 of each sample on the events in one gate only; None without gates.
    warnings, sample_warnings
        Those of the fit, and those of each sample.
    """

    title: str
    mode: str
    abundance: pd.DataFrame
    clusters: pd.DataFrame
    failed: pd.DataFrame
    command: str
    profiles: pd.DataFrame | None = None
    loose: pd.DataFrame | None = None
    drift: PlateDrift | None = None
    fitted: NDArray[np.float64] | None = None
    measures: pd.DataFrame | None = None
    warnings: Sequence[str] = ()
    sample_warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def unassigned(self) -> int:
        """Events of all samples that are in no cluster."""
        return int(self.abundance["unassigned"].sum()) if "unassigned" in self.abundance else 0

    @property
    def shares(self) -> pd.DataFrame:
        """Share of each cluster in the events of each sample, samples x clusters."""
        events = self.abundance["events"].clip(lower=1)
        return self.abundance[list(self.clusters.index)].div(events, axis=0)


def write_plate_report(folder: Path, summary: BatchSummary) -> Path:
    """Write ``report.html`` in the folder of a batch; an earlier one is replaced."""
    with atomic_path(folder / FILE_NAME) as temporary:
        temporary.write_text(render_page("plates.html", _context(summary)), encoding="utf-8")
    return folder / FILE_NAME


def _context(summary: BatchSummary) -> dict[str, Any]:
    shares = summary.shares
    findings = judge_batch(summary)
    level, words = headline(findings)
    return {
        "title": summary.title,
        "mode": summary.mode,
        "command": summary.command,
        "failed": summary.failed.to_dict("records"),
        "events": int(summary.abundance["events"].sum()),
        "level": level,
        "headline": words,
        "findings": findings,
        "clusters": _clusters(summary, shares),
        "unassigned": summary.unassigned,
        "profiles": _profiles(summary),
        "drift": _drift(summary),
        "measures": summary.measures,
        "samples": [
            {
                "name": row["sample"],
                "place": " ".join(str(row[what]) for what in ("plate", "well") if row[what]),
                "events": int(row["events"]),
                "unassigned": row["unassigned"] / max(int(row["events"]), 1) if "unassigned" in row else 0.0,
                "shares": [(share, colour(share, 1.0), share > 0.45) for share in own],
                "warnings": summary.sample_warnings.get(row["sample"], ()),
            }
            for row, own in zip(summary.abundance.to_dict("records"), shares.to_numpy().tolist(), strict=True)
        ],
        "plates": list(_plates(summary, shares)),
        "palette": SEQUENTIAL,
    }


def _clusters(summary: BatchSummary, shares: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table of clusters."""
    total = max(int(summary.abundance["events"].sum()), 1)
    return [
        {
            "number": int(row.number),
            "population": row.population,
            "known": is_known(row.population),
            "label": row.label,
            "title": title_of(int(row.number), row.population, row.label),
            "events": int(row.events),
            "fraction": row.events / total,
            "least": float(shares[row.Index].min()),
            "most": float(shares[row.Index].max()),
            "stability": None if np.isnan(row.stability) else float(row.stability),
            "holds": stability_word(row.stability),
        }
        for row in summary.clusters.itertuples()
    ]


def _profiles(summary: BatchSummary) -> dict[str, Any] | None:
    """Rows of the table of marker profiles, with their colours."""
    if summary.profiles is None or summary.profiles.empty:
        return None
    lowest, spread = summary.profiles.min(), summary.profiles.max() - summary.profiles.min()
    scaled = (summary.profiles - lowest) / spread.clip(lower=max(float(spread.max()) * _PALE, 1e-6))
    titles = summary.clusters.set_index("number")
    rows = [
        {
            "number": int(number),
            "title": title_of(int(number), titles.loc[number, "population"], titles.loc[number, "label"]),
            "cells": [
                (
                    round(float(median), 1) + 0.0,
                    colour(scaled.loc[number, marker], 1.0),
                    scaled.loc[number, marker] > 0.45,
                )
                for marker, median in medians.items()
            ],
        }
        for number, medians in summary.profiles.iterrows()
    ]
    return {"markers": list(summary.profiles.columns), "rows": rows}


def _drift(summary: BatchSummary) -> dict[str, Any] | None:
    """Rows of the table of drift, with their colours."""
    drift = summary.drift
    if drift is None:
        return None
    rows = [
        {
            "name": name,
            "unfit": float(drift.unfit[name]),
            "cells": [
                (far, colour(far, 1.0), far > 0.45, bool(drift.left_range.loc[name, marker]))
                for marker, far in drift.distance.loc[name].items()
            ],
        }
        for name in drift.distance.index
    ]
    return {"markers": list(drift.distance.columns), "rows": rows}


def _plates(summary: BatchSummary, shares: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each plate with the map of every cluster on it; colours mean the same on all plates."""
    wells = [_position(well) for well in summary.abundance["well"]]
    lost = [_position(well) for well in summary.failed["well"]]
    highest = {name: float(shares[name].max()) if len(shares) else 0.0 for name in summary.clusters.index}
    titles = {cluster["number"]: cluster["title"] for cluster in _clusters(summary, shares)}
    plates = pd.concat([summary.abundance["plate"], summary.failed["plate"]]).drop_duplicates().tolist()
    for plate in plates:
        here = [i for i, own in enumerate(summary.abundance["plate"]) if own == plate and wells[i] is not None]
        missing = [place for own, place in zip(summary.failed["plate"], lost, strict=True) if own == plate and place]
        if not here and not missing:
            continue
        n_rows, n_columns = _layout([place for i in here if (place := wells[i])] + missing)
        yield {
            "name": plate or "Plate",
            "rows": [chr(ord("A") + row) for row in range(n_rows)],
            "columns": list(range(1, n_columns + 1)),
            "missing": missing,
            "drawn": len(here),
            "few": len(here) if len(here) < _FEWEST_DRAWN else 0,
            "maps": [
                {
                    "number": int(number),
                    "title": titles[number],
                    "highest": highest[name],
                    "wells": _drawn(summary.abundance, shares[name], here, wells, highest[name]),
                }
                for name, number in summary.clusters["number"].items()
            ],
        }


def _drawn(
    abundance: pd.DataFrame, shares: pd.Series[Any], here: list[int], wells: list[Any], highest: float
) -> list[dict[str, Any]]:
    """The wells of one map: place, colour, and what is said of each; samples of one well are averaged."""
    by_well: dict[tuple[int, int], list[int]] = {}
    for i in here:
        by_well.setdefault(wells[i], []).append(i)
    return [
        {
            "row": row,
            "column": column,
            "colour": colour(float(np.mean(shares.iloc[members])), highest),
            "share": float(np.mean(shares.iloc[members])),
            "name": ", ".join(abundance["sample"].iloc[members]),
        }
        for (row, column), members in sorted(by_well.items())
    ]


def _position(well: object) -> tuple[int, int] | None:
    """Row and column of a well, from 0; None for what is no well."""
    match = _WELL.fullmatch(str(well))
    if match is None or not 1 <= int(match[2]) <= LAYOUTS[-1][1]:
        return None
    return ord(match[1]) - ord("A"), int(match[2]) - 1


def _layout(places: list[tuple[int, int]]) -> tuple[int, int]:
    """Rows and columns of the smallest plate that has all places."""
    fitting = (size for size in LAYOUTS if all(row < size[0] and column < size[1] for row, column in places))
    return next(fitting)


def colour(share: float, highest: float) -> str:
    """Colour of a share between 0 and the highest one, along our sequential palette, as ``#rrggbb``."""
    place = (len(SEQUENTIAL) - 1) * min(max(share / highest, 0.0), 1.0) if highest > 0 else 0.0
    left = min(int(place), len(SEQUENTIAL) - 2)
    ends = [[int(code[k : k + 2], 16) for k in (1, 3, 5)] for code in SEQUENTIAL[left : left + 2]]
    mixed = [round(a + (place - left) * (b - a)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)
