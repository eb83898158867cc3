"""``cytomoe evaluate``: measure labels against manual gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.cli.console import listening, print_evaluation


@click.command()
@click.argument("labels", type=options.FILE)
@click.argument("files", nargs=-1, type=options.FILE)
@options.gate_options
@options.data_set_option
@options.truncated_option
@click.option("--json", "as_json", is_flag=True, help="Print the measures as JSON.")
def evaluate(labels: Path, files: tuple[Path, ...], as_json: bool, **choices: Any) -> None:
    """Measure the labels of a run against manual gates.

    LABELS is labels.csv, labels.parquet or the folder of a run. FILES are the FCS files that were clustered, where they
    are not any more where the run found them. Of labels that merge or recut wrote, the populations are measured. The
    folder of a batch of one model is measured against a table of gates with the columns file (or sample) and event.

    \b
    Examples:
      cytomoe evaluate sample_cytomoe --gate-file gates.csv
      cytomoe evaluate plate_cytomoe/labels.csv --gate-pattern '{plate}_{gate}_{well}.fcs' --json
    """
    from cytomoe.runs.evaluate import EvaluateJob, run_evaluate

    job = EvaluateJob(
        labels,
        files,
        options.gate_source(choices),
        min_population=choices["min_population"],
        data_set=choices["data_set"],
        allow_truncated=choices["allow_truncated"],
    )
    with listening(quiet=False) as listener:
        evaluation, what = run_evaluate(job, listener)
    if as_json:
        click.echo(json.dumps(evaluation))
    else:
        print_evaluation(evaluation, what)
