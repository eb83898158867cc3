"""``cytomoe cluster``: FCS files in, populations out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cytomoe import processes
from cytomoe.cli import options
from cytomoe.cli.console import default_out, keeping_warnings, listening, print_result


@click.command()
@options.files_argument
@options.marker_options
@options.model_options
@click.option(
    "--prior",
    metavar="CSV[:COLUMN]",
    help="Known cells: a row per event with the name of its population, empty where it is not known, other where "
    "it is of none that you name. They guide the fit, and keep their names.",
)
@click.option(
    "--prior-channel", metavar="CHANNEL", help="Known cells: channel with the number of their population, or 0."
)
@options.reference_option
@options.gate_options
@click.option(
    "--holdout",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    metavar="SHARE",
    help="Keep this share of the events out of the fit and measure on them alone, such as 0.2.",
)
@options.samples_option
@options.data_set_option
@options.truncated_option
@options.device_option
@options.unassigned_option
@options.nan_option
@options.output_options
@click.pass_obj
def cluster(command: list[str], files: tuple[Path, ...], **choices: Any) -> None:
    """Cluster the events of FCS files.

    Writes labels, tables, FCS files with a cluster channel, an AnnData and the model into one folder.

    \b
    Examples:
      cytomoe cluster sample.fcs --markers CD3,CD4,CD8,CD19
      cytomoe cluster blood.fcs --reference pbmc
      cytomoe cluster plate_*_H05.fcs --gate-pattern '{plate}_{gate}_{well}.fcs' --holdout 0.2
      cytomoe cluster blood.fcs --prior some_gated_cells.csv
      cytomoe cluster flow.fcs --gate-file gates.csv --out result
    """
    settings = options.settings(choices)
    if settings.similarity == "valleys":
        processes.start([processes.PARTITIONING])  # while this one imports the rest

    from cytomoe.runs.cluster import run_cluster
    from cytomoe.runs.orders import ClusterJob

    job = ClusterJob(
        files=files,
        out=choices["out"] or default_out(files),
        preprocessing=options.preprocessing_choice(choices),
        settings=settings,
        seed=choices["seed"],
        device=choices["device"],
        subsample=choices["subsample"],
        gates=options.gate_source(choices),
        prior=options.prior_source(choices),
        reference=choices["reference"],
        holdout=choices["holdout"],
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
        result = run_cluster(job, listener)
    print_result(result, warnings, as_json=choices["as_json"], quiet=choices["quiet"])
