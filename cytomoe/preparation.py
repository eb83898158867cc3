"""What a fit needs before there is a network: its input, the cells it is made on and the similarity between them.

Nothing here needs torch, so that it can be worked out while torch is loaded, or in processes that never load it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytomoe.errors import InputError
from cytomoe.inputs import Cells, unnamed
from cytomoe.preprocessing import NanPolicy, Preprocessor, warn_uncompensated
from cytomoe.preprocessing.transform import LARGEST_TRANSFORMED, looks_raw
from cytomoe.settings import Settings
from cytomoe.similarity import OTHER, Prior, Similarity, build_similarity, with_prior
from cytomoe.words import counted

# What to do about values that no transform of the field can have made: those of files, and those of arrays and tables.
_LEAVE_OUT = "leave out --transform none, or transform them first (arcsinh or logicle)"
_TRANSFORM = (
    "arrays and tables must hold transformed values, such as np.arcsinh(x / 5), or np.arcsinh(x / 150) of fluorescence"
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A fit, ready for the network to be trained.

    Attributes
    ----------
    settings
        Of similarity, model and training.
    preprocessor
        Made the expression, and scales it for the network.
    expression
        Transformed marker values of all cells, shape (cells, markers).
    rows
        The cells that train, shape (trained,); None for all.
    similarity
        Between the cells that train.
    known, types
        What is known of the cells that train, and the type of each part of the similarity (see
        :func:`cytomoe.similarity.with_prior`); None where nothing is known.
    rng
        Source of the randomness of training.
    """

    settings: Settings
    preprocessor: Preprocessor
    expression: NDArray[np.float32]
    rows: NDArray[np.int64] | None
    similarity: Similarity
    known: Prior | None
    types: NDArray[np.int64] | None
    rng: np.random.Generator

    @property
    def training(self) -> NDArray[np.float32]:
        """Transformed marker values of the cells that train, shape (trained, markers)."""
        return self.expression if self.rows is None else self.expression[self.rows]


def as_expression(X: NDArray[np.floating[Any]], nan: NanPolicy = "refuse") -> NDArray[np.float32]:
    """An array of transformed marker values, checked, shape (cells, markers).

    Raises
    ------
    InputError
        If it has another shape, or values that are not finite and are not to be taken for 0 (``zero``) or to make
        their cell one of NaN alone (``drop``).
    """
    if X.ndim != 2:
        raise InputError(f"an array of {X.ndim} dimensions can't be clustered; give shape (cells, markers)")
    try:
        expression = np.ascontiguousarray(X, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"the array holds values that are not numbers: {error}") from error
    finite = np.isfinite(expression)
    if finite.all():
        return expression
    if nan == "refuse":
        bad = np.count_nonzero(~finite)
        raise InputError(f"{bad} values are not finite numbers; remove or replace them first, or give nan='drop'")
    if nan == "zero":
        return np.where(finite, expression, np.float32(0))
    return np.where(finite.all(axis=1, keepdims=True), expression, np.float32(np.nan))


def complete(expression: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a cell has numbers in all markers, shape (cells,): others are there under ``nan="drop"`` alone."""
    return np.asarray(~np.isnan(expression).any(axis=1))


def fit_preprocessor(
    X: Cells, settings: Settings, nan: NanPolicy, markers: Sequence[str] | None = None
) -> Preprocessor:
    """Preprocessing as the file suggests for AnnData; scaling alone for an array or table: they are transformed."""
    from anndata import AnnData
    from pandas import DataFrame

    if isinstance(X, AnnData):
        preprocessor = Preprocessor.fit([X], markers=markers, clip=settings.clips_noise, nan=nan)
        warn_uncompensated(X, preprocessor)
        return preprocessor
    expression = as_expression(np.asarray(X), nan)
    names = [str(name) for name in X.columns] if isinstance(X, DataFrame) else unnamed(expression.shape[1])
    if settings.similarity == "valleys":
        _refuse_raw(expression[complete(expression)], names, _TRANSFORM)
    var = DataFrame({"channel": names, "antigen": ""}, index=names)
    return Preprocessor.fit([AnnData(expression, var=var)], markers=names, transform="none", compensate="no", nan=nan)


def prepare(
    expression: NDArray[np.float32],
    preprocessor: Preprocessor,
    settings: Settings,
    *,
    seed: int,
    subsample: int | None = None,
    prior: Prior | ArrayLike | None = None,
) -> Prepared:
    """Draw the cells that train and work out how alike they are.

    Parameters
    ----------
    expression
        Transformed marker values, shape (cells, markers).
    preprocessor
        Made them.
    settings
        Names the similarity.
    seed
        Seed of all randomness of the fit.
    subsample
        Cells that train, at most; None for all.
    prior
        What is known of the cells, shape (cells,).

    Raises
    ------
    InputError
        If there are too few cells, the prior does not fit them, or values were not transformed.
    """
    if len(expression) < 2:
        raise InputError(
            f"{counted(len(expression), 'cell')} {'is' if len(expression) else 'are'} too few to cluster; at least 2 "
            "are needed"
        )
    if settings.similarity == "valleys":
        refuse_unscaled(expression, preprocessor)
    streams = np.random.default_rng(seed).spawn(3)
    known = None if prior is None else as_prior(prior, len(expression))
    rows = _draw(len(expression), subsample, streams[0], None if known is None else known.known)
    training = expression if rows is None else expression[rows]
    similarity = build_similarity(training, settings, streams[1])
    types = None
    if known is not None:
        known = known if rows is None else known.take(rows)
        similarity, types = with_prior(similarity, training, known, sampling_power=settings.sampling_power)
        _check_experts(similarity.partition, settings.experts)
    return Prepared(settings, preprocessor, expression, rows, similarity, known, types, streams[2])


def refuse_unscaled(expression: NDArray[np.float32], preprocessor: Preprocessor) -> None:
    """Refuse values of files that are far beyond the scale on which cells are told apart.

    Raises
    ------
    InputError
        If they were not transformed, or a value is too large to be a measurement.
    """
    raw = [step.transform.name == "none" for step in preprocessor.steps]
    names = np.array(preprocessor.markers)
    _refuse_raw(expression[:, raw], names[raw].tolist(), _LEAVE_OUT)
    largest = np.abs(expression).max(axis=0, initial=0.0)
    beyond = np.flatnonzero(largest > LARGEST_TRANSFORMED)
    if len(beyond):
        raise InputError(
            f"{names[beyond[0]]} reaches {largest[beyond[0]]:,.0f} after the transform: a raw value that large is no "
            "measurement; look for damaged events in the file, or leave the marker out"
        )


def _refuse_raw(expression: NDArray[np.float32], markers: Sequence[str], advice: str) -> None:
    """Refuse values on which no transform of the field can have been done."""
    sign = looks_raw(expression, markers)
    if sign:
        raise InputError(f"{sign}; {advice}")


def _draw(
    n_cells: int, n: int | None, rng: np.random.Generator, always: NDArray[np.bool_] | None
) -> NDArray[np.int64] | None:
    """Rows of at most ``n`` cells, drawn at random and left in their order, with those of ``always``; None for all."""
    if n is None or n >= n_cells:
        return None
    if n < 2:
        raise InputError(f"a subsample of {n} cells is too small to cluster; at least 2 are needed")
    drawn = rng.choice(n_cells, size=n, replace=False)
    return np.sort(drawn) if always is None else np.union1d(drawn, np.flatnonzero(always))


def as_prior(prior: Prior | ArrayLike, n_cells: int) -> Prior:
    """What is known of cells, shape (cells,); raises InputError if it does not fit them or knows none."""
    known = prior if isinstance(prior, Prior) else Prior.of(prior)
    if len(known.types) != n_cells:
        raise InputError(f"the prior has {len(known.types):,} entries for {n_cells:,} cells; it needs one for each")
    if not known.known.any():
        raise InputError("the prior knows no cell; name the population of some, and leave the others empty")
    if not (known.known & (known.types != known.other)).any():
        raise InputError(f"the prior names no population, only cells that are {OTHER}; name some of a population")
    return known


def _check_experts(partition: NDArray[np.int64] | None, experts: int) -> None:
    """Refuse fewer experts than there are populations that training starts from."""
    needed = 0 if partition is None else int(partition.max()) + 1
    if needed > experts:
        raise InputError(f"{needed} populations are known or found in the data, but --experts is {experts}; raise it")
