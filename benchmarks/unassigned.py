"""Is a population that a fit never saw told from those it saw? One population left out of training at a time.

``python benchmarks/unassigned.py`` fits wells H05 and H08 without one gated population (every event that lies in its
gate, also those that lie in another too) and without a fifth of the other events, for every population of 30 events or
more and 3 seeds. It writes what share of the population, and of the other events held out, is unassigned to
``docs/results/unassigned.csv`` and ``unassigned.md``. Runs that the CSV holds are not done again. Data are those of
``benchmarks/quality.py``; gates say what is left out, and no more.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from quality import RESULTS, Problem, load

from cytomoe.estimator import MoESimVAE
from cytomoe.io.atomic import atomic_path

WELLS = ["H05", "H08"]
SEEDS = 3


def gates_of_events(problem: Problem) -> NDArray[np.bool_]:
    """Whether each event, in the order of its first row, lies in each gate; shape (events, gates)."""
    overlaps, gates = problem.gated.overlaps, problem.gated.gates
    number = np.cumsum(overlaps.first) - 1
    inside = np.zeros((overlaps.n_events, len(gates.names)), dtype=bool)
    inside[number[overlaps.event], gates.codes] = True
    return inside


def measure(problem: Problem, gate: int, seed: int) -> dict[str, Any]:
    """Unassigned shares with one gate left out, and the gate whose cluster most of its events fall into."""
    cells, inside = problem.expression[problem.gated.overlaps.first], gates_of_events(problem)
    left_out = inside[:, gate]
    held_out = np.zeros(len(cells), dtype=bool)
    others = np.random.default_rng([seed, gate]).permutation(np.flatnonzero(~left_out))
    held_out[others[: len(others) // 5]] = True
    model = MoESimVAE(seed=seed, device="cpu").fit(cells[~left_out & ~held_out])
    unassigned = model.outlyingness(cells) > 1
    nearest = model.predict(cells)
    most = np.bincount(nearest[left_out]).argmax()
    home = inside[~left_out & (nearest == most)].sum(axis=0).argmax()
    by_gate = [
        unassigned[others][inside[others, k]].mean() for k in range(inside.shape[1]) if inside[others, k].sum() >= 30
    ]
    return {
        "events": int(left_out.sum()),
        "falls_into": problem.gated.gates.names[home],
        "unassigned": round(float(unassigned[left_out].mean()), 4),
        "others_unassigned": round(float(unassigned[held_out].mean()), 4),
        "worst_other": round(float(max(by_gate)), 4),
    }


INTRODUCTION = """# Populations that the fit never saw

Each population of 30 events or more was left out of the training of its well, and a fifth of the other events with it.
Unassigned (`--unassigned`) of the population, of the other events held out, and of the other population of which most
are; means of {seeds} seeds. "Falls into" is the population most of whose cluster the events get otherwise.

Written by `python benchmarks/unassigned.py`.
"""


def table(runs: pd.DataFrame) -> str:
    """Markdown: one table per well, a row per population."""
    parts = []
    for well, here in runs.groupby("well", sort=False):
        lines = [
            f"\n## {well}\n",
            "| left out | events | falls into | unassigned | others | worst other |",
            "|---" * 6 + "|",
        ]
        for gate, own in here.groupby("gate"):
            shares = [f"{own[name].mean():.1%}" for name in ("unassigned", "others_unassigned", "worst_other")]
            home = own["falls_into"].mode().iloc[0]
            lines.append(f"| {gate} | {own['events'].iloc[0]:,} | {home} | " + " | ".join(shares) + " |")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", default=",".join(WELLS), help="wells, separated by commas")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--again", action="store_true", help="measure what the table already holds once more")
    parser.add_argument("--out", type=Path, default=RESULTS / "unassigned.csv")
    arguments = parser.parse_args()
    rows = pd.read_csv(arguments.out).to_dict("records") if arguments.out.exists() else []
    done = {(row["well"], row["gate"], row["seed"]): row for row in rows}
    for well in arguments.wells.split(","):
        problem = load(well)
        for gate, events in enumerate(gates_of_events(problem).sum(axis=0)):
            name = problem.gated.gates.names[gate]
            for seed in range(arguments.seeds) if events >= 30 else ():
                task = (well, name, seed)
                if task in done and not arguments.again:
                    continue
                done[task] = {"well": well, "gate": name, "seed": seed, **measure(problem, gate, seed)}
                print(done[task], flush=True)
                with atomic_path(arguments.out) as path:
                    pd.DataFrame(list(done.values())).to_csv(path, index=False)
    text = table(pd.DataFrame(list(done.values())))
    with atomic_path(arguments.out.with_suffix(".md")) as path:
        path.write_text(INTRODUCTION.format(seeds=arguments.seeds) + text + "\n")
    print(text)


if __name__ == "__main__":
    main()
