"""Scaling of transformed markers to [0, 1], which the network's cross-entropy asks for (eq. 4 of the paper)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

HIGH_PERCENTILE = 99.9  # the rest are a few events, often aggregates, that would press everyone else together
LOW_PERCENTILE = 0.1


def fit_limits(values: FloatArray, *, from_zero: bool) -> tuple[float, float]:
    """Find the values of one marker that become 0 and 1.

    Parameters
    ----------
    values
        (events,) transformed values of the marker, at least one, finite.
    from_zero
        Whether 0 is the lower end (values clipped at 0) rather than the 0.1st percentile.

    Returns
    -------
    tuple of float
        Low and high; high is the 99.9th percentile, or the maximum where fewer events than that differ from the low
        end. Equal for a constant marker.
    """
    low = 0.0 if from_zero else float(np.percentile(values, LOW_PERCENTILE))
    high = float(np.percentile(values, HIGH_PERCENTILE))
    if high <= low:
        high = max(float(values.max()), low)
    return low, high


def scale(expression: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Bring each marker to [0, 1]: ``low`` to 0, ``high`` to 1, what lies beyond to the nearer end.

    Parameters
    ----------
    expression
        (events, markers) transformed values.
    low, high
        (markers,) limits from `fit_limits`. A constant marker becomes 0.

    Returns
    -------
    ndarray
        (events, markers) float32 in [0, 1].
    """
    width = np.where(high > low, high - low, np.float32(1.0)).astype(np.float32)
    scaled = (expression - low.astype(np.float32)) / width
    scaled[:, high <= low] = 0.0
    return np.clip(scaled, 0.0, 1.0, out=scaled).astype(np.float32, copy=False)


def unscale(scaled: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Undo `scale` within the limits: (events, markers) in [0, 1] to transformed values, float32."""
    return (scaled * (high - low).astype(np.float32) + low.astype(np.float32)).astype(np.float32, copy=False)
