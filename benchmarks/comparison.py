"""`cytomoe compare` on simulated samples: how often it errs where nothing differs, what it finds where something does.

    python benchmarks/comparison.py [--experiments 200] > docs/results/comparison.md

An experiment has two conditions with the same number of samples of 10,000 events each, in 15 populations between 0.2 %
and 30 %. Between samples of one condition every population varies by a log-normal factor, as donors do, which the test
does not assume. Under the alternative three populations (of 0.5 %, 3 % and 10 %) are more frequent in the second
condition, and the largest loses what they gain; it counts neither as true nor as false.
"""

import argparse

import numpy as np
import pandas as pd

from cytomoe.comparison import compare_abundance

SHARES = np.array([0.30, 0.2065, 0.12, 0.10, 0.08, 0.06, 0.04, 0.03, 0.02, 0.015, 0.01, 0.008, 0.0055, 0.005, 0.002])
CHANGED = {"3 (10 %)": 3, "7 (3 %)": 7, "13 (0.5 %)": 13}
EVENTS = 10_000
LEVEL = 0.05


def experiment(samples: int, spread: float, fold: float, rng: np.random.Generator) -> pd.DataFrame:
    """Result of one comparison, a row per population in the order of SHARES."""
    condition = np.repeat(["a", "b"], samples)
    shares = SHARES * np.exp(rng.normal(0, spread, (2 * samples, len(SHARES))))
    shares /= shares.sum(axis=1, keepdims=True)
    treated, changed = np.flatnonzero(condition == "b")[:, None], list(CHANGED.values())
    gained = (fold - 1) * shares[treated, changed].sum(axis=1)
    shares[treated, changed] *= fold
    shares[treated[:, 0], 0] = np.maximum(shares[treated[:, 0], 0] - gained, 0)
    shares /= shares.sum(axis=1, keepdims=True)
    counts = pd.DataFrame([rng.multinomial(EVENTS, row) for row in shares], columns=[str(i) for i in range(15)])
    counts.index = pd.Index([f"s{i}" for i in range(len(counts))])
    conditions = pd.DataFrame({"condition": condition}, index=counts.index)
    found = compare_abundance(counts, counts.sum(axis=1), conditions, "condition")
    return found.set_index("population").loc[counts.columns]


def row(samples: int, spread: float, fold: float, experiments: int, rng: np.random.Generator) -> str:
    results = [experiment(samples, spread, fold, rng) for _ in range(experiments)]
    p = np.array([result["p"] for result in results])
    significant = np.array([result["p_adjusted"] < LEVEL for result in results])
    changed = np.zeros(len(SHARES), dtype=bool)
    changed[[0, *CHANGED.values()]] = fold != 1
    false = significant[:, ~changed].sum(axis=1)
    false = (
        false / np.maximum(false + significant[:, list(CHANGED.values())].sum(axis=1), 1) if fold != 1 else false > 0
    )
    cells = [f"{samples} and {samples}", f"{spread:g}", f"{fold:g}"]
    cells += [f"{(p[:, ~changed] < LEVEL).mean():.3f}", f"{significant.any(axis=1).mean():.3f}" if fold == 1 else ""]
    cells += [f"{false.mean():.3f}"]
    cells += [f"{significant[:, k].mean():.2f}" if fold != 1 else "" for k in CHANGED.values()]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments", type=int, default=200)
    experiments = parser.parse_args().experiments
    print("# `cytomoe compare` on simulated samples\n")
    print(" ".join(__doc__.split("\n\n")[2].split()))
    print(
        f"\nEach row: {experiments} experiments. *p < {LEVEL:g}*: share of the populations that do not differ. "
        f"*any*: share of the experiments without a difference in which an adjusted p is below {LEVEL:g}. "
        "*false*: mean share of false ones among the findings (0 where nothing was found). "
        f"*found*: how often a population that differs has an adjusted p below {LEVEL:g}.\n"
    )
    print(f"Command: `python benchmarks/comparison.py --experiments {experiments}`\n")
    found = " | ".join(f"found: {name.split('(')[1][:-1]}" for name in CHANGED)
    print(f"| samples | spread (s.d. of the logarithm) | fold | p < {LEVEL:g} | any | false | {found} |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    rng = np.random.default_rng(0)
    for fold in (1.0, 1.5, 2.0):
        for samples in (3, 5, 10):
            for spread in (0.2, 0.4):
                print(row(samples, spread, fold, experiments, rng), flush=True)


if __name__ == "__main__":
    main()
