"""Generation: cells of a cluster on demand, clustered again, against VaDE (section 4.2.1, figures 2, A3, A5 to A7)."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.benchmarks import published
from cytomoe.benchmarks.base import Experiment, Report, Request, Row, Unit
from cytomoe.benchmarks.cytometry import OWN
from cytomoe.benchmarks.digits import SIDE, Judge, digit_similarity, most_frequent_digits, read_digits
from cytomoe.benchmarks.generators import SHOWN_THRESHOLD, Generator, returned
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.writing import mean_and_spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cytomoe.benchmarks.vade import VaDESettings

FloatArray = NDArray[np.float32]

VADE = "VaDE"
METHODS = (OWN, VADE)
# Images of each cluster that are clustered again (the paper's number), of a quick run, shown, and judged from outside.
DRAWN, _QUICK_DRAWN, SHOWN, _JUDGED = 10_000, 500, 10, 300
_QUICK_DIGITS, _QUICK_EPOCHS = 2000, 8


class Generation(Experiment):
    """MoE-Sim-VAE and VaDE asked for a digit, or a population of cells: what they give, and at what cost."""

    name = "generation"
    title = "Generation from a cluster (section 4.2.1, figures 2, A3, A5 to A7)"

    def check(self, request: Request) -> None:
        """Refuse a request for data that is not there."""
        from cytomoe.benchmarks.generation_cells import data_folder, find_samples

        if not find_samples(request):
            read_digits(data_folder(request))

    def units(self, request: Request) -> list[Unit]:
        """One per sample and seed where --data holds FCS files; else, on digits, per method and seed."""
        from cytomoe.benchmarks.generation_cells import find_samples

        samples = find_samples(request)
        if samples:
            return [
                Unit(f"{name}_seed{seed}", {"sample": name, "files": files, "seed": seed})
                for name, files in samples.items()
                for seed in request.seeds
            ]
        return [
            Unit(f"{method}_seed{seed}", {"method": method, "seed": seed})
            for seed in request.seeds
            for method in METHODS
        ]

    def compute(self, unit: Unit, request: Request) -> list[Row]:
        """Fit, generate, cluster again."""
        if "files" in unit.arguments:
            from cytomoe.benchmarks.generation_cells import measure_cells

            return measure_cells(unit, request)
        return measure_digits(unit, request)

    def report(self, rows: pd.DataFrame, request: Request) -> Report:
        """Accuracy and draws per threshold beside the published ones, and the figures."""
        if "sample" in rows.columns:
            from cytomoe.benchmarks.generation_cells import report_cells

            return report_cells(rows)
        return _report_digits(rows)

    def settings(self, request: Request) -> Mapping[str, Any]:
        """Return the settings of both models."""
        from cytomoe.benchmarks import generation_cells as cells

        on_cells = bool(cells.find_samples(request))
        own = settings_for("bodenmiller" if on_cells else self.name, request.preset)
        peer = cells.vade_settings(own, request) if on_cells else vade_settings(request)
        return {OWN: own.to_dict(), VADE: peer.to_dict()}


def vade_settings(request: Request) -> VaDESettings:
    """Settings of VaDE on digits: those of its authors, or what one core trains in minutes."""
    from cytomoe.benchmarks.vade import AUTHORS, SMALL

    if request.preset == "paper":
        return AUTHORS
    return replace(SMALL, pretraining_epochs=_QUICK_EPOCHS, epochs=_QUICK_EPOCHS) if request.quick else SMALL


def measure_digits(unit: Unit, request: Request) -> list[Row]:
    """Fit a method to digits; a row for the model, and one per threshold for what it generates."""
    from cytomoe.benchmarks.generation_cells import data_folder
    from cytomoe.metrics import Contingency

    method, seed = unit.arguments["method"], int(unit.arguments["seed"])
    images, labels, what = read_digits(data_folder(request))
    if request.quick:
        images, labels, what = images[:_QUICK_DIGITS], labels[:_QUICK_DIGITS], f"the first {_QUICK_DIGITS:,} of {what}"
    started = time.process_time()
    generator = fit_digits(method, images, seed, request)
    seconds = time.process_time() - started
    clusters = generator.assign(images)
    table = Contingency.of(labels, clusters)
    digit_of = most_frequent_digits(clusters, labels, generator.n_clusters)
    common = {"method": method, "seed": seed, "digits": what}
    judge = Judge(images, labels)
    members = [images[clusters == k] for k in range(generator.n_clusters)]
    variances = [float(part.var(axis=0).sum()) if len(part) else 0.0 for part in members]
    rows: list[Row] = []
    rng = np.random.default_rng([seed, 1])
    n = _QUICK_DRAWN if request.quick else DRAWN
    for threshold in generator.thresholds:
        rows.append({**common, "kind": "generated", "threshold": threshold}
                    | _generated(generator, n, threshold, digit_of, variances, judge, rng))  # fmt: skip
    model = {
        "kind": "model",
        "clusters": len(table.clusters),
        "nmi": table.normalized_mutual_information(),
        "clustering_accuracy": table.accuracy(),
        "cpu_seconds": round(seconds, 1),
    }
    return [{**common, **model, **_codes_of_draws(generator, seed)}, *rows]


def fit_digits(method: str, images: FloatArray, seed: int, request: Request) -> Generator:
    """Fit cytomoe or VaDE to the pixels of digits; both are told that there are ten clusters."""
    from cytomoe.benchmarks.generators import ExpertGenerator, VaDEGenerator
    from cytomoe.benchmarks.similarities import SimilarityModel, choose_device

    if method == OWN:
        build = None if request.preset == "paper" else digit_similarity
        settings = settings_for("generation", request.preset)
        model = SimilarityModel(build, settings=settings, seed=seed, device=request.device, scaled=True).fit(images)
        return ExpertGenerator(model.network_, model.centres_)
    from cytomoe.benchmarks.vade import fit_vade

    return VaDEGenerator(fit_vade(images, 10, vade_settings(request), seed, device=choose_device(request.device)))


def _generated(
    generator: Generator,
    n: int,
    threshold: float,
    digit_of: NDArray[np.int64],
    variances: list[float],
    judge: Judge,
    rng: np.random.Generator,
) -> Row:
    """What comes of n images of every cluster at one threshold."""
    confusion = np.zeros((generator.n_clusters, generator.n_clusters), dtype=np.int64)
    judged, variety, shown, draws = [], [], [], 0
    for cluster in range(generator.n_clusters):
        codes, number = generator.draw(cluster, n, threshold, rng)
        images = generator.decode(codes, cluster)
        confusion[cluster] = np.bincount(generator.assign(images), minlength=generator.n_clusters)
        draws += number
        shown.append(_packed(images[:SHOWN]))
        if len(images):
            judged.append(float(np.mean(judge.digits(images[:_JUDGED]) == digit_of[cluster])))
        if len(images) > 1 and variances[cluster] > 0:
            variety.append(float(images.var(axis=0).sum()) / variances[cluster])
    accuracy = returned(confusion)
    return {
        "accuracy": float(np.nanmean(accuracy)),
        "lowest": float(np.nanmin(accuracy)),
        "judged": float(np.mean(judged)),
        "variety": float(np.mean(variety)),
        "images": int(confusion.sum()),
        "draws": draws,
        "draws_per_image": draws / max(int(confusion.sum()), 1),
        "_confusion": confusion.tolist(),
        "_digit_of": digit_of.tolist(),
        "_shown": shown,
    }


def _packed(images: FloatArray) -> str:
    """Images as text: bytes of the pixels in base 64."""
    return base64.b64encode((images.clip(0, 1) * 255).astype(np.uint8).tobytes()).decode("ascii")


def _unpacked(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, SIDE, SIDE)


def _codes_of_draws(generator: Generator, seed: int) -> Row:
    """How far the codes drawn from the clusters lie apart (figure A3); VaDE's at the paper's threshold."""
    from cytomoe.benchmarks.codes import PER_CLUSTER, picture, separation

    rng = np.random.default_rng([seed, 2])
    threshold = SHOWN_THRESHOLD if len(generator.thresholds) > 1 else 0.0
    drawn = [generator.draw(k, PER_CLUSTER, threshold, rng)[0] for k in range(generator.n_clusters)]
    labels = np.repeat(np.arange(len(drawn)), [len(codes) for codes in drawn])
    shown = picture(np.concatenate(drawn), labels, seed)
    return {**separation(np.array(shown["_discrepancies"], dtype=float)), "_picture": shown}


def _report_digits(rows: pd.DataFrame) -> Report:
    from cytomoe.benchmarks import generation_figures as figures

    generated, models = rows[rows["kind"] == "generated"], rows[rows["kind"] == "model"]
    table = (
        generated.groupby(["method", "threshold"])
        .agg(
            runs=("seed", "nunique"),
            accuracy=("accuracy", mean_and_spread),
            lowest=("lowest", "min"),
            judged=("judged", mean_and_spread),
            variety=("variety", "mean"),
            images=("images", "mean"),
            draws=("draws", "mean"),
            per_image=("draws_per_image", "mean"),
        )
        .reset_index()
        .rename(
            columns={
                "lowest": "lowest digit",
                "judged": "right digit, by real neighbours",
                "variety": "variance of pixels / real",
                "per_image": "draws per image",
            }
        )
    )
    described = models[
        ["method", "seed", "clusters", "nmi", "clustering_accuracy", "cpu_seconds", "mmd2_smallest", "mmd2_mean",
         "mmd2_within"]
    ].rename(columns={"clustering_accuracy": "clustering accuracy", "cpu_seconds": "CPU seconds of the fit",
                      "mmd2_smallest": "smallest MMD^2 between clusters", "mmd2_mean": "mean MMD^2 between clusters",
                      "mmd2_within": "largest MMD^2 within one"})  # fmt: skip
    first = int(models["seed"].min())
    chosen, pictured = generated[generated["seed"] == first], models[models["seed"] == first]
    drawn = {
        "figure_2": figures.digit_grid(
            [(_name(row), [_unpacked(text) for text in row["_shown"]], row["_digit_of"])
             for row in _ends(chosen)]
        ),
        "figure_a3": figures.clusters([(str(row["method"]), row["_picture"]) for _, row in pictured.iterrows()]),
        "figure_a5": figures.thresholds(generated),
        "figure_a6_a7": figures.confusions(
            [(_name(row), np.array(row["_confusion"]), row["_digit_of"]) for _, row in chosen.iterrows()]
        ),
    }  # fmt: skip
    tables = {
        "Generated digits": table,
        "Models": described,
        "Published (figures A5 to A7, section 4.2.1)": published.generation(),
    }
    return Report(_summary(generated, str(rows["digits"].iloc[0])), tables, drawn)


def _ends(chosen: pd.DataFrame) -> list[pd.Series]:
    """Rows of each method's smallest and largest threshold."""
    found = []
    for _, group in chosen.groupby("method", sort=False):
        ordered = group.sort_values("threshold")
        found += [ordered.iloc[i] for i in sorted({0, len(ordered) - 1})]
    return found


def _name(row: pd.Series) -> str:
    return str(row["method"]) if row["method"] == OWN else f"{row['method']}, threshold {row['threshold']:g}"


def best_threshold(generated: pd.DataFrame) -> pd.Series | None:
    """Return the mean row of VaDE at the threshold of its highest accuracy; None where VaDE was not run."""
    peer = generated[generated["method"] == VADE]
    if peer.empty:
        return None
    means = peer.groupby("threshold")[["accuracy", "draws_per_image"]].mean().reset_index()
    return means.sort_values(["accuracy", "threshold"], ascending=[False, True]).iloc[0]


def _summary(generated: pd.DataFrame, what: str) -> list[str]:
    lines = [
        f"{what}; {int(generated['images'].max()):,} images of ten clusters, clustered again by the model that made "
        "them; accuracy: share that falls back into the cluster that was asked for, mean over clusters, as in the paper"
    ]
    own = generated[generated["method"] == OWN]
    if len(own):
        lines.append(
            f"cytomoe: accuracy {mean_and_spread(own['accuracy'])} with {own['draws_per_image'].mean():.0f} draw per "
            f"image (goal: 0.97 with 1)"
        )
    best = best_threshold(generated)
    if best is not None:
        lines.append(
            f"VaDE, best at threshold {best['threshold']:g}: {best['accuracy']:.3f} with "
            f"{best['draws_per_image']:.1f} draws per image"
        )
    lines.append(
        "a model that calls everything by one wrong name could agree with itself: so five real neighbours of each "
        "image say which digit it shows, asked for is the most frequent digit of the cluster; and the variance of the "
        "pixels within a cluster is compared with that of real digits, lest one good image be drawn again and again"
    )
    lines.append("published numbers are of models trained on 60,000 or 70,000 digits, VaDE's by its authors")
    return lines
