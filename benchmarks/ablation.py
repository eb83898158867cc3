"""What each ingredient of the default similarity and training is worth: one left out at a time.

``python benchmarks/ablation.py`` measures every variant on the local real data with 3 seeds, and writes
``docs/results/ablation.csv`` and ``ablation.md``. What belongs to the similarity is measured on the clusters on which
its partitions agree, from which training starts; what belongs to the network on the clusters it assigns. Data and
scores are those of ``benchmarks/quality.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from quality import DATA, RESULTS, Problem, load, score

from cytomoe.estimator import MoESimVAE
from cytomoe.io.atomic import atomic_path
from cytomoe.settings import Settings, preset
from cytomoe.similarity import build_similarity, consensus, valley_tree, valleys

SEEDS = 3


@contextmanager
def replaced(module: Any, **values: Any) -> Iterator[None]:
    """Constants or functions of a module replaced for a while."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def agreed(expression: NDArray[np.float32], settings: Settings, seed: int) -> NDArray[np.int64]:
    """Clusters on which the partitions agree, as :class:`MoESimVAE` would draw them."""
    streams = np.random.default_rng(seed).spawn(3)
    partition = build_similarity(expression, settings, streams[1]).partition
    assert partition is not None
    return partition


def trained(expression: NDArray[np.float32], settings: Settings, seed: int) -> NDArray[np.int64]:
    """Clusters of the trained network."""
    return MoESimVAE(settings=settings, seed=seed, device="cpu").fit(expression).labels_.astype(np.int64)


def _same(values: NDArray[np.float32], *_: Any) -> NDArray[np.float32]:
    return values


def _twice(values: NDArray[np.float32], *_: Any) -> list[NDArray[np.float32]]:
    return [values, values]


def _with_splinters(partitions: NDArray[np.int64], *arguments: Any, **options: Any) -> NDArray[np.int64]:
    return _AGREED(partitions, *arguments, **options | {"smallest": 1})


_AGREED = consensus.agreed_clusters
Variant = Callable[[NDArray[np.float32], int], NDArray[np.int64]]


def _similarity(module: Any = valleys, /, changes: dict[str, Any] | None = None, **values: Any) -> Variant:
    def cluster(expression: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
        with replaced(module, **values):
            return agreed(expression, preset("default", **changes or {}), seed)

    return cluster


def _network(**changes: Any) -> Variant:
    return lambda expression, seed: trained(expression, preset("default", **changes), seed)


def _clipped(expression: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    return agreed(np.maximum(expression, 0), preset("default"), seed)


VARIANTS: dict[str, Variant] = {
    "similarity, complete": _similarity(),
    "one partition in place of 24": _similarity(changes={"partitions": 1}),
    "without neighbours' averages": _similarity(neighbour_means=_twice),
    "without the finest bandwidth": _similarity(valley_tree, BANDWIDTHS=valley_tree.BANDWIDTHS | {1: (0.05,)}),
    "one bandwidth of 0.1": _similarity(valley_tree, BANDWIDTHS={4: (0.1,)}),
    "without widening noise": _similarity(widen_noise=_same),
    "negative values set to 0": _clipped,
    "without spreading ties": _similarity(spread_ties=_same),
    "without dividing wide parts": _similarity(changes={"widest_part": 1e9}),
    "splinters left alone": _similarity(consensus, agreed_clusters=_with_splinters),
    "valley depth without confidence": _similarity(changes={"valley_confidence": 0.5}),
    "valleys of depth 0.8, majority of the partitions": _similarity(changes={"valley_depth": 0.8, "agreement": 0.5}),
    "majority of the partitions": _similarity(changes={"agreement": 0.5}),
    "share of nine tenths of the partitions": _similarity(changes={"agreement": 0.9}),
    "valleys of depth 0.9, nine tenths of the partitions": _similarity(changes={"valley_depth": 0.9, "agreement": 0.9}),
    "10 partitions in place of 24": _similarity(changes={"partitions": 10}),
    "16 partitions in place of 24": _similarity(changes={"partitions": 16}),
    "32 partitions in place of 24": _similarity(changes={"partitions": 32}),
    "confidence of 2.5": _similarity(changes={"valley_confidence": 2.5}),
    "one confidence for any number of markers": _similarity(USUAL_MARKERS=10**6),
    "k-means and hierarchy (`--similarity consensus`)": _network(similarity="consensus"),
    "network, complete": _network(),
    "network, valleys of depth 0.8, majority of the partitions": _network(valley_depth=0.8, agreement=0.5),
    "network without warm start": _network(warm_steps=0, steps=700),
    "network with 300 first steps in place of 500": _network(warm_steps=300),
    "network without joint steps": _network(steps=1),
    "network drawing all cells alike": _network(sampling_power=0.0),
    "network without noise on the codes": _network(code_noise=0.0),
    "network with DEPICT in the joint steps": _network(coef_depict=1.0),
    "network with KL in the joint steps": _network(coef_kl=0.1),
}


def measure(name: str, problem: Problem, seed: int) -> dict[str, Any]:
    """Scores of one variant on one data set."""
    return score(problem, on_all_rows(problem, VARIANTS[name](problem.expression[problem.gated.overlaps.first], seed)))


def on_all_rows(problem: Problem, found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Clusters of distinct events, given to every row that holds one, shape (rows,)."""
    rows, event = problem.gated.overlaps.first, problem.gated.overlaps.event
    clusters = np.empty(event.max() + 1, dtype=np.int64)
    clusters[event[rows]] = found
    return clusters[event]


def table(runs: pd.DataFrame) -> str:
    """Markdown: a row per variant, a column per data set."""
    datasets = [data for data in DATA if data in set(runs["data"])]
    lines = ["| | " + " | ".join(datasets) + " |", "|---" * (len(datasets) + 1) + "|"]
    for variant in [name for name in VARIANTS if name in set(runs["variant"])]:
        cells = []
        for data in datasets:
            measured = runs[(runs["variant"] == variant) & (runs["data"] == data)]
            group = measured.mean(numeric_only=True)
            if measured.empty:
                cells.append("not measured")
            elif "rare" in data:
                cells.append(f"{group['rare_f1']:.2f} ({group['clusters_used']:.0f})")
            else:
                pair = f"{group['unique_f_measure']:.3f} / {group['unique_mean_f1']:.3f}"
                cells.append(f"{pair} ({group['clusters_used']:.0f})")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


INTRODUCTION = """# What each ingredient is worth

F-measure / mean F1 on events that lie in one gate only, and clusters used in parentheses; for Nilsson_rare, where it
was asked for, the best F1 of any cluster for the rare population. Means of {seeds} seeds, all cells, no gate seen.
Rows named "network" are the trained network's; the others are the clusters on which the partitions agree, from which
training starts.

Written by `python benchmarks/ablation.py` for the `--data` and `--variants` that it was asked for; what was not is
not measured.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=",".join(DATA), help="data sets, separated by commas")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="separated by semicolons")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "ablation.csv")
    arguments = parser.parse_args()
    done = pd.read_csv(arguments.out).to_dict("records") if arguments.out.exists() else []
    known = {(row["data"], row["variant"], row["seed"]) for row in done}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for data in arguments.data.split(","):
        problem = load(data)
        for variant in arguments.variants.split(";"):
            for seed in range(arguments.seeds):
                if (data, variant, seed) in known:
                    continue
                done.append({"data": data, "variant": variant, "seed": seed, **measure(variant, problem, seed)})
                print(done[-1], flush=True)
                with atomic_path(arguments.out) as path:
                    pd.DataFrame(done).to_csv(path, index=False)
    text = INTRODUCTION.format(seeds=arguments.seeds) + table(pd.DataFrame(done)) + "\n"
    with atomic_path(arguments.out.with_suffix(".md")) as path:
        path.write_text(text)
    print(table(pd.DataFrame(done)))


if __name__ == "__main__":
    main()
