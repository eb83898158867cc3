"""Weber & Robinson's data sets: populations of large files with their labels in a channel (table 2, figure A8)."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.benchmarks import published
from cytomoe.benchmarks.base import Experiment, Report, Request, Row, Unit
from cytomoe.benchmarks.cytometry import OWN, cluster_events, fit_preprocessor
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.writing import mean_and_spread
from cytomoe.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

LABEL = "label"
# Events that train; all are mapped. The published runs trained on all, which takes hours and changes little.
FITTED = 50_000
# Graph methods that take more than an hour and many GB on larger files.
_LARGEST = {"PhenoGraph": 100_000}


@dataclass(frozen=True)
class WeberFile:
    """Layout of one of the files.

    Attributes
    ----------
    markers
        Positions of the markers among the channels, from 0.
    cofactor
        Of arcsinh.
    events, channels, populations, labelled
        What the file holds.
    rare
        Whether its one population is the rare one, whose F1 is what counts.
    """

    markers: tuple[int, ...]
    cofactor: float
    events: int
    channels: int
    populations: int
    labelled: int
    rare: bool = False


FILES = {
    "Levine_32dim": WeberFile(tuple(range(4, 36)), 5, 265_627, 41, 14, 104_184),
    "Levine_13dim": WeberFile(tuple(range(13)), 5, 167_044, 14, 24, 81_747),
    "Samusik_01": WeberFile(tuple(range(8, 47)), 5, 86_864, 52, 24, 53_173),
    "Samusik_all": WeberFile(tuple(range(8, 47)), 5, 841_644, 52, 24, 514_386),
    "Nilsson_rare": WeberFile((4, 5, 6, *range(8, 18)), 150, 44_140, 20, 1, 358, rare=True),
}
_SIMULATED = ("Levine_32dim", "Samusik_all")


class Weber(Experiment):
    """Both measures on each file that is there, in a process per run, so that its peak memory can be read off."""

    name = "weber"
    title = "Data sets of Weber & Robinson 2016 (table 2, figure A8)"
    fresh_process = True

    def check(self, request: Request) -> None:
        """Refuse peers that are not installed."""
        from cytomoe.benchmarks.baselines import require

        require(list(request.baselines))

    def units(self, request: Request) -> list[Unit]:
        """One per file, seed and method."""
        if request.options.get("simulate"):
            files: dict[str, str | None] = dict.fromkeys(_SIMULATED)
        else:
            files = {name: str(path) for name, path in find_files(request.data).items()}
        return [
            Unit(f"{name}_{method}_seed{seed}", {"file": name, "path": path, "seed": seed, "method": method})
            for name, path in files.items()
            for method in (OWN, *request.baselines)
            if FILES[name].events <= _LARGEST.get(method, FILES[name].events)
            for seed in request.seeds
        ]

    def compute(self, unit: Unit, request: Request) -> list[Row]:
        """Read, fit, map and measure one file."""
        path = unit.arguments["path"]
        if path is not None:
            return [measure_file(unit, request, Path(path))]
        with tempfile.TemporaryDirectory() as folder:
            simulated = Path(folder) / f"{unit.arguments['file']}.fcs"
            write_simulated(simulated, FILES[unit.arguments["file"]], quick=request.quick)
            return [measure_file(unit, request, simulated)]

    def report(self, rows: pd.DataFrame, request: Request) -> Report:
        """Measured means, the published table, and the spread over runs."""
        simulated = bool(request.options.get("simulate"))
        tables = {"Measured": _measured(rows)}
        figures: dict[str, Figure] = {}
        summary = [
            f"{rows['seed'].nunique()} run(s) per file; cytomoe is fitted to at most {FITTED:,} events drawn at random "
            "and maps all; the measures are taken on the labelled events; peers cluster all events",
        ]
        if simulated:
            summary.append(
                "files simulated in the layout and size of the real ones, for time and memory: their populations are "
                "plain, and the measures say nothing about real cells"
            )
        else:
            measured = rows["file"].str.lower().unique()
            tables["Published table 2, mean F1 of the peers"] = _published(peers=True)
            tables["Published table 2, F-measure of MoE-Sim-VAE"] = _published(peers=False)
            figures["figure_a8"] = figure_a8(rows)
            missing = [name for name in FILES if name.lower() not in measured]
            if missing:
                summary.append(f"not on this machine, so not measured: {', '.join(missing)}")
            summary.append(
                "the paper sets its F-measure beside the peers' mean F1; here they are in different columns and tables"
            )
        return Report(summary, tables, figures)


def find_files(folder: Path | None) -> dict[str, Path]:
    """Files of the data sets, by the name of the data set, in a folder or where the registry finds them.

    Raises
    ------
    InputError
        If there is none.
    """
    from cytomoe.datasets.registry import data_set, present_files

    if folder is None:
        here = present_files(data_set("weber"))
    else:
        here = {path.name: path for path in sorted(folder.rglob("*_notransform.fcs*"))}
    found = {name: here[file] for name in FILES for file in here if file.startswith(f"{name}_notransform.fcs")}
    if not found:
        raise InputError(
            f"{folder or 'this machine'} holds none of {', '.join(f'{name}_notransform.fcs' for name in FILES)}; "
            "get them with: cytomoe data fetch weber"
        )
    return found


def measure_file(unit: Unit, request: Request, path: Path) -> Row:
    """Cluster a file with one method; both measures, the F1 of a rare population, time and memory."""
    from cytomoe.benchmarks.workers import MemoryWatch, processor_seconds
    from cytomoe.io import read_fcs
    from cytomoe.io.gates import gates_from_channel
    from cytomoe.metrics import Contingency

    name, method, seed = unit.arguments["file"], unit.arguments["method"], int(unit.arguments["seed"])
    layout, settings = FILES[name], settings_for("weber", request.preset)
    imports = _import_time()
    watch = MemoryWatch(os.getpid())
    started, cpu_started = time.perf_counter(), processor_seconds()
    sample = read_fcs(path)
    gates = gates_from_channel(sample, LABEL)
    preprocessor = fit_preprocessor(
        [sample], list(sample.var_names[list(layout.markers)]), settings, cofactor=layout.cofactor
    )
    expression = preprocessor.expression(sample)
    reading = time.perf_counter() - started
    n_events = sample.n_obs
    del sample
    found = cluster_events(
        method, expression, _drawn(n_events, seed), preprocessor=preprocessor, settings=settings, seed=seed,
        device=request.device,
    )  # fmt: skip
    table = Contingency.of(gates.codes, found.clusters)
    return {
        "file": name,
        "seed": seed,
        "method": method,
        "events": n_events,
        "labelled": table.n,
        "populations": len(table.gates),
        "clusters": len(np.unique(found.clusters)),
        "f_measure": None if layout.rare else table.f_measure(),
        "mean_f1": None if layout.rare else table.mean_f1(),
        "rare_f1": rare_f1(gates.codes >= 0, found.clusters) if layout.rare else None,
        "seconds_imports": round(imports, 2),
        "seconds_reading": round(reading, 2),
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(processor_seconds() - cpu_started, 2),
        "peak_gb": round(watch.peak / 1e9, 3),
    }


def rare_f1(rare: NDArray[np.bool_], clusters: NDArray[np.integer[Any]]) -> float:
    """F1 of one population among all events, of the cluster that finds it best.

    Parameters
    ----------
    rare
        Whether an event belongs to it, shape (events,); every other event counts as not belonging, as in Weber &
        Robinson 2016.
    clusters
        Cluster of each event, shape (events,).
    """
    numbers = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(numbers)
    hits = np.bincount(numbers[rare], minlength=len(sizes))
    return float((2 * hits / (sizes + np.count_nonzero(rare))).max())


def _drawn(n_events: int, seed: int) -> NDArray[np.bool_]:
    """Events that train, drawn at random; all of a file that has no more."""
    drawn = np.zeros(n_events, dtype=bool)
    drawn[np.random.default_rng([seed, 2]).permutation(n_events)[:FITTED]] = True
    return drawn


def _import_time() -> float:
    """Seconds to import what every method needs, so that they don't count as its own."""
    started = time.perf_counter()
    import sklearn.cluster  # noqa: F401

    import cytomoe.estimator  # noqa: F401

    return time.perf_counter() - started


def simulate_file(layout: WeberFile, *, quick: bool) -> AnnData:
    """Simulate a file in the layout of a real one: raw counts, other channels, and the label as the last channel.

    Parameters
    ----------
    layout
        Its channels, events and populations.
    quick
        A twentieth of the events.

    Returns
    -------
    AnnData
        Populations of very different sizes, told apart by which markers they carry; events without a label are of the
        same populations, and their label is NaN.
    """
    from anndata import AnnData

    rng = np.random.default_rng(layout.events)
    n_events = layout.events // 20 if quick else layout.events
    shares = np.geomspace(1, 0.01, layout.populations)
    population = rng.choice(layout.populations, size=n_events, p=shares / shares.sum())
    carried = rng.random((layout.populations, len(layout.markers))) < 0.35
    level = np.where(carried, rng.uniform(2.0, 4.5, carried.shape), 0.0).astype(np.float32)
    values = np.empty((n_events, layout.channels), dtype=np.float32)
    values[:] = rng.gamma(2.0, 50.0, (1, layout.channels))
    for place, position in enumerate(layout.markers):  # column by column: half the memory
        spread = np.where(carried[population, place], 0.4, 0.15).astype(np.float32)
        transformed = level[population, place] + spread * rng.standard_normal(n_events, dtype=np.float32)
        values[:, position] = layout.cofactor * np.sinh(transformed)
    unlabelled = rng.random(n_events) >= layout.labelled / layout.events
    values[:, -1] = np.where(unlabelled, np.nan, population + 1)
    names = [f"channel {i + 1}" for i in range(layout.channels - 1)]
    for place, position in enumerate(layout.markers):
        names[position] = f"marker {place + 1}"
    names.append(LABEL)
    var = pd.DataFrame({"channel": names, "antigen": names}, index=names)
    return AnnData(values, var=var)


def write_simulated(path: Path, layout: WeberFile, *, quick: bool) -> None:
    """Write a simulated file, in a process of its own so that its memory is not counted as the method's."""
    import multiprocessing

    worker = multiprocessing.get_context("spawn").Process(target=_write_simulated, args=(path, layout, quick))
    worker.start()
    try:
        worker.join()
    finally:
        worker.kill()
    if worker.exitcode:
        raise InputError(f"{path}: the simulated file could not be written (exit code {worker.exitcode})")


def _write_simulated(path: Path, layout: WeberFile, quick: bool) -> None:
    from cytomoe.io import write_fcs

    write_fcs(simulate_file(layout, quick=quick), path)


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    lines: list[dict[str, Any]] = []
    for (file, method), group in rows.groupby(["file", "method"], sort=False):
        lines.append(
            {
                "file": file,
                "method": method,
                "runs": len(group),
                "events": int(group["events"].iloc[0]),
                "clusters": f"{group['clusters'].mean():.1f}",
                "F-measure": mean_and_spread(group["f_measure"].astype(float)),
                "mean F1": mean_and_spread(group["mean_f1"].astype(float)),
                "F1 of the rare population": mean_and_spread(group["rare_f1"].astype(float)),
                "seconds": float(group["seconds"].mean()),
                "CPU seconds": float(group["cpu_seconds"].mean()),
                "peak GB": float(group["peak_gb"].max()),
            }
        )
    return pd.DataFrame(lines)


def _published(*, peers: bool) -> pd.DataFrame:
    table = published.table_2()
    own = table["method"] == published.OWN
    return table[~own if peers else own].rename(
        columns=lambda name: name if name == "method" else f"{name} (published)"
    )


def figure_a8(rows: pd.DataFrame) -> Figure:
    """Figure A8: spread of cytomoe's runs on each file, a panel per measure that a file has."""
    from matplotlib.figure import Figure

    own = rows[rows["method"] == OWN]
    titles = {"f_measure": "F-measure", "mean_f1": "mean F1", "rare_f1": "F1 of the rare population"}
    panels = [measure for measure in titles if own[measure].notna().any()]
    figure = Figure(figsize=(0.5 + 3.5 * len(panels), 4), layout="constrained")
    for number, measure in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        part = own.dropna(subset=[measure])
        groups = {str(file): values.astype(float) for file, values in part.groupby("file")[measure]}
        axes.boxplot(list(groups.values()), tick_labels=list(groups))
        axes.set(title=titles[measure], ylim=(0, 1))
    return figure
