"""Markers of many files: one panel for all of them, or a table of what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from cytomoe.errors import CytomoeError, InputError
from cytomoe.preprocessing.channels import fold
from cytomoe.preprocessing.markers import TYPE_MARKERS, select_markers
from cytomoe.words import listed

if TYPE_CHECKING:
    from cytomoe.plates.samples import Sample
    from cytomoe.runs.batch import BatchJob
    from cytomoe.runs.job import Listener

# Markers that are named of those that a panel lacks or adds.
_SHOWN = 12
PanelMismatch = Literal["refuse", "common", "skip"]


def agree_on_markers(job: BatchJob, samples: Sequence[Sample], listener: Listener) -> tuple[BatchJob, dict[str, str]]:
    """The job with markers that all its files have, and the samples left out with why.

    Nothing is done where the user names the markers: a file that lacks one fails by itself.

    Raises
    ------
    InputError
        If panels differ and ``panel_mismatch`` is ``refuse``, or if no marker is common to all files.
    """
    from cytomoe.io.fcs_read import channel_table, open_fcs

    asked = job.preprocessing.markers
    if (asked is not None and list(asked) != [TYPE_MARKERS]) or job.preprocessing.panel is not None:
        return job, {}
    never = [] if job.gates.channel is None else [job.gates.channel]
    panels: dict[str, dict[str, str]] = {}
    dropped: dict[str, str] = {}
    for sample in samples:
        try:
            for path in sample.paths:
                var = channel_table(open_fcs(path, data_set=job.data_set, allow_truncated=job.allow_truncated).channels)
                markers = {fold(name): name for name in select_markers(var, asked, exclude=never, source=str(path))}
                known = panels.setdefault(sample.name, markers)
                panels[sample.name] = {spelt: name for spelt, name in known.items() if spelt in markers}
        except CytomoeError as error:
            dropped[sample.name] = str(error)
            panels.pop(sample.name, None)
    kinds: dict[frozenset[str], list[str]] = {}
    for name, panel in panels.items():
        kinds.setdefault(frozenset(panel), []).append(name)
    if len(kinds) < 2:
        return job, dropped
    usual = max(kinds, key=lambda kind: len(kinds[kind]))
    table = _differences(kinds, usual, panels)
    if job.panel_mismatch == "refuse":
        raise InputError(
            f"the files' panels differ\n{table}\nname the markers with --markers, take those that all files have with "
            "--panel-mismatch common, or leave the odd files out with --panel-mismatch skip"
        )
    if job.panel_mismatch == "skip":
        for kind, names in kinds.items():
            if kind != usual:
                reason = f"its panel is not that of most files: it {_difference(kind, usual, panels)}"
                dropped |= dict.fromkeys(names, reason)
        return job, dropped
    shared = frozenset.intersection(*kinds)
    if not shared:
        raise InputError(f"the files' panels differ and share no marker\n{table}")
    first = next(iter(panels.values()))
    common = [name for spelt, name in first.items() if spelt in shared]
    listener.warn(f"panels differ; the {len(common)} markers that all files have are used\n{table}")
    return replace(job, preprocessing=replace(job.preprocessing, markers=common)), dropped


def _differences(
    kinds: dict[frozenset[str], list[str]], usual: frozenset[str], panels: dict[str, dict[str, str]]
) -> str:
    """A line for each panel that differs from the usual one: which files, what is missing, what is more."""
    lines = [f"  {listed(kinds[usual])}: {len(usual)} markers"]
    others = {kind: files for kind, files in kinds.items() if kind != usual}
    lines += [f"  {listed(files)}: {_difference(kind, usual, panels)}" for kind, files in others.items()]
    return "\n".join(lines)


def _difference(kind: frozenset[str], usual: frozenset[str], panels: dict[str, dict[str, str]]) -> str:
    """What a panel lacks of the usual one, and what it has beside it."""
    names = {spelt: name for panel in panels.values() for spelt, name in panel.items()}
    parts = [f"lacks {listed(sorted(names[s] for s in usual - kind), _SHOWN)}"] * bool(usual - kind)
    parts += [f"adds {listed(sorted(names[s] for s in kind - usual), _SHOWN)}"] * bool(kind - usual)
    return "; ".join(parts)
