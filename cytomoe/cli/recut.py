"""``cytomoe recut``: fewer clusters of a run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cytomoe.cli import options


@click.command()
@click.argument("run", type=options.FILE)
@click.option("--clusters", type=click.IntRange(min=1), required=True, help="How many populations to leave.")
@click.option("--out", type=options.FILE, metavar="DIR", help="Folder of the result. Default: <run>_<number>.")
@click.option("--force", is_flag=True, help="Replace the results of an earlier run in the same folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_obj
def recut(command: list[str], run: Path, clusters: int, out: Path | None, force: bool, as_json: bool) -> None:
    """Merge the clusters of a run into fewer, those with like markers first, without training again.

    RUN stays as it is; the result is a copy with the populations in every file, and the order of the merges in
    run.json. To choose the merges yourself, see cytomoe merge.

    \b
    Example:
      cytomoe recut sample_cytomoe --clusters 8 --out eight
    """
    from cytomoe.runs.recut import RecutJob, run_recut

    folder = out or run.with_name(f"{run.name}_{clusters}")
    populations = run_recut(RecutJob(run, clusters, folder, force, command))
    if as_json:
        click.echo(json.dumps({"out": str(folder), "populations": populations}, ensure_ascii=False))
        return
    for name, events in populations.items():
        click.echo(f"  {events:>10,}  {name}")
    click.echo(f"results: {folder}")
