"""``cytomoe report``: the report of a run, made again from its files."""

from __future__ import annotations

from pathlib import Path

import click

from cytomoe.cli import options


@click.command(short_help="Make report.html of an earlier run again.")
@click.argument("run", type=options.FILE)
@click.option("--figures", is_flag=True, help="Also write the figures as PNG and SVG, into RUN/figures.")
def report(run: Path, figures: bool) -> None:
    """Make report.html in the folder RUN of an earlier run, from the files in it.

    Runs make their report themselves; this is for runs made with --no-report, for the report of a newer version, and
    for figures to print.

    \b
    Examples:
      cytomoe report sample_cytomoe
      cytomoe report sample_cytomoe --figures
    """
    from cytomoe.runs.report import run_report

    click.echo(run_report(run, figures=figures))
