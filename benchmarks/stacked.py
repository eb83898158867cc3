"""Wells per minute: models trained one by one and as one stack, with the similarity that both need.

Run with ``python benchmarks/stacked.py [--wells 8]``: simulated wells under published names, 80 % of a well's events
each, as in ``cytomoe benchmark bodenmiller --simulate``. Processor seconds of one core, imports left out.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cytomoe.benchmarks.bodenmiller import MARKERS
from cytomoe.benchmarks.simulated_wells import published_wells, write_well
from cytomoe.estimator import MoESimVAE
from cytomoe.io import read_fcs
from cytomoe.preparation import Prepared, prepare
from cytomoe.preprocessing import Preprocessor
from cytomoe.settings import Settings
from cytomoe.training.stacked import Lesson, train_stacked

SETTINGS = Settings()


def well(name: str, events: int) -> Prepared:
    """A simulated well with its similarity."""
    with tempfile.TemporaryDirectory() as folder:
        adatas = [read_fcs(path) for path in write_well(Path(folder), name, int(0.8 * events))]
    preprocessor = Preprocessor.fit(adatas, markers=MARKERS, clip=SETTINGS.clips_noise)
    expression = np.concatenate([preprocessor.expression(adata) for adata in adatas])
    return prepare(expression, preprocessor, SETTINGS, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", type=int, default=8)
    number = parser.parse_args().wells
    torch.set_num_threads(1)
    seconds = {}
    started = time.process_time()
    wells = [well(name, about["events"]) for name, about in list(published_wells().items())[:number]]
    seconds["simulate, read, similarity"] = time.process_time() - started
    again = copy.deepcopy(wells)
    started = time.process_time()
    alone = [MoESimVAE(settings=SETTINGS).fit_prepared(one) for one in wells]
    seconds["train one by one, map"] = time.process_time() - started
    started = time.process_time()
    lessons = [Lesson(one.preprocessor.scale(one.training), one.similarity, one.rng) for one in again]
    trained = train_stacked(lessons, SETTINGS, device=torch.device("cpu"))
    together = [MoESimVAE(settings=SETTINGS).adopt(one, done) for one, done in zip(again, trained, strict=True)]
    seconds["train as one stack, map"] = time.process_time() - started
    same = [float(np.mean(a.labels_ == b.labels_)) for a, b in zip(alone, together, strict=True)]
    print("| step | processor s per well |\n|---|---|")
    for step, spent in seconds.items():
        print(f"| {step} | {spent / number:.2f} |")
    print(f"\nevents with the same cluster both ways: {np.mean(same):.2%}, in the worst well {min(same):.2%}")


if __name__ == "__main__":
    main()
