"""``cytomoe merge``: name and merge the clusters of a run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cytomoe.cli import options


@click.command()
@click.argument("run", type=options.FILE)
@click.option(
    "--map",
    "table",
    type=options.FILE,
    required=True,
    metavar="CSV",
    help="Table with the columns cluster and name; clusters of the same name become one population.",
)
@click.option("--out", type=options.FILE, metavar="DIR", help="Folder of the result. Default: <run>_merged.")
@click.option("--force", is_flag=True, help="Replace the results of an earlier run in the same folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_obj
def merge(command: list[str], run: Path, table: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Name the clusters of a run, and merge those that are one population, without training again.

    RUN stays as it is; the result is a copy with the names in every file, and the events of each population in each
    sample in populations.csv.

    \b
    Example:
      cytomoe merge sample_cytomoe --map merging.csv --out named
    """
    from cytomoe.runs.merge import MergeJob, run_merge

    folder = out or run.with_name(f"{run.name}_merged")
    populations = run_merge(MergeJob(run, table, folder, force, command))
    if as_json:
        click.echo(json.dumps({"out": str(folder), "populations": populations}, ensure_ascii=False))
        return
    for name, events in populations.items():
        click.echo(f"  {events:>10,}  {name}")
    click.echo(f"results: {folder}")
