"""Synthetic Gaussian mixtures: how many components can be told apart, and counted (section 4.1, figure A1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.benchmarks.base import Experiment, Report, Request, Row, Unit
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.writing import mean_and_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cytomoe.settings import Settings
    from cytomoe.similarity import Similarity

DIMENSIONS = 100
CELLS_PER_COMPONENT = 300
SEPARATIONS = (1.0, 0.5)
COMPONENTS = (2, 5, 10, 20, 30, 40, 60, 80, 100)
# Part (b): every number of components with 40 experts, and 23 components with every number of experts.
COUNTED = (2, 5, 10, 15, 20, 23, 30, 40)
EXPERTS = (5, 10, 15, 20, 23, 30, 40)
MOST_EXPERTS, FIXED_COMPONENTS = 40, 23
_QUICK = (2, 10)
_COMPONENTS = 60  # principal components at most, where the number is not known
_STARTS, _COUNTED_STARTS = 5, 2  # of spherical mixtures, of either kind; where the number is not known


class Synthetic(Experiment):
    """MoE-Sim-VAE and a Gaussian mixture on 100-dimensional Gaussians."""

    name = "synthetic"
    title = "Synthetic Gaussian mixtures (section 4.1, figure A1)"

    def units(self, request: Request) -> list[Unit]:
        """Parts (a), the fit with the true number, and (b), the number of clusters, for each separation and seed."""
        chosen = tuple(request.options.get("components") or ()) or (_QUICK if request.quick else ())
        cases = [("fit", n, n) for n in chosen or COMPONENTS]
        cases += [("number", n, MOST_EXPERTS) for n in chosen or COUNTED if n <= MOST_EXPERTS]
        if not chosen:
            cases += [("experts", FIXED_COMPONENTS, experts) for experts in EXPERTS]
        return [
            Unit(
                f"{part}_{separation:g}_{n:03d}_{experts:03d}_seed{seed}",
                {"part": part, "separation": separation, "components": n, "experts": experts, "seed": seed},
            )
            for seed in request.seeds
            for separation in SEPARATIONS
            for part, n, experts in cases
        ]

    def compute(self, unit: Unit, request: Request) -> list[Row]:
        """Fit both methods (part fit), or cytomoe alone."""
        from cytomoe.metrics import Contingency

        case = unit.arguments
        values, truth = gaussian_mixture_data(case["components"], case["separation"], case["seed"])
        known = case["components"] if case["part"] == "fit" else None
        fits: dict[str, Callable[[], NDArray[np.integer[Any]]]] = {
            "cytomoe": partial(_fit_cytomoe, values, case["experts"], known, case["seed"], request)
        }
        if case["part"] == "fit":
            fits |= {
                f"GMM, {covariance}": partial(_fit_gmm, values, case["components"], covariance, case["seed"])
                for covariance in ("full", "diag")
            }
        rows: list[Row] = []
        for method, fit in fits.items():
            started = time.process_time()
            labels = fit()
            table = Contingency.of(truth, labels)
            rows.append(
                {
                    **case,
                    "method": method,
                    "clusters": len(table.clusters),
                    "f_measure": table.f_measure(),
                    "mean_f1": table.mean_f1(),
                    "cpu_seconds": round(time.process_time() - started, 2),
                }
            )
        return rows

    def report(self, rows: pd.DataFrame, request: Request) -> Report:
        """Tables and plots of both parts."""
        tables = {
            "F-measure with the true number of clusters": _by_method(rows, "f_measure"),
            "Mean F1 with the true number of clusters": _by_method(rows, "mean_f1"),
            f"Clusters found with {MOST_EXPERTS} experts": _counts(rows, "number", "components"),
        }
        if (rows["part"] == "experts").any():
            tables[f"Clusters found in {FIXED_COMPONENTS} components"] = _counts(rows, "experts", "experts")
        summary = [
            f"{DIMENSIONS} dimensions, {CELLS_PER_COMPONENT} cells per component; means uniform in [-s, s], s the "
            "separation, unit variance in every dimension",
            "the paper prints no numbers for this experiment: F-measure near 1 up to 30 components, on par with the "
            "Gaussian mixture up to 40; the number of clusters right up to 23 components with 40 experts",
            _goal(rows),
        ]
        return Report(summary, tables, {"figure_a1": _figure(rows)})


def gaussian_mixture_data(
    components: int, separation: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw cells of Gaussian components with random means.

    Parameters
    ----------
    components
        How many, of equal weight.
    separation
        Means are uniform in [-separation, separation] in each dimension; the variance is 1.
    seed
        Of the draw.

    Returns
    -------
    values, truth
        Shapes (cells, 100) and (cells,).
    """
    rng = np.random.default_rng([seed, components])
    means = rng.uniform(-separation, separation, (components, DIMENSIONS))
    truth = rng.permutation(np.repeat(np.arange(components), CELLS_PER_COMPONENT))
    return (means[truth] + rng.standard_normal((len(truth), DIMENSIONS))).astype(np.float32), truth


def _fit_cytomoe(
    values: NDArray[np.float32], experts: int, known: int | None, seed: int, request: Request
) -> NDArray[np.int64]:
    from dataclasses import replace

    from cytomoe.benchmarks.similarities import SimilarityModel

    settings = replace(settings_for("synthetic", request.preset), experts=experts)
    build = None if request.preset == "paper" else partial(_similarity, known=known)
    return SimilarityModel(build, settings=settings, seed=seed, device=request.device).fit(values).labels_


def _similarity(
    values: NDArray[np.float32], settings: Settings, rng: np.random.Generator, *, known: int | None
) -> Similarity:
    """Partition by spherical mixtures, of the known number or of the number that the data says."""
    from cytomoe.benchmarks.similarities import counted_similarity, principal_components, spherical_similarity

    # The means of K components span K - 1 dimensions at most.
    points = principal_components(values, known or min(settings.experts + 10, _COMPONENTS), int(rng.integers(2**31)))
    if known:
        return spherical_similarity(values, points, clusters=known, starts=_STARTS, rng=rng)
    return counted_similarity(values, points, most=settings.experts, starts=_COUNTED_STARTS, rng=rng)


def _fit_gmm(values: NDArray[np.float32], components: int, covariance: str, seed: int) -> NDArray[np.int64]:
    """scikit-learn's Gaussian mixture as it comes, with full (its default) or diagonal covariances."""
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(components, covariance_type=covariance, random_state=seed).fit_predict(values)


def _by_method(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One row per separation and number of components, one column per method."""
    part = rows[rows["part"] == "fit"]
    table = part.groupby(["separation", "components", "method"])[measure].apply(mean_and_spread).unstack("method")
    return table.reset_index().rename_axis(columns=None)


def _counts(rows: pd.DataFrame, part: str, by: str) -> pd.DataFrame:
    """Clusters found per run, one row per separation and ``by``."""
    chosen = rows[rows["part"] == part]
    if chosen.empty:
        return pd.DataFrame(columns=["separation", by, "clusters"])
    lines: list[dict[str, Any]] = []
    for (separation, value), group in chosen.groupby(["separation", by]):
        exact = int((group["clusters"] == group["components"].clip(upper=group["experts"])).sum())
        lines.append(
            {
                "separation": separation,
                by: int(value),
                "clusters": ", ".join(map(str, sorted(group["clusters"]))),
                "exact": f"{exact} of {len(group)}",
                "F-measure": mean_and_spread(group["f_measure"]),
            }
        )
    return pd.DataFrame(lines)


def _goal(rows: pd.DataFrame) -> str:
    fits = rows[(rows["part"] == "fit") & (rows["method"] == "cytomoe") & (rows["components"] <= 30)]
    worst = fits[fits["separation"] == 1.0].groupby("components")["f_measure"].mean().min()
    counted = rows[(rows["part"] == "number") & (rows["separation"] == 1.0) & (rows["components"] <= 23)]
    exact = int((counted["clusters"] == counted["components"]).sum())
    return (
        f"measured at separation 1: smallest F-measure up to 30 components {worst:.3f}; number of clusters exact in "
        f"{exact} of {len(counted)} runs up to 23 components with 40 experts"
    )


def _figure(rows: pd.DataFrame) -> Figure:
    """Figure A1: F-measure against components, and clusters found against components, a column per separation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, len(SEPARATIONS), squeeze=False, sharey="row")
    for column, separation in enumerate(sorted(SEPARATIONS)):
        here = rows[rows["separation"] == separation]
        for method, group in here[here["part"] == "fit"].groupby("method"):
            means = group.groupby("components")["f_measure"].mean()
            axes[0, column].plot(means.index, means, "o-", markersize=3, label=method)
        axes[0, column].set(title=f"separation {separation:g}", xlabel="components = clusters", ylabel="F-measure")
        axes[0, column].set_ylim(0, 1.02)
        axes[0, column].legend()
        counted = here[here["part"] == "number"]
        axes[1, column].plot(counted["components"], counted["clusters"], "o", markersize=4, alpha=0.5)
        axes[1, column].plot([0, 40], [0, 40], "k:", linewidth=1)
        axes[1, column].set(xlabel="components", ylabel=f"clusters found, {MOST_EXPERTS} experts")
    return figure
