"""Ablation: what the similarity, DEPICT, the KL term and the experts are worth on digits (section 4.2, figure A4)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.benchmarks.base import Experiment, Report, Request, Row, Unit
from cytomoe.benchmarks.digits import Judge, digit_similarity, most_frequent_digits, read_digits
from cytomoe.benchmarks.mnist import digits_folder
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.writing import mean_and_spread

if TYPE_CHECKING:
    from torch import Tensor

    from cytomoe.model.networks import MoESimVAENetwork
    from cytomoe.settings import Settings

FloatArray = NDArray[np.float32]

COMPLETE, NO_SIMILARITY, ONE_DECODER = "complete", "without similarity", "one decoder"
# Weight of DEPICT in the complete loss: cytomoe's default has none, and the paper's 1 merges clusters.
_DEPICT = 0.05
_DRAWN, _QUICK_DRAWN, _QUICK_DIGITS = 1000, 100, 2000


def variants(complete: Settings) -> dict[str, Settings]:
    """Settings of each variant by its name.

    Parameters
    ----------
    complete
        With all four losses.
    """
    steps = complete.warm_steps + complete.steps
    return {
        COMPLETE: complete,
        NO_SIMILARITY: replace(complete, coef_clustering=0.0, warm_steps=0, steps=steps),
        "without DEPICT": replace(complete, coef_depict=0.0),
        "without KL": replace(complete, coef_kl=0.0),
        ONE_DECODER: complete,
    }


class Ablation(Experiment):
    """The model on digits with one ingredient left out at a time."""

    name = "ablation"
    title = "What each ingredient is worth (section 4.2, figure A4)"

    def check(self, request: Request) -> None:
        """Refuse a request for data that is not there."""
        read_digits(digits_folder(request))

    def units(self, request: Request) -> list[Unit]:
        """One per variant and seed."""
        return [
            Unit(f"{variant.replace(' ', '_')}_seed{seed}", {"variant": variant, "seed": seed})
            for seed in request.seeds
            for variant in variants(_complete(request))
        ]

    def compute(self, unit: Unit, request: Request) -> list[Row]:
        """Train a variant; measure clusters, codes and what it generates."""
        from cytomoe.benchmarks.codes import picture, separation
        from cytomoe.benchmarks.generators import ExpertGenerator, returned, round_trip
        from cytomoe.metrics import Contingency
        from cytomoe.model.inference import codes_and_experts, decode

        variant, seed = unit.arguments["variant"], int(unit.arguments["seed"])
        images, labels, what = read_digits(digits_folder(request))
        if request.quick:
            images, labels = images[:_QUICK_DIGITS], labels[:_QUICK_DIGITS]
            what = f"the first {_QUICK_DIGITS:,} of {what}"
        started = time.process_time()
        network = train_variant(images, variant, variants(_complete(request))[variant], seed, request)
        seconds = time.process_time() - started
        codes, experts = codes_and_experts(network, images)
        used, clusters = np.unique(experts, return_inverse=True)
        error = np.abs(images - decode(network, codes, experts.astype(np.int64))).mean()
        network.keep_experts(used.tolist())
        centres = np.array([codes[clusters == k].mean(axis=0) for k in range(len(used))])
        generator = ExpertGenerator(network, centres)
        rng = np.random.default_rng([seed, 1])
        n = _QUICK_DRAWN if request.quick else _DRAWN
        confusion, _ = round_trip(generator, n, 0.0, rng)
        digit_of = most_frequent_digits(clusters, labels, len(used))
        table = Contingency.of(labels, clusters)
        shown = picture(codes, labels, seed)
        return [
            {
                "variant": variant,
                "seed": seed,
                "digits": what,
                "clusters": len(used),
                "nmi": table.normalized_mutual_information(),
                "accuracy": table.accuracy(),
                **separation(np.array(shown["_discrepancies"], dtype=float)),
                "error": float(error),
                "returned": float(np.nanmean(returned(confusion))),
                "judged": _judged(generator, Judge(images, labels), digit_of, n, rng),
                "code_deviation": float(np.sqrt(_within(codes, clusters))),
                "cpu_seconds": round(seconds, 1),
                "_picture": shown,
            }
        ]

    def report(self, rows: pd.DataFrame, request: Request) -> Report:
        """A line per variant, and figure A4."""
        from cytomoe.benchmarks.codes import draw_pictures

        columns = {
            "nmi": "NMI", "accuracy": "accuracy", "mmd2_smallest": "smallest MMD^2 between digits",
            "mmd2_mean": "mean MMD^2 between digits", "mmd2_within": "largest MMD^2 within a digit",
            "error": "error per pixel", "returned": "generated, found again",
            "judged": "generated, right digit by real neighbours", "code_deviation": "deviation of codes in a cluster",
        }  # fmt: skip
        lines = []
        for variant, group in rows.groupby("variant", sort=False):
            line: dict[str, Any] = {"variant": variant, "runs": len(group)}
            line["clusters"] = ", ".join(map(str, sorted(group["clusters"])))
            line |= {title: mean_and_spread(group[column]) for column, title in columns.items()}
            lines.append(line)
        first = rows[rows["seed"] == rows["seed"].min()]
        figure = draw_pictures([(str(row["variant"]), row["_picture"]) for _, row in first.iterrows()], "digit")
        return Report(_summary(rows, request), {"Variants": pd.DataFrame(lines)}, {"figure_a4": figure})

    def settings(self, request: Request) -> Mapping[str, Any]:
        """Return the settings of the complete model."""
        return _complete(request).to_dict()


def _complete(request: Request) -> Settings:
    return replace(settings_for("ablation", request.preset), coef_depict=_DEPICT)


def train_variant(
    images: FloatArray, variant: str, settings: Settings, seed: int, request: Request
) -> MoESimVAENetwork:
    """Train one variant, once: a collapse is a result here, and nothing to recover from."""
    from cytomoe.benchmarks.similarities import choose_device
    from cytomoe.similarity import build_similarity
    from cytomoe.training.loop import build_network, seeded_torch, single_thread, train

    building, training = np.random.default_rng(seed).spawn(2)
    build = build_similarity if request.preset == "paper" else digit_similarity
    similarity = build(images, settings, building)
    device = choose_device(request.device)
    with seeded_torch(int(training.integers(2**63)), device), single_thread():
        network = build_network(images.shape[1], settings)
        if variant == ONE_DECODER:
            network.experts = one_decoder(network, settings)
        train(network, images, similarity, settings, training, device=device)
        if variant == ONE_DECODER:
            network.experts = repeated(network, settings)
    return network


def one_decoder(network: MoESimVAENetwork, settings: Settings) -> Any:
    """A decoder for all clusters, about as large as the experts together: their hidden units in one network."""
    from cytomoe.model.networks import Experts

    class OneDecoder(Experts):
        """Experts of which there is one, whatever the cluster."""

        def forward(self, codes: Tensor, experts: Tensor) -> Tensor:
            """Logits (N, D) from the one decoder."""
            return super().forward(codes, experts * 0)

    widths = [width * settings.experts for width in settings.expert_widths]
    n_values = network.experts.biases[-1].shape[-1]
    return OneDecoder(1, settings.code_size, widths, n_values, settings.activation)


def repeated(network: MoESimVAENetwork, settings: Settings) -> Any:
    """The trained decoder once for every cluster, so that what follows need not know that there is but one."""
    import torch

    from cytomoe.model.networks import Experts

    one = network.experts
    widths = [weight.shape[2] for weight in one.weights]
    experts = Experts(settings.experts, settings.code_size, widths[:-1], widths[-1], settings.activation)
    with torch.no_grad():
        for many, single in ((experts.weights, one.weights), (experts.biases, one.biases)):
            for target, source in zip(many, single, strict=True):
                target.copy_(source.expand_as(target))
    return experts.to(one.weights[0].device)


def _judged(
    generator: Any, judge: Judge, digit_of: NDArray[np.int64], n: int, rng: np.random.Generator
) -> float:  # fmt: skip
    """Share of generated images that show the most frequent digit of their cluster, mean over the clusters."""
    shares = []
    for cluster in range(generator.n_clusters):
        images = generator.decode(generator.draw(cluster, n, 0.0, rng)[0], cluster)
        shares.append(float(np.mean(judge.digits(images) == digit_of[cluster])))
    return float(np.mean(shares))


def _within(codes: FloatArray, clusters: NDArray[np.int64]) -> float:
    """Variance of code means within clusters, mean over the dimensions."""
    means = np.array([codes[clusters == k].mean(axis=0) for k in range(int(clusters.max()) + 1)])
    return float(np.square(codes - means[clusters]).mean())


def _summary(rows: pd.DataFrame, request: Request) -> list[str]:
    lines = [
        f"{rows['digits'].iloc[0]}; figure A4 of the paper leaves out the similarity, on all 70,000, and prints no "
        "numbers: less separation between the digits without it",
        f"complete: all four losses, DEPICT with weight {_DEPICT:g}, which cytomoe's own settings leave out",
        "without similarity: the clustering loss has weight 0, DEPICT, which is part of it (eq. 10), with it, and "
        "training starts from no partition; one decoder: as many hidden units as all experts together",
        "MMD^2 between the codes of digits by their labels; generated: codes from N(centre, I), decoded by the expert",
    ]
    means = rows.groupby("variant")["mmd2_mean"].mean()
    if {COMPLETE, NO_SIMILARITY} <= set(means.index):
        lines.append(
            f"measured: mean MMD^2 between digits {means[COMPLETE]:.3f} with the similarity, "
            f"{means[NO_SIMILARITY]:.3f} without"
        )
    return lines
