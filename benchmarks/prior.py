"""Prior knowledge on the Bodenmiller wells and on rare stem cells: what a few gated cells add, what wrong ones cost.

    CYTOMOE_DATA=... python benchmarks/prior.py [--seeds 5] > docs/results/prior.md

Known cells are drawn at random from the events that lie in one gate only; both measures are taken on the other such
events, on populations of 30 events and more. All distinct events are clustered.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from cytomoe import preparation
from cytomoe.estimator import MoESimVAE
from cytomoe.metrics import Contingency
from cytomoe.preprocessing import Preprocessor
from cytomoe.runs.events import open_events
from cytomoe.runs.gating import GateSource, find_gates
from cytomoe.similarity import OTHER, Prior

MARKERS = ["CD3", "CD45", "CD4", "CD20", "CD33", "CD123", "CD14", "IgM", "HLA-DR", "CD7"]
SMALLEST = 30
# Stem cells that are known and other cells that are known to be none, and how many of the former are not what they are
# called.
RARE_CASES = [(5, 100, 0), (5, 440, 0), (10, 440, 0), (10, 440, 1), (20, 440, 0), (20, 440, 2)]
# Draws of a few populations that alone are known.
DRAWS = 24
# Share of the gated cells that are known (None: nothing is known), the fewest per population, share of wrong labels.
CASES = [(None, 0, 0.0), (0.01, 5, 0.0), (0.01, 5, 0.1), (0.001, 5, 0.0), (0.001, 5, 0.1), (0.001, 1, 0.0)]


def read(well: str):
    files = sorted((Path(os.environ["CYTOMOE_DATA"]) / "bodenmiller").glob(f"*_{well}.fcs"))
    source = GateSource(pattern="{plate}_{gate}_{well}.fcs")
    events = open_events(files, pattern=source.pattern)
    gated = find_gates(events, source)
    preprocessor = Preprocessor.fit(events.all_raw, markers=MARKERS, clip=False)
    expression = np.concatenate([preprocessor.expression(raw) for raw in events.all_raw])
    first = gated.overlaps.first
    return preprocessor, expression[first], gated.gates.codes[first], gated.overlaps.unique[first], gated.gates.names


def draw(gates, unique, share, least, wrong, seed):
    """Gate of each known cell, -1 of the others."""
    rng = np.random.default_rng(seed)
    known = np.full(len(gates), -1)
    for gate in np.unique(gates[unique]):
        cells = np.flatnonzero(unique & (gates == gate))
        drawn = rng.choice(cells, min(len(cells), max(least, round(share * len(cells)))), replace=False)
        known[drawn] = gate
    cells = np.flatnonzero(known >= 0)
    present = np.unique(known[cells])
    for cell in rng.choice(cells, round(wrong * len(cells)), replace=False):
        known[cell] = rng.choice(present[present != known[cell]])
    return known


def find_partitions_once():
    """Give every fit of a well and seed the same partitions of the data, which no prior changes: most of the time."""
    found = {}
    build = preparation.build_similarity

    def build_once(expression, settings, rng):
        key = (len(expression), float(expression.sum()), str(rng.bit_generator.state["state"]))
        if key not in found:
            found[key] = build(expression, settings, rng)
        return found[key]

    preparation.build_similarity = build_once


def measure(well, case, seeds):
    preprocessor, expression, gates, unique, names = well
    share, least, wrong = case
    rows, n_known = [], 0
    for seed in range(seeds):
        known = np.full(len(gates), -1) if share is None else draw(gates, unique, share, least, wrong, seed)
        n_known = int((known >= 0).sum())
        model = MoESimVAE(seed=seed)
        model.preprocessor = preprocessor
        model.fit(expression, prior=None if share is None else Prior(known, names))
        sizes = np.bincount(gates[unique], minlength=len(names))
        measured = unique & (known < 0) & (sizes[gates] >= SMALLEST)
        table = Contingency.of(gates[measured], model.labels_[measured])
        kept = np.unique(known[known >= 0])
        named = np.mean([names[k] in model.known_as_ for k in kept]) if len(kept) else np.nan
        rows.append((table.f_measure(), table.mean_f1(), model.n_clusters_, named))
    return n_known, np.array(rows)


def best_f1(labels, gates, gate):
    """F1 of a gate with the cluster that finds it best."""
    truth = gates == gate
    found = np.bincount(labels[truth])
    return float(np.max(2 * found / (np.bincount(labels, minlength=len(found))[: len(found)] + truth.sum())))


def measure_some(well, draws):
    """Gates known, cells of each, change of the F-measure and of the known gates' F1; one draw a row."""
    preprocessor, expression, gates, unique, names = well
    sizes = np.bincount(gates[unique], minlength=len(names))

    def fit(known):
        model = MoESimVAE(seed=0)
        model.preprocessor = preprocessor
        return model.fit(expression, prior=None if known is None else Prior(known, names))

    def score(model, known, chosen):
        measured = unique & (known < 0) & (sizes[gates] >= SMALLEST)
        table = Contingency.of(gates[measured], model.labels_[measured])
        return table.f_measure(), np.mean([best_f1(model.labels_[unique], gates[unique], gate) for gate in chosen])

    without, rows = fit(None), []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        number, each = int(rng.integers(1, 4)), int(rng.choice([5, 10]))
        known = np.full(len(gates), -1)
        chosen = rng.choice(np.flatnonzero(sizes >= SMALLEST), number, replace=False)
        for gate in chosen:
            cells = np.flatnonzero(unique & (gates == gate))
            known[rng.choice(cells, min(each, len(cells)), replace=False)] = gate
        after, before = score(fit(known), known, chosen), score(without, known, chosen)
        rows.append((after[0] - before[0], after[1] - before[1]))
    return np.array(rows)


def print_some(wells) -> None:
    print("\n## A few populations by example\n")
    print(
        f"One to three gates drawn at random, 5 or 10 cells of each, nothing else: {DRAWS} draws for each well. "
        "Changes against the run without known cells, of the F-measure over all gates and of the mean F1 of the known "
        "ones.\n"
    )
    print("| well | F-measure, mean | worst draw | F1 of the known, mean | worst draw |")
    print("|---|---|---|---|---|", flush=True)
    for name, well in wells.items():
        rows = measure_some(well, DRAWS)
        cells = [f"{value:+.3f}" for pair in zip(rows.mean(axis=0), rows.min(axis=0), strict=True) for value in pair]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def read_rare():
    """Preprocessor and values of Nilsson_rare, and which cells are the stem cells."""
    source = GateSource(channel="label")
    events = open_events([Path(os.environ["CYTOMOE_DATA"]) / "flow/Nilsson_rare_notransform.fcs.gz"])
    gates = find_gates(events, source).gates
    preprocessor = Preprocessor.fit(events.all_raw, clip=False, exclude=[source.channel])
    return preprocessor, preprocessor.expression(events.all_raw[0]), gates.codes >= 0


def measure_rare(preprocessor, expression, rare, case, seeds):
    """Precision, recall and F1 of the cluster that is called after the stem cells, on cells nobody knew; clusters."""
    n_rare, n_other, wrong = case
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        known = np.full(len(rare), "", dtype=object)
        known[rng.choice(np.flatnonzero(~rare), n_other, replace=False)] = OTHER
        known[rng.choice(np.flatnonzero(rare), n_rare - wrong, replace=False)] = "stem cells"
        known[rng.choice(np.flatnonzero(~rare), wrong, replace=False)] = "stem cells"
        model = MoESimVAE(seed=seed)
        model.preprocessor = preprocessor
        model.fit(expression, prior=known)
        measured = known == ""
        clusters = 1 + np.flatnonzero(np.array(model.known_as_) == "stem cells")
        found = np.isin(model.labels_, clusters) & measured
        hits, truth = (found & rare).sum(), (rare & measured).sum()
        rows.append((hits / max(found.sum(), 1), hits / truth, 2 * hits / (found.sum() + truth), model.n_clusters_))
    return np.array(rows)


def print_rare(seeds: int) -> None:
    print("\n## A rare population by example\n")
    print(
        "Nilsson_rare: 358 stem cells among 44,140. Some are known, and some cells that are none (`other`), drawn at "
        "random; precision, recall and F1 of the cluster that is called after them, on the cells that nobody knew. "
        "Without known cells the best F1 of any cluster is that of the [comparison](quality.md).\n"
    )
    print("| stem cells known | of them wrong | others known | precision | recall | F1 | clusters |")
    print("|---|---|---|---|---|---|---|", flush=True)
    preprocessor, expression, rare = read_rare()
    for case in RARE_CASES:
        rows = measure_rare(preprocessor, expression, rare, case, seeds)
        mean, spread = rows.mean(axis=0), rows.std(axis=0)
        scores = " | ".join(f"{mean[i]:.3f} ± {spread[i]:.3f}" for i in range(3))
        print(f"| {case[0]} | {case[2]} | {case[1]} | {scores} | {mean[3]:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    print("# Prior knowledge: a few gated cells\n")
    print(" ".join(__doc__.split("\n\n")[2].split()))
    print(f"Mean and standard deviation over {seeds} seeds, each with its own draw of known cells and its own fit.\n")
    print("Command: `python benchmarks/prior.py`\n")
    print("| well | known | wrong | cells known | F-measure | mean F1 | clusters | known populations with a cluster |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    find_partitions_once()
    wells = {name: read(name) for name in ("H05", "H08")}
    for name, well in wells.items():
        for case in CASES:
            n_known, rows = measure(well, case, seeds)
            mean, spread = rows.mean(axis=0), rows.std(axis=0)
            share, least, wrong = case
            what = "none" if share is None else f"{share:.1%}, at least {least} per population"
            found = "" if share is None else f"{mean[3]:.0%}"
            print(
                f"| {name} | {what} | {wrong:.0%} | {n_known} | {mean[0]:.3f} ± {spread[0]:.3f} | "
                f"{mean[1]:.3f} ± {spread[1]:.3f} | {mean[2]:.0f} | {found} |",
                flush=True,
            )
    print_some(wells)
    print_rare(seeds)


if __name__ == "__main__":
    main()
