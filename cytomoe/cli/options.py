"""Options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from cytomoe.settings import CHANGES, LARGEST_SEED, MOST_EXPERTS, PRESETS, Metric, Settings, SimilarityName, preset

if TYPE_CHECKING:
    from cytomoe.preprocessing import CompensateMode
    from cytomoe.runs.gating import GateSource, PriorSource
    from cytomoe.runs.orders import PreprocessingChoice

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULTS = Settings()
# What can't be read is refused where it is read, in one line; click would print the usage too.
FILE = click.Path(path_type=Path, readable=False)
SEED = click.IntRange(0, LARGEST_SEED)


def _together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """One decorator of several options, in the order in which help shall list them."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def marker_names(text: str | None) -> list[str] | None:
    """Names of ``--markers``."""
    from cytomoe.preprocessing.markers import names_in

    return None if text is None else names_in(text)


def preprocessing_choice(choices: dict[str, Any]) -> PreprocessingChoice:
    """What ``marker_options`` ask for."""
    from cytomoe.runs.orders import PreprocessingChoice

    return PreprocessingChoice(
        markers=marker_names(choices["markers"]),
        panel=choices["panel"],
        transform=choices["transform"],
        cofactor=cofactor(choices["cofactor"]),
        compensate=compensation(choices["compensate"]),
    )


def cofactor(number: float | None) -> float | None:
    """What ``--cofactor`` asks for."""
    from cytomoe.preprocessing.transform import refuse_cofactor

    if number is not None:
        refuse_cofactor(number, f"--cofactor {number:g}")
    return number


def compensation(text: str) -> CompensateMode:
    """What ``--compensate`` asks for."""
    from cytomoe.preprocessing.spillover_table import compensate_mode

    return compensate_mode(text)


def settings(choices: dict[str, Any]) -> Settings:
    """What ``model_options`` ask for."""
    return preset(choices["preset"], **{name: choices[name] for name in CHANGES})


def _refuse_number(_: click.Context, option: click.Parameter, value: str | None) -> None:
    """Refuse a number of clusters, as FlowSOM's users would give it, with what there is in its place."""
    if value is not None:
        raise click.UsageError(
            f"{option.opts[0]}: cytomoe finds the number of clusters; --resolution asks for more or fewer, --experts "
            f"bounds it, and cytomoe recut RUN --clusters {value} merges them afterwards."
        )


files_argument = click.argument("files", nargs=-1, required=True, type=FILE)

marker_options = _together(
    click.option(
        "--markers",
        metavar="NAMES",
        help="Markers to use, by antigen or channel, separated by commas: CD3,CD4 (one that holds a "
        "comma in double quotes). type: all but signalling "
        "proteins and reporters. Default: every protein of the file.",
    ),
    click.option(
        "--panel",
        type=FILE,
        metavar="CSV",
        help="Table with the columns channel, marker, use, cofactor, in place of --markers.",
    ),
    click.option(
        "--transform",
        type=click.Choice(["auto", "arcsinh", "logicle", "none"]),
        default="auto",
        show_default=True,
        help="What is done to marker values. auto: arcsinh.",
    ),
    click.option(
        "--cofactor",
        type=float,
        help="Cofactor of arcsinh, 0.001 to 1,000,000. Default: 5 for mass, 150 for fluorescence cytometry.",
    ),
    click.option(
        "--compensate",
        metavar="[auto|yes|no|CSV]",
        default="auto",
        show_default=True,
        help="Compensate with the file's spillover matrix, or with that of a table, as FlowJo and flowCore write it. "
        "auto: fluorescence files that have one.",
    ),
)

model_options = _together(
    click.option("--clusters", hidden=True, expose_value=False, callback=_refuse_number),
    click.option(
        "--experts",
        type=click.IntRange(1, MOST_EXPERTS),
        help=f"Upper bound on the number of clusters. Default: {_DEFAULTS.experts}.",
    ),
    click.option(
        "--resolution",
        type=click.FloatRange(0.1, 10),
        help="Larger: more, smaller clusters; 2 finds rarer populations, 0.5 only the clearest. Default: "
        f"{_DEFAULTS.resolution:g}.",
    ),
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        default="default",
        show_default=True,
        help="default: fast and accurate; paper: the settings published with MoE-Sim-VAE.",
    ),
    click.option(
        "--similarity",
        type=click.Choice(get_args(SimilarityName)),
        help=f"Which cells count as alike. Default: {_DEFAULTS.similarity}.",
    ),
    click.option(
        "--metric", type=click.Choice(get_args(Metric)), help=f"Distance between cells. Default: {_DEFAULTS.metric}."
    ),
    click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of all randomness."),
    click.option(
        "--subsample",
        type=click.IntRange(min=2),
        metavar="N",
        help="Fit on N events, drawn evenly from the samples; all events get a label. Default: 50,000 at most.",
    ),
)

reference_option = click.option(
    "--reference",
    metavar="CSV",
    help="Table of populations to name the clusters after, with the columns population, positive, negative; or one "
    "that ships with cytomoe: pbmc, bone_marrow.",
)

min_population_option = click.option(
    "--min-population",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Gates with fewer events are left out of the measures.",
)

gate_channel_options = _together(
    click.option(
        "--gate-channel",
        metavar="CHANNEL",
        help="Channel that holds the number of each event's gate; 0 or NaN: no gate.",
    ),
    click.option(
        "--gate-names",
        type=FILE,
        metavar="CSV",
        help="Names behind the numbers of --gate-channel: a table with a column of numbers and one of names.",
    ),
)
gate_options = _together(
    click.option(
        "--gate-pattern",
        metavar="PATTERN",
        help="Pattern of file names where each file holds one gated population: '{plate}_{gate}_{well}.fcs'.",
    ),
    gate_channel_options,
    click.option("--gate-file", metavar="CSV[:COLUMN]", help="Table with the gate of each event, a row per event."),
    min_population_option,
)


def gate_source(choices: dict[str, Any]) -> GateSource:
    """Where ``gate_options`` say that the gates stand."""
    from cytomoe.runs.gating import GateSource

    of_prior = choices["gate_channel"] is None and choices.get("prior_channel") is not None
    names = None if of_prior else choices["gate_names"]
    return GateSource(choices["gate_pattern"], choices["gate_channel"], choices.get("gate_file"), names)


def prior_source(choices: dict[str, Any]) -> PriorSource:
    """Where known cells stand; the names of gates are those of known cells too where both come as numbers."""
    from cytomoe.runs.gating import PriorSource

    names = None if choices["prior_channel"] is None else choices["gate_names"]
    return PriorSource(choices["prior"], choices["prior_channel"], names)


samples_option = click.option(
    "--samples",
    type=FILE,
    metavar="CSV",
    help="Table of the samples with the columns sample (as in abundance.csv, or the name of the file), file where a "
    "sample is to be called otherwise, and any others (condition, batch, patient), carried into the results.",
)

data_set_option = click.option(
    "--data-set",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Which data set to read of files that hold several (LMD).",
)

truncated_option = click.option(
    "--allow-truncated",
    is_flag=True,
    help="Read files that break off as far as whole events go, and say how many are missing. Default: refuse them.",
)

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute. auto: a CUDA device if there is one.",
)

unassigned_option = click.option(
    "--unassigned",
    is_flag=True,
    help="Events with a marker far outside the range of their cluster get cluster 0, unassigned: 4% of events like "
    "those of the fit, most of a population that the fit never saw. No row is left out. Default: all get a cluster.",
)

nan_option = click.option(
    "--nan",
    type=click.Choice(["refuse", "drop", "zero"]),
    default="refuse",
    show_default=True,
    help="Events with NaN or infinite values in a channel that is used: refuse their file; drop: train on the others, "
    "and give them cluster 0, unassigned, in their own row; zero: set the values to 0.",
)

h5ad_option = click.option(
    "--h5ad",
    type=click.Choice(["auto", "yes", "no"]),
    default="auto",
    show_default=True,
    help="Write cells.h5ad, all events as AnnData. auto: up to 500,000 events.",
)


def merge_options(default: str) -> Callable[[F], F]:
    """Options of the commands that copy a run with fewer clusters; ``default`` is the copy's folder."""
    return _together(
        click.option("--out", type=FILE, metavar="DIR", help=f"Folder of the result. Default: {default}."),
        click.option("--no-report", is_flag=True, help="Do not make report.html; cytomoe report makes it later."),
        click.option("--force", is_flag=True, help="Replace the results of an earlier run in the same folder."),
        click.option("--quiet", is_flag=True, help="Print nothing but errors and the place of the results."),
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
    )


output_options = _together(
    click.option(
        "--out",
        type=FILE,
        metavar="DIR",
        help="Folder of the results. Default: <first file>_cytomoe in the working directory.",
    ),
    h5ad_option,
    click.option("--no-report", is_flag=True, help="Do not make report.html; cytomoe report makes it later."),
    click.option("--force", is_flag=True, help="Replace the results of an earlier run in the same folder."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors and the place of the results."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
)
