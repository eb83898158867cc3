"""MNIST: digits clustered without labels (section 4.2, table 1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pandas as pd

from cytomoe.benchmarks import published
from cytomoe.benchmarks.base import Experiment, Report, Request, Row, Unit
from cytomoe.benchmarks.digits import digit_similarity, read_digits
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.writing import mean_and_spread

if TYPE_CHECKING:
    from pathlib import Path

_QUICK = 2000


class Mnist(Experiment):
    """NMI and accuracy of ten clusters of digits."""

    name = "mnist"
    title = "MNIST (section 4.2, table 1)"

    def check(self, request: Request) -> None:
        """Refuse a request for data that is not there."""
        read_digits(digits_folder(request))

    def units(self, request: Request) -> list[Unit]:
        """One per seed."""
        return [Unit(f"seed{seed}", {"seed": seed}) for seed in request.seeds]

    def compute(self, unit: Unit, request: Request) -> list[Row]:
        """Cluster the digits and compare with their labels."""
        from cytomoe.benchmarks.similarities import SimilarityModel
        from cytomoe.metrics import Contingency

        images, labels, what = read_digits(digits_folder(request))
        if request.quick:
            images, labels, what = images[:_QUICK], labels[:_QUICK], f"the first {_QUICK:,} of {what}"
        started, cpu_started = time.perf_counter(), time.process_time()
        settings = settings_for("mnist", request.preset)
        build = None if request.preset == "paper" else digit_similarity
        model = SimilarityModel(
            build, settings=settings, seed=unit.arguments["seed"], device=request.device, scaled=True
        )
        table = Contingency.of(labels, model.fit(images).labels_)
        return [
            {
                "seed": unit.arguments["seed"],
                "digits": what,
                "n": len(images),
                "clusters": model.n_clusters_,
                "nmi": table.normalized_mutual_information(),
                "accuracy": table.accuracy(),
                "seconds": round(time.perf_counter() - started, 2),
                "cpu_seconds": round(time.process_time() - cpu_started, 2),
            }
        ]

    def report(self, rows: pd.DataFrame, request: Request) -> Report:
        """The runs, and table 1 as printed."""
        measured = pd.DataFrame(
            [
                {
                    "method": f"cytomoe, preset {request.preset}",
                    "digits": rows["digits"].iloc[0],
                    "runs": len(rows),
                    "NMI": mean_and_spread(rows["nmi"]),
                    "accuracy": mean_and_spread(rows["accuracy"]),
                    "seconds": float(rows["seconds"].mean()),
                    "CPU seconds": float(rows["cpu_seconds"].mean()),
                }
            ]
        )
        printed = published.table_1().rename(columns={"nmi": "NMI (published)", "acc": "accuracy (published)"})
        summary = [
            f"{rows['digits'].iloc[0]}, {len(rows)} runs, ten clusters: NMI {mean_and_spread(rows['nmi'])}, accuracy "
            f"{mean_and_spread(rows['accuracy'])}, {rows['seconds'].mean():.0f} s per run "
            f"({rows['cpu_seconds'].mean():.0f} s of one core)",
            "published numbers are for all 70,000 digits",
        ]
        if request.preset == "default":
            summary.append(
                "the similarity sees in which direction the strokes of straightened digits run, and is told that there "
                "are ten clusters, as the model of the paper is; the network sees the pixels"
            )
        return Report(summary, {"Measured": measured, "Published table 1": printed, "Runs": rows})


def digits_folder(request: Request) -> Path:
    """Folder of the MNIST files."""
    from cytomoe.datasets.registry import folder_of

    return request.data or folder_of("mnist")
