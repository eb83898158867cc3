"""``cytomoe simulate``: a small plate of simulated wells with known populations."""

from __future__ import annotations

from pathlib import Path

import click

from cytomoe.cli import options


@click.command(short_help="Write simulated wells with known populations.")
@click.argument("out", type=options.FILE)
@click.option("--wells", type=click.IntRange(min=1), default=3, show_default=True, help="Wells of the plate.")
@click.option("--events", type=click.IntRange(min=100), default=5000, show_default=True, help="Events per well, about.")
@click.option("--seed", type=options.SEED, default=1, show_default=True, help="Seed of all randomness.")
def simulate(out: Path, wells: int, events: int, seed: int) -> None:
    """Write simulated mass cytometry wells with their gates into the folder OUT.

    \b
    Example:
      cytomoe simulate plate --wells 3 --seed 1
    """
    from cytomoe.datasets.simulate import write_plate

    for path in write_plate(out, wells=wells, events=events, seed=seed):
        click.echo(path)
