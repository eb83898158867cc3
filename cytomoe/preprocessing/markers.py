"""Which channels of a file are the markers of a run: by name, or every protein the file measures."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from cytomoe.errors import InputError, nearest
from cytomoe.preprocessing.channels import (
    KIND_LABELS,
    channel_names,
    classify_channels,
    fold,
    given_name,
    isotope,
    without_metal,
)

if TYPE_CHECKING:
    import pandas as pd

NOT_CHOSEN = "not chosen"
# Name that stands for all markers of cell types, as CATALYST calls those that are no states.
TYPE_MARKERS = "type"
LEAVE_STATES = f"--markers {TYPE_MARKERS} leaves them out"
# Likeness of a name that may have been meant: CDD4 for CD4, but not CD14 for CD19.
_NEAR = 0.76
# What is written in place of the comma between names.
_OTHER_SEPARATORS = re.compile(r"[;\s]+")
# Phosphorylated proteins (pStat3, p-ERK, phospho-S6), proliferation, and fluorescent reporters.
_STATE = re.compile(r"p-?[A-Z][A-Za-z0-9./-]+|pp?-?38.*|(?i:phospho.+|ki-?67|[ey]?[gyrc]fp|mcherry|tdtomato|zsgreen)")


def names_in(text: str) -> list[str]:
    """Names of a list with commas, as a person types it; one that holds a comma itself stands in double quotes."""
    names = text.split(",")
    if '"' in text and text.count('"') % 2 == 0:
        names = next(csv.reader([" ".join(text.splitlines())], skipinitialspace=True))
    return [name.strip() for name in names if name.strip()]


def find_channel(var: pd.DataFrame, name: str) -> list[str]:
    """Channels that a name may mean, by the strictest reading that finds any.

    Parameters
    ----------
    var
        The channels of a file.
    name
        An antigen or a channel name as a person typed it.

    Returns
    -------
    list of str
        Names from ``var.index``: none when nothing fits, several when the name is ambiguous. Readings, in order: the
        name itself; $PnN or $PnS as written; either without case and punctuation; the antigen without the metal it
        is measured on (``CD4`` finds ``145Nd_CD4``); the metal alone (``Nd145`` finds ``CD4(Nd145)Dd``).
    """
    wanted = name.strip()
    if not wanted or wanted in var.index:
        return [wanted] if wanted else []
    index = [str(i) for i in var.index]
    channels, antigens = channel_names(var)
    written = list(zip(index, channels, antigens, strict=True))
    readings: list[list[bool]] = [
        [wanted in spellings for spellings in written],
        [fold(wanted) in {fold(s) for s in spellings if s} for spellings in written],
        [fold(wanted) == fold(given_name(c, a)) for c, a in zip(channels, antigens, strict=True)],
    ]
    if isotope(wanted) and not without_metal(wanted):
        readings.append([isotope(wanted) in {isotope(c), isotope(a)} for c, a in zip(channels, antigens, strict=True)])
    for fits in readings:
        if any(fits):
            return [i for i, fit in zip(index, fits, strict=True) if fit]
    return []


def select_markers(
    var: pd.DataFrame,
    names: Sequence[str] | None,
    *,
    exclude: Collection[str] = (),
    source: str = "the file",
) -> list[str]:
    """Choose the marker channels of a file.

    Parameters
    ----------
    var
        The channels of a file, as ``cytomoe.io.read_fcs`` gives them.
    names
        Antigens or channel names; see `find_channel` for how they are read. None takes every protein channel, and
        ``type`` alone, where no channel is called so, those whose name is not that of a signalling protein, of a marker
        of proliferation or of a reporter.
    exclude
        Channels that are never markers, such as the one that holds the gates.
    source
        Name of the file, for messages.

    Returns
    -------
    list of str
        Names from ``var.index``, in the order of ``names``, or in the file's order.

    Raises
    ------
    InputError
        A name that fits no channel or several, a channel named twice, a channel that is excluded, no marker at all.
    """
    excluded = {found for name in exclude for found in find_channel(var, name)}
    names = None if names is None else _as_parted(var, names)
    if names is None or stands_for_types(var, names):
        kinds = classify_channels(var)
        markers = [str(n) for n, k in zip(var.index, kinds, strict=True) if k == "protein" and n not in excluded]
        if not markers:
            raise InputError(f"no channel of {source} measures a protein; name the markers with --markers")
        states = set() if names is None else set(state_markers(markers))
        if len(states) == len(markers):
            raise InputError(f"all proteins of {source} look like states of cells; name the markers with --markers")
        return [marker for marker in markers if marker not in states]
    if not any(name.strip() for name in names):
        raise InputError("--markers is empty; give it at least one name, or leave it out to use every protein")
    markers = resolve_names(var, names, source)
    for name, marker in zip(names, markers, strict=True):
        if marker in excluded:
            raise InputError(f"{name} can't be a marker: it holds the gates; take it out of --markers")
    return markers


def _as_parted(var: pd.DataFrame, names: Sequence[str]) -> Sequence[str]:
    """The names; or the one whose own commas parted it into them; or, where quotes held a whole list, its names."""
    if all(find_channel(var, name) for name in names):
        return names
    if len(names) == 1:
        parts = _parts(names[0])
        return parts if all(find_channel(var, part) for part in parts) else names
    with_commas = _names_with_commas(var)
    return next(([name] for name in with_commas if _parts(name) == list(names)), names)


def _names_with_commas(var: pd.DataFrame) -> list[str]:
    channels, antigens = channel_names(var)
    return list(dict.fromkeys(name for name in (*map(str, var.index), *antigens, *channels) if "," in name))


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.split(",")]


def resolve_names(var: pd.DataFrame, names: Sequence[str], source: str) -> list[str]:
    """Find the one channel that each name means.

    Raises
    ------
    InputError
        Names without a channel (all of them, with the nearest names), a name that fits several, two names for one
        channel.
    """
    found = {name: find_channel(var, name) for name in names}
    unknown = [name for name, channels in found.items() if not channels]
    if unknown:
        quoted = [f'"{name}"' for name in _names_with_commas(var) if set(_parts(name)) & set(unknown)]
        if quoted:
            raise InputError(
                f"{source} has no channel called {'; '.join(unknown)}; put a name that holds a comma in double quotes: "
                f"{','.join(quoted)}"
            )
        joined = [part for name in unknown for part in _OTHER_SEPARATORS.split(name) if part]
        if len(joined) > len(unknown) and any(find_channel(var, part) for part in joined):
            raise InputError(
                f"{source} has no channel called {', '.join(unknown)}; separate names by commas: {','.join(joined)}"
            )
        raise InputError(
            f"{source} has no channel called {describe_unknown(var, unknown)}; cytomoe info FILE lists the channels"
        )
    for name, channels in found.items():
        if len(channels) > 1:
            raise InputError(f"{name} may be any of {', '.join(channels)} in {source}; name one of them exactly")
    named_by: dict[str, str] = {}
    for name in names:
        channel = found[name][0]
        if channel in named_by:
            raise InputError(f"{named_by[channel]} and {name} name the same channel, {channel}, of {source}; drop one")
        named_by[channel] = name
    return list(named_by)


def describe_unknown(var: pd.DataFrame, names: Sequence[str]) -> str:
    """List names that no channel has, each with the nearest names that exist: ``CD44 (nearest: CD4, CD45)``."""
    channels, antigens = channel_names(var)
    known = list(dict.fromkeys([*(str(i) for i in var.index), *antigens, *channels]))
    listed = []
    for name in names:
        near = nearest(name, [k for k in known if k], likeness=_NEAR)
        listed.append(f"{name} (nearest: {', '.join(near)})" if near else name)
    return ", ".join(listed)


def left_out(var: pd.DataFrame, markers: Sequence[str]) -> dict[str, list[str]]:
    """Channels of a file that are no markers, by the reason, in the file's order.

    Returns
    -------
    dict
        Reason (such as "DNA", or "not chosen" for a protein that was not named) to the names of the channels.
    """
    reasons: dict[str, list[str]] = {}
    for name, kind in zip(var.index, classify_channels(var), strict=True):
        if name not in markers:
            reason = NOT_CHOSEN if kind == "protein" else KIND_LABELS[kind]
            reasons.setdefault(reason, []).append(str(name) or "a channel without a name")
    return reasons


def stands_for_types(var: pd.DataFrame, names: Sequence[str]) -> bool:
    """Whether the names are the word for all markers of cell types, and no channel's name."""
    return list(names) == [TYPE_MARKERS] and not find_channel(var, TYPE_MARKERS)


def state_markers(markers: Sequence[str]) -> list[str]:
    """Those markers whose names are of signalling proteins, proliferation or reporters: states of cells, not types."""
    return [name for name in markers if _STATE.fullmatch(without_metal(name) or name)]


def hint_of_states(markers: Sequence[str]) -> str:
    """Say that markers which nobody chose look like states of cells, not populations; empty where none does."""
    states = state_markers(markers)
    if not states or len(states) == len(markers):
        return ""
    return (
        f"{len(states)} of the {len(markers)} look like signalling proteins or reporters, which tell states and not "
        f"populations apart: {', '.join(states)}"
    )


def describe_selection(markers: Sequence[str], reasons: dict[str, list[str]]) -> str:
    """Say in one line which markers are used and what was left out and why.

    Parameters
    ----------
    markers
        The markers used.
    reasons
        What `left_out` gave.
    """
    text = f"using {len(markers)} marker{'' if len(markers) == 1 else 's'}: {', '.join(markers)}"
    if not reasons:
        return text
    groups = [f"{', '.join(shorten_runs(names))} ({reason})" for reason, names in reasons.items()]
    return f"{text}; left out: {', '.join(groups)}"


def shorten_runs(names: Sequence[str]) -> list[str]:
    """Write three or more names that count up as a range: BC1, BC2, BC3 as ``BC1-BC3``."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _counts_up(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return [part for run in runs for part in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else run)]


def _counts_up(first: str, second: str) -> bool:
    a, b = re.fullmatch(r"(.*?)(\d+)", first), re.fullmatch(r"(.*?)(\d+)", second)
    return bool(a and b and a[1] == b[1] and int(b[2]) == int(a[2]) + 1)


def locate_marker(
    var: pd.DataFrame, names: tuple[list[str], list[str]], marker: str, channel: str, antigen: str
) -> tuple[str | None, str]:
    """Find a marker of a model, or of a run's first file, in another file.

    Parameters
    ----------
    var
        The channels of the other file.
    names
        Their $PnN and $PnS, as :func:`channel_names` gives them.
    marker, channel, antigen
        What the marker is called, the $PnN it was measured on, and the $PnS it had; an empty antigen says that the
        channel alone decides.

    Returns
    -------
    tuple of (str or None) and str
        Name in ``var.index``, and an empty string; or None and what stands in the way. The channel of the same name is
        taken unless it carries another antigen here: then, and when there is none, the channel with the antigen is.
    """
    channels, antigens = names
    at = [i for i, name in enumerate(channels) if name == channel]
    here = antigens[at[0]] if len(at) == 1 else ""
    if len(at) == 1 and _one_antigen(given_name(channel, here), given_name(channel, antigen)):
        return str(var.index[at[0]]), ""
    name = given_name(channel, antigen)
    found = find_channel(var, antigen or marker) or (find_channel(var, name) if name else [])
    if len(found) == 1:
        return found[0], ""
    if found:
        return None, f"{marker} (may be any of {', '.join(found)})"
    if len(at) == 1:
        return None, f"{marker} (its channel {channel} carries {here} here)"
    return None, describe_unknown(var, [marker])


def _one_antigen(first: str, second: str) -> bool:
    """Whether two names can be one antigen: equal but for spelling, or one goes on where the other ends (CD8, CD8a).

    A name that goes on with a digit is another antigen (CD4, CD45); no name contradicts nothing.
    """
    short, long = sorted((fold(first), fold(second)), key=len)
    return not short or (long.startswith(short) and not long[len(short) :][:1].isdigit())
