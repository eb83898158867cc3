"""``cytomoe benchmark``: the experiments of the paper, one command each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cytomoe.cli import options
from cytomoe.cli.console import listening
from cytomoe.settings import LARGEST_SEED

if TYPE_CHECKING:
    from cytomoe.benchmarks.base import Experiment

F = TypeVar("F", bound=Callable[..., Any])


@click.group(short_help="Repeat the experiments of the MoE-Sim-VAE paper.")
def benchmark() -> None:
    """Repeat the experiments of the MoE-Sim-VAE paper, each beside its published table.

    Every experiment writes tables (CSV, Markdown), figures and a manifest into the folder --out.

    \b
    Example:
      cytomoe benchmark bodenmiller --runs 3 --jobs 2
    """


def _experiment_options(runs: int) -> Callable[[F], F]:
    """Options that every experiment has; ``runs`` is the default number of runs."""
    all_options = [
        click.option(
            "--preset",
            type=click.Choice(["default", "paper"]),
            default="default",
            show_default=True,
            help="default: cytomoe's own settings; paper: those of the paper's appendix.",
        ),
        click.option(
            "--runs",
            type=click.IntRange(min=1),
            default=runs,
            show_default=True,
            help="Runs, with the seeds 0, 1, ...",
        ),
        click.option("--seeds", metavar="LIST", help="Seeds of the runs, in place of --runs: 3,7,11."),
        click.option(
            "--quick",
            is_flag=True,
            help="A first look in minutes: one run unless --runs says more, on less data; its numbers are no results.",
        ),
        click.option(
            "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that work side by side."
        ),
        options.device_option,
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder of the results. Default: benchmark_<name> in the working directory.",
        ),
        click.option("--resume", is_flag=True, help="Go on in --out; what is finished is not done again."),
        click.option("--quiet", is_flag=True, help="Print the tables only."),
    ]

    def decorate(command: F) -> F:
        for option in reversed(all_options):
            command = option(command)
        return command

    return decorate


_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the data. Default: where cytomoe data finds it.",
)
_baselines_option = click.option(
    "--baselines",
    is_flag=True,
    help="Run FlowSOM and PhenoGraph on the same events (pip install 'cytomoe[baselines]').",
)


@benchmark.command()
@_data_option
@click.option("--simulate", is_flag=True, help="Simulated wells under the 267 published names, to measure the time.")
@_baselines_option
@_experiment_options(runs=1)
@click.pass_obj
def bodenmiller(command: list[str], simulate: bool, baselines: bool, **choices: Any) -> None:
    """Cluster each well of Bodenmiller's plates and measure it against its gates (table A1, figure 3).

    The folder holds one file per gated population, <inhibitor>_<population>_<well>.fcs.

    \b
    Example:
      cytomoe benchmark bodenmiller --data plates --jobs 2
    """
    from cytomoe.benchmarks.bodenmiller import Bodenmiller

    peers = ("FlowSOM", "PhenoGraph") if baselines else ()
    _run(Bodenmiller(), command, choices, baselines=peers, simulate=simulate)


@benchmark.command()
@click.option("--components", metavar="LIST", help="Numbers of components, such as 10,20,30. Default: 2 to 100.")
@_experiment_options(runs=1)
@click.pass_obj
def synthetic(command: list[str], components: str | None, **choices: Any) -> None:
    """Tell apart and count Gaussian components in 100 dimensions, against a Gaussian mixture (figure A1).

    \b
    Example:
      cytomoe benchmark synthetic --jobs 2
    """
    from cytomoe.benchmarks.synthetic import Synthetic

    _run(Synthetic(), command, choices, components=list(_numbers("--components", components, least=1)))


@benchmark.command()
@_data_option
@_experiment_options(runs=10)
@click.pass_obj
def mnist(command: list[str], **choices: Any) -> None:
    """Cluster handwritten digits without labels (table 1).

    Runs on the digits that are there: the 10,000 of the test set, or all 70,000 after cytomoe data fetch mnist.

    \b
    Example:
      cytomoe benchmark mnist --runs 3
    """
    from cytomoe.benchmarks.mnist import Mnist

    _run(Mnist(), command, choices)


@benchmark.command()
@_data_option
@_experiment_options(runs=1)
@click.pass_obj
def ablation(command: list[str], **choices: Any) -> None:
    """Cluster and generate digits without similarity, DEPICT, KL, or experts (figure A4).

    \b
    Example:
      cytomoe benchmark ablation --runs 3
    """
    from cytomoe.benchmarks.ablation import Ablation

    _run(Ablation(), command, choices)


@benchmark.command()
@click.option(
    "--data",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="FCS files, or folders of them, to generate cells from; or a folder of digits. Default: the digits.",
)
@_experiment_options(runs=1)
@click.pass_obj
def generation(command: list[str], files: tuple[Path, ...], **choices: Any) -> None:
    """Generate digits, or cells, of one cluster, cluster them again, and compare with VaDE (section 4.2.1).

    Of FCS files, generated and real cells of each population are compared too.

    \b
    Examples:
      cytomoe benchmark generation
      cytomoe benchmark generation --data donor1.fcs --data donor2.fcs
    """
    from cytomoe.benchmarks.generation import Generation

    _run(Generation(), command, choices, files=[str(path) for path in files])


@benchmark.command()
@_data_option
@click.option("--simulate", is_flag=True, help="Files simulated in the layout and size of two real ones, for time.")
@_baselines_option
@_experiment_options(runs=30)
@click.pass_obj
def weber(command: list[str], simulate: bool, baselines: bool, **choices: Any) -> None:
    """Cluster the files of Weber & Robinson 2016 and measure against their labels (table 2, figure A8).

    \b
    Example:
      cytomoe benchmark weber --runs 5 --baselines
    """
    from cytomoe.benchmarks.weber import Weber

    peers = ("FlowSOM", "PhenoGraph") if baselines else ()
    _run(Weber(), command, choices, baselines=peers, simulate=simulate)


def _run(
    experiment: Experiment,
    command: list[str],
    choices: dict[str, Any],
    *,
    baselines: tuple[str, ...] = (),
    **extra: Any,
) -> None:
    """Run an experiment as the options say and print its report."""
    from cytomoe.benchmarks.base import Request, run_experiment
    from cytomoe.benchmarks.writing import QUICK, plain_table

    request = Request(
        preset=choices["preset"],
        seeds=_seeds(choices["seeds"], _runs(choices)),
        quick=choices["quick"],
        data=choices.get("data"),
        baselines=baselines,
        device=choices["device"],
        options=extra,
    )
    out = choices["out"] or Path(f"benchmark_{experiment.name}")
    with listening(choices["quiet"]) as listener:
        outcome = run_experiment(
            experiment,
            request,
            out,
            jobs=choices["jobs"],
            resume=choices["resume"],
            command=command,
            listener=listener,
        )
    if request.quick:
        click.echo(QUICK)
    for line in outcome.report.summary:
        click.echo(line)
    for title, table in outcome.report.tables.items():
        click.echo(f"\n{title}\n{plain_table(table)}")
    click.echo(f"\nresults: {outcome.out}")
    if outcome.failed:
        click.echo(f"Error: {len(outcome.failed)} failed; see {outcome.out}/report.md", err=True)
        raise click.exceptions.Exit(1)


def _runs(choices: dict[str, Any]) -> int:
    """Number of runs: of a quick look one, unless it was asked for more."""
    given = click.get_current_context().get_parameter_source("runs") is not click.core.ParameterSource.DEFAULT
    return int(choices["runs"]) if given or not choices["quick"] else 1


def _seeds(text: str | None, runs: int) -> tuple[int, ...]:
    """Seeds of the runs."""
    if text is None:
        return tuple(range(runs))
    return _numbers("--seeds", text, least=0, most=LARGEST_SEED)


def _numbers(option: str, text: str | None, *, least: int, most: int | None = None) -> tuple[int, ...]:
    """Numbers of an option, separated by commas; none where it is not given."""
    from cytomoe.errors import InputError

    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise InputError(f"{option} {text}: whole numbers, each once, separated by commas are needed, such as 1,2,3")
    if min(map(int, parts)) < least:
        raise InputError(f"{option} {text}: must be at least {least}")
    if most is not None and max(map(int, parts)) > most:
        raise InputError(f"{option} {text}: must be at most {most}")
    return tuple(map(int, parts))
