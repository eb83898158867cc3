"""``cytomoe check``: everything that would go wrong in a run, before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.words import counted


@click.command(short_help="Look for what would go wrong in a run, before it starts.")
@options.files_argument
@options.marker_options
@options.data_set_option
@options.truncated_option
@click.option("--gate-channel", metavar="CHANNEL", help="Channel that holds gates, and so is no marker.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per finding.")
def check(files: tuple[Path, ...], **choices: Any) -> None:
    """Look for everything that would go wrong in a run on FCS files, before any computation.

    Exit code 2 if a run would stop, else 0.

    \b
    Example:
      cytomoe check plate/*.fcs --markers CD3,CD4,CD8
    """
    from cytomoe.check import check_files
    from cytomoe.preprocessing import Panel

    findings = check_files(
        files,
        markers=options.marker_names(choices["markers"]),
        panel=None if choices["panel"] is None else Panel.read(choices["panel"]),
        transform=choices["transform"],
        cofactor=options.cofactor(choices["cofactor"]),
        compensate=options.compensation(choices["compensate"]),
        exclude=[choices["gate_channel"]] if choices["gate_channel"] else [],
        data_set=choices["data_set"],
        allow_truncated=choices["allow_truncated"],
    )
    for finding in findings:
        if choices["as_json"]:
            click.echo(json.dumps(finding.to_dict()))
        else:
            where = f"{finding.file}: " if finding.file else ""
            advice = f" -> {finding.advice}" if finding.advice else ""
            click.echo(f"{finding.level}: {where}{finding.message}{advice}")
    errors = sum(finding.level == "error" for finding in findings)
    if errors:
        raise click.exceptions.Exit(2)
    if not choices["as_json"]:
        click.echo(f"{counted(len(files), 'file')} can be clustered")
