"""Samples with a model each, whose models are trained as one stack: see :mod:`cytomoe.training.stacked`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cytomoe import __version__
from cytomoe.errors import RunError
from cytomoe.runs.cluster import Begun, begin, finish
from cytomoe.runs.fitting import get_ready
from cytomoe.runs.job import Listener
from cytomoe.runs.orders import ClusterJob
from cytomoe.runs.wells import (
    WellResult,
    WellTask,
    clear_rest,
    content_key,
    finished,
    or_problem,
    run_well,
    well_result,
)

if TYPE_CHECKING:
    from cytomoe.training.recovery import Trained

P = ParamSpec("P")
T = TypeVar("T")

# Samples in a group, at most, and the bytes of their files, which are all in memory at once.
LARGEST_GROUP = 8
GROUP_BYTES = 128 << 20


@dataclass(frozen=True)
class WellGroup:
    """Samples whose models are trained as one stack; or a single sample, which may be mapped.

    Attributes
    ----------
    tasks
        A clustering each, all with the same settings and device; or one clustering or mapping.
    """

    tasks: tuple[WellTask, ...]

    @property
    def key(self) -> str:
        """Checksum of all that the results depend on."""
        return content_key([task.key for task in self.tasks])


def group_wells(tasks: Sequence[WellTask]) -> list[WellGroup]:
    """Put samples into groups of neighbours; few samples into small groups, so that several processes have work.

    The groups depend on the samples alone: whatever is done already and however many processes there are, the same
    models are trained together, and their rounding is the same to the last bit.
    """
    most = min(LARGEST_GROUP, max(1, len(tasks) // 4))
    groups: list[list[WellTask]] = []
    size = 0
    for task in tasks:
        own = sum(path.stat().st_size for path in task.job.files if path.is_file())
        if not groups or len(groups[-1]) == most or size + own > GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(task)
        size += own
    return [WellGroup(tuple(group)) for group in groups]


def done_before(group: WellGroup) -> list[WellResult | None]:
    """Results of the samples of a group that are in their folders already; None for the others."""
    return [finished(task.job.out, task.key, task.sums) for task in group.tasks]


def run_group(group: WellGroup, done: Sequence[WellResult | None] | None = None) -> list[WellResult | Exception]:
    """Cluster or map the samples of a group, each as :func:`cytomoe.runs.wells.run_well` does.

    Where some are done already they are trained with the others again, since rounding depends on the whole stack, but
    not written again.

    Parameters
    ----------
    group
        The samples.
    done
        As :func:`done_before` gives it, where the folders are on another machine.

    Raises
    ------
    RunError
        If this is another version of cytomoe than the one that asks.
    """
    asking = group.tasks[0].version
    if asking != __version__:
        raise RunError(f"the worker has cytomoe {__version__}, and batch {asking}; install the same version there")
    done = done_before(group) if done is None else done
    if len(group.tasks) == 1 or None not in done:
        return [run_well(task) for task in group.tasks]
    missing = [i for i, result in enumerate(done) if result is None]
    begun = {i: attempt(_begin, group.tasks[i]) for i in missing}
    if any(isinstance(one, Begun) for one in begun.values()):
        begun = {i: begun[i] if i in begun else attempt(_begin, task) for i, task in enumerate(group.tasks)}
    trained = iter(_train([one for one in begun.values() if isinstance(one, Begun)]))
    networks = {i: next(trained) for i, one in begun.items() if isinstance(one, Begun)}
    results: list[WellResult | Exception] = []
    for i, earlier in enumerate(done):
        one = earlier or begun[i]
        results.append(attempt(_finish, one, networks[i]) if isinstance(one, Begun) else one)
    return results


def attempt(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | WellResult | Exception:
    """What the work gives, or why it failed: one sample's failure is none of the others'."""
    try:
        return or_problem(work, *arguments, **named)
    except Exception as error:
        return error


def _begin(task: WellTask) -> Begun:
    assert isinstance(task.job, ClusterJob)
    get_ready(task.job)
    clear_rest(task.job.out)
    return begin(replace(task.job, force=True, key=task.key), Listener())


def _train(begun: Sequence[Begun]) -> list[Trained | Exception]:
    """Train the networks of runs that have begun; a share of the seconds is booked on each."""
    from cytomoe.clusterer import find_device
    from cytomoe.training.stacked import Lesson, train_stacked

    if not begun:
        return []
    job = begun[0].job
    prepared = [one.prepared for one in begun]
    lessons = [Lesson(one.preprocessor.scale(one.training), one.similarity, one.rng) for one in prepared]
    return train_stacked(lessons, job.settings, device=find_device(job.device))


def _finish(begun: Begun, network: Trained | Exception) -> WellResult:
    """Map the sample's events with its network, and write its results."""
    from cytomoe.clusterer import Clusterer

    if isinstance(network, Exception):
        raise network
    job, prepared = begun.job, begun.prepared
    model = Clusterer(
        settings=job.settings, seed=job.seed, device=job.device, preprocessor=prepared.preprocessor, nan=job.nan
    )
    begun.watch.skip()  # the other samples' turn
    begun.watch.seconds["fit"] = round(network.history.seconds, 3)
    return well_result(finish(begun, model.adopt(prepared, network)))
