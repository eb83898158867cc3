"""Compensation of fluorescence spillover by the matrix that the instrument wrote into the file.

The matrix is a property of an acquisition, so every file is compensated with its own; what a model stores is the
decision, and a matrix for files that bring none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.preprocessing.channels import Instrument, channel_names, fold, keyword, source_name

if TYPE_CHECKING:
    from anndata import AnnData

CompensateMode = Literal["auto", "yes", "no"]
SpilloverStatus = Literal["usable", "identity", "unusable", "absent"]

# FCS 3.1's keyword first, then Diva's, then other writers' and FCS 3.0's.
KEYWORDS = ("$SPILLOVER", "SPILL", "SPILLOVER", "$SPILL", "$COMP", "COMP")
# A matrix that amplifies rounding errors more than this is no measured spillover.
_MAX_CONDITION = 1e6
_CHUNK = 65_536  # events compensated at a time, so that the double precision of the solver costs little memory


@dataclass(frozen=True, eq=False)
class Spillover:
    """A spillover matrix.

    Parameters
    ----------
    channels
        Names of its n channels ($PnN).
    matrix
        (n, n) float64: row i is what the fluorochrome of channel i gives in every channel.
    """

    channels: tuple[str, ...]
    matrix: NDArray[np.float64]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spillover):
            return NotImplemented
        return self.channels == other.channels and np.array_equal(self.matrix, other.matrix)

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, ready for JSON."""
        return {"channels": list(self.channels), "matrix": self.matrix.tolist()}

    def to_keyword(self) -> str:
        """Spell the matrix as the value of $SPILLOVER, without loss."""
        return ",".join([str(len(self.channels)), *self.channels, *(repr(float(v)) for v in self.matrix.ravel())])

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Spillover:
        """Rebuild what `to_dict` gave."""
        channels, matrix = tuple(state["channels"]), np.array(state["matrix"], dtype=np.float64)
        if not all(isinstance(channel, str) for channel in channels) or len(set(channels)) < len(channels):
            raise ValueError("the channels of the spillover matrix are no names, or one of them stands there twice")
        if matrix.shape != (len(channels), len(channels)) or not np.isfinite(matrix).all():
            raise ValueError("the spillover matrix is no square of finite numbers")
        if np.linalg.cond(matrix) > _MAX_CONDITION:
            raise ValueError("the spillover matrix can't be inverted")
        return cls(channels, matrix)

    def positions(self, adata: AnnData) -> list[int] | None:
        """Columns of the matrix's channels in a file; None when one is missing."""
        found = [channel_position(adata, channel) for channel in self.channels]
        return None if None in found else [p for p in found if p is not None]


@dataclass(frozen=True)
class SpilloverReport:
    """What a file says of its spillover.

    Parameters
    ----------
    status
        "usable"; "identity": the file is compensated or was never meant to be; "unusable": a matrix that can't be
        applied; "absent".
    reason
        The same in words, fit for printing.
    spillover
        The matrix when usable.
    """

    status: SpilloverStatus
    reason: str
    spillover: Spillover | None = None


@dataclass(frozen=True)
class CompensationPlan:
    """Whether files are compensated, why, and the matrix for files that bring none."""

    apply: bool
    reason: str
    spillover: Spillover | None = None


def channel_position(adata: AnnData, channel: str) -> int | None:
    """Column of a channel by $PnN, as written or without case and punctuation; None when absent or ambiguous."""
    names, _ = channel_names(adata.var)
    for spell in (str, fold):
        found = [i for i, name in enumerate(names) if spell(name) == spell(channel)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def read_spillover(adata: AnnData) -> SpilloverReport:
    """Find a file's spillover matrix and say whether it can be used.

    Parameters
    ----------
    adata
        A file as ``cytomoe.io.read_fcs`` gives it, with its keywords.

    Returns
    -------
    SpilloverReport
        Of the first usable of the keywords $SPILLOVER, SPILL, $COMP; otherwise of the first that is there.
    """
    reports = [_judge(adata, name, keyword(adata, name)) for name in KEYWORDS if keyword(adata, name).strip()]
    usable = [report for report in reports if report.status == "usable"]
    if usable:
        return usable[0]
    return reports[0] if reports else SpilloverReport("absent", "the file holds no spillover matrix")


def _judge(adata: AnnData, name: str, text: str) -> SpilloverReport:
    """Judge one keyword: "n,name 1,...,name n,value 1,...,value n*n"."""

    def unusable(problem: str) -> SpilloverReport:
        return SpilloverReport("unusable", f"{name} {problem}")

    parts = [part.strip() for part in text.strip().rstrip(",").split(",")]
    if not parts[0].isdigit() or not 0 < int(parts[0]) <= len(parts) - 1:
        return unusable("does not start with the number of its channels")
    n = int(parts[0])
    channels, values = tuple(parts[1 : n + 1]), parts[n + 1 :]
    if not values:
        return unusable(f"lists {n} channels but no values")
    if len(values) != n * n:
        return unusable(f"has {len(values)} values for {n} channels, not {n * n}")
    try:
        matrix = np.array(values, dtype=np.float64).reshape(n, n)
    except ValueError:
        return unusable("holds values that are not numbers")
    if not np.isfinite(matrix).all():
        return unusable("holds values that are not finite")
    if np.array_equal(matrix, np.eye(n)):
        return SpilloverReport("identity", f"{name} is the identity: there is nothing to compensate")
    missing = [channel for channel in channels if channel_position(adata, channel) is None]
    if missing:
        return unusable(f"names channels that the file lacks: {', '.join(missing)}")
    if len(set(channels)) < n:
        return unusable("names a channel twice")
    if np.linalg.cond(matrix) > _MAX_CONDITION:
        return unusable("can't be inverted")
    return SpilloverReport("usable", f"{name} of {n} channels", Spillover(channels, matrix))


def plan_compensation(
    adatas: Sequence[AnnData], mode: CompensateMode, instrument: Instrument, transformed: bool
) -> CompensationPlan:
    """Decide whether a run compensates.

    Parameters
    ----------
    adatas
        The files of the run, at least one.
    mode
        "auto" compensates raw fluorescence data that brings a usable matrix; "yes" insists; "no" never does.
    instrument
        Kind of instrument.
    transformed
        Whether the values are transformed already: compensation is for raw values only.

    Returns
    -------
    CompensationPlan
        With the first usable matrix as the one for files that bring none.

    Raises
    ------
    InputError
        "yes" where no file has a usable matrix, or where the values are transformed.
    """
    if mode == "no":
        return CompensationPlan(False, "switched off (--compensate no)")
    if transformed:
        if mode == "yes":
            raise InputError(
                f"{source_name(adatas[0])} looks transformed already, and only raw values can be compensated; "
                "leave out --compensate yes or give the raw file"
            )
        return CompensationPlan(False, "the values are transformed already; only raw ones can be compensated")
    if mode == "auto" and instrument == "mass":
        return CompensationPlan(False, "mass cytometry")
    reports = [read_spillover(adata) for adata in adatas]
    usable = [report for report in reports if report.status == "usable"]
    if usable:
        others = len(reports) - len(usable)
        note = f"; {others} of {len(reports)} files bring none" if others else ""
        return CompensationPlan(True, usable[0].reason + note, usable[0].spillover)
    if mode == "yes" and all(report.status != "identity" for report in reports):
        raise InputError(
            f"{source_name(adatas[0])} can't be compensated: {reports[0].reason}; leave out --compensate yes, or add a "
            "spillover matrix to the file"
        )
    return CompensationPlan(False, reports[0].reason)


def spillover_for(adata: AnnData, fallback: Spillover | None) -> Spillover | None:
    """Matrix for a file of a run that compensates: its own, else the stored one; None when its own is the identity.

    Raises
    ------
    InputError
        The file brings no usable matrix and lacks channels of the stored one.
    """
    report = read_spillover(adata)
    if report.status in ("usable", "identity"):
        return report.spillover
    if fallback is not None and fallback.positions(adata) is None:
        missing = [channel for channel in fallback.channels if channel_position(adata, channel) is None]
        raise InputError(
            f"{source_name(adata)} can't be compensated: {report.reason}, and it lacks channels of the stored matrix: "
            f"{', '.join(missing)}"
        )
    return fallback


def compensate_in_place(values: NDArray[np.float32], spillover: NDArray[np.float64], columns: Sequence[int]) -> None:
    """Compensate columns of an array.

    Parameters
    ----------
    values
        (events, channels); changed.
    spillover
        (n, n) matrix.
    columns
        The n columns of ``values`` that the matrix is for, in its order.
    """
    from flowutils.compensate import compensate

    wanted = list(columns)
    for start in range(0, len(values), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        values[chunk, wanted] = compensate(values[chunk, wanted].astype(np.float64), spillover)
