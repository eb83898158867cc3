"""The yardstick: cytomoe and its peers on the local real data, against manual gates.

``make quality`` runs every method on every data set with 5 seeds, each in a process of its own, and writes
``docs/results/quality.csv`` and ``quality.md``. Runs that the CSV already holds are not done again, unless asked for:

    python benchmarks/quality.py --methods cytomoe --again

All methods get the same cells, each event once, and the same arcsinh values; whether negative ones are set to 0 is
chosen for each peer as it scores better on H05 and the mouse spleen, as are FlowSOM's passes. Fitting sees no gate.
Needs ``cytomoe[baselines]`` and ``$CYTOMOE_DATA``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.evaluation import evaluate
from cytomoe.io.atomic import atomic_path
from cytomoe.io.gates import Gates
from cytomoe.preprocessing import Preprocessor
from cytomoe.runs.events import open_events
from cytomoe.runs.gating import GatedEvents, GateSource, find_gates
from cytomoe.settings import preset

RESULTS = Path(__file__).parent.parent / "docs" / "results"
PBMC_MARKERS = ["CD3", "CD45", "CD4", "CD20", "CD33", "CD123", "CD14", "IgM", "HLA-DR", "CD7"]
EVERY_PROTEIN = " every protein"  # of a well, signalling ones included, as a run without --markers takes them
SEEDS = 5
MEASURES = ["rare_f1", "unique_f_measure", "unique_mean_f1", "all_f_measure", "all_mean_f1", "unique_ari"]
# Heads of the table's columns, in their order.
HEADS = {
    "rare_f1": "F1 of the rare population",
    "unique_f_measure": "F-measure, unique",
    "unique_mean_f1": "mean F1, unique",
    "all_f_measure": "F-measure, all",
    "all_mean_f1": "mean F1, all",
    "unique_ari": "ARI, unique",
    "clusters_used": "clusters",
    "seconds": "CPU s",
    "peak_mb": "MB",
}
CEILING = "supervised ceiling"


@dataclass(frozen=True, eq=False)
class Problem:
    """Cells of one data set.

    Attributes
    ----------
    expression
        Transformed markers of each row, not clipped, shape (rows, markers).
    gated
        Gates of the rows, and which rows hold the same event.
    rare
        Whether one rare population alone is gated: then the score is its F1 against all other cells.
    """

    expression: NDArray[np.float32]
    gated: GatedEvents
    rare: bool

    @property
    def n_populations(self) -> int:
        """Populations of at least 30 events."""
        return sum(size >= 30 for size in self.gated.gates.counts().values())


def load(name: str) -> Problem:
    """Read a data set from ``$CYTOMOE_DATA``."""
    data = Path(os.environ["CYTOMOE_DATA"])
    markers, rare = None, False
    if name == "mouse spleen":
        files = [data / "flow/mouse_spleen_raw.fcs"]
        source = GateSource(file=str(data / "flow/mouse_spleen_gates.csv"))
    elif name == "Nilsson_rare":
        files, rare = [data / "flow/Nilsson_rare_notransform.fcs.gz"], True
        source = GateSource(channel="label")
    else:
        well, proteins = name.removesuffix(EVERY_PROTEIN), name.endswith(EVERY_PROTEIN)
        files, markers = sorted(data.glob(f"bodenmiller/*_{well}.fcs")), None if proteins else PBMC_MARKERS
        source = GateSource(pattern="{plate}_{gate}_{well}.fcs")
    events = open_events(files, pattern=source.pattern)
    gated = find_gates(events, source)
    assert gated is not None
    exclude = [] if source.channel is None else [source.channel]
    preprocessor = Preprocessor.fit(events.all_raw, markers=markers, clip=False, exclude=exclude)
    expression = np.concatenate([preprocessor.expression(raw) for raw in events.all_raw])
    return Problem(expression, gated, rare)


Method = Callable[[NDArray[np.float32], int, Problem], NDArray[Any]]


def _cytomoe(name: str, resolution: float | None = None) -> Method:
    def cluster(expression: NDArray[np.float32], seed: int, problem: Problem) -> NDArray[Any]:
        from cytomoe.estimator import MoESimVAE

        settings = preset(name, resolution=resolution)
        cells = np.maximum(expression, 0) if settings.clips_noise else expression
        return MoESimVAE(settings=settings, seed=seed, device="cpu").fit(cells).labels_

    return cluster


def _peer(name: str, *, clip: bool, n_clusters: int | None = None, told: bool = False) -> Method:
    """A peer on values whose negative ones are 0 if ``clip``; ``told`` gives it the number of gated populations."""

    def cluster(expression: NDArray[np.float32], seed: int, problem: Problem) -> NDArray[Any]:
        from cytomoe.benchmarks.baselines import BASELINES

        values = np.maximum(expression, 0) if clip else expression
        return BASELINES[name](values, seed=seed, n_clusters=problem.n_populations if told else n_clusters)

    return cluster


def _random_forest(expression: NDArray[np.float32], seed: int, problem: Problem) -> NDArray[Any]:
    """Gates predicted by a classifier that has seen those of the other four fifths of the cells: the ceiling."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    gates = problem.gated.gates.codes[problem.gated.overlaps.first]
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return cross_val_predict(RandomForestClassifier(random_state=seed), expression, gates, cv=folds) + 1


METHODS: dict[str, Method] = {
    "cytomoe": _cytomoe("default"),
    "cytomoe, resolution 2": _cytomoe("default", resolution=2),
    "cytomoe, paper's preset": _cytomoe("paper"),
    "FlowSOM, 15 metaclusters": _peer("FlowSOM", clip=False, n_clusters=15),
    "FlowSOM, 40 metaclusters": _peer("FlowSOM", clip=False, n_clusters=40),
    "FlowSOM, told the number": _peer("FlowSOM", clip=False, told=True),
    "PhenoGraph": _peer("PhenoGraph", clip=False),
    "PARC": _peer("PARC", clip=False),
    "k-means, 15": _peer("k-means", clip=True, n_clusters=15),
    "GMM, 15": _peer("GMM", clip=False, n_clusters=15),
    CEILING: _random_forest,
}
# Methods that make no sense where one population alone is gated.
NOT_RARE = {"FlowSOM, told the number"}
DATA = ["H05", "H08", "H01", "mouse spleen", "Nilsson_rare", f"H05{EVERY_PROTEIN}", f"H01{EVERY_PROTEIN}"]


def run(data: str, method: str, seed: int) -> dict[str, Any]:
    """One method on one data set: scores, seconds of one core and peak memory of this process."""
    problem = load(data)
    rows = problem.gated.overlaps.first
    cells = problem.expression[rows]
    METHODS[method](cells[:: max(1, len(cells) // 500)], seed, _thinned(problem, 500))  # imports and compilation
    started = time.process_time()
    found = METHODS[method](cells, seed, problem)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    event = problem.gated.overlaps.event
    clusters = np.empty(event.max() + 1, dtype=np.int64)
    clusters[event[rows]] = found
    result = {"data": data, "method": method, "seed": seed, **score(problem, clusters[event])}
    return result | {"seconds": round(seconds, 2), "peak_mb": round(peak)}


def _thinned(problem: Problem, n: int) -> Problem:
    """Some cells of a problem, as many as the warming up of a method takes."""
    first = np.flatnonzero(problem.gated.overlaps.first)
    rows = first[:: max(1, len(first) // n)]
    codes = problem.gated.gates.codes[rows]
    every = np.arange(len(rows))
    overlaps = type(problem.gated.overlaps)(every, np.ones(len(rows), dtype=bool), {})
    return Problem(
        problem.expression[rows], GatedEvents(Gates(codes, problem.gated.gates.names), overlaps), problem.rare
    )


def score(problem: Problem, clusters: NDArray[np.int64]) -> dict[str, Any]:
    """Measures of the clusters of all rows."""
    gates = problem.gated.gates
    if problem.rare:
        inside = np.bincount(clusters, gates.gated)
        best = (2 * inside / (np.bincount(clusters) + gates.gated.sum())).max()
        return {"rare_f1": round(float(best), 4), "clusters_used": len(np.unique(clusters))}
    found = evaluate(clusters, gates, unique=problem.gated.overlaps.unique)
    values = {name: found[name.split("_", 1)[0]][name.split("_", 1)[1]] for name in MEASURES if name != "rare_f1"}
    return {name: round(value, 4) for name, value in values.items()} | {"clusters_used": found["all"]["clusters_used"]}


def table(runs: pd.DataFrame) -> str:
    """Markdown: one table per data set, mean and standard deviation over the seeds, the best of each measure bold."""
    parts = []
    for data in [name for name in DATA if name in set(runs["data"])]:
        here = runs[runs["data"] == data].dropna(axis=1, how="all")
        if "unique_ari" in here and (here["unique_f_measure"] == here["all_f_measure"]).all():
            here = here.drop(columns=["all_f_measure", "all_mean_f1"])  # no event lies in two gates
        columns = [name for name in HEADS if name in here]
        best = here[here["method"] != CEILING].groupby("method")[columns].mean().max()
        lines = [f"\n## {data}\n", "| method | " + " | ".join(HEADS[name] for name in columns) + " | seeds |"]
        lines.append("|---" * (len(columns) + 2) + "|")
        for method in [name for name in METHODS if name in set(here["method"])]:
            group = here[here["method"] == method]
            cells = [_mean_and_spread(group[name], name, best[name]) for name in columns]
            lines.append("| " + " | ".join([method, *cells, str(len(group))]) + " |")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _mean_and_spread(values: pd.Series, name: str, best: float) -> str:
    if name not in MEASURES:
        return f"{values.mean():.1f}" if name == "seconds" else f"{values.mean():.0f}"
    mean = f"{values.mean():.3f}"
    mean = f"**{mean}**" if np.isclose(values.mean(), best) else mean
    return f"{mean} ± {values.std(ddof=0):.3f}"


INTRODUCTION = """# cytomoe and its peers against manual gates

Means and standard deviations over seeds. F-measure is FlowCAP's (weighted by size, several gates may share a cluster),
mean F1 that of Weber and Robinson (one cluster per gate, unweighted); `unique`: events that lie in one gate only;
`all`: every row of the files, as the MoE-Sim-VAE paper counted. `rare f1`: best F1 of any cluster for the rare
population, against all cells. Seconds are CPU seconds of one core without imports and compilation; memory is the peak
of the process. No method sees gates, but "told the number" (of populations with 30 events or more) and the ceiling, a
random forest that has seen the gates of the other four fifths of the cells. The best of each measure, the ceiling left
aside, is bold. All get the same cells and the same arcsinh values. Peers run as `cytomoe/benchmarks/baselines.py` says,
with what serves them best on H05 and the mouse spleen: FlowSOM with 100 passes over the cells in place of its default
of 10, k-means on values whose negative ones are 0, the others on values as they are.

Written by `make quality` ({version}).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=",".join(DATA), help="data sets, separated by commas")
    parser.add_argument("--methods", default=";".join(METHODS), help="methods, separated by semicolons")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "quality.csv")
    parser.add_argument("--again", action="store_true", help="measure what the table already holds once more")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(run(*json.loads(arguments.task))))
        return
    rows = pd.read_csv(arguments.out).to_dict("records") if arguments.out.exists() else []
    done = {(row["data"], row["method"], row["seed"]): row for row in rows}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    wanted = [
        (data, method, seed)
        for method in arguments.methods.split(";")
        for data in arguments.data.split(",")
        for seed in range(arguments.seeds)
        if not (data == "Nilsson_rare" and method in NOT_RARE)
    ]
    for task in [task for task in wanted if arguments.again or task not in done]:
        done[task] = _in_own_process(task)
        print(done[task], flush=True)
        with atomic_path(arguments.out) as path:
            pd.DataFrame(list(done.values())).to_csv(path, index=False)
    from cytomoe import __version__

    text = INTRODUCTION.format(version=f"cytomoe {__version__}") + table(pd.DataFrame(list(done.values()))) + "\n"
    with atomic_path(arguments.out.with_suffix(".md")) as path:
        path.write_text(text)
    print(table(pd.DataFrame(list(done.values()))))


def _in_own_process(task: tuple[str, str, int]) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads)
    result: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
