"""What a fit keeps of its cells: how codes and markers are spread in each cluster, and never a cell.

With it new cells are generated as spread as real ones, and new samples are compared with those of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytomoe.cores import on_threads
from cytomoe.outlyingness import marker_quantiles, marker_ranges, outlyingness_limit

FloatArray = NDArray[np.float32]

# Shares of the cells at which the distribution of each marker is kept.
QUANTILES = np.array([0.001, 0.01, *np.arange(0.05, 0.96, 0.05).round(2), 0.99, 0.999])
# Cells' worth of the covariance pooled over clusters in the covariance of each: steadies that of small clusters.
POOLED_CELLS = 20
# Share of the mean variance added to each, lest single precision lose what few cells do not span.
RIDGE = 1e-5
# Share of the cells of the fit that fit their cluster.
FITTING = 0.995
# Stability from which a cluster counts as surely found again, and below which Hennig (2007, Comput. Stat. Data Anal.
# 52:258) calls it dissolved.
STABLE, UNSTABLE = 0.75, 0.5


def as_shown(stability: ArrayLike) -> NDArray[np.float64]:
    """Stability to the two digits that people are shown, to be held against the limits: 0.748 reads 0.75, and is."""
    return np.array([round(float(value), 2) for value in np.atleast_1d(stability)])


@dataclass(frozen=True, eq=False)
class FitSummary:
    """Spread of codes and markers in the clusters of a fit.

    Attributes
    ----------
    sizes
        Cells of each cluster in the fit, float32, shape (clusters,).
    centres
        Mean code of each cluster (eq. 6), shape (clusters, L).
    covariances
        Covariance of its codes, steadied by the pooled one, shape (clusters, L, L).
    residual_means, residual_deviations
        Mean and standard deviation of scaled marker minus reconstruction in each cluster, shape (clusters, markers).
    quantiles
        Transformed value of each marker at ``QUANTILES`` over all cells, shape (quantiles, markers).
    cluster_quantiles
        The same within each cluster, shape (clusters, quantiles, markers).
    limit
        Largest misfit (see :func:`misfit`) of the best ``FITTING`` share of the cells, shape (1,).
    ranges
        Range of each marker in each cluster, shape (clusters, 3, markers): see :mod:`cytomoe.outlyingness`. NaN in
        models of format 2.
    outlyingness_limit
        Outlyingness beyond which a cell is unassigned, shape (1,). NaN in models of format 2.
    stability
        How surely each cluster is found again, in [0, 1]; NaN where the similarity can't tell; shape (clusters,).
    """

    sizes: FloatArray
    centres: FloatArray
    covariances: FloatArray
    residual_means: FloatArray
    residual_deviations: FloatArray
    quantiles: FloatArray
    cluster_quantiles: FloatArray
    limit: FloatArray
    ranges: FloatArray
    outlyingness_limit: FloatArray
    stability: FloatArray

    def reorder(self, order: NDArray[np.int64]) -> FitSummary:
        """Summary of the clusters in another order; ``order`` holds the old indices."""
        whole = ("quantiles", "limit", "outlyingness_limit")
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return FitSummary(**{name: v if name in whole else v[order] for name, v in values.items()})

    def problem(self, n_clusters: int, code_size: int, n_markers: int) -> str:
        """What is wrong with the arrays, in words; empty if nothing is."""
        n_quantiles = len(QUANTILES)
        expected = {
            "sizes": (n_clusters,),
            "centres": (n_clusters, code_size),
            "covariances": (n_clusters, code_size, code_size),
            "residual_means": (n_clusters, n_markers),
            "residual_deviations": (n_clusters, n_markers),
            "quantiles": (n_quantiles, n_markers),
            "cluster_quantiles": (n_clusters, n_quantiles, n_markers),
            "limit": (1,),
            "ranges": (n_clusters, 3, n_markers),
            "outlyingness_limit": (1,),
            "stability": (n_clusters,),
        }
        shapes = {name: array.shape for name, array in self.arrays().items()}
        for name in expected:
            if shapes[name] != expected[name]:
                return f"{name} have shape {shapes[name]}"
        if not (self.residual_deviations > 0).all():
            return "residual_deviations are not positive"
        together = np.append(self.ranges, self.outlyingness_limit)
        if not (np.isfinite(together).all() or np.isnan(together).all()):
            return "ranges are not finite"
        if (np.diff(self.ranges, axis=1) < 0).any() or (self.outlyingness_limit < 0).any():
            return "ranges are not in order"
        if not (np.isnan(self.stability) | ((self.stability >= 0) & (self.stability <= 1))).all():
            return "stability lies outside 0 to 1"
        try:
            np.linalg.cholesky(self.covariances.astype(np.float64))
        except np.linalg.LinAlgError:
            return "covariances are none"
        return ""

    def arrays(self) -> dict[str, FloatArray]:
        """The arrays by their names, for saving."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def summarise(
    codes: FloatArray,
    experts: NDArray[np.int64],
    scaled: FloatArray,
    reconstructed: FloatArray,
    expression: FloatArray,
    stability: NDArray[np.float64] | None = None,
) -> FitSummary:
    """Summarise the cells of a fit; every expert from 0 to the largest has a cell.

    Parameters
    ----------
    codes
        Shape (cells, L).
    experts
        Cluster of each cell, from 0, shape (cells,).
    scaled, reconstructed
        Scaled markers and what the cells' experts make of their codes, shape (cells, markers).
    expression
        Transformed, unscaled markers, shape (cells, markers).
    stability
        Of each cluster, shape (clusters,); None where the similarity can't tell.
    """
    order = np.argsort(experts, kind="stable")
    sizes = np.bincount(experts)
    members = np.split(order, np.cumsum(sizes)[:-1])
    residuals = scaled - reconstructed
    centres = np.array([codes[rows].mean(axis=0) for rows in members])
    scatters = np.array([_scatter(codes[rows], centre) for rows, centre in zip(members, centres, strict=True)])
    pooled = scatters.sum(axis=0) / len(codes) + 1e-6 * np.eye(codes.shape[1])
    covariances = (scatters + POOLED_CELLS * pooled) / (sizes + POOLED_CELLS)[:, None, None]
    covariances += (
        RIDGE * np.trace(covariances, axis1=1, axis2=2)[:, None, None] / codes.shape[1] * np.eye(codes.shape[1])
    )
    means = np.array([residuals[rows].mean(axis=0) for rows in members])
    squares = np.array([np.square(residuals[rows] - m).sum(axis=0) for rows, m in zip(members, means, strict=True)])
    variances = (squares + POOLED_CELLS * squares.sum(axis=0) / len(codes)) / (sizes + POOLED_CELLS)[:, None]
    kept = FitSummary(
        sizes=sizes.astype(np.float32),
        centres=centres.astype(np.float32),
        covariances=covariances.astype(np.float32),
        residual_means=means.astype(np.float32),
        residual_deviations=np.sqrt(np.maximum(variances, 1e-8)).astype(np.float32),
        quantiles=marker_quantiles(expression, QUANTILES.tolist()).astype(np.float32),
        cluster_quantiles=np.array(on_threads(lambda rows: _quantiles(expression[rows]), members)),
        limit=np.zeros(1, dtype=np.float32),
        ranges=marker_ranges(expression, experts, len(sizes)),
        outlyingness_limit=np.array([outlyingness_limit(expression, experts)], dtype=np.float32),
        stability=np.full(len(sizes), np.nan, np.float32) if stability is None else stability.astype(np.float32),
    )
    misfits = misfit(kept, codes, experts, residuals)
    return FitSummary(**{**kept.arrays(), "limit": np.quantile(misfits, [FITTING]).astype(np.float32)})


def _scatter(codes: FloatArray, centre: FloatArray) -> NDArray[np.float64]:
    apart = (codes - centre).astype(np.float64)
    return apart.T @ apart


def pooled_quantiles(quantiles: FloatArray, numbers: NDArray[np.int64]) -> FloatArray:
    """Quantiles of several clusters together, from those of each.

    Parameters
    ----------
    quantiles
        Values at ``QUANTILES``, shape (clusters, quantiles, markers).
    numbers
        Cells of each cluster in the whole, shape (clusters,).

    Returns
    -------
    ndarray
        Shape (quantiles, markers).
    """
    if len(quantiles) == 1:
        return quantiles[0]
    cells = []
    for own, n in zip(quantiles, numbers.tolist(), strict=True):
        places = (np.arange(n) + 0.5) / max(n, 1)
        cells.append(np.column_stack([np.interp(places, QUANTILES, marker) for marker in own.T]))
    return _quantiles(np.concatenate(cells))


def _quantiles(expression: FloatArray) -> FloatArray:
    return np.quantile(expression, QUANTILES, axis=0).astype(np.float32)


def misfit(
    kept: FitSummary, codes: FloatArray, experts: NDArray[np.int64], residuals: FloatArray
) -> NDArray[np.float64]:
    """How far cells are from what their cluster held in the fit; shape (cells,).

    Mean square of their standardised residuals and of their code's standardised distance from the centre, so about 1
    for a typical cell. It is large for a cell that its expert can't reproduce, or whose code lies off the cluster.

    Parameters
    ----------
    kept
        Of the fit.
    codes
        Shape (cells, L).
    experts
        Cluster of each cell, from 0, shape (cells,).
    residuals
        Scaled markers minus their reconstruction, shape (cells, markers).
    """
    standard = (residuals - kept.residual_means[experts]) / kept.residual_deviations[experts]
    squares = np.square(standard, dtype=np.float64).sum(axis=1)
    whitening = np.linalg.inv(np.linalg.cholesky(kept.covariances.astype(np.float64)))
    for k in np.unique(experts):
        rows = np.flatnonzero(experts == k)
        squares[rows] += np.square((codes[rows] - kept.centres[k]) @ whitening[k].T).sum(axis=1)
    return squares / (codes.shape[1] + residuals.shape[1])


def draw_codes(kept: FitSummary, cluster: int, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw codes of a cluster (from 0) with its own covariance, shape (n, L)."""
    root = np.linalg.cholesky(kept.covariances[cluster].astype(np.float64))
    noise = rng.standard_normal((n, len(root)))
    return (kept.centres[cluster] + noise @ root.T).astype(np.float32)


def draw_residuals(kept: FitSummary, cluster: int, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw what a decoder leaves out of scaled markers, independently by marker; shape (n, markers)."""
    deviations = kept.residual_deviations[cluster]
    noise = rng.standard_normal((n, len(deviations)), dtype=np.float32)
    return np.asarray(kept.residual_means[cluster] + noise * deviations, dtype=np.float32)
