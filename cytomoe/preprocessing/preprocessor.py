"""The way from a file's raw values to the network's input, fitted once, stored with the model, applied unchanged after.

Markers are found by name, linearised where an analog amplifier was logarithmic, compensated, transformed, and scaled to
[0, 1]. The similarity between cells is computed on the values before scaling (`Preprocessor.expression`), the network
sees them after (`Preprocessor.transform`).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.preprocessing.channels import Instrument, fcs_record, source_name
from cytomoe.preprocessing.compensation import (
    CompensateMode,
    CompensationPlan,
    Spillover,
    compensate_in_place,
    is_synthetic,
    plan_compensation,
    read_spillover,
    refuse_lacking,
    spillover_for,
)
from cytomoe.preprocessing.markers import LEAVE_STATES, NOT_CHOSEN, describe_selection, hint_of_states, left_out
from cytomoe.preprocessing.panel import Panel
from cytomoe.preprocessing.scaling import fit_limits, scale, unscale
from cytomoe.preprocessing.steps import (
    MarkerStep,
    choose_markers,
    locate_steps,
    name_step,
    one_instrument,
    transform_step,
)
from cytomoe.preprocessing.transform import (
    COFACTORS,
    TRANSFORMED_BELOW,
    MarkerTransform,
    NanPolicy,
    TransformName,
    linear_values,
    logicle_linear,
    looks_transformed,
    non_finite_counts,
)

if TYPE_CHECKING:
    from cytomoe.io.raw_events import Raw

FloatArray = NDArray[np.float32]
FLOAT32_MAX = float(np.finfo(np.float32).max)
TransformChoice = Literal["auto", "arcsinh", "logicle", "none"]
_ZERO = np.zeros(1, dtype=np.float32)


@dataclass(frozen=True)
class Preprocessor:
    """Fitted preprocessing; make one with `Preprocessor.fit`.

    Parameters
    ----------
    steps
        One for each marker, in order.
    instrument, evidence
        Kind of instrument, and what showed it.
    compensate
        Whether files are compensated. A matrix belongs to an acquisition, so every file is compensated with its own;
        ``spillover`` is for files that bring none, unless it was ``given``.
    compensation
        Why files are or are not compensated, in words.
    spillover
        Matrix of the first training file that has one.
    left_out
        Reason to the channels of the first training file that are no markers.
    pretransformed
        Whether the training files held transformed values, so that files with raw ones are refused.
    clip
        Whether negative arcsinh values, which are noise around zero, are set to 0.
    given
        Whether the user gave ``spillover``: every file is compensated with it.
    """

    steps: tuple[MarkerStep, ...]
    instrument: Instrument
    evidence: str
    compensate: bool
    compensation: str
    spillover: Spillover | None
    left_out: dict[str, list[str]]
    pretransformed: bool = False
    clip: bool = True
    given: bool = False

    @classmethod
    def fit(
        cls,
        adatas: Sequence[Raw],
        *,
        markers: Sequence[str] | None = None,
        panel: Panel | None = None,
        transform: TransformChoice = "auto",
        cofactor: float | None = None,
        compensate: CompensateMode = "auto",
        exclude: Collection[str] = (),
        clip: bool = True,
        nan: NanPolicy = "refuse",
    ) -> Preprocessor:
        """Choose markers and transforms from the files of a run and fit the scaling to their events.

        Parameters
        ----------
        adatas
            The training files, or the parts of them that train, as ``cytomoe.io.read_fcs`` gives them.
        markers
            Antigens or channel names; None takes every protein.
        panel
            A panel table instead of ``markers``. Its cofactors and transforms go before the arguments below.
        transform
            "auto" is arcsinh.
        cofactor
            Of arcsinh; None takes 5 for mass and 150 for fluorescence cytometry.
        compensate
            See `plan_compensation`.
        exclude
            Channels that are never markers, such as the one with the gates.
        clip
            See the class.
        nan
            What is done to events with values that are not numbers: see `expression`.

        Raises
        ------
        InputError
            Names that don't fit, files that differ in their markers or kind of instrument, no events, values that are
            not numbers or look transformed already, options that contradict each other.
        """
        _check_options(adatas, markers, panel, transform, cofactor)
        first = adatas[0]
        instrument, evidence = one_instrument(adatas)
        chosen = choose_markers(first, markers, panel, exclude)
        names = [choice.name for choice in chosen]
        arcsinh_cofactor = COFACTORS[instrument] if cofactor is None else cofactor
        wanted: TransformName = "arcsinh" if transform == "auto" else transform
        named = [name_step(first, choice, by_panel=panel is not None) for choice in chosen]
        steps = tuple(
            transform_step(step, choice, adatas, wanted, arcsinh_cofactor, nan)
            for step, choice in zip(named, chosen, strict=True)
        )
        as_they_are = all(step.transform.name == "none" for step in steps)
        pretransformed = as_they_are and any(looks_transformed(a, locate_steps(a, steps)) for a in adatas)
        plan = plan_compensation(adatas, compensate, instrument, pretransformed)
        fitted = cls(
            steps=steps,
            instrument=instrument,
            evidence=evidence,
            compensate=plan.apply,
            compensation=_compensation_words(plan),
            spillover=plan.spillover,
            left_out=left_out(first.var, names),
            pretransformed=pretransformed,
            clip=clip,
            given=plan.given,
        )
        fitted = fitted._fit_logicle(adatas, nan)
        for adata in adatas:
            fitted.refuse_other_scale(adata, "give the raw file, or take the values as they are with --transform none")
        expressions = [numeric(fitted.expression(adata, judge_scale=False, nan=nan)) for adata in adatas]
        if not any(map(len, expressions)):
            raise InputError(f"{', '.join(map(source_name, adatas))}: no event has numbers in all markers")
        return fitted._fit_scaling(expressions)

    def _fit_logicle(self, adatas: Sequence[Raw], nan: NanPolicy) -> Preprocessor:
        """Fit the linear part of each logicle scale to the marker's compensated values."""
        fitted = [i for i, step in enumerate(self.steps) if step.transform.name == "logicle"]
        if not fitted:
            return self
        values = np.concatenate([self._linear(adata, self.locate(adata), nan) for adata in adatas])
        steps = list(self.steps)
        for i in fitted:
            linear = logicle_linear(values[:, i], steps[i].transform.top or 1.0)
            steps[i] = replace(steps[i], transform=replace(steps[i].transform, linear=linear))
        return replace(self, steps=tuple(steps))

    def _fit_scaling(self, expressions: list[FloatArray]) -> Preprocessor:
        steps = []
        for i, step in enumerate(self.steps):
            values = np.concatenate([expression[:, i] for expression in expressions])
            low, high = fit_limits(values, from_zero=self.clip and step.transform.name == "arcsinh")
            steps.append(replace(step, low=low, high=high))
        return replace(self, steps=tuple(steps))

    @property
    def markers(self) -> list[str]:
        """Names of the markers, in the order of the columns."""
        return [step.marker for step in self.steps]

    @property
    def zeros(self) -> list[float]:
        """Transformed value of no signal for each marker; NaN where values are taken as they are."""
        return [float("nan") if s.transform.name == "none" else float(s.transform.apply(_ZERO)[0]) for s in self.steps]

    @property
    def glow(self) -> bool:
        """Whether cells without a marker may lie above zero: in fluorescence they glow by themselves."""
        return self.instrument == "fluorescence"

    @cached_property
    def _low(self) -> FloatArray:
        return np.array([step.low for step in self.steps], dtype=np.float32)

    @cached_property
    def _high(self) -> FloatArray:
        return np.array([step.high for step in self.steps], dtype=np.float32)

    def locate(self, adata: Raw) -> list[str]:
        """Find the markers' channels in a file.

        Each is found by its channel name, unless that carries another antigen there, and then by its antigen.

        Returns
        -------
        list of str
            Names from ``adata.var_names``, one for each marker.

        Raises
        ------
        InputError
            The file lacks markers; lists them all with the nearest names.
        """
        return locate_steps(adata, self.steps)

    def expression(self, adata: Raw, *, judge_scale: bool = True, nan: NanPolicy = "refuse") -> FloatArray:
        """Compensate and transform a file's markers, without scaling; the similarity is computed on these values.

        Parameters
        ----------
        adata
            A file, or a piece of one.
        judge_scale
            Whether to refuse values that look transformed when raw ones are expected, or the other way round. A piece
            says little of the file: `refuse_other_scale` judges the file once.
        nan
            What is done to raw values that are NaN or infinite, in the markers or in channels that compensation needs
            for them: ``refuse`` them, ``drop`` their events, which are NaN in all markers then, or take them for 0
            (``zero``).

        Returns
        -------
        ndarray
            (events, markers) float32; arcsinh values below 0 are 0 when ``clip``.

        Raises
        ------
        InputError
            The file lacks a marker, holds NaN or infinite values, can't be compensated, or its values look transformed
            when raw ones are expected, or the other way round.
        """
        names = self.locate(adata)
        if judge_scale:
            self.refuse_other_scale(adata)
        values = self._linear(adata, names, nan)
        if nan != "drop":
            return self.transformed(values)
        left_out = np.isnan(values).any(axis=1)
        values[left_out] = 0.0  # not every transform knows NaN
        expression = self.transformed(values)
        expression[left_out] = np.nan
        return expression

    def not_numbers(self, adata: Raw) -> dict[str, tuple[int, int]]:
        """NaN and infinite values that `expression` comes upon: name of the channel to both counts."""
        needed = self._needed(adata, self.locate(adata))
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite
            values = np.asarray(adata.X[:, needed], dtype=np.float32)
        return non_finite_counts(values, [str(adata.var_names[position]) for position in needed])

    def transformed(self, values: FloatArray) -> FloatArray:
        """Transform (events, markers) linear, compensated values, such as generated cells, in place; float32."""
        if all(step.transform.name == "arcsinh" for step in self.steps):  # the rule: all columns in one pass
            values /= np.array([step.transform.cofactor for step in self.steps], dtype=np.float32)
            np.arcsinh(values, out=values)
            return np.maximum(values, 0.0, out=values) if self.clip else values
        for i, step in enumerate(self.steps):
            values[:, i] = step.transform.apply(values[:, i])
            if self.clip and step.transform.name == "arcsinh":
                np.maximum(values[:, i], 0.0, out=values[:, i])
        return values

    def scale(self, expression: FloatArray) -> FloatArray:
        """Scale (events, markers) transformed values to [0, 1] by the limits of the training events; float32."""
        return scale(expression, self._low, self._high)

    def transform(self, adata: Raw) -> FloatArray:
        """Turn a file into the network's input: (events, markers) float32 in [0, 1]; raises as `expression`."""
        return self.scale(self.expression(adata))

    def inverse_scale(self, scaled: FloatArray) -> FloatArray:
        """Turn (events, markers) scaled values, such as generated cells, into transformed ones; float32."""
        return unscale(scaled, self._low, self._high)

    def inverse_expression(self, expression: FloatArray) -> FloatArray:
        """Turn (events, markers) transformed values into linear, compensated ones; float32."""
        raw = np.empty(expression.shape, dtype=np.float32)
        for i, step in enumerate(self.steps):
            raw[:, i] = step.transform.invert(expression[:, i])
        return raw

    def describe(self) -> list[str]:
        """Lines that tell the user what is done to the data and why."""
        hint = "" if NOT_CHOSEN in self.left_out else hint_of_states(self.markers)
        return [
            f"{self.instrument} cytometry ({self.evidence})",
            describe_selection(self.markers, self.left_out),
            *([f"{hint}; {LEAVE_STATES}"] if hint else []),
            f"compensation: {self.compensation}",
            f"transform: {self._describe_transforms()}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """State as plain values ready for JSON; `from_dict` rebuilds a preprocessor with bit-equal results."""
        state = {name: getattr(self, name) for name in self.__dataclass_fields__}
        state["steps"] = [asdict(step) for step in self.steps]
        state["left_out"] = {reason: list(names) for reason, names in self.left_out.items()}
        state["spillover"] = None if self.spillover is None else self.spillover.to_dict()
        return state

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Preprocessor:
        """Rebuild what `to_dict` gave; raises InputError for a state that it can't have given."""
        try:
            steps = [
                MarkerStep(**{**step, "transform": MarkerTransform(**step["transform"])}) for step in state["steps"]
            ]
            spillover = None if state["spillover"] is None else Spillover.from_dict(state["spillover"])
            _check_state(state, steps)
            return cls(**{**state, "steps": tuple(steps), "spillover": spillover})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"the stored preprocessing is damaged or from another version of cytomoe: {reason}"
            ) from error

    def _linear(self, adata: Raw, names: list[str], nan: NanPolicy) -> FloatArray:
        """Linear, compensated values of the markers, (events, markers); a copy."""
        needed = self._needed(adata, names)
        values = linear_values(adata, needed, nan)
        found = self._matrix(adata, needed[: len(names)])
        if found is None:
            return values
        spillover, positions = found
        compensate_in_place(values, spillover.matrix, [needed.index(p) for p in positions])
        return np.ascontiguousarray(values[:, : len(names)])

    def _needed(self, adata: Raw, names: list[str]) -> list[int]:
        """Columns of the markers, and after them those that compensation needs besides."""
        positions = [int(adata.var_names.get_loc(name)) for name in names]
        found = self._matrix(adata, positions)
        return positions if found is None else list(dict.fromkeys([*positions, *found[1]]))

    def spillover_of(self, adata: Raw) -> Spillover | None:
        """Matrix that a file is compensated with; None where it is not. Raises as `spillover_for`."""
        if is_synthetic(adata):
            return None
        if self.given and self.spillover is not None:
            refuse_lacking(adata, self.spillover)
            return self.spillover
        return spillover_for(adata, self.spillover) if self.compensate else None

    def _matrix(self, adata: Raw, positions: list[int]) -> tuple[Spillover, list[int]] | None:
        """The matrix that compensates a file, and its columns in it; None where none of the markers is in it."""
        spillover = self.spillover_of(adata)
        matrix_positions = spillover.positions(adata) if spillover is not None else None
        if spillover is None or not matrix_positions or not set(positions) & set(matrix_positions):
            return None
        return spillover, matrix_positions

    def refuse_other_scale(self, adata: Raw, remedy: str = "give the raw file: the model transforms it") -> None:
        """Raise InputError if a file's values look transformed when raw ones are expected, or the other way round."""
        names = self.locate(adata)
        if self.pretransformed:
            columns = [adata.var_names.get_loc(name) for name in names]
            values = adata.X[:, columns]
            values = values[np.isfinite(values)]
            top = float(np.percentile(values, 99)) if len(values) else 0.0
            if top > TRANSFORMED_BELOW:
                raise InputError(
                    f"{source_name(adata)} holds raw values (to {top:.3g} and beyond), but the model was made from "
                    "transformed ones; transform the file the same way first"
                )
        elif any(step.transform.name != "none" for step in self.steps) and not is_synthetic(adata):
            sign = looks_transformed(adata, names)
            if sign:
                raise InputError(f"{source_name(adata)}: values look transformed already: {sign}; {remedy}")

    def _describe_transforms(self) -> str:
        groups: dict[str, list[str]] = {}
        for step in self.steps:
            groups.setdefault(step.transform.describe(exactly=False), []).append(step.marker)
        if len(groups) == 1:
            text = next(iter(groups))
        else:
            text = "; ".join(f"{words} ({', '.join(markers)})" for words, markers in groups.items())
        clipped = self.clip and any(step.transform.name == "arcsinh" for step in self.steps)
        return text + ("; values below 0 set to 0" if clipped else "")


def warn_uncompensated(adata: Raw, preprocessor: Preprocessor) -> None:
    """Warn of raw fluorescence values that are not compensated because their matrix is lost or can't be used.

    A file that never had a matrix is nothing to warn of; data whose record of the file is gone (``anndata.concat``
    drops it), or that lacks channels of its matrix, is.
    """
    report = read_spillover(adata)
    lost = report.status == "absent" and not fcs_record(adata)
    raw = any(step.transform.name != "none" for step in preprocessor.steps)
    if preprocessor.instrument != "fluorescence" or preprocessor.compensate or not raw:
        return
    if lost or report.status == "unusable":
        reason = "the AnnData brings no spillover matrix in uns['fcs']" if lost else report.reason
        hint = "anndata.concat keeps it with uns_merge='same'" if lost else "give all channels, and name the markers"
        warnings.warn(
            f"{source_name(adata)}: not compensated: {reason} ({hint}); compensate='no' says that this is meant",
            stacklevel=4,  # the line that called cluster()
        )


def numeric(expression: FloatArray) -> FloatArray:
    """Rows of (events, markers) transformed values that are not left out as NaN."""
    return expression[~np.isnan(expression).any(axis=1)]


def _check_state(state: dict[str, Any], steps: Sequence[MarkerStep]) -> None:
    """Raise ValueError for a stored state whose types or numbers no fit leaves behind."""
    texts = [state["evidence"], state["compensation"]]
    texts += [text for step in steps for text in (step.marker, step.channel, step.antigen)]
    texts += [text for reason, names in state["left_out"].items() for text in (reason, *names)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name is no text")
    if not steps or len({step.marker for step in steps}) < len(steps):
        raise ValueError("it has no markers, or one of them twice")
    if state["instrument"] not in COFACTORS:
        raise ValueError(f"no instrument is called {state['instrument']}")
    switches = [state["compensate"], state["pretransformed"], state["clip"], state.get("given", False)]
    if not all(isinstance(switch, bool) for switch in switches):
        raise ValueError("compensate, pretransformed, clip and given must be true or false")
    limits = [number for step in steps for number in (step.low, step.high)]
    if not all(isinstance(number, int | float) and abs(number) <= FLOAT32_MAX for number in limits):
        raise ValueError("a limit of the scaling is no number")


def _check_options(
    adatas: Sequence[Raw],
    markers: Sequence[str] | None,
    panel: Panel | None,
    transform: TransformChoice,
    cofactor: float | None,
) -> None:
    if sum(adata.n_obs for adata in adatas) == 0:
        raise InputError(f"{', '.join(source_name(a) for a in adatas) or 'the input'} holds no events")
    if markers is not None and panel is not None:
        raise InputError("give --markers or --panel, not both: a panel names the markers in its column use")
    if cofactor is not None and transform not in ("auto", "arcsinh"):
        raise InputError(f"--cofactor belongs to arcsinh and has no meaning for --transform {transform}; drop one")


def _compensation_words(plan: CompensationPlan) -> str:
    if plan.given:
        return plan.reason
    return f"{plan.reason}; each file with its own matrix" if plan.apply else f"none ({plan.reason})"
