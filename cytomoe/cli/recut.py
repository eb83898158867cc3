"""``cytomoe recut``: fewer clusters of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.cli.console import merge_and_print


@click.command(short_help="Merge the clusters of a run into fewer.")
@click.argument("run", type=options.FILE)
@click.option("--clusters", type=click.IntRange(min=1), required=True, help="How many populations to leave.")
@options.merge_options("<run>_<number>")
@click.pass_obj
def recut(command: list[str], run: Path, clusters: int, **choices: Any) -> None:
    """Merge the clusters of a run into fewer, those with like markers first, without training again.

    RUN stays as it is; the result is a copy with the populations in every file, and the order of the merges in
    run.json. To choose the merges yourself, see cytomoe merge.

    \b
    Example:
      cytomoe recut sample_cytomoe --clusters 8 --out eight
    """
    from cytomoe.runs.recut import TreeCut

    merge_and_print(command, run, TreeCut(clusters), choices, suffix=str(clusters))
