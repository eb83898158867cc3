"""How far new samples lie from the cells that a model was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.fit_summary import FITTING, QUANTILES, FitSummary
from cytomoe.words import percent

# A sample's marker has left the range of the fit if this share of its events lies beyond it; 0.2 % would by chance.
MOST_OUTSIDE = 0.02
# A sample's cells no longer fit if this share of them fits no expert; 0.5 % would by chance.
MOST_UNFIT = 0.05
# Marker distributions of the same cells differ by so much over the root of the events, or less, in 999 of 1,000 samples
# (Kolmogorov and Smirnov).
BY_CHANCE = 1.95
# Samples that a line names.
_NAMED = 4


@dataclass(frozen=True, eq=False)
class Drift:
    """New samples beside the cells of the fit.

    Attributes
    ----------
    markers
        One row per sample and marker: sample, marker, low and high (the 0.1st and 99.9th percentile of the fit,
        transformed values), events of the sample, outside (share of the events beyond them), distance (largest
        distance between the cumulative distributions of sample and fit), left_range.
    unfit
        Share of each sample's events that fit no cluster.
    """

    markers: pd.DataFrame
    unfit: dict[str, float]

    def warnings(self) -> list[str]:
        """What the user should know: a line per kind, in which samples are named with their values."""
        left = {
            str(sample): ", ".join(f"{row.marker} ({percent(row.outside)})" for row in own.itertuples())
            for sample, own in self.markers[self.markers["left_range"]].groupby("sample", sort=False)
        }
        unfit = {sample: percent(share) for sample, share in self.unfit.items() if share > MOST_UNFIT}
        lines = []
        if left:
            lines.append(
                self._line("values left the range of the model's training", left, "drift.csv")
                + "; are stain, instrument settings and units the same?"
            )
        if unfit:
            lines.append(
                self._line("events fit no cluster of the model", unfit, "run.json")
                + f" ({percent(1 - FITTING)} did in its training); they may be populations that it has never seen"
            )
        return lines

    def _line(self, what: str, told: dict[str, str], table: str) -> str:
        """What is told of each of the samples, or of the first few."""
        if len(told) == 1:
            ((sample, found),) = told.items()
            return f"{sample}: {what}: {found} of the events"
        named = "; ".join(f"{sample} {found}" for sample, found in list(told.items())[:_NAMED])
        more = f"; {len(told) - _NAMED} more in {table}" if len(told) > _NAMED else ""
        return f"in {len(told)} of {len(self.unfit)} samples {what}: {named} of the events{more}"

    def to_dict(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        left = self.markers[self.markers["left_range"]]
        return {
            "fits_no_expert": self.unfit,
            "expected": round(1 - FITTING, 4),
            "left_range": {s: list(rows["marker"]) for s, rows in left.groupby("sample", sort=False)},
        }


def distance(values: NDArray[np.float32], quantiles: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest distance between the cumulative distribution of each marker and that of the cells of a fit.

    Parameters
    ----------
    values
        Transformed values, shape (events, markers).
    quantiles
        Those of the fit at ``QUANTILES``, shape (quantiles, markers); between them nothing is known.

    Returns
    -------
    ndarray
        Between 0 (the same) and 1 (no value in common), shape (markers,).
    """
    columns = list(zip(np.sort(values, axis=0).T, quantiles.T, strict=True))
    shares = np.stack([np.searchsorted(*column, side="right") for column in columns], axis=1) / len(values)
    below = np.stack([np.searchsorted(*column, side="left") for column in columns], axis=1) / len(values)
    # Many cells may share a value: the fit's share lies anywhere between those below and those at most there.
    expected = QUANTILES[:, None]
    return np.asarray(np.maximum(np.maximum(below - expected, expected - shares), 0).max(axis=0))


def measure_drift(
    kept: FitSummary,
    markers: Sequence[str],
    expression: NDArray[np.float32],
    misfits: NDArray[np.float64],
    sample: NDArray[np.int64],
    samples: Sequence[str],
) -> Drift:
    """Compare samples with the cells of a fit.

    Parameters
    ----------
    kept
        Of the fit.
    markers
        Names of the markers.
    expression
        Transformed values, shape (events, markers).
    misfits
        Misfit of each event (see :func:`cytomoe.fit_summary.misfit`), shape (events,).
    sample
        Index into ``samples`` of each event, shape (events,).
    samples
        Names of the samples.
    """
    tables, unfit = [], {}
    low, high = kept.quantiles[0], kept.quantiles[-1]
    for index, name in enumerate(samples):
        rows = sample == index
        values = expression[rows]
        if len(values) == 0:
            continue
        outside = np.mean((values < low) | (values > high), axis=0)
        tables.append(
            pd.DataFrame(
                {
                    "sample": name,
                    "marker": list(markers),
                    "low": np.round(low, 4),
                    "high": np.round(high, 4),
                    "events": len(values),
                    "outside": np.round(outside, 5),
                    "distance": np.round(distance(values, kept.quantiles), 4),
                    "left_range": outside > MOST_OUTSIDE,
                }
            )
        )
        unfit[name] = round(float(np.mean(misfits[rows] > kept.limit[0])), 5)
    return Drift(pd.concat(tables, ignore_index=True), unfit)
