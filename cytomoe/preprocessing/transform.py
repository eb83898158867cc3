"""Value transforms of cytometry channels and their inverses, and the tests that values are fit to be transformed.

arcsinh(x / cofactor) is the rule for mass cytometry (cofactor 5) and serves fluorescence with cofactor 150 (Bendall et
al. 2011; Weber & Robinson 2016). Logicle (Parks et al. 2006) is flowutils' implementation of the Gating-ML 2.0
parametrisation, given in decades, as flowCore and FlowSOM give it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.preprocessing.channels import Instrument, channel_names, classify_channels, column, keyword, source_name

if TYPE_CHECKING:
    import pandas as pd

    from cytomoe.io.raw_events import Raw

TransformName = Literal["arcsinh", "logicle", "none"]
# What is done to events with a NaN or infinite value in a channel that is used.
NanPolicy = Literal["refuse", "drop", "zero"]
FloatArray = NDArray[np.float32]

COFACTORS: dict[Instrument, float] = {"mass": 5.0, "fluorescence": 150.0}

# Far beyond the cofactors of any instrument; much farther, values overflow or all become 0.
SMALLEST_COFACTOR, LARGEST_COFACTOR = 0.001, 1_000_000

LOGICLE_DECADES = 4.5  # M: decades of the whole scale
LOGICLE_LINEAR = 0.5  # W: decades of the linear part around zero, where too few values are negative to measure it
LOGICLE_NEGATIVE = 0.0  # A: decades added below zero

# arcsinh(262144 / 5), the widest usual scale with the smallest usual cofactor, is 11.6: no usual transform goes beyond,
# while raw values of a whole panel always do.
TRANSFORMED_BELOW = 12.0
# Transformed values crowd below their maximum; in raw ones a few events lie far above the rest.
TRANSFORMED_TAIL = 0.25
# Values beyond were not transformed at all, and on their scale no valley is found.
LARGEST_TRANSFORMED = 50.0
# Fewer values than this say nothing about their distribution.
MIN_VALUES_JUDGED = 200
# Below this many negative values the width of the noise around zero can't be measured.
_ENOUGH_NEGATIVE = 50
_EVENTS_SAMPLED = 20_000


@dataclass(frozen=True)
class MarkerTransform:
    """The transform of one marker.

    Parameters
    ----------
    name
        Which transform.
    cofactor
        Of arcsinh: values much smaller than it come out linear, much larger ones logarithmic. Larger cofactors press
        the noise around zero together, smaller ones spread it.
    top
        Of logicle: the value at the top of the scale (T).
    linear
        Of logicle: decades of the linear part around zero (W); see :func:`logicle_linear`.

    Raises
    ------
    InputError
        The cofactor is out of range, the top of the scale is not a positive number, or the linear part does not fit on
        the scale.
    """

    name: TransformName
    cofactor: float | None = None
    top: float | None = None
    linear: float = LOGICLE_LINEAR

    def __post_init__(self) -> None:
        if self.name == "arcsinh":
            refuse_cofactor(self.cofactor, f"the cofactor {self.cofactor}")
        if self.name == "logicle" and not (self.top is not None and np.isfinite(self.top) and self.top > 0):
            raise InputError(f"logicle needs a positive top of the scale, not {self.top}")
        if not 0 <= self.linear <= LOGICLE_DECADES / 2:
            raise InputError(f"the linear part of logicle has 0 to {LOGICLE_DECADES / 2:g} decades, not {self.linear}")

    def apply(self, values: NDArray[np.floating]) -> FloatArray:
        """Transform finite values of any shape; the result is float32."""
        if self.name == "arcsinh":
            return np.arcsinh(values / np.float32(self.cofactor or 1.0)).astype(np.float32, copy=False)
        if self.name == "logicle":
            from flowutils.transforms import logicle

            return (LOGICLE_DECADES * logicle(values, None, **self._logicle())).astype(np.float32)
        return values.astype(np.float32)

    def invert(self, transformed: NDArray[np.floating]) -> FloatArray:
        """Values that `apply` would turn into ``transformed``; float32, of the same shape."""
        if self.name == "arcsinh":
            return (np.sinh(transformed) * np.float32(self.cofactor or 1.0)).astype(np.float32, copy=False)
        if self.name == "logicle":
            from flowutils.transforms import logicle_inverse

            scaled = transformed.astype(np.float64) / LOGICLE_DECADES
            return np.asarray(logicle_inverse(scaled, None, **self._logicle())).astype(np.float32)
        return transformed.astype(np.float32)

    def describe(self, *, exactly: bool = True) -> str:
        """Name the transform and its numbers: ``arcsinh, cofactor 5``; those of a marker's own only ``exactly``."""
        if self.name == "arcsinh":
            return f"arcsinh, cofactor {self.cofactor:g}"
        if self.name == "logicle":
            width = f"of {self.linear:.2g} decades" if exactly else "by the noise of each marker"
            linear = f", linear part {width}" if exactly or self.linear != LOGICLE_LINEAR else ""
            return f"logicle, top of scale {self.top:g}{linear}"
        return "no transform"

    def _logicle(self) -> dict[str, float | None]:
        return {"t": self.top, "m": LOGICLE_DECADES, "w": self.linear, "a": LOGICLE_NEGATIVE}


def refuse_cofactor(cofactor: float | None, called: str) -> None:
    """Refuse what can't be a cofactor of arcsinh; ``called`` opens the message."""
    if not isinstance(cofactor, int | float) or not SMALLEST_COFACTOR <= cofactor <= LARGEST_COFACTOR:
        raise InputError(f"{called} is not a number from {SMALLEST_COFACTOR:g} to {LARGEST_COFACTOR:,}")


def logicle_linear(values: NDArray[np.floating], top: float) -> float:
    """Decades of the linear part of a marker's logicle scale (W), as wide as its noise around zero.

    ``W = (M - log10(T / -r)) / 2`` with r the 5th percentile of the negative values (Parks et al. 2006, eq. 7), as
    flowCore's ``estimateLogicle`` has it: a narrower part shows the noise of one population as two peaks.

    Parameters
    ----------
    values
        Linear, compensated values of the marker; NaN where there is none.
    top
        Top of the scale (T).
    """
    negative = values[values < 0]
    if len(negative) < _ENOUGH_NEGATIVE:
        return LOGICLE_LINEAR
    widest = -float(np.quantile(negative, 0.05))
    return float(np.clip((LOGICLE_DECADES - np.log10(top / widest)) / 2, 0, LOGICLE_DECADES / 2))


def log_amplification(channel: Mapping[Hashable, Any] | pd.Series[Any]) -> tuple[float, float] | None:
    """Decades and offset of a logarithmic amplifier ($PnE), for integer channels that had one.

    Parameters
    ----------
    channel
        One row of ``var``: ``datatype``, ``log``, ``range``.

    Returns
    -------
    tuple of float or None
        Decades and the linear value of channel number 0. None when the values are linear: float data always is,
        whatever $PnE says. An offset of 0, which the standard calls wrong but many instruments write, means 1.
    """
    try:
        decades, offset = (float(part) for part in str(channel.get("log", "0,0")).split(","))
    except ValueError:
        return None
    if str(channel.get("datatype", "F")).upper() != "I" or decades <= 0 or float(channel["range"]) <= 0:
        return None
    return decades, offset if offset > 0 else 1.0


def linear_values(adata: Raw, positions: Sequence[int], nan: NanPolicy = "refuse") -> FloatArray:
    """Copy channels of a file as linear values: channel numbers of logarithmic amplifiers ($PnE) are undone.

    Parameters
    ----------
    adata
        A file.
    positions
        Columns to copy.
    nan
        What is done to values that are NaN or infinite: they are refused, their events get NaN in all columns
        (``drop``), or they become 0 (``zero``).

    Returns
    -------
    ndarray
        (events, channels) float32.

    Raises
    ------
    InputError
        A value is NaN or infinite; lists the channels with their counts.
    """
    with np.errstate(over="ignore"):  # beyond float32 a value becomes infinite and is refused below
        values = np.asarray(adata.X[:, list(positions)], dtype=np.float32)
    if nan == "refuse":
        refuse_non_finite(values, [str(adata.var_names[p]) for p in positions], adata)
    elif nan == "zero":
        values[~np.isfinite(values)] = 0.0
    else:
        values[~np.isfinite(values).all(axis=1)] = np.nan
    for i, channel in enumerate(adata.var.iloc[list(positions)].to_dict("records")):
        amplified = log_amplification(channel)
        if amplified is not None:
            decades, offset = amplified
            values[:, i] = offset * 10.0 ** (values[:, i] * np.float32(decades / float(channel["range"])))
    return values


def scale_top(channel: pd.Series[Any]) -> float:
    """Greatest linear value that a channel's range ($PnR) and amplifier ($PnE) allow."""
    amplified = log_amplification(channel)
    return amplified[1] * 10.0 ** amplified[0] if amplified else float(channel.get("range", 0.0))


def non_finite_counts(values: NDArray[np.floating], names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count NaN and infinite values of each channel that has any.

    Parameters
    ----------
    values
        (events, channels).
    names
        Names of the channels.

    Returns
    -------
    dict
        Name to (NaN, infinite).
    """
    bad = np.flatnonzero(~np.isfinite(values).all(axis=0)).tolist()
    return {names[i]: (int(np.isnan(values[:, i]).sum()), int(np.isinf(values[:, i]).sum())) for i in bad}


def describe_non_finite(counts: dict[str, tuple[int, int]]) -> str:
    """Write what `non_finite_counts` found: ``CD4 (3 NaN, 1 infinite)``."""
    parts = []
    for name, (nan, infinite) in counts.items():
        kinds = [f"{nan} NaN"] * (nan > 0) + [f"{infinite} infinite"] * (infinite > 0)
        parts.append(f"{name} ({', '.join(kinds)})")
    return ", ".join(parts)


def refuse_non_finite(values: NDArray[np.floating], names: Sequence[str], adata: Raw) -> None:
    """Raise InputError when a value of a used channel is NaN or infinite, with the counts of each channel."""
    counts = non_finite_counts(values, names)
    if counts:
        raise InputError(
            f"{source_name(adata)} has values that are not numbers: {describe_non_finite(counts)}; "
            "--nan drop leaves these events out of all clusters, --nan zero sets the values to 0; or leave the "
            "channels out with --markers"
        )


def looks_transformed(adata: Raw, markers: Sequence[str]) -> str | None:
    """Tell whether the values look transformed already, and by what sign.

    It would rather miss transformed data than refuse raw data: the values are judged over all proteins of the file
    together, since one dim marker of a raw file may well stay below 3.

    Parameters
    ----------
    adata
        A file.
    markers
        The channels in question, from ``adata.var_names``.

    Returns
    -------
    str or None
        The sign, in words that follow "values look transformed already:"; None for raw values.
    """
    noted = _flowcore_ranges(adata, markers)
    if noted and keyword(adata, "TRANSFORMATION").strip().casefold() == "custom":
        name, reached, allowed = noted
        return f"the file says TRANSFORMATION custom, and that {name} reaches {reached:g} on a scale to {allowed:g}"
    proteins = {n for n, k in zip(adata.var_names, classify_channels(adata.var), strict=True) if k == "protein"}
    columns = [i for i, name in enumerate(adata.var_names) if name in proteins or name in markers]
    if adata.n_obs * len(columns) < MIN_VALUES_JUDGED:
        return None
    values = adata.X  # once: a view of an AnnData copies its rows at each access
    sample = np.asarray(values[:: max(1, adata.n_obs // _EVENTS_SAMPLED), columns])
    sample = sample[np.isfinite(sample)]
    # The sample settles it for nearly every raw file; only a small maximum is worth a look at every event.
    if sample.size == 0 or sample.max() >= TRANSFORMED_BELOW:
        return None
    highest = max(float(np.max(values[:, i], initial=-np.inf, where=np.isfinite(values[:, i]))) for i in columns)
    crowded = float(np.percentile(sample, 99)) >= TRANSFORMED_TAIL * highest
    if 0 < highest < TRANSFORMED_BELOW and crowded:
        return f"none of the {len(columns)} markers exceeds {highest:.3g}"
    return None


def looks_raw(values: NDArray[np.floating], markers: Sequence[str]) -> str | None:
    """Tell whether values that are to be clustered as they are can't have been transformed, and by what sign.

    Parameters
    ----------
    values
        (events, markers).
    markers
        Names of the columns.

    Returns
    -------
    str or None
        The sign, in words; None for values that a transform of the field may have made.
    """
    if values.size == 0:
        return None
    largest = np.maximum(values.max(axis=0), -values.min(axis=0))
    if not largest.max() > LARGEST_TRANSFORMED:  # nor where it is no number
        return None
    return (
        f"{markers[int(largest.argmax())]} reaches {largest.max():,.0f}: such values are not transformed, and cells "
        "can't be told apart on that scale"
    )


def _flowcore_ranges(adata: Raw, markers: Sequence[str]) -> tuple[str, float, float] | None:
    """First marker whose range, as flowCore noted it on writing, lies far below its $PnR: name, noted range, $PnR."""
    numbers: dict[str, int] = {}
    for n in range(1, adata.n_vars + 1):
        numbers.setdefault(keyword(adata, f"$P{n}N").strip(), n)
    channels, _ = channel_names(adata.var)
    ranges = [float(r) for r in column(adata.var, "range", 0.0)]
    by_name = dict(zip(adata.var_names, zip(channels, ranges, strict=True), strict=True))
    for name in markers:
        channel, allowed = by_name[name]
        number = numbers.get(channel)
        try:
            reached = float(keyword(adata, f"FLOWCORE_$P{number}RMAX"))
        except ValueError:
            continue
        if 0 < reached < allowed / 10:
            return name, reached, allowed
    return None
