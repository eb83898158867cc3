"""``cytomoe data``: public data sets for the benchmarks."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(short_help="List, download and find public data sets.")
def data() -> None:
    """List, download and find the public data that the benchmarks use.

    Data lies in $CYTOMOE_DATA or in the user's cache, in the same folders in both.

    \b
    Example:
      cytomoe data fetch bodenmiller-staurosporine
    """


@data.command(name="list")
def list_() -> None:
    """List the data sets, with licence, citation and what of each is on this machine.

    \b
    Example:
      cytomoe data list
    """
    from cytomoe.datasets.registry import present_files, registry

    for entry in registry().values():
        known = sum(file.bytes is not None for file in entry.files)
        of_known = "" if known == len(entry.files) else f" in the {known} whose size is known"
        size = f", {entry.bytes / 1e6:,.1f} MB{of_known}" if entry.bytes else ""
        click.echo(f"{entry.name}: {entry.title}")
        if entry.files:
            click.echo(f"  {len(present_files(entry))} of {len(entry.files)} files on this machine{size}")
        click.echo(f"  licence: {entry.licence}")
        click.echo(f"  cite: {entry.citation}")
        if entry.by_hand:
            click.echo(f"  by hand: {entry.by_hand}")


@data.command()
@click.argument("name")
@click.option(
    "--from-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take the files from this folder: for machines without network.",
)
def fetch(name: str, from_dir: Path | None) -> None:
    """Download a data set into the user's cache, verified; a broken download goes on where it stopped.

    \b
    Example:
      cytomoe data fetch mnist
    """
    from cytomoe.datasets.fetch import fetch as fetch_data
    from cytomoe.datasets.registry import data_set

    entry = data_set(name)
    folder = fetch_data(entry, from_dir=from_dir, say=lambda line: click.echo(line, err=True))
    click.echo(f"licence: {entry.licence}; cite: {entry.citation}", err=True)
    click.echo(folder)


@data.command()
@click.argument("name")
def path(name: str) -> None:
    """Print the folder of a data set on this machine.

    \b
    Example:
      cytomoe cluster "$(cytomoe data path bodenmiller-staurosporine)"/*_H05.fcs
    """
    from cytomoe.datasets.registry import folder_of

    click.echo(folder_of(name))
