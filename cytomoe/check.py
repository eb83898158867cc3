"""What would go wrong in a run, found before any computation: the work behind ``cytomoe check FILES...``.

Files are read one after the other and only their channels and a 64-bit hash of each event are kept, so that a whole
experiment can be checked in little memory.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cytomoe.choices import ADVICE_ON_MARKERS, no_proteins, odd_cofactor
from cytomoe.errors import CytomoeError, InputError
from cytomoe.preprocessing.channels import (
    Instrument,
    channel_names,
    classify_channels,
    fcs_record,
    given_name,
    instrument_evidence,
)
from cytomoe.preprocessing.compensation import CompensateMode, plan_compensation, read_spillover
from cytomoe.preprocessing.markers import LEAVE_STATES, describe_selection, hint_of_states, left_out
from cytomoe.preprocessing.panel import Panel
from cytomoe.preprocessing.steps import MarkerStep, choose_markers, locate_steps, name_step, transform_name
from cytomoe.preprocessing.transform import (
    COFACTORS,
    TransformName,
    describe_non_finite,
    linear_values,
    looks_raw,
    looks_transformed,
    non_finite_counts,
)
from cytomoe.saturation import ADVICE, ceilings
from cytomoe.twins import count_shared, hash_events
from cytomoe.words import counted

if TYPE_CHECKING:
    from cytomoe.io.raw_events import RawEvents
    from cytomoe.preprocessing.preprocessor import TransformChoice

Level = Literal["error", "warning", "note"]

FEW_EVENTS = 1_000  # in all files together: fewer can't show rare populations
MIN_EVENTS_CONSTANT = 100  # in a file, before a constant marker means anything
MANY_TWINS = 0.01  # share of a file's events that repeat another event of the file


@dataclass(frozen=True)
class Finding:
    """One thing to know before a run.

    Parameters
    ----------
    file
        The file concerned; empty for what concerns all.
    level
        "error": a run would stop; "warning": a run would go through and may mislead; "note": what a run would do.
    message
        What was found.
    advice
        What to do about it; empty when nothing needs doing.
    """

    file: str
    level: Level
    message: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Reference:
    """The first file whose markers could be chosen; the others are held against it."""

    path: str
    instrument: Instrument
    steps: tuple[MarkerStep, ...]
    as_they_are: tuple[bool, ...]  # whether a marker's values are not transformed
    cofactor: float | None  # the one of every marker; None when there is no such
    carried: dict[str, str]  # protein channel to name


def check_files(
    paths: Sequence[str | os.PathLike[str]],
    *,
    markers: Sequence[str] | None = None,
    panel: Panel | None = None,
    transform: TransformChoice = "auto",
    cofactor: float | None = None,
    compensate: CompensateMode = "auto",
    exclude: Collection[str] = (),
    data_set: int = 1,
    allow_truncated: bool = False,
) -> list[Finding]:
    """Look for everything that would go wrong in a run on these files.

    Parameters
    ----------
    paths
        FCS files.
    markers, panel, transform, cofactor, compensate, exclude
        As for `cytomoe.preprocessing.Preprocessor.fit`.
    data_set
        Which data set of files that hold several.
    allow_truncated
        As `cytomoe.io.read_fcs` takes it.

    Returns
    -------
    list of Finding
        Errors first, then warnings, then notes; within each, in the order of the files.
    """
    check = _Check(markers, panel, transform, cofactor, compensate, exclude)
    for path in paths:
        check.file(os.fspath(path), data_set, allow_truncated)
    check.all_files()
    order = get_args(Level)
    return sorted(check.findings, key=lambda finding: order.index(finding.level))


class _Check:
    """Findings so far, and what is kept of the files for comparing them."""

    def __init__(
        self,
        markers: Sequence[str] | None,
        panel: Panel | None,
        transform: TransformChoice,
        cofactor: float | None,
        compensate: CompensateMode,
        exclude: Collection[str],
    ) -> None:
        self.markers = markers
        self.panel = panel
        self.transform = transform
        self.cofactor = cofactor
        self.compensate = compensate
        self.exclude = exclude
        self.findings: list[Finding] = []
        self.reference: _Reference | None = None
        self.hashes: dict[str, NDArray[np.uint64]] = {}

    def add(self, file: str, level: Level, message: str, advice: str = "") -> None:
        self.findings.append(Finding(file, level, message, advice))

    def file(self, path: str, data_set: int, allow_truncated: bool) -> None:
        """Check one file by itself and against the first."""
        from cytomoe.io.fcs_read import open_fcs, read_events

        if path in self.hashes:
            self.add(path, "error", "is given twice", "name each file once")
            return
        try:
            raw = read_events(open_fcs(path, data_set=data_set, allow_truncated=allow_truncated))
        except (CytomoeError, OSError) as error:
            self.add(path, "error", _unreadable(path, error), "export the file again, or leave it out")
            return
        for warning in fcs_record(raw).get("warnings", []):
            self.add(path, "warning", str(warning))
        self.hashes[path] = hash_events(raw)
        if raw.n_obs == 0:
            self.add(path, "warning", "holds no events", "leave it out")
        names = self._markers(path, raw)
        if names and raw.n_obs and self.reference is not None:
            self._values(path, raw, names, self.reference)
        self._repeated(path, raw)

    def all_files(self) -> None:
        """Check what concerns all files together."""
        events = sum(len(hashes) for hashes in self.hashes.values())
        if not self.hashes:
            self.add("", "error", "no file can be read", "see the errors of the files")
        elif events == 0:
            self.add("", "error", "no file holds an event", "give at least one file with events")
        elif events < FEW_EVENTS:
            message = f"only {counted(events, 'event')} in all: rare populations won't be found"
            self.add("", "warning", message, f"give {FEW_EVENTS:,} events or more")
        self._shared()

    def _markers(self, path: str, raw: RawEvents) -> list[str]:
        """Find the markers in a file; the first file that has them becomes the reference. Empty after an error."""
        try:
            if self.reference is None:
                self.reference = self._choose(path, raw)
                return locate_steps(raw, self.reference.steps)
            names = locate_steps(raw, self.reference.steps)
        except InputError as error:
            advice = "correct --markers or --panel, or leave the file out"
            self.add(path, "error", _without_path(path, str(error)), advice)
            return []
        self._compare(path, raw, self.reference)
        return names

    def _choose(self, path: str, raw: RawEvents) -> _Reference:
        """Choose the markers in the first file that has them; raises InputError where a run would."""
        instrument, evidence = instrument_evidence(raw)
        chosen = choose_markers(raw, self.markers, self.panel, self.exclude)
        steps = tuple(name_step(raw, choice, by_panel=self.panel is not None) for choice in chosen)
        self.add(path, "note", f"{instrument} cytometry ({evidence})")
        names = [choice.name for choice in chosen]
        self.add(path, "note", describe_selection([step.marker for step in steps], left_out(raw.var, names)))
        hint = hint_of_states(names) if self.markers is None and self.panel is None else ""
        if hint:
            self.add(path, "warning", hint, LEAVE_STATES)
        strange = no_proteins(raw, names)
        if strange:
            self.add(path, "warning", strange, ADVICE_ON_MARKERS)
        if len(steps) == 1:
            self.add(path, "warning", "only one marker is used", "name more with --markers")
        wanted: TransformName = "arcsinh" if self.transform == "auto" else self.transform
        transforms = {transform_name(choice, wanted) for choice in chosen}
        default = COFACTORS[instrument] if self.cofactor is None else self.cofactor
        one_cofactor = default if transforms == {"arcsinh"} and not any(c.cofactor for c in chosen) else None
        cofactors = [c.cofactor or default if transform_name(c, wanted) == "arcsinh" else None for c in chosen]
        odd = odd_cofactor(raw, names, cofactors, instrument)
        if odd:
            self.add(path, "warning", odd)
        as_they_are = tuple(transform_name(choice, wanted) == "none" for choice in chosen)
        return _Reference(path, instrument, steps, as_they_are, one_cofactor, _carried(raw))

    def _compare(self, path: str, raw: RawEvents, first: _Reference) -> None:
        """Compare a file's instrument and panel with the reference's."""
        instrument, evidence = instrument_evidence(raw)
        if instrument != first.instrument:
            message = f"is {instrument} cytometry ({evidence}) but {first.path} is {first.instrument} cytometry"
            self.add(path, "error", message, "run them apart")
        here = _carried(raw)
        absent = [f"{channel} ({name})" for channel, name in first.carried.items() if channel not in here]
        extra = [f"{channel} ({name})" for channel, name in here.items() if channel not in first.carried]
        other = [f"{c} is {here[c]}, not {name}" for c, name in first.carried.items() if here.get(c, name) != name]
        parts = [f"{what} {', '.join(channels)}" for what, channels in (("lacks", absent), ("adds", extra)) if channels]
        if parts or other:
            message = f"its panel differs from that of {first.path}: {'; '.join([*parts, *other])}"
            level: Level = "warning" if self.markers is None and self.panel is None else "note"
            self.add(path, level, message, "the markers of the run are there; see that the same name means the same")

    def _values(self, path: str, raw: RawEvents, names: list[str], first: _Reference) -> None:
        """Check the values of the markers in a file."""
        values = raw.X[:, [raw.var_names.get_loc(name) for name in names]]
        bad = non_finite_counts(values, names)
        if bad:
            message = f"has values that are not numbers: {describe_non_finite(bad)}"
            self.add(path, "error", message, "see --nan of cytomoe cluster, or leave the channels out with --markers")
            return
        constant = [
            n for n, low, high in zip(names, values.min(axis=0), values.max(axis=0), strict=True) if low == high
        ]
        if constant and raw.n_obs >= MIN_EVENTS_CONSTANT:
            message = f"has the same value in every event: {', '.join(constant)}"
            self.add(path, "warning", message, "leave these markers out with --markers")
        saturated = ceilings(values, names)
        if saturated:
            self.add(path, "warning", f"saturated: {', '.join(map(str, saturated))}", ADVICE)
        sign = looks_transformed(raw, names)
        if sign and not all(first.as_they_are):
            advice = "give the raw file, or take the values as they are with --transform none"
            self.add(path, "error", f"values look transformed already: {sign}", advice)
        self._raw(path, raw, names, first)
        if not sign:
            self._cofactor(path, raw, names, first.cofactor)
        self._compensation(path, raw, first.instrument, bool(sign))

    def _raw(self, path: str, raw: RawEvents, names: list[str], first: _Reference) -> None:
        """Tell of values that a run would take as they are, though no transform can have been done."""
        kept = [k for k, as_it_is in enumerate(first.as_they_are) if as_it_is]
        values = linear_values(raw, [raw.var_names.get_loc(names[k]) for k in kept])
        sign = looks_raw(values, [first.steps[k].marker for k in kept])
        if sign:
            self.add(path, "error", sign, "leave out --transform none, or transform them first (arcsinh or logicle)")

    def _compensation(self, path: str, raw: RawEvents, instrument: Instrument, transformed: bool) -> None:
        """Say whether a run would compensate the file, and why."""
        try:
            plan = plan_compensation([raw], self.compensate, instrument, transformed)
        except InputError as error:
            self.add(path, "error", _without_path(path, str(error)))
            return
        if instrument == "mass" and not plan.apply:
            return  # as everyone expects
        level: Level = "warning" if not plan.given and read_spillover(raw).status == "unusable" else "note"
        self.add(path, level, f"{'compensated' if plan.apply else 'not compensated'}: {plan.reason}")

    def _cofactor(self, path: str, raw: RawEvents, names: list[str], cofactor: float | None) -> None:
        """Warn when arcsinh would leave nearly all values in its linear part, where signal and noise look alike."""
        if cofactor is None or raw.n_obs < MIN_EVENTS_CONSTANT:
            return
        high = np.percentile(linear_values(raw, [raw.var_names.get_loc(name) for name in names]), 99, axis=0)
        if float(high.max()) < cofactor:
            message = f"99 % of the values of every marker are below {high.max():.3g}, the cofactor is {cofactor:g}"
            self.add(path, "warning", message, "try a smaller --cofactor")

    def _repeated(self, path: str, raw: RawEvents) -> None:
        """Look for events that repeat another event of the same file."""
        repeats = raw.n_obs - len(np.unique(self.hashes[path]))
        if repeats:
            level: Level = "warning" if repeats > MANY_TWINS * raw.n_obs else "note"
            message = f"{repeats:,} of {raw.n_obs:,} events repeat another event in every channel"
            self.add(path, level, message, "see whether the file was concatenated twice" if level == "warning" else "")

    def _shared(self) -> None:
        """Look for events that stand in more than one file."""
        paths = [path for path, hashes in self.hashes.items() if len(hashes)]
        if len(paths) < 2:
            return
        distinct = [np.unique(self.hashes[path]) for path in paths]
        shared, events, together = count_shared(distinct)
        if shared == 0:
            return
        names = [Path(path).name for path in paths]
        most = ", ".join(f"{' and '.join(names[i] for i in files)} {n:,}" for files, n in together.most_common(3))
        message = f"{shared:,} of {events:,} events stand in more than one file (most: {most})"
        advice = "if they are gates that overlap, --gate-pattern uses each event once; otherwise leave a file out"
        self.add("", "warning", message, advice)


def _carried(raw: RawEvents) -> dict[str, str]:
    """Protein channels of a file with their names."""
    channels, antigens = channel_names(raw.var)
    kinds = classify_channels(raw.var)
    return {
        channel: given_name(channel, antigen) or channel
        for channel, antigen, kind in zip(channels, antigens, kinds, strict=True)
        if kind == "protein"
    }


def _unreadable(path: str, error: CytomoeError | OSError) -> str:
    if isinstance(error, OSError):
        return f"can't be read: {error.strerror or error}"
    return f"can't be read: {_without_path(path, str(error))}"


def _without_path(path: str, message: str) -> str:
    """Message without the name of the file at its start, which a finding gives by itself."""
    return message.removeprefix(path).lstrip(": ")
