"""Bodenmiller plates: one model per well, trained on 80 % of its events, measured on the rest (table A1, figure 3)."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cytomoe.benchmarks import published
from cytomoe.benchmarks.base import Experiment, Report, Request, Row, Unit
from cytomoe.benchmarks.cytometry import OWN, cluster_events
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.writing import mean_and_spread
from cytomoe.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATTERN = "{inhibitor}_{gate}_{well}.fcs"
# The ten surface markers that the wells were gated and clustered on, by channel.
MARKERS = (
    "CD3(110:114)Dd", "CD45(In115)Dd", "CD4(Nd145)Dd", "CD20(Sm147)Dd", "CD33(Nd148)Dd", "CD123(Eu151)Dd",
    "CD14(Gd160)Dd", "IgM(Yb171)Dd", "HLA-DR(Yb174)Dd", "CD7(Yb176)Dd",
)  # fmt: skip
HOLDOUT = 0.2
MIN_POPULATION = 30
_WELL = re.compile(r"[A-P]\d{2}")
_MEASURES = ("f_measure", "mean_f1")


class Bodenmiller(Experiment):
    """Populations of every well against its gates, with the published numbers beside."""

    name = "bodenmiller"
    title = "Bodenmiller plates: populations per well (table A1, figure 3)"

    def check(self, request: Request) -> None:
        """Refuse peers that are not installed."""
        from cytomoe.benchmarks.baselines import require

        require(list(request.baselines))

    def units(self, request: Request) -> list[Unit]:
        """One per well and seed."""
        if request.options.get("simulate"):
            from cytomoe.benchmarks.simulated_wells import published_wells

            wells: dict[str, dict[str, Any]] = published_wells()
        else:
            wells = {name: {"files": [str(path) for path in paths]} for name, paths in find_wells(_folder(request))}
        if request.quick:
            wells = dict(list(wells.items())[:2])
        return [
            Unit(f"{name}_seed{seed}", {"well": name, "seed": seed, **arguments})
            for name, arguments in wells.items()
            for seed in request.seeds
        ]

    def compute(self, unit: Unit, request: Request) -> list[Row]:
        """Both measures of every method, on all and on unique gates."""
        files = unit.arguments.get("files")
        if files is not None:
            return measure_well(unit, request, [Path(file) for file in files])
        from cytomoe.benchmarks.simulated_wells import write_well

        with tempfile.TemporaryDirectory() as folder:
            paths = write_well(Path(folder), unit.arguments["well"], unit.arguments["events"])
            return measure_well(unit, request, paths)

    def report(self, rows: pd.DataFrame, request: Request) -> Report:
        """Table per well, mean per inhibitor, wins per method, violin plots."""
        simulated = bool(request.options.get("simulate"))
        tables = {"Wells": well_table(rows), "Inhibitors": inhibitor_table(rows)}
        if rows["method"].nunique() > 1:
            tables["Wells won per method, measured (F-measure, all)"] = wins(_wide(rows, "f_measure", "all"))
        figures: dict[str, Figure] = {"violins": violins(rows)}
        if not simulated:
            tables["Inhibitors, published F-measure"] = published_inhibitors(rows["inhibitor"].unique())
            tables["Wells won per method, published table A1"] = wins(published.table_a1().drop(columns="inhibitor"))
        return Report(_summary(rows, simulated), tables, figures)


def find_wells(folder: Path) -> list[tuple[str, list[Path]]]:
    """Wells of a folder of ``<inhibitor>_<population>_<well>.fcs``, searched in depth; name and files of each.

    Raises
    ------
    InputError
        If there is no such folder, or no such file in it.
    """
    from cytomoe.io.gates import GatePattern

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --data names the folder of the wells")
    paths = well_files(sorted(folder.rglob("*.fcs")))
    if not paths:
        raise InputError(
            f"{folder}: holds no files named <inhibitor>_<population>_<well>.fcs, such as AKTi_cd4+_A02.fcs"
        )
    return [(sample.name, list(sample.paths)) for sample in GatePattern(PATTERN).group(paths)]


def well_files(paths: Iterable[Path]) -> list[Path]:
    """Those of the files that are named ``<inhibitor>_<population>_<well>.fcs``."""
    return [path for path in paths if path.stem.count("_") >= 2 and _WELL.fullmatch(path.stem.rsplit("_", 1)[-1])]


def measure_well(unit: Unit, request: Request, paths: list[Path]) -> list[Row]:
    """Train on 80 % of a well's events, each once, and measure on the other 20 %."""
    from cytomoe.evaluation import evaluate, holdout_mask
    from cytomoe.preprocessing import Preprocessor
    from cytomoe.runs.events import open_events
    from cytomoe.runs.gating import GateSource, find_gates

    settings, seed = settings_for("bodenmiller", request.preset), int(unit.arguments["seed"])
    started = time.perf_counter()
    events = open_events(paths, pattern=PATTERN)
    gated = find_gates(events, GateSource(pattern=PATTERN))
    assert gated is not None  # a pattern was given
    held_out = holdout_mask(gated.overlaps.event, HOLDOUT, np.random.default_rng([seed, 1]))
    fitted = gated.overlaps.first & ~held_out
    parts = np.split(fitted, np.cumsum(events.sizes)[:-1])
    training = [raw.take(rows) for raw, rows in zip(events.all_raw, parts, strict=True) if rows.any()]
    preprocessor = Preprocessor.fit(training, markers=MARKERS, clip=settings.clips_noise)
    expression = np.concatenate([preprocessor.expression(raw) for raw in events.all_raw])
    reading = time.perf_counter() - started
    rows: list[Row] = []
    for method in (OWN, *request.baselines):
        if method == OWN:
            found = cluster_events(
                method, expression, fitted, preprocessor=preprocessor, settings=settings, seed=seed,
                device=request.device,
            )  # fmt: skip
            clusters = found.clusters
        else:  # every event once; a row that repeats an event takes its cluster
            first = gated.overlaps.first
            found = cluster_events(
                method, expression[first], first, preprocessor=preprocessor, settings=settings, seed=seed
            )
            clusters = found.clusters[np.cumsum(first)[gated.overlaps.event] - 1]
        measured = evaluate(
            clusters, gated.gates, unique=gated.overlaps.unique, holdout=held_out, min_population=MIN_POPULATION
        )
        inhibitor, _, well = unit.arguments["well"].rpartition("_")
        for gates in ("all", "unique"):
            block = measured[gates]
            rows.append(
                {
                    "inhibitor": inhibitor,
                    "well": well,
                    "seed": seed,
                    "method": method,
                    "gates": gates,
                    "events": events.n_events,
                    "populations": len(block["populations"]),
                    "clusters": block["clusters_used"],
                    "f_measure": block["f_measure"],
                    "mean_f1": block["mean_f1"],
                    "seconds": round(found.seconds, 3),
                    "cpu_seconds": round(found.cpu_seconds, 3),
                    "seconds_reading": round(reading, 3),
                }
            )
    return rows


def well_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per well, method and kind of gates, mean and spread over the seeds."""
    table = []
    for (inhibitor, well, method), group in rows.groupby(["inhibitor", "well", "method"], sort=False):
        line: dict[str, Any] = {"inhibitor": inhibitor, "well": well, "method": method}
        line["events"] = int(group["events"].iloc[0])
        for gates in ("all", "unique"):
            part = group[group["gates"] == gates]
            for measure in _MEASURES:
                line[f"{_LABEL[measure]}, {gates}"] = mean_and_spread(part[measure])
        line["seconds"] = float(group["seconds"].mean())
        line["CPU seconds"] = float(group["cpu_seconds"].mean())
        table.append(line)
    return pd.DataFrame(table)


_LABEL = {"f_measure": "F-measure", "mean_f1": "mean F1"}


def inhibitor_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the wells and seeds of each inhibitor, and over all."""
    table = []
    everything = rows.assign(inhibitor="all inhibitors")
    for part in (rows, everything):
        for (inhibitor, method), group in part.groupby(["inhibitor", "method"], sort=False):
            line: dict[str, Any] = {"inhibitor": inhibitor, "method": method, "wells": group[["inhibitor", "well"]]
                                    .drop_duplicates().shape[0]}  # fmt: skip
            for gates in ("all", "unique"):
                for measure in _MEASURES:
                    line[f"{_LABEL[measure]}, {gates}"] = float(group.loc[group["gates"] == gates, measure].mean())
            table.append(line)
    if rows["inhibitor"].nunique() == 1:
        table = table[: rows["method"].nunique()]
    return pd.DataFrame(table)


def published_inhibitors(measured: Iterable[str]) -> pd.DataFrame:
    """Mean published F-measure per inhibitor (row A of each plate) for those measured here, and over all."""
    table = published.table_a1()
    methods = list(table.columns[2:])
    means = table.groupby("inhibitor")[methods].mean().reset_index()
    means.insert(1, "wells", table.groupby("inhibitor").size().to_numpy())
    chosen = means[means["inhibitor"].isin(list(measured))]
    total = pd.DataFrame([{"inhibitor": "all inhibitors", "wells": len(table), **table[methods].mean().to_dict()}])
    return pd.concat([chosen, total], ignore_index=True).rename(
        columns={name: f"{name} (published)" for name in methods}
    )


def wins(table: pd.DataFrame) -> pd.DataFrame:
    """Wells in which each method is best; a tie counts for all that share it.

    Parameters
    ----------
    table
        One row per well, one column of numbers per method.
    """
    numbers = table.select_dtypes("number")
    best = numbers.eq(numbers.max(axis=1), axis=0)
    return pd.DataFrame({"method": numbers.columns, "wells won": best.sum().to_numpy(), "of": len(numbers)})


def _wide(rows: pd.DataFrame, measure: str, gates: str) -> pd.DataFrame:
    """One row per well, one column per method: the mean over the seeds."""
    part = rows[rows["gates"] == gates]
    return part.pivot_table(index=["inhibitor", "well"], columns="method", values=measure).reset_index(drop=True)


# A method has one colour in both panels; the published model is what cytomoe stands for.
_COLOURS = {OWN: "C0", "moe_sim_vae": "C0", "flowsom": "C1", "xshift": "C2", "phenograph": "C3"}


def violins(rows: pd.DataFrame) -> Figure:
    """Figure 3: F-measure over the wells of each inhibitor, measured above, published below, means joined by a line."""
    from matplotlib.figure import Figure

    part = rows[rows["gates"] == "all"]
    measured = part.groupby(["inhibitor", "well", "method"])["f_measure"].mean().reset_index()
    printed = published.table_a1().melt(["inhibitor", "well"], var_name="method", value_name="f_measure")
    inhibitors = sorted(set(measured["inhibitor"]) | set(printed["inhibitor"]))
    figure = Figure(figsize=(14, 8), layout="constrained")
    for axes, table, title in zip(
        figure.subplots(2, 1, sharex=True, sharey=True), (measured, printed),
        ("measured (F-measure, all gates)", "published (table A1, F-measure)"), strict=True,
    ):  # fmt: skip
        for method, group in table.groupby("method", sort=False):
            _violins_of(axes, group, inhibitors, str(method), _COLOURS.get(str(method).lower(), "C4"))
        axes.set_title(title)
        axes.set_ylabel("F-measure")
        axes.set_ylim(0, 1)
        axes.legend(loc="lower right", ncols=4)
        axes.set_xticks(range(len(inhibitors)), inhibitors, rotation=60, ha="right")
    return figure


def _violins_of(axes: Any, group: pd.DataFrame, inhibitors: list[str], method: str, colour: str) -> None:
    values = {name: part["f_measure"].to_numpy() for name, part in group.groupby("inhibitor")}
    places = [i for i, name in enumerate(inhibitors) if name in values]
    wide = [i for i in places if len(np.unique(values[inhibitors[i]])) > 1]
    if wide:
        parts = axes.violinplot([values[inhibitors[i]] for i in wide], positions=wide, showextrema=False, widths=0.8)
        for body in parts["bodies"]:
            body.set_facecolor(colour)
            body.set_alpha(0.3)
    axes.plot(places, [values[inhibitors[i]].mean() for i in places], "o-", color=colour, markersize=3, label=method)


def _summary(rows: pd.DataFrame, simulated: bool) -> list[str]:
    own = rows[rows["method"] == OWN]
    n_wells = own[["inhibitor", "well"]].drop_duplicates().shape[0]
    lines = [
        f"{n_wells} wells, {own['seed'].nunique()} run(s) each; trained on 80 % of the events, measured on the other "
        f"20 % by mapping; populations under {MIN_POPULATION} events discarded"
    ]
    for gates in ("all", "unique"):
        part = own[own["gates"] == gates]
        lines.append(
            f"{gates} gates: F-measure {part['f_measure'].mean():.3f} (weighted), mean F1 {part['mean_f1'].mean():.3f} "
            "(unweighted)"
        )
    lines.append(
        f"{own['seconds'].mean():.1f} s per well for fitting and mapping, {own['cpu_seconds'].mean():.1f} s of one "
        f"core; {own['seconds_reading'].mean():.1f} s for reading it"
    )
    if simulated:
        lines.append("simulated wells: for time; their populations are tidier than real ones")
    else:
        lines.append(
            "`all`: every row of the gates' files, as in the paper; `unique`: events that lie in one gate only. Table "
            "A1 is of row A of each plate, `all`; it has 267 legible rows, the paper counts 268 wells"
        )
    printed = published.table_a1().set_index(["inhibitor", "well"]).index
    shared = sum(pair in printed for pair in own.set_index(["inhibitor", "well"]).index.unique())
    lines.append(f"{shared} of the {n_wells} wells are in table A1")
    if rows["method"].nunique() > 1:
        lines.append("peers cluster all events of a well, those that are measured included: they can't map new ones")
    return lines


def _folder(request: Request) -> Path:
    from cytomoe.datasets.registry import folder_of

    return request.data or folder_of("bodenmiller-staurosporine")
