"""``cytomoe generate``: synthetic cells from a saved model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cytomoe.cli import options
from cytomoe.settings import MOST_GENERATED


@click.command()
@click.argument("model", type=options.FILE)
@click.option("--cluster", "clusters", type=click.IntRange(min=1), multiple=True, help="Only this cluster; repeatable.")
@click.option("--name", "names", multiple=True, help="Only the clusters of this population or label; repeatable.")
@click.option(
    "--like",
    type=options.FILE,
    metavar="FCS",
    help="Take the proportions of the clusters, and the number of cells, from this sample.",
)
@click.option("-n", "n", type=click.IntRange(1, MOST_GENERATED), help="Cells to generate. Default: 10000.")
@click.option("--out", type=options.FILE, required=True, metavar="FILE", help="FCS or CSV file to write.")
@click.option("--seed", type=options.SEED, default=0, show_default=True, help="Seed of all randomness.")
@options.data_set_option
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def generate(
    model: Path,
    clusters: tuple[int, ...],
    names: tuple[str, ...],
    like: Path | None,
    n: int | None,
    out: Path,
    seed: int,
    data_set: int,
    force: bool,
    as_json: bool,
) -> None:
    """Generate synthetic cells with the model of a run: its folder, or the model.cytomoe in it.

    Values are in the units of the files that the model was made from, and the channels carry their names. Clusters
    stand in the proportions of the fit unless --like names a sample.

    \b
    Examples:
      cytomoe generate sample_cytomoe -n 10000 --out synthetic.fcs
      cytomoe generate sample_cytomoe --name 'CD4 T cells' --out cd4.csv
      cytomoe generate sample_cytomoe --like other.fcs --out twin.fcs
    """
    from cytomoe.runs.generate import GenerateJob, run_generate
    from cytomoe.runs.job import Listener

    listener = Listener(warn=lambda line: click.echo(f"Warning: {line}", err=True))
    job = GenerateJob(model, out, n, clusters, names, like, seed, data_set, force)
    result = run_generate(job, listener)
    if as_json:
        summary = {"out": str(result.out), "cells": result.cells, "clusters": result.clusters}
        click.echo(json.dumps(summary))
        return
    for row in result.clusters:
        click.echo(f"  {row['cluster']:>3} {row['cells']:>9,}  {row['name']}")
    click.echo(f"{result.cells:,} synthetic cells: {result.out}")
