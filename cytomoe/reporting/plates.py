"""The report of a batch: every cluster over the wells of each plate, the abundance of all, and what failed.

One HTML file that needs nothing but itself, as the report of a run, and no JavaScript: the plates are drawn as SVG.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cytomoe.io.atomic import atomic_path
from cytomoe.reporting.colours import SEQUENTIAL
from cytomoe.reporting.page import FILE_NAME, render_page

# Rows and columns of the plates that are made.
LAYOUTS = ((8, 12), (16, 24))
_WELL = re.compile(r"([A-P])(\d{1,2})")


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
        As ``abundance.csv``: sample, plate, well, further columns, events, then a column per cluster.
    clusters
        Names of the columns of the clusters.
    called
        What each cluster is called, by its column; may be empty.
    failed
        Samples that failed: sample, reason, plate, well.
    command
        What the user typed.
    """

    title: str
    mode: str
    abundance: pd.DataFrame
    clusters: list[str]
    called: Mapping[str, str]
    failed: pd.DataFrame
    command: str

    @property
    def shares(self) -> pd.DataFrame:
        """Share of each cluster in the events of each sample, samples x clusters."""
        events = self.abundance["events"].clip(lower=1)
        return self.abundance[self.clusters].div(events, axis=0)


def write_plate_report(folder: Path, summary: BatchSummary) -> Path:
    """Write ``report.html`` in the folder of a batch; an earlier one is replaced."""
    with atomic_path(folder / FILE_NAME) as temporary:
        temporary.write_text(render_page("plates.html", _context(summary)), encoding="utf-8")
    return folder / FILE_NAME


def _context(summary: BatchSummary) -> dict[str, Any]:
    shares = summary.shares
    return {
        "title": summary.title,
        "mode": summary.mode,
        "command": summary.command,
        "failed": summary.failed.to_dict("records"),
        "events": int(summary.abundance["events"].sum()),
        "clusters": [
            {"name": name.replace("_", " "), "called": summary.called.get(name, ""), "column": name}
            for name in summary.clusters
        ],
        "samples": [
            {
                "name": row["sample"],
                "place": " ".join(str(row[what]) for what in ("plate", "well") if row[what]),
                "events": int(row["events"]),
                "shares": [(share, colour(share, 1.0), share > 0.45) for share in own],
            }
            for row, own in zip(summary.abundance.to_dict("records"), shares.to_numpy().tolist(), strict=True)
        ],
        "plates": list(_plates(summary, shares)),
        "palette": SEQUENTIAL,
    }


def _plates(summary: BatchSummary, shares: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each plate with the map of every cluster on it; colours mean the same on all plates."""
    wells = [_position(well) for well in summary.abundance["well"]]
    lost = [_position(well) for well in summary.failed["well"]]
    highest = {name: float(shares[name].max()) if len(shares) else 0.0 for name in summary.clusters}
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
            "maps": [
                {
                    "cluster": name.replace("_", " "),
                    "called": summary.called.get(name, ""),
                    "highest": highest[name],
                    "wells": _drawn(summary.abundance, shares[name], here, wells, highest[name]),
                }
                for name in summary.clusters
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
