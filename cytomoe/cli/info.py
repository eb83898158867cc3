"""``cytomoe info``: what is in FCS files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.errors import CytomoeError
from cytomoe.words import counted


@click.command(short_help="Show channels, antigens, events, ranges and instrument.")
@options.files_argument
@options.data_set_option
@options.truncated_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per file.")
def info(files: tuple[Path, ...], data_set: int, allow_truncated: bool, as_json: bool) -> None:
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
            description = describe(path, data_set=data_set, allow_truncated=allow_truncated)
        except CytomoeError as error:
            failed = error
            click.echo(f"Error: {error}", err=True)
            continue
        click.echo(json.dumps(description) if as_json else _readable(description))
    if failed is not None:
        raise click.exceptions.Exit(failed.exit_code)


def _readable(description: dict[str, Any]) -> str:
    """The description as a heading and a table of channels."""
    date = f", {description['date']}" if description["date"] else ""
    sets = description["n_data_sets"]
    lines = [
        f"{description['path']}: {counted(description['n_events'], 'event')}, "
        f"{counted(description['n_channels'], 'channel')}, "
        f"FCS {description['version']}, {description['instrument'] or 'instrument unknown'}{date}",
    ]
    if sets > 1:
        lines.append(f"  data set {description['data_set']} of {sets}; --data-set reads the others")
    lines += [f"  warning: {warning}" for warning in description["warnings"]]
    lines.append(f"  spillover: {_spillover(description['spillover'])}")
    if description["gate_channels"]:
        lines.append(f"  may hold gates: {', '.join(description['gate_channels'])} (see --gate-channel)")
    names = ("channel", "antigen", "min", "median", "max")
    rows = [names, *([_cell(channel[name]) for name in names] for channel in description["channels"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(names))]
    for row in rows:
        text = [f"{row[i]:<{widths[i]}}" for i in range(2)] + [f"{row[i]:>{widths[i]}}" for i in range(2, len(names))]
        lines.append("  " + "  ".join(text).rstrip())
    return "\n".join(lines)


def _spillover(spillover: dict[str, Any] | None) -> str:
    if spillover is None:
        return "none"
    state = "usable" if spillover["usable"] else f"not usable: {spillover['problem']}"
    return f"{spillover['keyword']} ({state})"


def _cell(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,.6g}"
