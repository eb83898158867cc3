"""``cytomoe batch``: many samples, one folder each, and tables of all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cytomoe.cli import options
from cytomoe.cli.console import keeping_warnings, listening, print_clusters, print_unassigned
from cytomoe.cli.streams import standard_output
from cytomoe.words import counted

if TYPE_CHECKING:
    from cytomoe.runs.batch import BatchResult
    from cytomoe.runs.wells import WellResult


@click.command(short_help="Cluster many samples: one folder each, and tables of all.")
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", type=options.FILE, required=True, metavar="DIR", help="Folder of the results.")
@click.option("--pooled", "mode", flag_value="pooled", default="pooled", help="One model for all samples (default).")
@click.option("--per-sample", "mode", flag_value="per-sample", help="One model for each; clusters are matched after.")
@click.option(
    "--model",
    type=options.FILE,
    metavar="MODEL",
    help="Map all samples with this model, or that in the folder of a run; nothing is fitted.",
)
@click.option(
    "--well-pattern",
    metavar="PATTERN",
    help="Pattern of file names: '{plate}_{well}.fcs', with {plate}, {well}, {sample}, {gate} and such as {_date} for "
    "what is passed over. Default: the last A01 to P24 in a name is its well.",
)
@click.option(
    "--gate-pattern",
    metavar="PATTERN",
    help="Pattern of the names of files that hold a gate each: '{plate}_{gate}_{well}.fcs'. The files of a well are "
    "one sample; its clusters are measured against the gates, which the fit does not see.",
)
@options.gate_channel_options
@options.min_population_option
@click.option(
    "--panel-mismatch",
    type=click.Choice(["refuse", "common", "skip"]),
    default="refuse",
    show_default=True,
    help="Where panels differ and no markers are named: stop, use the common markers, or leave the odd files out.",
)
@options.marker_options
@options.model_options
@options.reference_option
@options.data_set_option
@options.truncated_option
@options.device_option
@options.unassigned_option
@options.nan_option
@options.h5ad_option
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that work on samples at once."
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler that exists, such as tcp://host:8786, in place of --jobs."
)
@click.option("--upload", is_flag=True, help="Send the files to the scheduler's workers, which can't read them here.")
@click.option("--tls-ca", type=options.FILE, metavar="PEM", help="Certificate authority of the scheduler.")
@click.option("--tls-cert", type=options.FILE, metavar="PEM", help="Our certificate for the scheduler.")
@click.option("--tls-key", type=options.FILE, metavar="PEM", help="Its key, where the certificate's file has none.")
@click.option("--resume", is_flag=True, help="Go on in DIR: only what is missing or has changed is done.")
@click.option("--force", is_flag=True, help="Replace the results of an earlier batch in DIR.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors and the place of the results.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object per sample as it is done, and one at the end."
)
@click.pass_obj
def batch(command: list[str], paths: tuple[str, ...], **choices: Any) -> None:
    """Cluster many samples: FCS files, folders, globs, or a sample sheet (file, sample, plate, well, ...).

    A file that fails is reported and the others go on; the exit code is 1 then.

    \b
    Examples:
      cytomoe batch plate1/ plate2/ --out study --jobs 4
      cytomoe batch samples.csv --out study --resume
      cytomoe batch new/*.fcs --model study/model.cytomoe --out new_mapped
    """
    from cytomoe.errors import InputError
    from cytomoe.plates.engine import Engine
    from cytomoe.plates.samples import find_samples
    from cytomoe.runs.batch import BatchJob, run_batch
    from cytomoe.runs.inputs import model_path

    if choices["model"] is not None and choices["mode"] == "per-sample":
        raise InputError("--model and --per-sample are both given; a model given is used for all samples")
    model = None if choices["model"] is None else model_path(choices["model"])
    if model is not None and not model.is_file():
        raise InputError(f"{model}: no such model file")
    if choices["upload"] and choices["scheduler"] is None:
        raise InputError("--upload sends the files to the workers of a --scheduler, and none is given; leave it out")
    job = BatchJob(
        samples=find_samples(paths, choices["well_pattern"], choices["gate_pattern"]),
        out=choices["out"],
        mode=choices["mode"] if model is None else "model",
        model=model,
        panel_mismatch=choices["panel_mismatch"],
        preprocessing=options.preprocessing_choice(choices),
        settings=options.settings(choices),
        seed=choices["seed"],
        device=choices["device"],
        gates=options.gate_source(choices),
        min_population=choices["min_population"],
        subsample=choices["subsample"],
        reference=choices["reference"],
        data_set=choices["data_set"],
        allow_truncated=choices["allow_truncated"],
        h5ad=choices["h5ad"],
        unassigned=choices["unassigned"],
        nan=choices["nan"],
        engine=Engine(
            choices["jobs"], choices["scheduler"], choices["tls_ca"], choices["tls_cert"], choices["tls_key"]
        ),
        upload=choices["upload"],
        resume=choices["resume"],
        force=choices["force"],
        command=command,
    )

    with listening(choices["quiet"] or choices["as_json"]) as listener:
        listener, warnings = keeping_warnings(listener)
        result = run_batch(job, listener, _SamplePrinter() if choices["as_json"] else None)
    if choices["as_json"]:
        done = len(result.results) - len(result.failed)
        click.echo(json.dumps({"out": str(result.out), "samples": done, "failed": result.failed, "warnings": warnings}))
    else:
        _print_batch(result, mapped=job.mode == "model", quiet=choices["quiet"])
    if result.failed:
        raise click.exceptions.Exit(1)


class _SamplePrinter:
    """Prints a JSON object for a sample that is done; says once where nobody reads them any more."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, name: str, result: WellResult) -> None:
        problem = {"problem": result.problem} if result.problem else {}
        line = {"sample": name, "events": result.events, "clusters": result.clusters, "reused": result.reused}
        click.echo(json.dumps(line | problem))
        output = standard_output()
        if output is not None and output.unread and not self._said:
            self._said = True
            click.echo(
                "Warning: nobody reads the standard output any more; the samples are done all the same", err=True
            )


def _print_batch(result: BatchResult, *, mapped: bool, quiet: bool) -> None:
    """Print what a batch came to."""
    for name in result.failed if quiet else ():
        click.echo(f"Error: {name}: {result.results[name].problem}", err=True)
    if not quiet:
        print_clusters(result.clusters, mapped=mapped)
        if result.unassigned:
            print_unassigned(result.unassigned, sum(each.events for each in result.results.values()))
    click.echo(f"{len(result.results) - len(result.failed)} of {counted(len(result.results), 'sample')}")
    click.echo(f"results: {result.out}\nreport: {result.out / 'report.html'}")
