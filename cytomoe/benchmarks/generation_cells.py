"""Generation of cells: the round trip of every population, and how generated and real cells differ.

Models are fitted to 80 % of the events; generated cells are compared with the other 20 %, which no model has seen, and
these with as many real cells of the fit: the best that a generator can do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.benchmarks.base import Report, Request, Row, Unit
from cytomoe.benchmarks.bodenmiller import HOLDOUT, MARKERS, PATTERN, well_files
from cytomoe.benchmarks.cytometry import OWN
from cytomoe.benchmarks.generators import ExpertGenerator, Generator, VaDEGenerator, returned, round_trip
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.writing import mean_and_spread
from cytomoe.errors import InputError

if TYPE_CHECKING:
    from cytomoe.benchmarks.vade import VaDENetwork, VaDESettings
    from cytomoe.estimator import MoESimVAE
    from cytomoe.preprocessing import Preprocessor
    from cytomoe.settings import Settings

FloatArray = NDArray[np.float32]

# Cells of each cluster that make the round trip, and at most of each that are compared with real ones.
_TRIP, _QUICK_TRIP, _COMPARED = 1000, 200, 1000
# Clusters with fewer held-out cells are not compared: correlations and AUC of so few say nothing.
_FEWEST = 50
_FITTED, _QUICK_FITTED = 50_000, 4000
_REAL = "real cells of the fit"


def data_folder(request: Request) -> Path:
    """Folder of the digits: the one of --data, or where cytomoe data finds them."""
    from cytomoe.datasets.registry import folder_of

    named = list(request.options.get("files") or ())
    return Path(named[0]) if named else folder_of("mnist")


def find_samples(request: Request) -> dict[str, list[str]]:
    """FCS files that --data names, by sample; none where it names no FCS file.

    Files named ``<inhibitor>_<population>_<well>.fcs`` make up wells; every other file is a sample.

    Raises
    ------
    InputError
        If a path does not exist, or FCS files stand beside a folder of something else.
    """
    from cytomoe.io.gates import GatePattern

    named = [Path(text) for text in request.options.get("files") or ()]
    for path in named:
        if not path.exists():
            raise InputError(f"--data {path}: no such file or folder")
    found = [sorted(path.rglob("*.fcs")) if path.is_dir() else [path] for path in named]
    if any(found) and not all(found):
        empty = named[found.index([])]
        raise InputError(f"--data {empty}: holds no FCS files")
    paths = sorted({path for part in found for path in part})
    wells = well_files(paths)
    samples = {path.stem: [str(path)] for path in paths if path not in set(wells)}
    if wells:
        samples |= {group.name: [str(path) for path in group.paths] for group in GatePattern(PATTERN).group(wells)}
    return samples


@dataclass(frozen=True, eq=False)
class Cells:
    """Events of a sample, each once, in two parts.

    Attributes
    ----------
    preprocessor
        Fitted to the training part.
    training, held_out
        Transformed markers, shape (events, markers).
    """

    preprocessor: Preprocessor
    training: FloatArray
    held_out: FloatArray


def measure_cells(unit: Unit, request: Request) -> list[Row]:
    """Fit both models to a sample; a row per threshold, and one per population and way to generate it."""
    from cytomoe.benchmarks.similarities import choose_device
    from cytomoe.benchmarks.vade import fit_vade
    from cytomoe.estimator import MoESimVAE

    seed = int(unit.arguments["seed"])
    settings = settings_for("bodenmiller", request.preset)
    cells = _read(unit.arguments["files"], settings, seed, request)
    started = time.process_time()
    model = MoESimVAE(settings=settings, seed=seed, device=request.device, preprocessor=cells.preprocessor)
    model.fit(cells.training)
    seconds = {OWN: time.process_time() - started}
    started = time.process_time()
    scaled = cells.preprocessor.scale(cells.training)
    vade = fit_vade(
        scaled, model.n_clusters_, vade_settings(settings, request), seed, device=choose_device(request.device)
    )
    seconds["VaDE"] = time.process_time() - started
    common = {"sample": unit.arguments["sample"], "seed": seed, "clusters": model.n_clusters_}
    generators: dict[str, Generator] = {
        OWN: ExpertGenerator(model.network_, model.centres_), "VaDE": VaDEGenerator(vade)
    }  # fmt: skip
    rng = np.random.default_rng([seed, 1])
    rows: list[Row] = []
    for method, generator in generators.items():
        for threshold in generator.thresholds:
            made = _trip(generator, threshold, rng, quick=request.quick)
            rows.append({**common, "kind": "generated", "method": method, "threshold": threshold, **made,
                         "cpu_seconds": round(seconds[method], 1)})  # fmt: skip
    rows += [{**common, "kind": "population", **row} for row in _compared(cells, model, vade, rng, seed)]
    return rows


def vade_settings(settings: Settings, request: Request) -> VaDESettings:
    """Settings of VaDE on cells: encoder and code as large as cytomoe's, and a likelihood for measured values."""
    from cytomoe.benchmarks.vade import SMALL

    small = replace(SMALL, likelihood="gaussian", widths=settings.encoder_widths, code_size=settings.code_size)
    return replace(small, pretraining_epochs=4, epochs=8) if request.quick else small


def _read(files: list[str], settings: Settings, seed: int, request: Request) -> Cells:
    """Read a sample: every event once, at most so many, split at random."""
    from cytomoe.preprocessing import Preprocessor
    from cytomoe.runs.events import open_events
    from cytomoe.runs.gating import GateSource, find_gates

    paths = [Path(file) for file in files]
    is_well = len(well_files(paths)) == len(paths)
    events = open_events(paths, pattern=PATTERN if is_well else None)
    gated = find_gates(events, GateSource(pattern=PATTERN)) if is_well else None
    first = np.ones(events.n_events, dtype=bool) if gated is None else gated.overlaps.first
    rng = np.random.default_rng([seed, 3])
    most = _QUICK_FITTED if request.quick else _FITTED
    chosen = rng.permutation(np.flatnonzero(first))[: int(most / (1 - HOLDOUT))]
    held_out = np.zeros(events.n_events, dtype=bool)
    held_out[chosen[: int(HOLDOUT * len(chosen))]] = True
    fitted = np.zeros(events.n_events, dtype=bool)
    fitted[chosen] = True
    fitted &= ~held_out
    splits = np.cumsum(events.sizes)[:-1]
    training = [
        raw.take(rows) for raw, rows in zip(events.all_raw, np.split(fitted, splits), strict=True) if rows.any()
    ]
    markers = MARKERS if is_well else None
    preprocessor = Preprocessor.fit(training, markers=markers, clip=settings.clips_noise)
    expression = np.concatenate([preprocessor.expression(raw) for raw in events.all_raw])
    return Cells(preprocessor, expression[fitted], expression[held_out])


def _trip(generator: Generator, threshold: float, rng: np.random.Generator, *, quick: bool) -> Row:
    confusion, draws = round_trip(generator, _QUICK_TRIP if quick else _TRIP, threshold, rng)
    accuracy = returned(confusion)
    made = int(confusion.sum())
    return {
        "accuracy": float(np.nanmean(accuracy)),
        "lowest": float(np.nanmin(accuracy)),
        "images": made,
        "draws": sum(draws),
        "draws_per_image": sum(draws) / max(made, 1),
    }


def _compared(
    cells: Cells, model: MoESimVAE, vade: VaDENetwork, rng: np.random.Generator, seed: int
) -> list[Row]:  # fmt: skip
    """Rows per population and way to generate it: each against the held-out cells that its model puts there."""
    from cytomoe.benchmarks.vade import decode_codes
    from cytomoe.generation import draw_own, draw_unit

    peer_generator = VaDEGenerator(vade)
    prep, network, kept = cells.preprocessor, model.network_, model.summary_
    lowest = 0.0 if prep.clip else -np.inf
    own = [model.predict(part).astype(np.int64) - 1 for part in (cells.training, cells.held_out)]
    peer = [peer_generator.assign(prep.scale(part)) for part in (cells.training, cells.held_out)]

    def fitted(k: int, n: int) -> FloatArray:
        return cells.training[rng.permutation(np.flatnonzero(own[0] == k))[:n]]

    def by_vade(k: int, n: int) -> FloatArray:
        return prep.inverse_scale(decode_codes(vade, peer_generator.draw(k, n, 0.0, rng)[0], rng))

    ways: list[tuple[str, list[NDArray[np.int64]], Callable[[int, int], FloatArray]]] = [
        (_REAL, own, fitted),
        ("cytomoe, own spread", own,
         lambda k, n: prep.inverse_scale(draw_own(network, kept, k, n, rng, lowest=lowest))),
        ("cytomoe, N(centre, I)", own, lambda k, n: prep.inverse_scale(draw_unit(network, kept, k, n, rng))),
        ("VaDE, threshold 0", peer, by_vade),
    ]  # fmt: skip
    rows = []
    for way, clusters, generate in ways:
        for k in range(model.n_clusters_):
            real = cells.held_out[clusters[1] == k]
            if len(real) < _FEWEST:
                continue
            real = real[rng.permutation(len(real))[:_COMPARED]]
            made = generate(k, len(real))
            share = float(np.mean(clusters[1] == k))
            found = compare_cells(real, made, list(prep.markers), seed)
            rows.append({"method": way, "population": k + 1, "cells": len(real), "share": share, **found})
    return rows


def compare_cells(real: FloatArray, made: FloatArray, markers: list[str], seed: int) -> Row:
    """How two samples of a population differ.

    Parameters
    ----------
    real, made
        Transformed markers, shape (cells, markers).
    markers
        Their names.
    seed
        Of the classifier.

    Returns
    -------
    dict
        ``wasserstein``: mean over the markers of the distance between the distributions, in transformed units;
        ``worst_marker`` and ``worst``: where it is largest; ``correlation``: mean absolute difference of the
        correlations of every two markers; ``auc``: of a random forest that tells real from made, cross-validated, 0.5
        where it can't; ``_by_marker``: all distances.
    """
    from scipy.stats import wasserstein_distance
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    distances = np.array([wasserstein_distance(real[:, i], made[:, i]) for i in range(real.shape[1])])
    n = min(len(real), len(made))
    both = np.concatenate([real[:n], made[:n]])
    is_made = np.repeat([0, 1], n)
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=seed)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    said = cross_val_predict(forest, both, is_made, cv=folds, method="predict_proba")[:, 1]
    worst = int(distances.argmax())
    return {
        "wasserstein": float(distances.mean()),
        "worst_marker": markers[worst],
        "worst": float(distances[worst]),
        "correlation": correlation_difference(real, made),
        "auc": float(roc_auc_score(is_made, said)),
        "_by_marker": dict(zip(markers, np.round(distances, 5).tolist(), strict=True)),
    }


def correlation_difference(real: FloatArray, made: FloatArray) -> float:
    """Mean absolute difference of the correlations of every two markers; a constant marker correlates with none."""
    both = []
    for part in (real, made):
        centred = part - part.mean(axis=0, dtype=np.float64)
        deviations = centred.std(axis=0)
        standard = centred / np.where(deviations > 1e-9, deviations, np.inf)
        both.append(standard.T @ standard / len(part))
    pairs = np.triu_indices(real.shape[1], 1)
    return float(np.abs(both[0][pairs] - both[1][pairs]).mean()) if len(pairs[0]) else 0.0


def report_cells(rows: pd.DataFrame) -> Report:
    """Round trip per threshold, differences per way to generate, and per marker."""
    from cytomoe.benchmarks import generation_figures as figures

    generated, populations = rows[rows["kind"] == "generated"], rows[rows["kind"] == "population"]
    trips = (
        generated.groupby(["sample", "method", "threshold"], sort=False)
        .agg(
            runs=("seed", "nunique"),
            clusters=("clusters", "mean"),
            accuracy=("accuracy", mean_and_spread),
            lowest=("lowest", "min"),
            per_cell=("draws_per_image", "mean"),
        )
        .reset_index()
        .rename(columns={"lowest": "lowest population", "per_cell": "draws per cell"})
    )
    tables = {"Round trip": trips}
    if len(populations):
        tables |= {
            "Generated against held-out real cells": _differences(populations),
            "Wasserstein distance per marker": _by_marker(populations),
        }  # fmt: skip
    return Report(_summary(generated, populations), tables, {"figure_a5": figures.thresholds(generated)})


def _differences(populations: pd.DataFrame) -> pd.DataFrame:
    """Means over populations, weighted by their cells."""
    lines = []
    for (sample, method), group in populations.groupby(["sample", "method"], sort=False):
        line: dict[str, Any] = {"sample": sample, "method": method, "populations": len(group)}
        for column, title in (("wasserstein", "Wasserstein distance"), ("correlation", "correlation difference"),
                              ("auc", "AUC real / generated")):  # fmt: skip
            line[title] = float(np.average(group[column], weights=group["share"]))
        line["AUC, mean of populations"] = float(group["auc"].mean())
        lines.append(line)
    return pd.DataFrame(lines)


def _by_marker(populations: pd.DataFrame) -> pd.DataFrame:
    """One row per sample and marker, a column per way to generate; means weighted by cells."""
    lines = []
    for sample, part in populations.groupby("sample", sort=False):
        columns = {}
        for method, group in part.groupby("method", sort=False):
            values = pd.DataFrame(list(group["_by_marker"]))
            columns[str(method)] = np.average(values, axis=0, weights=group["share"])
            names = list(values.columns)
        table = pd.DataFrame(columns)
        table.insert(0, "marker", names)
        table.insert(0, "sample", sample)
        lines.append(table)
    return pd.concat(lines, ignore_index=True)


def _summary(generated: pd.DataFrame, populations: pd.DataFrame) -> list[str]:
    from cytomoe.benchmarks.generation import best_threshold

    own, best = generated[generated["method"] == OWN], best_threshold(generated)
    lines = [
        "fitted to 80 % of the events, each once; generated cells are clustered again by the model that made them: "
        "accuracy is the share that comes back, mean over clusters",
        f"cytomoe, codes from N(centre, I): accuracy {mean_and_spread(own['accuracy'])} with 1 draw per cell",
    ]
    if best is not None:
        lines.append(
            f"VaDE with as many components, best at threshold {best['threshold']:g}: {best['accuracy']:.3f} with "
            f"{best['draws_per_image']:.1f} draws per cell"
        )
    if len(populations):
        lines.append(
            "`own spread` is what cytomoe generate gives: the cluster's own covariance and what its expert leaves "
            "unexplained; its cells all come back, since others are drawn again"
        )
        lines.append(
            f"compared with the held-out cells of each population of at least {_FEWEST}; distances in transformed "
            "units, means weighted by cells; AUC of a random forest, cross-validated: 0.5 is perfect; the row "
            f"`{_REAL}` is the best that can be had"
        )
    return lines
