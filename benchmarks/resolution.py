"""What ``--resolution`` does to each data set: clusters found, and both measures against manual gates.

    CYTOMOE_DATA=... python benchmarks/resolution.py [--seeds 3] > docs/results/resolution.md

All cells, default settings but for the resolution. Data and scores are those of ``benchmarks/quality.py``.
"""

from __future__ import annotations

import argparse

import pandas as pd
from ablation import on_all_rows, trained
from quality import load, score

from cytomoe.settings import preset

DATA = ("H05", "H01", "mouse spleen", "Nilsson_rare")
RESOLUTIONS = (0.5, 0.7, 1.0, 1.5, 2.0)

INTRODUCTION = """# What the resolution does

F-measure / mean F1 on events that lie in one gate only, and clusters used in parentheses; for Nilsson_rare the best F1
of any cluster for the rare population. Means of {seeds} seeds, all cells, no gate seen.

Written by `python benchmarks/resolution.py`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    print(INTRODUCTION.format(seeds=seeds))
    print(
        "| | " + " | ".join(f"R = {value:g}" for value in RESOLUTIONS) + " |\n" + "|---" * (len(RESOLUTIONS) + 1) + "|"
    )
    for data in DATA:
        problem = load(data)
        cells = []
        for value in RESOLUTIONS:
            settings = preset("default", resolution=value)
            found = [
                on_all_rows(problem, trained(problem.expression[problem.gated.overlaps.first], settings, seed))
                for seed in range(seeds)
            ]
            means = pd.DataFrame([score(problem, clusters) for clusters in found]).mean()
            measures = (
                f"{means['rare_f1']:.2f}"
                if problem.rare
                else (f"{means['unique_f_measure']:.3f} / {means['unique_mean_f1']:.3f}")
            )
            cells.append(f"{measures} ({means['clusters_used']:.0f})")
        print(f"| {data} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
