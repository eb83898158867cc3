"""Cells generated from a fitted network: codes of a cluster, decoded by its expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cytomoe import __version__
from cytomoe.errors import InputError
from cytomoe.fit_summary import FitSummary, draw_codes, draw_residuals
from cytomoe.model.inference import codes_and_experts, decode
from cytomoe.preprocessing.compensation import SYNTHETIC
from cytomoe.settings import MOST_GENERATED

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.model.networks import MoESimVAENetwork
    from cytomoe.preprocessing import Preprocessor

Spread = Literal["own", "unit"]
FloatArray = NDArray[np.float32]

# $PnR of synthetic fluorescence channels: the scale of digital cytometers.
FLUORESCENCE_RANGE = 262_144
# Rounds of drawing before what is still missing is taken from the centre itself.
_ROUNDS = 12
# Below this share of accepted cells the next round stays closer to the centre.
_FEWEST_ACCEPTED = 0.05


def draw_unit(network: MoESimVAENetwork, kept: FitSummary, expert: int, n: int, rng: np.random.Generator) -> FloatArray:
    """Scaled markers (n, D) decoded from codes N(centre, I), as the paper generates cells."""
    codes = kept.centres[expert] + rng.standard_normal((n, kept.centres.shape[1]), dtype=np.float32)
    return decode(network, codes, np.full(n, expert))


def draw_own(
    network: MoESimVAENetwork, kept: FitSummary, expert: int, n: int, rng: np.random.Generator, *, lowest: float
) -> FloatArray:
    """Scaled markers (n, D) of cells as spread as those of the fit, all of which the network assigns to the expert.

    Codes have the cluster's own covariance; what its decoder leaves unexplained is added to the markers; cells that go
    to another expert are drawn again. A cluster of a few odd cells may be one that the network hardly knows: it is then
    drawn ever closer to its centre.

    Parameters
    ----------
    network, kept
        Of the fit.
    expert
        Cluster, from 0.
    n
        Cells.
    rng
        Source of all randomness.
    lowest
        Scaled values end here, as those of the fit did, and at 1.
    """
    accepted = [np.empty((0, kept.residual_means.shape[1]), np.float32)]
    missing, reach = n, np.float32(1)
    centre = kept.centres[expert]
    for _ in range(_ROUNDS):
        if missing == 0:
            break
        n_drawn = int(1.2 * missing) + 50
        codes = centre + reach * (draw_codes(kept, expert, n_drawn, rng) - centre)
        scaled = decode(network, codes, np.full(n_drawn, expert))
        scaled = np.clip(scaled + reach * draw_residuals(kept, expert, n_drawn, rng), lowest, 1)
        found = scaled[codes_and_experts(network, np.maximum(scaled, 0))[1] == expert][:missing]
        accepted.append(found)
        missing -= len(found)
        if len(found) < _FEWEST_ACCEPTED * n_drawn:
            reach /= 2
    accepted.append(decode(network, np.repeat(centre[None], missing, axis=0), np.full(missing, expert)))
    return np.concatenate(accepted)


def refuse_many(n: int) -> None:
    """Refuse a number of cells that no memory holds."""
    if n > MOST_GENERATED:
        raise InputError(f"{n:,} cells are too many to generate at once; {MOST_GENERATED:,} are the most")


def share_out(n: int, weights: Sequence[float]) -> list[int]:
    """Share ``n`` cells out in proportion to weights; the largest remainders round up.

    Raises
    ------
    InputError
        If that can't be done.
    """
    refuse_many(n)
    given = np.asarray(weights, dtype=np.float64)
    if n < 0 or not (np.isfinite(given) & (given >= 0)).all() or not given.any():
        raise InputError(
            "cells are generated where their number is 0 or more and the weights are numbers of 0 or more, not all 0"
        )
    exact = n * given / given.sum()
    counts = np.floor(exact).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return [int(count) for count in counts]


def as_file(cells: FloatArray, clusters: NDArray[np.int32], preprocessor: Preprocessor, seed: int) -> AnnData:
    """Generated cells as an AnnData such as a file gives, marked as compensated if the model compensates its files.

    Parameters
    ----------
    cells
        (cells, markers) in the units of the files of the fit.
    clusters
        Cluster of each cell, from 1.
    preprocessor
        Of the model.
    seed
        Of the draw, for the mark.
    """
    import pandas as pd
    from anndata import AnnData

    steps = preprocessor.steps
    top = np.floor(cells.max(axis=0, initial=0)) + 1
    if preprocessor.instrument == "fluorescence" and not preprocessor.pretransformed:
        top = np.maximum(top, FLUORESCENCE_RANGE)
    var = pd.DataFrame(
        {
            "channel": [step.channel for step in steps],
            "antigen": [step.antigen or (step.marker if step.marker != step.channel else "") for step in steps],
            "range": top,
        },
        index=preprocessor.markers,
    )
    mark = f"transformed {SYNTHETIC}" if preprocessor.pretransformed else SYNTHETIC
    keywords = {"$COM": f"{mark} {__version__} with seed {seed}"}
    if preprocessor.compensate:  # other programs would compensate them again: they find nothing to do
        channels = [step.channel for step in steps]
        identity = np.eye(len(channels), dtype=int).ravel()
        keywords["$SPILLOVER"] = ",".join([str(len(channels)), *channels, *map(str, identity)])
    obs = pd.DataFrame({"cluster": clusters}, index=[str(i) for i in range(len(cells))])
    return AnnData(cells, obs=obs, var=var, uns={"fcs": {"keywords": keywords}})
