"""What is done to each marker of a run, and how a marker is found again in another file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cytomoe.errors import InputError
from cytomoe.preprocessing.channels import Instrument, channel_names, instrument_evidence, source_name
from cytomoe.preprocessing.markers import locate_marker, select_markers
from cytomoe.preprocessing.panel import Panel, PanelMarker
from cytomoe.preprocessing.transform import MarkerTransform, NanPolicy, TransformName, linear_values, scale_top

if TYPE_CHECKING:
    from cytomoe.io.raw_events import Raw


@dataclass(frozen=True)
class MarkerStep:
    """All that is done to one marker.

    Parameters
    ----------
    marker
        Its name in every output.
    channel, antigen
        $PnN and $PnS it is found by in other files. The antigen is empty where a panel named the channel.
    transform
        Its value transform.
    low, high
        Transformed values that scaling turns into 0 and 1.
    """

    marker: str
    channel: str
    antigen: str
    transform: MarkerTransform
    low: float = 0.0
    high: float = 1.0


def one_instrument(adatas: Sequence[Raw]) -> tuple[Instrument, str]:
    """Kind of instrument of all files, with the first one's evidence."""
    instrument, evidence = instrument_evidence(adatas[0])
    for adata in adatas[1:]:
        other, reason = instrument_evidence(adata)
        if other != instrument:
            raise InputError(
                f"{source_name(adatas[0])} is {instrument} cytometry ({evidence}) but {source_name(adata)} is {other} "
                f"cytometry ({reason}); run them apart"
            )
    return instrument, evidence


def choose_markers(
    adata: Raw, markers: Sequence[str] | None, panel: Panel | None, exclude: Collection[str]
) -> list[PanelMarker]:
    """Choose the markers of a run in its first file; raises as `select_markers` and `Panel.find`."""
    source = source_name(adata)
    if panel is None:
        names = select_markers(adata.var, markers, exclude=exclude, source=source)
        return [PanelMarker(name, name, None, None) for name in names]
    chosen = panel.find(adata.var, source)
    select_markers(adata.var, [choice.name for choice in chosen], exclude=exclude, source=source)
    return chosen


def name_step(adata: Raw, choice: PanelMarker, *, by_panel: bool) -> MarkerStep:
    """Make the step of a marker as far as its names go; its transform is still "none".

    Parameters
    ----------
    adata
        The first file of the run.
    choice
        The marker as found there.
    by_panel
        Whether a panel named the channel, so that antigens written in the files are not asked.
    """
    channels, antigens = channel_names(adata.var)
    at = adata.var_names.get_loc(choice.name)
    return MarkerStep(choice.marker, channels[at], "" if by_panel else antigens[at], MarkerTransform("none"))


def transform_name(choice: PanelMarker, wanted: TransformName) -> TransformName:
    """Transform of a marker: the panel's; arcsinh where the panel gives a cofactor; else the one of the run."""
    return choice.transform or ("arcsinh" if choice.cofactor is not None else wanted)


def transform_step(
    step: MarkerStep,
    choice: PanelMarker,
    adatas: Sequence[Raw],
    wanted: TransformName,
    cofactor: float,
    nan: NanPolicy = "refuse",
) -> MarkerStep:
    """Give a step its transform.

    Parameters
    ----------
    step
        From `name_step`.
    choice
        What a panel says of the marker; its transform, and arcsinh with its cofactor, go before the rest.
    adatas
        The files of the run; a logicle scale reaches as far as the values of any of them do.
    wanted, cofactor
        Transform and cofactor where the panel says nothing.
    nan
        What is done to values that are not numbers.
    """
    name = transform_name(choice, wanted)
    if name == "arcsinh":
        return replace(step, transform=MarkerTransform("arcsinh", cofactor=choice.cofactor or cofactor))
    if name == "logicle":
        top = max(_top(adata, step, nan) for adata in adatas)
        return replace(step, transform=MarkerTransform("logicle", top=top))
    return step


def _top(adata: Raw, step: MarkerStep, nan: NanPolicy) -> float:
    name = locate_steps(adata, (step,))[0]
    values = linear_values(adata, [adata.var_names.get_loc(name)], nan)
    return max(scale_top(adata.var.loc[name]), float(values.max(initial=0.0, where=~np.isnan(values))))


def locate_steps(adata: Raw, steps: Sequence[MarkerStep]) -> list[str]:
    """Find the markers' channels in a file: names from ``adata.var_names``, one for each step.

    Raises
    ------
    InputError
        The file lacks markers; lists them all.
    """
    of_file = channel_names(adata.var)
    found = [locate_marker(adata.var, of_file, step.marker, step.channel, step.antigen) for step in steps]
    problems = [problem for _, problem in found if problem]
    if problems:
        which = f"{len(problems)} of the {len(steps)} markers" if len(steps) > 1 else "the marker"
        raise InputError(f"{source_name(adata)} lacks {which}: {', '.join(problems)}")
    names = [name for name, _ in found if name is not None]
    taken: dict[str, str] = {}
    for name, step in zip(names, steps, strict=True):
        if name in taken:
            raise InputError(f"{source_name(adata)}: {taken[name]} and {step.marker} would be the same channel, {name}")
        taken[name] = step.marker
    return names
