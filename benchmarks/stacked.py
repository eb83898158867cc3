"""Wells per minute: models trained one after another, one in each process, and as stacks in each process.

Run with ``python benchmarks/stacked.py [--wells 16] [--processes 2]``: simulated wells under published names, 80 % of a
well's events each, as in ``cytomoe benchmark bodenmiller --simulate``. Every process has its wells and their
similarity ready before the clock starts, and trains and maps them; wall time until the last has ended, and processor
time of all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cytomoe.benchmarks.bodenmiller import MARKERS
from cytomoe.benchmarks.simulated_wells import published_wells, write_well
from cytomoe.estimator import MoESimVAE
from cytomoe.io import read_fcs
from cytomoe.preparation import Prepared, prepare
from cytomoe.preprocessing import Preprocessor
from cytomoe.settings import Settings
from cytomoe.training.stacked import Lesson, train_stacked

SETTINGS = Settings()
# How glibc hands out memory once arrays of some ten MB have been freed, as in the middle of a plate; a process that has
# only just begun would have the system map each of the stack's arrays anew.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
Labels = list[NDArray[np.int64]]


def well(name: str, events: int) -> Prepared:
    """A simulated well with its similarity."""
    with tempfile.TemporaryDirectory() as folder:
        adatas = [read_fcs(path) for path in write_well(Path(folder), name, int(0.8 * events))]
    preprocessor = Preprocessor.fit(adatas, markers=MARKERS, clip=SETTINGS.clips_noise)
    expression = np.concatenate([preprocessor.expression(adata) for adata in adatas])
    return prepare(expression, preprocessor, SETTINGS, seed=0)


def one_by_one(wells: Sequence[Prepared]) -> Labels:
    """Clusters of each well, from a training of its own."""
    return [MoESimVAE(settings=SETTINGS).fit_prepared(one).labels_ for one in wells]


def stacked(wells: Sequence[Prepared]) -> Labels:
    """Clusters of each well, from one training of all."""
    lessons = [Lesson(one.preprocessor.scale(one.training), one.similarity, one.rng) for one in wells]
    trained = train_stacked(lessons, SETTINGS, device=torch.device("cpu"))
    return [MoESimVAE(settings=SETTINGS).adopt(one, done).labels_ for one, done in zip(wells, trained, strict=True)]


def work(
    names: Sequence[tuple[str, int]], together: bool, ready: Barrier, answers: multiprocessing.SimpleQueue
) -> None:
    """The life of a process: wells are made, and the clock is started for all at once."""
    wells = [well(name, events) for name, events in names]
    ready.wait()
    started = time.process_time()
    labels = stacked(wells) if together else one_by_one(wells)
    answers.put(({name: own for (name, _), own in zip(names, labels, strict=True)}, time.process_time() - started))


def timed(
    names: Sequence[tuple[str, int]], processes: int, together: bool
) -> tuple[float, float, dict[str, NDArray[np.int64]]]:
    """Wall seconds, processor seconds, and the clusters of each well."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(processes + 1), context.SimpleQueue()
    shares = [names[i::processes] for i in range(processes)]
    workers = [context.Process(target=work, args=(share, together, ready, answers)) for share in shares]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    given = [answers.get() for _ in workers]
    wall = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return wall, sum(spent for _, spent in given), {name: own for labels, _ in given for name, own in labels.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2, help="a core each")
    options = parser.parse_args()
    os.environ.update(MEMORY)  # of the processes that start from now on
    names = [(name, about["events"]) for name, about in list(published_wells().items())[: options.wells]]
    several = f"{options.processes} processes"
    print("| training and mapping | wells per minute | | processor s per well |\n|---|---|---|---|")
    baseline, alone = 0.0, {}
    for way, processes, together in (
        ("one after another", 1, False),
        (f"one by one in {several}", options.processes, False),
        ("one stack", 1, True),
        (f"a stack in each of {several}", options.processes, True),
    ):
        wall, spent, labels = timed(names, processes, together)
        baseline, alone = baseline or wall, alone or labels
        print(
            f"| {way} | {60 * len(names) / wall:.0f} | x {baseline / wall:.2f} | {spent / len(names):.2f} |", flush=True
        )
    same = [float(np.mean(alone[name] == labels[name])) for name, _ in names]
    print(
        f"\nevents with the same cluster alone and in a stack: {np.mean(same):.2%}, in the worst well {min(same):.2%}"
    )


if __name__ == "__main__":
    main()
