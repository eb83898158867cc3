"""``cytomoe info``: what is in FCS files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.errors import CytomoeError


@click.command()
@options.files_argument
@options.data_set_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per file.")
def info(files: tuple[Path, ...], data_set: int, as_json: bool) -> None:
    """Show channels, antigens, events, ranges, instrument and spillover of FCS files.

    A file that can't be read is reported, the others are shown, and the exit code is 2.

    \b
    Example:
      cytomoe info sample.fcs
    """
    from cytomoe.io.info import describe

    failed: CytomoeError | None = None
    for path in files:
        try:
            description = describe(path, data_set=data_set)
        except CytomoeError as error:
            failed = error
            click.echo(f"Error: {error}", err=True)
            continue
        click.echo(json.dumps(description, ensure_ascii=False) if as_json else _readable(description))
    if failed is not None:
        raise click.exceptions.Exit(failed.exit_code)


def _readable(description: dict[str, Any]) -> str:
    raise NotImplementedError
