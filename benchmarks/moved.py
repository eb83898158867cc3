"""Populations that seem to differ because others do, on simulated samples: what `cytomoe compare` says of them.

    python benchmarks/moved.py [--experiments 100] > docs/results/moved.md

An experiment has two conditions with 6 samples each of 10,000 events, in 15 populations between 0.2 % and 30 %. Between
samples of one condition every population varies by a log-normal factor. Under the second condition some populations are
so many times as frequent before shares add up to 100 %; the shares of all others change with them, by the same factor.
"""

import argparse

import numpy as np
import pandas as pd
from comparison import EVENTS, SHARES

from cytomoe.comparison import LEVEL, compare_abundance, moved_by_others

SAMPLES = 6
# What changes: percentage and factor of each population.
CHANGES: dict[str, dict[int, float]] = {
    "12 % x 2": {2: 2.0},
    "30 % x 3": {0: 3.0},
    "30 % x 0.5": {0: 0.5},
    "10 % and 3 % x 2": {3: 2.0, 7: 2.0},
    "12 % and 3 % x 3": {2: 3.0, 7: 3.0},
    "10 %, 3 % and 0.5 % x 2": {3: 2.0, 7: 2.0, 13: 2.0},
    "nothing": {},
}


def experiment(changes: dict[int, float], spread: float, rng: np.random.Generator) -> tuple[set[int], set[int]]:
    """Populations that differ by their adjusted p, and those of them that are told to be moved by others."""
    shares = SHARES * np.exp(rng.normal(0, spread, (2 * SAMPLES, len(SHARES))))
    for population, factor in changes.items():
        shares[SAMPLES:, population] *= factor
    counts = pd.DataFrame([rng.multinomial(EVENTS, row / row.sum()) for row in shares])
    conditions = pd.DataFrame({"condition": np.repeat(["a", "b"], SAMPLES)})
    found = compare_abundance(counts, counts.sum(axis=1), conditions, "condition")
    _, moved = moved_by_others(found, counts, counts.sum(axis=1), conditions, "condition")
    return set(found.loc[found["p_adjusted"] < LEVEL, "population"]), set(moved)


def row(name: str, spread: float, experiments: int, rng: np.random.Generator) -> str:
    changes = CHANGES[name]
    results = [experiment(changes, spread, rng) for _ in range(experiments)]
    changed = set(changes)
    others = sum(len(found - changed) for found, _ in results)
    left = sum(len(found - changed - moved) for found, moved in results)
    true = sum(len(found & changed) for found, _ in results)
    hidden = sum(len(moved & changed) for _, moved in results)
    return f"| {name} | {spread:g} | {others} | {left} | {true} of {experiments * len(changes)} | {hidden} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments", type=int, default=100)
    experiments = parser.parse_args().experiments
    print("# Populations that others move\n")
    print(" ".join(__doc__.split("\n\n")[2].split()))
    print(
        f"\nEach row: {experiments} experiments. *others*: populations that were not changed and have an adjusted p "
        f"below {LEVEL:g}, in all experiments together; *not told*: those of them that are not told to be "
        "moved by others. *found*: changed populations with such a p; "
        "*called moved*: those of them that are wrongly told to be moved.\n"
    )
    print(f"Command: `python benchmarks/moved.py --experiments {experiments}`\n")
    print("| changed | spread (s.d. of the logarithm) | others | not told | found | called moved |")
    print("|---|---|---|---|---|---|", flush=True)
    rng = np.random.default_rng(0)
    for name in CHANGES:
        for spread in (0.1, 0.2):
            print(row(name, spread, experiments, rng), flush=True)


if __name__ == "__main__":
    main()
