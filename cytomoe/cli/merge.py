"""``cytomoe merge``: name and merge the clusters of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.cli.console import merge_and_print


@click.command(short_help="Name the clusters of a run, and merge them by name.")
@click.argument("run", type=options.FILE)
@click.option(
    "--map",
    "table",
    type=options.FILE,
    required=True,
    metavar="CSV",
    help="Table with the columns cluster and name; clusters of the same name become one population. The run's own "
    "clusters.csv, its column population edited, will do.",
)
@options.merge_options("<run>_merged")
@click.pass_obj
def merge(command: list[str], run: Path, table: Path, **choices: Any) -> None:
    """Name the clusters of a run, and merge those that are one population, without training again.

    RUN stays as it is; the result is a copy with the names in every file, and the events of each population in each
    sample in populations.csv. Of a batch it is the model with the names: cytomoe batch --model maps the samples with
    it.

    \b
    Example:
      cytomoe merge sample_cytomoe --map merging.csv --out named
    """
    from cytomoe.runs.merge import NamingTable

    merge_and_print(command, run, NamingTable(table), choices, suffix="merged")
