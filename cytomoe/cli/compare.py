"""``cytomoe compare``: differential abundance between conditions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cytomoe.cli import options
from cytomoe.cli.console import beside, listening
from cytomoe.words import listed

if TYPE_CHECKING:
    import pandas as pd

_PAIRS = 6  # of conditions that differ, in the line of a population


@click.command(short_help="Test which populations differ between conditions.")
@click.argument("run", type=options.FILE)
@click.option("--by", required=True, metavar="COLUMN", help="Column of the samples to compare, such as condition.")
@click.option(
    "--adjust",
    multiple=True,
    metavar="COLUMN",
    help="Column to account for, such as batch or patient; each value is a group, numbers too. Repeatable.",
)
@click.option(
    "--baseline",
    metavar="VALUE",
    help="Condition over which the changes of the others are given. Default: that of the first sample, in the order of "
    "--samples.",
)
@options.samples_option
@click.option("--clusters", is_flag=True, help="Compare clusters even where populations are named.")
@click.option("--out", type=options.FILE, metavar="DIR", help="Folder of the result. Default: <run>_by_<column>.")
@click.option("--no-report", is_flag=True, help="Do not make report.html.")
@click.option("--force", is_flag=True, help="Replace an earlier comparison in the same folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.pass_obj
def compare(
    command: list[str],
    run: Path,
    by: str,
    adjust: tuple[str, ...],
    baseline: str | None,
    samples: Path | None,
    clusters: bool,
    out: Path | None,
    no_report: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Test which populations of a run, or a batch of one model, differ in abundance between conditions of its samples.

    Quasi-binomial regression of each population's counts, p-values corrected for the number of populations. Of three
    conditions or more each two are tested too. Conditions come from the --samples of the run, or are given here.

    \b
    Examples:
      cytomoe compare plate_cytomoe --by condition
      cytomoe compare plate_cytomoe --by condition --adjust patient --samples samples.csv
    """
    from cytomoe.comparison import LEVEL
    from cytomoe.reporting.comparison_verdict import moved_in_words
    from cytomoe.runs.compare import SHOWN, CompareJob, run_compare

    folder = out or beside(run, f"by_{by}")
    with listening(as_json) as listener:
        job = CompareJob(run, by, folder, adjust, baseline, samples, clusters, force, not no_report, command)
        found = run_compare(job, listener)
    table = found.table
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        report = None if found.report is None else str(found.report)
        said: dict[str, Any] = {"out": str(folder), "report": report, "baseline": found.baseline}
        said |= {"warnings": found.warnings, "populations": rows}
        said |= {} if found.pairs is None else {"pairs": json.loads(found.pairs.to_json(orient="records"))}
        said |= {"moved_by_others": {"populations": found.moved_by, "moved": found.moved} if found.moved else None}
        click.echo(json.dumps(said))
        return
    _print_table(table, found.baseline, adjust)
    differ = table.loc[table["p_adjusted"] < LEVEL, "population"].tolist()
    what = f"{'; '.join(differ)} ({len(differ)} of {len(table)})" if differ else f"none of {len(table)}"
    click.echo(f"different with an adjusted p below {LEVEL}: {what}")
    if found.moved:
        click.echo(moved_in_words(found.moved_by, found.moved))
    if found.pairs is not None:
        _print_pairs(found.pairs)
    if len(table) > SHOWN:
        click.echo(f"comparison.png shows the first {SHOWN}")
    click.echo(f"results: {folder}")
    if found.report is not None:
        click.echo(f"report: {found.report}")


def _print_table(table: pd.DataFrame, baseline: str, adjust: tuple[str, ...]) -> None:
    """Print a line for each population, under a line that says what the numbers mean."""
    width = max(len(name) for name in table["population"])
    means = [column for column in table.columns if column.startswith("percent_")]
    changes = [column for column in table.columns if column.startswith("log2_")]
    heads = [f"% {column.removeprefix('percent_')}" for column in means]
    if len(changes) == 1:
        heads.append("log2")
        other = means[1].removeprefix("percent_")
        within = f", adjusted for {' and '.join(adjust)}" if adjust else ""
        click.echo(f"log2: {other} over {baseline}{within}; above 0, more frequent under {other}")
    else:
        click.echo(
            f"p: whether any condition differs; comparison.csv has the change of each over {baseline}, pairs.csv "
            "the test of each two"
        )
    click.echo("  ".join([" " * width, *(f"{head:>9}" for head in heads), f"{'p':>9}", f"{'adjusted':>9}"]))
    for row in table.to_dict("records"):
        numbers = [
            *(f"{row[column]:>{max(9, len(head))}.2f}" for column, head in zip(means, heads, strict=False)),
            *(f"{row[column]:>+9.2f}" for column in changes if len(changes) == 1),
            f"{row['p']:>9.2g}",
            f"{row['p_adjusted']:>9.2g}",
        ]
        click.echo("  ".join([f"{row['population']:<{width}}", *numbers]))


def _print_pairs(pairs: pd.DataFrame) -> None:
    """Print a line for each population of which two conditions differ, the surest first."""
    from cytomoe.comparison import LEVEL
    from cytomoe.reporting.comparison_verdict import pairs_in_words

    differ = pairs[pairs["p_adjusted"] < LEVEL]
    click.echo(pairs_in_words(pairs))
    for population, rows in differ.groupby("population", sort=False):
        found = [f"{r.condition} over {r.over} log2 {r.log2:+.2f}, p {r.p_adjusted:.2g}" for r in rows.itertuples()]
        click.echo(f"  {population}: {listed(found, _PAIRS, by='; ')}")
