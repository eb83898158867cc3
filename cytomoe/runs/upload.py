"""Samples for workers that can't see the files: these go there with the task, and the results come back.

A worker keeps the files in a folder of its own, where each has its absolute path below ``in``. So what it says of a
file is right once the name of that folder is taken out.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cytomoe.errors import InputError, RunError
from cytomoe.io.atomic import atomic_directory
from cytomoe.io.run_folder import MANIFEST
from cytomoe.io.written import write_json
from cytomoe.plates.engine import Engine, run_tasks
from cytomoe.reference import SHIPPED
from cytomoe.runs import memory, outputs
from cytomoe.runs.cells import writes_cells
from cytomoe.runs.events import open_events
from cytomoe.runs.orders import ClusterJob, PredictJob
from cytomoe.runs.sampling import FITTED_EVENTS
from cytomoe.runs.well_groups import WellGroup, attempt, done_before, run_group
from cytomoe.runs.wells import WellResult, WellTask, clear_rest, finished

# Size of the results over that of the values, with cells.h5ad and without; a worker holds them twice as they go.
_WITH_CELLS, _WITHOUT_CELLS = 4.2, 1.5


@dataclass(frozen=True)
class Parcel:
    """Samples with all that is needed to work on them.

    Attributes
    ----------
    group
        The samples, with paths as they are here.
    done
        Results of samples that are here already; None for the others.
    files
        What the files hold, by path.
    """

    group: WellGroup
    done: Sequence[WellResult | None]
    files: Mapping[Path, bytes]


@dataclass(frozen=True)
class Returned:
    """What comes back from a worker.

    Attributes
    ----------
    place
        Folder under which the worker kept the files.
    results
        What became of each sample.
    folders
        What the folder of each sample holds, by path in it; empty where there is nothing new.
    """

    place: str
    results: Sequence[WellResult | Exception]
    folders: Sequence[Mapping[str, bytes]]


def run_uploaded(
    groups: Sequence[WellGroup], engine: Engine, say: Callable[[str], None] | None = None
) -> Iterator[tuple[WellGroup, Sequence[WellResult | Exception] | BaseException]]:
    """Have samples worked on by workers that can't see their files, and keep the results here.

    Parameters
    ----------
    groups
        The samples; those that are done in their folders already are not sent.
    engine
        With a scheduler.
    say
        Called with a line for the user where the scheduler has no workers.

    Yields
    ------
    tuple
        Each group with what became of its samples, or the error that ended it, in the order in which they finish.
    """
    missing = []
    for group in groups:
        done = done_before(group)
        if None in done:
            missing.append(group)
        else:
            yield group, [result for result in done if result is not None]
    for group, outcome in run_tasks(work_on, missing, engine, pack, say):
        if isinstance(outcome, BaseException):
            yield group, outcome
        else:
            yield group, [attempt(keep, task, outcome, i) for i, task in enumerate(group.tasks)]


def pack(group: WellGroup, limit: int | None) -> Parcel:
    """Read the files of samples, unless a worker's memory would not do.

    Parameters
    ----------
    group
        The samples.
    limit
        Bytes of memory that a worker has; None for no limit.

    Raises
    ------
    InputError
        If more is needed, a file can't be read, or two files of a sample have the same name.
    """
    for task in group.tasks:
        names = [path.name for path in task.job.files]
        if len(set(names)) < len(names):
            raise InputError(
                f"two files of {task.name} have the same name, which --upload can't tell apart; rename one of them"
            )
    needed = _memory(group)
    if limit is not None and needed > limit:
        raise InputError(
            f"about {needed / 1e9:.1f} GB of memory are needed to receive and work on it, and a worker has "
            f"{limit / 1e9:.1f} GB for a sample; give workers more, or a folder that they see, without --upload"
        )
    try:
        files = {path: path.read_bytes() for task in group.tasks for path in _files(task.job)}
    except OSError as error:
        raise InputError(f"{error.filename}: can't be read ({error.strerror or error})") from error
    return Parcel(group, done_before(group), files)


def _memory(group: WellGroup) -> int:
    """Bytes that a worker needs for the samples at its peak, about."""
    alone, beside = 0, 0.0
    for task in group.tasks:
        events = open_events(task.job.files, data_set=task.job.data_set, allow_truncated=task.job.allow_truncated)
        fitted = (task.job.subsample or FITTED_EVENTS) if isinstance(task.job, ClusterJob) else 0
        cells = writes_cells(events, task.job.h5ad)
        alone = max(alone, memory.estimate(events, fitted=fitted, cells=cells, beside=False))
        values = 4 * sum(file.n_events * file.n_channels for file in events.files)
        results = _WITH_CELLS if cells else _WITHOUT_CELLS
        beside += values * (1 + 2 * results)
    return alone + int(beside)


def _files(job: ClusterJob | PredictJob) -> list[Path]:
    """All files that a run reads."""
    names = job.gates.names
    if isinstance(job, PredictJob):
        return [*job.files, job.model, *([] if names is None else [names.absolute()])]
    panel, table = job.preprocessing.panel, job.reference
    further = [panel, None if table is None or table in SHIPPED else Path(table), names]
    return [*job.files, *(path.absolute() for path in further if path is not None)]


def work_on(parcel: Parcel) -> Returned:
    """Work on samples in a folder of the worker's own, which goes when the results are sent."""
    from distributed import get_worker

    with tempfile.TemporaryDirectory(prefix="cytomoe-", dir=get_worker().local_directory) as name:
        folder = Path(name).resolve()  # a run tells resolved paths as well
        place, out = folder / "in", folder / "out"
        try:
            for path, content in parcel.files.items():
                there = _below(place, path)
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(content)
        except OSError as error:
            reason = f"the worker on {platform.node()} can't keep the file ({error.strerror or error})"
            results = [WellResult(problem=reason)] * len(parcel.group.tasks)
            return Returned(str(place), results, [{}] * len(results))
        tasks = [replace(task, job=moved(task.job, place, out)) for task in parcel.group.tasks]
        try:
            found = run_group(WellGroup(tuple(tasks)), parcel.done)
        except Exception as error:
            _tell_as_here(error, str(place))
            raise
        return Returned(str(place), found, [_content(task.job.out) for task in tasks])


def _tell_as_here(error: Exception, place: str) -> None:
    """Take the worker's folder from the paths in an error's message."""
    error.args = tuple(_as_here(list(error.args), place))


def _below(place: Path, path: Path) -> Path:
    """A file's absolute path below a folder."""
    normal = Path(os.path.normpath(path))
    return place / normal.relative_to(normal.anchor)


def moved(job: ClusterJob | PredictJob, place: Path, out: Path) -> ClusterJob | PredictJob:
    """The run with its files below ``place`` and its results in ``out``; checksums known here are not known there."""
    files, folder = [_below(place, path) for path in job.files], out / job.out.name
    names = job.gates.names
    gates = replace(job.gates, names=None if names is None else _below(place, names.absolute()))
    if isinstance(job, PredictJob):
        return replace(job, files=files, out=folder, known=(), gates=gates, model=_below(place, job.model))
    panel, table = job.preprocessing.panel, job.reference
    if panel is not None:
        panel = _below(place, panel.absolute())
    if table is not None and table not in SHIPPED:
        table = str(_below(place, Path(table).absolute()))
    preprocessing = replace(job.preprocessing, panel=panel)
    job = replace(job, preprocessing=preprocessing, reference=table)
    return replace(job, files=files, out=folder, known=(), gates=gates)


def _content(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their path in it; none where there is no folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keep(task: WellTask, returned: Returned, number: int) -> WellResult:
    """Write the results of a sample into its folder, as they would be had they been made here."""
    result, files = returned.results[number], returned.folders[number]
    if isinstance(result, Exception):
        _tell_as_here(result, returned.place)
        raise result
    if result.problem or result.reused:
        return replace(result, problem=result.problem.replace(returned.place, ""))
    out = task.job.out
    clear_rest(out)
    with outputs.output_folder(out, force=True), atomic_directory(out, replace=out.exists()) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        manifest = _as_here(json.loads((folder / MANIFEST).read_text(encoding="utf-8")), returned.place)
        for entry, path in zip(manifest["inputs"], task.job.files, strict=True):
            entry["path"] = str(path.resolve())
        if isinstance(task.job, PredictJob):
            manifest["model"]["path"] = str(task.job.model.resolve())
        write_json(folder / MANIFEST, manifest)
        if finished(folder, task.key, task.sums) is None:
            raise RunError("its files have changed while they were sent; --resume does it again")
    return result


def _as_here(content: Any, place: str) -> Any:
    """JSON content without the worker's folder in front of the paths in it."""
    if isinstance(content, str):
        return content.replace(place, "")
    if isinstance(content, list):
        return [_as_here(one, place) for one in content]
    return {key: _as_here(one, place) for key, one in content.items()} if isinstance(content, dict) else content
