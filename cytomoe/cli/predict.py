"""``cytomoe predict``: map new files with a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.cli.console import default_out, keeping_warnings, listening, print_result


@click.command(short_help="Map new FCS files with the model of an earlier run.")
@click.argument("model", type=options.FILE)
@options.files_argument
@options.gate_options
@options.samples_option
@options.data_set_option
@options.truncated_option
@options.device_option
@options.unassigned_option
@options.nan_option
@options.output_options
@click.pass_obj
def predict(command: list[str], model: Path, files: tuple[Path, ...], **choices: Any) -> None:
    """Map the events of new FCS files with the model of an earlier run: its folder, or the model.cytomoe in it.

    Transformation and scaling are those of the model. A file that lacks one of its markers is refused. Samples that
    drifted from the model's training, by markers or by cells that fit no cluster, are warned of; see drift.csv.

    \b
    Example:
      cytomoe predict sample_cytomoe other.fcs --out other
    """
    from cytomoe.runs.orders import PredictJob
    from cytomoe.runs.predict import run_predict

    job = PredictJob(
        model=model,
        files=files,
        out=choices["out"] or default_out(files),
        device=choices["device"],
        gates=options.gate_source(choices),
        samples=choices["samples"],
        min_population=choices["min_population"],
        data_set=choices["data_set"],
        allow_truncated=choices["allow_truncated"],
        h5ad=choices["h5ad"],
        unassigned=choices["unassigned"],
        nan=choices["nan"],
        force=choices["force"],
        report=not choices["no_report"],
        command=command,
    )
    with listening(choices["quiet"] or choices["as_json"]) as listener:
        listener, warnings = keeping_warnings(listener)
        result = run_predict(job, listener)
    print_result(result, warnings, as_json=choices["as_json"], quiet=choices["quiet"], mapped=True)
