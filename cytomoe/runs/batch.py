"""A plate, or any number of samples: one folder each, tables of all, and nothing done twice.

Samples are independent tasks. A file that fails is reported and the others go on; what is complete and made from the
same files and settings is kept when the batch is resumed.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cytomoe import __version__
from cytomoe.errors import CytomoeError, InputError
from cytomoe.io.gates import read_gate_names
from cytomoe.io.lock import alone
from cytomoe.io.run_folder import MANIFEST, read_json
from cytomoe.io.written import write_json
from cytomoe.plates.engine import Engine, check_scheduler, run_tasks
from cytomoe.plates.samples import Sample, more_plates_than_wells
from cytomoe.preprocessing import NanPolicy
from cytomoe.reference import read_reference
from cytomoe.runs.batch_tables import left_over, shared_between, unlike_the_fit, write_tables
from cytomoe.runs.batch_tasks import choices, cluster_job, decisions, gates_key, sums_of, warn_of_changes, well_tasks
from cytomoe.runs.cells import H5adChoice
from cytomoe.runs.events import open_events
from cytomoe.runs.fitting import fit_model, read_training
from cytomoe.runs.gating import GateSource
from cytomoe.runs.inputs import Checksum, Stamp, refuse_to_replace, sha256
from cytomoe.runs.job import Listener, Stopwatch
from cytomoe.runs.mapping import name_fitted
from cytomoe.runs.orders import PreprocessingChoice
from cytomoe.runs.panels import PanelMismatch, agree_on_markers
from cytomoe.runs.upload import run_uploaded
from cytomoe.runs.well_groups import WellGroup, group_wells, run_group
from cytomoe.runs.wells import WellResult, WellTask, content_key
from cytomoe.settings import Settings
from cytomoe.twins import without_twins
from cytomoe.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

BatchMode = Literal["pooled", "per-sample", "model"]
# The first file of a batch: where it stands, the folder is one of ours.
STARTED = "batch.json"
# About as many lines tell how far a batch has come.
_LINES = 20


@dataclass(frozen=True)
class BatchJob:
    """Samples to cluster.

    Attributes
    ----------
    samples
        The samples.
    out
        Folder of the results.
    mode
        ``pooled``: one model for all; ``per-sample``: one each; ``model``: all mapped with ``model``.
    model
        Model file for mode ``model``.
    panel_mismatch
        What is done where no markers are named and the files' panels differ.
    preprocessing, settings, seed, device, gates, min_population, subsample, reference, data_set, allow_truncated, h5ad,
    unassigned, nan
        As in :class:`cytomoe.runs.orders.ClusterJob`.
    engine
        Where the samples are computed.
    upload
        Whether the scheduler's workers are sent the files, and send the results back.
    resume
        Whether an earlier batch in ``out`` is continued.
    force
        Whether it is replaced.
    command
        What the user typed.
    """

    samples: Sequence[Sample]
    out: Path
    mode: BatchMode = "pooled"
    model: Path | None = None
    panel_mismatch: PanelMismatch = "refuse"
    preprocessing: PreprocessingChoice = field(default_factory=PreprocessingChoice)
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    device: str = "auto"
    gates: GateSource = field(default_factory=GateSource)
    min_population: int = 30
    subsample: int | None = None
    reference: str | None = None
    data_set: int = 1
    allow_truncated: bool = False
    h5ad: H5adChoice = "auto"
    unassigned: bool = False
    nan: NanPolicy = "refuse"
    engine: Engine = field(default_factory=Engine)
    upload: bool = False
    resume: bool = False
    force: bool = False
    command: Sequence[str] = ()

    @cached_property
    def model_sum(self) -> Checksum | None:
        """Checksum of the model that is given, worked out once; None where none is."""
        return None if self.model is None else Checksum.of(Stamp.of(self.model.absolute()))


@dataclass(frozen=True)
class BatchResult:
    """What a batch came to.

    Attributes
    ----------
    out
        Folder of the results.
    results
        What became of each sample, by name, in the order of the samples.
    clusters
        Those of all samples together: cluster, population, label, events, fraction and stability (None where unknown).
    unassigned
        Events of all samples that are in no cluster; None where all have one.
    """

    out: Path
    results: dict[str, WellResult]
    clusters: list[dict[str, Any]] = field(default_factory=list)
    unassigned: int | None = None

    @property
    def failed(self) -> list[str]:
        """Samples that failed."""
        return [name for name, result in self.results.items() if result.problem]


def run_batch(
    job: BatchJob, listener: Listener | None = None, each: Callable[[str, WellResult], None] | None = None
) -> BatchResult:
    """Cluster or map all samples and write the tables of all.

    Parameters
    ----------
    job
        What to do.
    listener
        Told what happens.
    each
        Called with the name of every sample and what became of it, as they finish.

    Raises
    ------
    InputError
        If the folder, the markers or the model are wrong, or panels differ; nothing is computed then.
    RunError
        If no model can be fitted.
    """
    with alone(job.out):
        there = job.out.exists()
        try:
            return _batch(job, listener or Listener(), each)
        except InputError:
            if not there and [path.name for path in job.out.glob("*")] == [STARTED]:
                _empty(job.out)  # nothing was computed, and the right command needs no --force
                job.out.rmdir()
            raise
        except KeyboardInterrupt as stop:
            if (job.out / STARTED).is_file():
                stop.add_note(f"samples that are done are kept in {job.out}; --resume does the others")
            raise


def _batch(job: BatchJob, listener: Listener, each: Callable[[str, WellResult], None] | None) -> BatchResult:
    """Cluster or map all samples into an output folder that is ours."""
    watch = Stopwatch()
    _check_before(job, listener)
    samples, stamps, results = _readable(job)
    if not samples:
        name, first = next(iter(results.items()))
        raise InputError(f"none of {counted(len(results), 'sample')} can be read; the first, {name}: {first.problem}")
    job, dropped = agree_on_markers(job, samples, listener) if job.mode != "model" else (job, {})
    results |= {name: WellResult(problem=reason) for name, reason in dropped.items()}
    samples = [sample for sample in samples if sample.name not in results]
    job.out.mkdir(parents=True, exist_ok=True)
    _begin(job, listener)
    (job.out / MANIFEST).unlink(missing_ok=True)
    for name, result in results.items():
        _tell(name, result, listener, each)

    def leave_out(problems: dict[str, str]) -> list[Sample]:
        """Samples without those that have problems, which are told."""
        for name, reason in problems.items():
            results[name] = WellResult(problem=reason)
            _tell(name, results[name], listener, each)
        return [sample for sample in samples if sample.name not in problems]

    listener.stage(f"reading {counted(len(samples), 'sample')}")
    sums, lost = _checksums(samples, stamps)
    samples = leave_out(lost)
    watch.lap("read")
    model, notes = job.model, list[str]()
    if job.mode == "pooled":
        model, unfit, notes = _pooled_model(job, samples, sums, listener)
        samples = leave_out(unfit)
        watch.lap("fit")
    tasks = well_tasks(job, samples, sums, model)
    listener.stage(f"working on {counted(len(tasks), 'sample')}")
    failed = 0
    for done, (task, outcome) in enumerate(_work(job, tasks, listener), start=1):
        result = outcome if isinstance(outcome, WellResult) else WellResult(problem=_defect(outcome))
        results[task.name] = _unless_changed(result, stamps[task.name])
        _tell(task.name, results[task.name], listener, each)
        failed += bool(results[task.name].problem)
        if done == len(tasks) or done % max(1, len(tasks) // _LINES) == 0:
            listener.say(f"{done} of {counted(len(tasks), 'sample')} done, {failed} failed, {len(tasks) - done} left")
    watch.lap("samples")
    in_order = {sample.name: results[sample.name] for sample in job.samples}
    return BatchResult(job.out, in_order, *_conclude(job, in_order, notes, listener, watch))


def _begin(job: BatchJob, listener: Listener) -> None:
    """Write what the batch was begun with, and warn where an earlier one was begun with something else."""
    started, decided = job.out / STARTED, decisions(job)
    if started.is_file():
        for line in warn_of_changes(_read_note(started).get("decisions"), decided, job.out):
            listener.warn(line)
    write_json(started, {"version": __version__, "command": shlex.join(job.command), "decisions": decided})
    # Of an earlier batch of another mode: they would stand beside clusters that are not theirs.
    stale = ["matching.csv"] if job.mode != "per-sample" else []
    stale += ["model.cytomoe", "model.json"] if job.mode == "per-sample" else []
    for name in stale:
        (job.out / name).unlink(missing_ok=True)


def _read_note(path: Path) -> dict[str, Any]:
    """What an earlier batch wrote down; nothing where there is no such file, or it is damaged."""
    try:
        return read_json(path)
    except InputError:
        return {}


def _check_before(job: BatchJob, listener: Listener) -> None:
    """Refuse what is wrong before any work."""
    _check_folder(job)
    hint = more_plates_than_wells(job.samples)
    if hint:
        listener.warn(hint)
    if job.reference is not None:
        read_reference(job.reference)
    if job.gates.names is not None:
        read_gate_names(job.gates.names)
    if job.model is not None:
        from cytomoe.saved_model import SavedModel

        SavedModel.read(job.model)  # else every sample would say what is wrong with it
    check_scheduler(job.engine)


def _conclude(
    job: BatchJob, results: dict[str, WellResult], notes: list[str], listener: Listener, watch: Stopwatch
) -> tuple[list[dict[str, Any]], int | None]:
    """Tell what is odd about all samples together and write the tables of all; returns what those tell."""
    shared = shared_between(job, results)
    odd = [f"{line}; see the report" for line in unlike_the_fit(job, results)]
    for line in [*shared, *odd, *left_over(job, results)]:
        listener.warn(line)
    listener.stage("writing tables and report")
    return write_tables(job, results, choices(job), [*notes, *shared], watch)


def _work(
    job: BatchJob, tasks: Sequence[WellTask], listener: Listener
) -> Iterator[tuple[WellTask, WellResult | BaseException]]:
    """Each sample with what became of it, in the order in which they are done; models of their own in stacks."""
    groups = group_wells(tasks) if job.mode == "per-sample" else [WellGroup((task,)) for task in tasks]
    if job.upload:
        work = run_uploaded(groups, job.engine, listener.say)
    else:
        work = run_tasks(run_group, groups, job.engine, say=listener.say)
    for group, outcome in work:
        outcomes = outcome if isinstance(outcome, list) else [outcome] * len(group.tasks)
        yield from zip(group.tasks, outcomes, strict=True)


def _unless_changed(result: WellResult, stamps: Sequence[Stamp]) -> WellResult:
    """What became of a sample, which failed if a file of it is not the one any more that the batch began with."""
    try:
        for stamp in stamps:
            stamp.check()
    except InputError as error:
        return WellResult(problem=result.problem or str(error))
    return result


def _tell(name: str, result: WellResult, listener: Listener, each: Callable[[str, WellResult], None] | None) -> None:
    if result.problem:
        listener.warn(f"{name}: {result.problem}")
    if each is not None:
        each(name, result)


def _check_folder(job: BatchJob) -> None:
    """Refuse an output folder that is in use or not ours; remove an earlier batch if that is asked for."""
    if not job.out.exists() or (job.out.is_dir() and not any(job.out.iterdir())):
        return
    if not (job.out / STARTED).is_file():
        raise InputError(f"{job.out} exists and is not the folder of an earlier batch; give another --out")
    if job.force:
        refuse_to_replace(job.out, [path for sample in job.samples for path in sample.paths])
        refuse_to_replace(job.out, [path for path in (job.model, job.preprocessing.panel) if path is not None])
        _empty(job.out)
    elif not job.resume:
        raise InputError(f"{job.out} exists already; --resume does what is missing in it, --force starts anew")


def _empty(folder: Path) -> None:
    """Take everything out of the folder of a batch, which may be a link; the sign that it is one goes last."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == STARTED):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _readable(job: BatchJob) -> tuple[list[Sample], dict[str, list[Stamp]], dict[str, WellResult]]:
    """Samples whose files open, their files as they stand, and why the others do not."""
    from cytomoe.io.fcs_read import open_fcs

    good, stamps, failures = [], {}, {}
    for sample in job.samples:
        try:
            stamps[sample.name] = [Stamp.of(path.absolute()) for path in sample.paths]
            opened = [
                open_fcs(path, data_set=job.data_set, allow_truncated=job.allow_truncated) for path in sample.paths
            ]
        except (CytomoeError, OSError) as error:
            failures[sample.name] = WellResult(problem=str(error))
            continue
        if not any(one.n_events for one in opened):
            failures[sample.name] = WellResult(problem="holds no events")
        else:
            good.append(sample)
    return good, stamps, failures


def _checksums(
    samples: Sequence[Sample], stamps: dict[str, list[Stamp]]
) -> tuple[dict[str, list[Checksum]], dict[str, str]]:
    """Checksums of the files of each sample, and why there are none of the others."""
    sums, lost = {}, {}
    for sample in samples:
        try:
            sums[sample.name] = [Checksum.of(stamp) for stamp in stamps[sample.name]]
        except (InputError, OSError) as error:
            lost[sample.name] = str(error)
    return sums, lost


def _pooled_model(
    job: BatchJob, samples: Sequence[Sample], sums: dict[str, list[Checksum]], listener: Listener
) -> tuple[Path, dict[str, str], list[str]]:
    """The model of all samples, fitted unless it is there, the samples that can't be used with why, and warnings.

    Raises
    ------
    InputError
        If no sample can be used.
    """
    path, note = job.out / "model.cytomoe", job.out / "model.json"
    contents = {name: sums_of(found) for name, found in sums.items()}
    key = content_key("pooled", __version__, contents, choices(job), job.subsample, gates_key(job.gates))
    known = _known_model(note)
    if path.is_file() and (known.get("key"), known.get("sha256")) == (key, sha256(path)):
        listener.say("the model of the batch is there already")
        return path, dict(known["unusable"]), list(known["warnings"])
    paths = [file for sample in samples for file in sample.paths]
    if not paths:
        raise InputError("no sample is left to fit a model on; see the reasons above")
    owner = [sample.name for sample in samples for _ in sample.paths]
    events = open_events(paths, data_set=job.data_set, allow_truncated=job.allow_truncated)
    number = {sample.name: i for i, sample in enumerate(samples)}
    events = replace(events, samples=list(number), file_sample=np.array([number[name] for name in owner]))
    fitting = replace(cluster_job(job, paths, job.out), gates=job.gates)  # whose channel is no marker
    training, problems = read_training(fitting, events, listener)
    unusable = {owner[i]: problem for i, problem in problems.items()}
    kept = {i: raw for i, raw in training.items() if owner[i] not in unusable}
    of_gates = job.gates.pattern is not None
    usable = without_twins(list(kept.values()), [owner[i] for i in kept]) if of_gates else list(kept.values())
    if not usable:
        first = next(iter(unusable.items()), None)
        why = f", the first because of this: {first[0]}: {first[1]}" if first else ""
        raise InputError(f"no sample is left to fit a model on{why}")
    if of_gates:
        listener.say(f"events in several files of a sample once: {sum(raw.n_obs for raw in usable):,} events")
    model, notes = fit_model(fitting, usable, listener)
    name_fitted(model, usable, None if job.reference is None else read_reference(job.reference))
    model.save(path)
    fitted = {"key": key, "sha256": sha256(path), "unusable": unusable, "warnings": notes}
    write_json(note, fitted)
    return path, unusable, notes


def _known_model(note: Path) -> dict[str, Any]:
    """What is known of the model of an earlier batch; nothing where there is none, or the note is damaged."""
    known = _read_note(note)
    return known if isinstance(known.get("unusable"), dict) and isinstance(known.get("warnings"), list) else {}


def _defect(error: BaseException | Any) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, CytomoeError):
        return message
    if type(error).__name__ == "KilledWorker":
        return "its worker died again and again, perhaps for want of memory; try fewer --jobs"
    return f"unexpected {type(error).__name__}: {message}"
