"""What the experiments share: what was asked for, the units of work, and a folder that a killed run can go on in.

An experiment is a list of units (a well, a run, a setting) and a report made of their rows. Every finished unit is a
small file in ``parts/``; with ``--resume`` only missing ones are computed.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cytomoe import __version__
from cytomoe.errors import CytomoeError, InputError, RunError
from cytomoe.io.atomic import atomic_path
from cytomoe.runs.job import Listener

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Row = dict[str, Any]
REQUEST, PARTS, MANIFEST = "request.json", "parts", "run.json"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes
    ----------
    preset
        ``default`` or ``paper``.
    seeds
        One run each.
    quick
        A first look in minutes: less data, fewer settings. Its numbers are no results, and every output says so.
    data
        Folder of the data; None looks in ``$CYTOMOE_DATA`` and the cache.
    baselines
        Names of the peers to run beside.
    device
        ``auto``, ``cpu`` or ``cuda``.
    options
        What only one experiment knows, ready for JSON.
    """

    preset: str = "default"
    seeds: tuple[int, ...] = (0,)
    quick: bool = False
    data: Path | None = None
    baselines: tuple[str, ...] = ()
    device: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what must not change between a run and its resumption, as JSON-ready values."""
        return {
            **asdict(self),
            "data": None if self.data is None else str(self.data),
            "seeds": list(self.seeds),
            "baselines": list(self.baselines),
            "options": dict(self.options),
        }


@dataclass(frozen=True)
class Unit:
    """A piece of work that is done whole or not at all.

    Attributes
    ----------
    key
        Its name, different for each unit of an experiment, fit for a file name.
    arguments
        What to compute, ready for JSON.
    """

    key: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Report:
    """What an experiment says in the end.

    Attributes
    ----------
    summary
        Lines of text: the answer in short.
    tables
        By title; each becomes a Markdown table and a CSV file.
    figures
        By file name, without suffix.
    """

    summary: list[str]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, Figure] = field(default_factory=dict)


class Experiment(ABC):
    """An experiment of the paper.

    Attributes
    ----------
    name
        As the command is called.
    title
        What it shows, and where in the paper.
    fresh_process
        Whether every unit gets a process of its own, so that its peak memory can be read off.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    fresh_process: ClassVar[bool] = False

    def check(self, request: Request) -> None:  # noqa: B027 - most experiments have nothing to check
        """Refuse a request that can't be met, before any work is done."""

    @abstractmethod
    def units(self, request: Request) -> list[Unit]:
        """Return the units of work, in the order in which they are done."""

    @abstractmethod
    def compute(self, unit: Unit, request: Request) -> list[Row]:
        """Measure one unit; the rows are JSON-ready. It may run in another process.

        What a column holds whose name begins with ``_`` is for tables and figures, and not in ``rows.csv``.
        """

    @abstractmethod
    def report(self, rows: pd.DataFrame, request: Request) -> Report:
        """Make tables and figures of the rows of all units."""

    def settings(self, request: Request) -> Mapping[str, Any]:
        """Return the settings of the model, for the manifest."""
        from cytomoe.benchmarks.presets import settings_for

        return settings_for(self.name, request.preset).to_dict()


@dataclass(frozen=True)
class Outcome:
    """What a run of an experiment left.

    Attributes
    ----------
    out
        Its folder.
    report
        What it says.
    seconds
        Wall time of this run, and the sum over all units.
    failed
        Reason by unit.
    """

    out: Path
    report: Report
    seconds: dict[str, float]
    failed: dict[str, str]


def run_experiment(
    experiment: Experiment,
    request: Request,
    out: Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    command: Sequence[str] = (),
    listener: Listener | None = None,
) -> Outcome:
    """Run an experiment and write its tables, figures and manifest.

    Parameters
    ----------
    experiment, request
        What to do.
    out
        Folder of the results; must not exist unless ``resume``.
    jobs
        Units computed at a time, each in a process.
    resume
        Go on in ``out``, without doing a finished unit again.
    command
        What the user typed, for the manifest.
    listener
        Hears of every unit.

    Raises
    ------
    InputError
        If the data is missing, the folder exists, or was begun with another request.
    RunError
        If no unit succeeded.
    """
    from cytomoe.benchmarks.writing import write_report

    listener = listener or Listener()
    started = time.perf_counter()
    _claim(out, experiment, request, resume=resume)
    experiment.check(request)
    units = experiment.units(request)
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    _write_json(out / REQUEST, _request_content(experiment, request))
    parts, failed = _compute_missing(experiment, request, out, units, jobs, listener)
    if not parts:
        raise RunError(f"no unit of {experiment.name} succeeded; the first: {next(iter(failed.values()), 'none')}")

    import pandas as pd

    rows = pd.DataFrame([row for unit in units if unit.key in parts for row in parts[unit.key]["rows"]])
    report = experiment.report(rows, request)
    seconds = {
        "this run": round(time.perf_counter() - started, 1),
        "all units": round(sum(part["seconds"] for part in parts.values()), 1),
    }
    outcome = Outcome(out, report, seconds, failed)
    write_report(outcome, experiment, request, rows, command=command, jobs=jobs)
    return outcome


def _compute_missing(
    experiment: Experiment, request: Request, out: Path, units: Sequence[Unit], jobs: int, listener: Listener
) -> tuple[dict[str, Any], dict[str, str]]:
    """Compute and write the parts that are missing; all parts, and why units failed, by key."""
    parts = _finished(out, units)
    if parts:
        listener.say(f"{len(parts)} of {len(units)} units were finished before")
    failed: dict[str, str] = {}
    todo = [unit for unit in units if unit.key not in parts]
    try:
        with closing(_computed(experiment, request, todo, jobs)) as computed:
            for done, (unit, result) in enumerate(computed, start=1):
                place = f"{len(units) - len(todo) + done}/{len(units)} {unit.key}"
                if isinstance(result, CytomoeError):
                    failed[unit.key] = str(result)
                    listener.warn(f"{place}: {result}")
                    continue
                _write_json(_part(out, unit), result)
                parts[unit.key] = result
                listener.say(f"{place}: {result['seconds']:.1f} s")
    except KeyboardInterrupt as stop:
        stop.add_note(f"{len(parts)} of {len(units)} units are kept in {out}; the same command with --resume goes on")
        raise
    return parts, failed


def _claim(out: Path, experiment: Experiment, request: Request, *, resume: bool) -> None:
    """Refuse a folder that holds something else than an unfinished run of the same request."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / REQUEST).is_file():
        raise InputError(f"{out} exists and is not the folder of a benchmark; give another --out")
    if not resume:
        raise InputError(f"{out} exists already; give another --out, or --resume to go on in it")
    begun = json.loads((out / REQUEST).read_text(encoding="utf-8"))
    asked = json.loads(json.dumps(_request_content(experiment, request)))
    different = sorted(key for key in begun.keys() | asked.keys() if begun.get(key) != asked.get(key))
    if different:
        raise InputError(f"{out} was begun with another {' and '.join(different)}; give another --out to begin anew")


def _request_content(experiment: Experiment, request: Request) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "version": __version__,
        **request.to_dict(),
        "settings": dict(experiment.settings(request)),
    }


def _part(out: Path, unit: Unit) -> Path:
    return out / PARTS / f"{unit.key}.json"


def _finished(out: Path, units: Sequence[Unit]) -> dict[str, Any]:
    """Parts that an earlier run finished, by key."""
    return {
        unit.key: json.loads(_part(out, unit).read_text(encoding="utf-8"))
        for unit in units
        if _part(out, unit).is_file()
    }


def _write_json(path: Path, content: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _computed(
    experiment: Experiment, request: Request, units: Sequence[Unit], jobs: int
) -> Generator[tuple[Unit, dict[str, Any] | CytomoeError]]:
    """Units with their part, or the error that stopped them, as they are done."""
    if jobs == 1 and not experiment.fresh_process:
        for unit in units:
            yield unit, compute_part(experiment, unit, request)
        return
    from cytomoe.benchmarks.workers import compute_in_processes

    yield from compute_in_processes(experiment, request, units, jobs)


def compute_part(experiment: Experiment, unit: Unit, request: Request) -> dict[str, Any] | CytomoeError:
    """Rows and seconds of a unit, or the error that stopped it."""
    started = time.perf_counter()
    try:
        rows = experiment.compute(unit, request)
    except CytomoeError as error:
        return error
    return {
        "unit": unit.key,
        "arguments": dict(unit.arguments),
        "seconds": round(time.perf_counter() - started, 3),
        "rows": rows,
    }
