"""What commands print while they run and when they are done: messages to stderr, results to stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cytomoe.cli.stages import Stages
from cytomoe.io.atomic import path_of
from cytomoe.runs.job import Listener, RunResult
from cytomoe.words import counted, listed, percent, plural

# Clusters that a run lists on the terminal.
_CLUSTERS_SHOWN = 20
_NAMES_SHOWN = 6  # of those that are in doubt

if TYPE_CHECKING:
    from cytomoe.runs.merge import MergeResult, Naming, Population
    from cytomoe.training.loop import Progress


def default_out(files: tuple[Path, ...]) -> Path:
    """Folder of the results where the user names none: by the first file, in the working directory."""
    name = files[0].name.removesuffix(".gz")
    stem = os.fsencode(Path(name).stem)[:200].decode(errors="replace")
    return Path(f"{path_of(stem)}_cytomoe")


def beside(run: Path, suffix: str) -> Path:
    """Folder of a result that stands beside a run, where the user names none: by the run, which may be ``.``."""
    from cytomoe.plates.samples import folder_name

    run = run if run.name not in ("", "..") else run.resolve()
    return run.parent / f"{run.name}_{folder_name(suffix)}"


@contextmanager
def listening(quiet: bool) -> Iterator[Listener]:
    """Listener that prints to stderr; a silent one if ``quiet``.

    A run that lasts tells its stages in lines. How far a training is shows in a bar where stderr is a terminal, and
    else in lines too.
    """
    if quiet:
        yield Listener()
        return

    def say(line: str) -> None:
        click.echo(line, err=True)

    def warn(line: str) -> None:
        click.echo(f"Warning: {line}", err=True)

    stages = Stages(say)
    try:
        if sys.stderr.isatty():
            with _progress_bar() as report:
                yield Listener(say, warn, report, stages.begin)
        else:
            yield Listener(say, warn, stages.train, stages.begin)
    finally:
        stages.end()


def keeping_warnings(listener: Listener) -> tuple[Listener, list[str]]:
    """A listener that keeps the warnings that it hands on, and the list that they are in, for ``--json``."""
    kept: list[str] = []

    def warn(line: str) -> None:
        kept.append(line)
        listener.warn(line)

    return replace(listener, warn=warn), kept


@contextmanager
def _progress_bar() -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("", total=None, visible=False)

        def report(progress: Progress) -> None:
            losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            display.update(
                task,
                completed=progress.step,
                total=progress.total,
                description=f"{losses}  clusters {progress.clusters}",
                visible=True,
            )

        yield report


def print_result(
    result: RunResult, warnings: Sequence[str], *, as_json: bool, quiet: bool, mapped: bool = False
) -> None:
    """Print what a run found, and where it is; ``mapped`` where it took the clusters of a model."""
    if as_json:
        summary: dict[str, Any] = {
            "out": str(result.out),
            "events": result.n_events,
            **({} if result.repeats else {"distinct_events": result.n_distinct}),
            "clusters": result.n_clusters,
            **({"clusters_with_events": result.n_occupied} if mapped else {}),
            **({} if result.unassigned is None else {"unassigned": result.unassigned}),
            **({} if result.dropped is None else {"dropped": result.dropped}),
            "seconds": result.seconds,
            "populations": result.summary,
            "report": None if result.report is None else str(result.report),
            "warnings": list(warnings),
        }
        if result.evaluation is not None:
            summary["evaluation"] = result.evaluation
        click.echo(json.dumps(summary))
        return
    if not quiet:
        click.echo(_how_many(result))
        print_clusters(result.summary, mapped=mapped)
        if result.unassigned is not None:
            print_unassigned(result.unassigned, result.n_distinct, "far outside the range of their cluster")
        if result.dropped:
            print_unassigned(result.dropped, result.n_distinct, "values that are not numbers")
        if result.evaluation is not None:
            if result.unassigned:
                click.echo("unassigned events are measured in the cluster nearest to them")
            print_evaluation(result.evaluation)
    click.echo(f"results: {result.out}")
    if result.report is not None:
        click.echo(f"report: {result.report}")


def _how_many(result: RunResult) -> str:
    """Clusters and events in a line: the clusters of a model need not all occur."""
    events = counted(result.n_distinct, "event")
    rows = f" ({result.n_events:,} rows)" if result.n_distinct != result.n_events else ""
    if result.n_occupied < result.n_clusters:
        return f"{events}{rows} in {result.n_occupied} of {counted(result.n_clusters, 'cluster')}"
    return f"{counted(result.n_clusters, 'cluster')} of {events}{rows}"


def merge_and_print(command: list[str], run: Path, naming: Naming, choices: dict[str, Any], *, suffix: str) -> None:
    """Copy a run with its clusters named, as ``merge_options`` say, and print the populations."""
    from cytomoe.io.run_folder import is_batch
    from cytomoe.runs.merge import MergeJob, run_merge
    from cytomoe.runs.merge_batch import run_merge_batch

    out = choices["out"] or beside(run, suffix)
    job = MergeJob(run, naming, out, choices["force"], not choices["no_report"], command)
    with listening(choices["quiet"] or choices["as_json"]) as listener:
        result = (run_merge_batch if is_batch(run) else run_merge)(job, listener)
    if choices["as_json"]:
        click.echo(json.dumps(_merged_summary(result, out)))
        return
    if not choices["quiet"]:
        _print_populations(result)
    click.echo(f"results: {out}")
    if result.report is not None:
        click.echo(f"report: {result.report}")


def _merged_summary(result: MergeResult, out: Path) -> dict[str, Any]:
    """What ``--json`` tells of populations."""
    return {
        "out": str(out),
        "populations": {each.name: each.events for each in result.populations},
        "report": None if result.report is None else str(result.report),
        "warnings": result.warnings,
        **({"tree": result.tree} if result.tree else {}),
        **({} if result.evaluation is None else {"evaluation": result.evaluation}),
    }


def _print_populations(result: MergeResult) -> None:
    """Print the populations with their sizes, what was joined to make them, and how the gates were found."""
    width = max(len(each.name) for each in result.populations)
    for number, each in enumerate(result.populations, start=1):
        held = f"{plural('cluster', len(each.clusters))} {', '.join(map(str, each.clusters))}"
        share = each.events / max(result.n_events, 1)
        click.echo(f"  {number:>3} {each.events:>10,} {percent(share):>7}  {each.name:<{width}}  {held}")
    if (unassigned := result.n_events - sum(each.events for each in result.populations)) > 0:
        print_unassigned(unassigned, result.n_events)
    _print_joins(result.tree, result.populations)
    if result.evaluation is not None:
        print_evaluation(result.evaluation, "population")


def _print_joins(tree: list[dict[str, Any]], populations: Sequence[Population]) -> None:
    """Print the joins that were made: of a tree, the nearest first, or else of clusters of the same name."""
    from cytomoe.runs.recut import joins_in_words

    n_clusters = sum(len(each.clusters) for each in populations)
    joins = joins_in_words(tree, n_clusters)[: n_clusters - len(populations)]
    if not tree:
        joins = [
            f"clusters {', '.join(map(str, each.clusters))}, of one name: {each.name}"
            for each in populations
            if len(each.clusters) > 1
        ]
    for line in joins:
        click.echo(f"  joined: {line}")


def print_clusters(summary: list[dict[str, Any]], *, mapped: bool = False) -> None:
    """Print the clusters with their sizes and names; the smallest only by their number.

    The stability of ``mapped`` samples is that of their model's fit, and the header says so.
    """
    from cytomoe.naming import doubtful_names

    there = [row for row in summary if row["events"]]
    shown, rest = there[:_CLUSTERS_SHOWN], there[_CLUSTERS_SHOWN:]
    called = max((len(row.get("population", "")) for row in shown), default=0)
    if shown:
        click.echo(f"  {'':>3} {'events':>10} {'':>7} stable{' in the fit' if mapped else ''}")
    for row in shown:
        population = f"{row['population']:<{called}}  " if "population" in row else ""
        stable = "    -" if row["stability"] is None else f"{row['stability']:>5.2f}"
        numbers = f"{row['cluster']:>3} {row['events']:>10,} {percent(row['fraction']):>7} {stable}"
        click.echo(f"  {numbers}  {population}{row['label']}")
    if rest:
        click.echo(
            f"  and {len(rest)} more of {counted(sum(row['events'] for row in rest), 'event')}: see clusters.csv"
        )
    doubtful = doubtful_names(summary)
    if doubtful:
        click.echo(f"  named with little certainty: {listed(doubtful, _NAMES_SHOWN, by='; ')}")


def print_unassigned(number: int, n_events: int, why: str = "") -> None:
    """Print how many of all events have no cluster, below those that have."""
    click.echo(f"    0 {number:>10,} {percent(number / max(n_events, 1)):>7}  unassigned{f': {why}' if why else ''}")


def print_evaluation(evaluation: dict[str, Any], what: str = "cluster") -> None:
    """Print both measures, and how each gate was found; ``what`` the events were put into."""
    from cytomoe.evaluation import counted_on

    all_events, unique = evaluation["all"], evaluation["unique"]
    rows = [(counted_on("all", all_events), all_events)]
    overlapping = unique["n_gated"] != all_events["n_gated"]
    if overlapping:
        rows.append(("events in one gate only", unique))
    for title, block in rows:
        if block["f_measure"] is None:
            click.echo(f"{title}: no population is large enough to measure")
            continue
        n_events = block["n_gated"] + block.get("n_rest", 0)
        unit = "rows" if overlapping and block is all_events else "events"  # an event of two gates is a row in each
        click.echo(
            f"{title}: F-measure {block['f_measure']:.3f} (weighted), mean F1 {block['mean_f1']:.3f} (unweighted), "
            f"ARI {block['ari']:.3f}, {n_events:,} {unit}, {counted(block['clusters_used'], what)}"
        )
    _print_gates(*rows[-1], what)


def _elsewhere(population: dict[str, Any], what: str) -> str:
    """Where a gate lies whose events are mostly not in the cluster that it was matched with."""
    number = population.get("most_in", population["cluster"])  # evaluations of earlier versions do not tell
    if number == population["cluster"]:
        return ""
    part = "most of its events lie" if population["most_share"] > 0.5 else "its largest part lies"
    return f"  {part} in {what} {number} ({percent(population['most_share'])})"


def _print_gates(title: str, block: dict[str, Any], what: str) -> None:
    """A line per gate that was measured, and the names of the others."""
    populations = block["populations"]
    if not populations:
        return
    width, column = max(len(population["gate"]) for population in populations), max(8, len(what))
    click.echo(f"gates, counted on {title}:")
    click.echo(f"  {'gate':<{width}} {'events':>8} {what:>{column}} {'precision':>10} {'recall':>7} {'F1':>6}")
    for population in populations:
        cluster = "-" if population["cluster"] is None else population["cluster"]
        click.echo(
            f"  {population['gate']:<{width}} {population['n']:>8,} {cluster:>{column}} "
            f"{population['precision']:>10.3f} {population['recall']:>7.3f} {population['f1']:>6.3f}"
            f"{_elsewhere(population, what)}"
        )
    if block["discarded"]:
        few = "; ".join(f"{gate['gate']} {gate['n']:,}" for gate in block["discarded"])
        click.echo(f"  too few events to be measured (--min-population): {few}")
