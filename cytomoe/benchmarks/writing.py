"""The folder of an experiment: tables as CSV and Markdown, figures, every row, and the manifest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandas as pd

from cytomoe.io.atomic import atomic_path
from cytomoe.io.written import write_csv, write_json
from cytomoe.runs.manifest import software
from cytomoe.words import counted

if TYPE_CHECKING:
    from cytomoe.benchmarks.base import Experiment, Outcome, Report, Request

# Every output of a quick run begins with this.
QUICK = "QUICK RUN: a first look with few runs, on less data where there is much; its numbers are no results."


def write_report(
    outcome: Outcome,
    experiment: Experiment,
    request: Request,
    rows: pd.DataFrame,
    *,
    command: Sequence[str],
    jobs: int,
) -> None:
    """Write ``report.md``, a CSV per table, ``rows.csv``, the figures, and last ``run.json``.

    Parameters
    ----------
    outcome, experiment, request
        What was done and found.
    rows
        All measurements, one row each.
    command
        What the user typed.
    jobs
        Units computed at a time.
    """
    from cytomoe.benchmarks.base import MANIFEST

    out, report = outcome.out, outcome.report
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    write_csv(out / "rows.csv", rows.loc[:, [not str(name).startswith("_") for name in rows.columns]])
    for title, table in report.tables.items():
        write_csv(out / f"{file_name(title)}.csv", table)
    for name, figure in report.figures.items():
        with atomic_path(out / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=120, bbox_inches="tight")
    head = [
        f"# {experiment.title}",
        *([QUICK] if request.quick else []),
        f"`{shlex.join(command)}`, {finished[:10]}, preset {request.preset}, "
        f"{counted(len(request.seeds), 'run')}, {counted(jobs, 'job')}; "
        f"{outcome.seconds['all units']:,.0f} s over all units, {_machine()}",
    ]
    failures = [f"Failed: {key}: {reason}" for key, reason in outcome.failed.items()]
    figures = [f"![{name}]({name}.png)" for name in report.figures]
    text = "\n\n".join([*head, *failures, *as_markdown(report), *figures]) + "\n"
    with atomic_path(out / "report.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    manifest = {
        "experiment": experiment.name,
        "command": shlex.join(command),
        "finished": finished,
        "quick": request.quick,
        "request": request.to_dict(),
        "settings": dict(experiment.settings(request)),
        "software": software(),
        "machine": _machine(),
        "jobs": jobs,
        "seconds": outcome.seconds,
        "failed": outcome.failed,
    }
    write_json(out / MANIFEST, manifest)


def as_markdown(report: Report) -> list[str]:
    """Blocks of Markdown: the summary as a list, then each table under its title."""
    blocks = ["\n".join(f"- {line}" for line in report.summary)]
    for title, table in report.tables.items():
        blocks += [f"## {title}", markdown_table(table)]
    return blocks


def markdown_table(table: pd.DataFrame) -> str:
    """Markdown of a table: numbers to three decimals, missing values as a dash."""
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    lines += [[_cell(value) for value in row] for row in table.itertuples(index=False, name=None)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain_table(table: pd.DataFrame) -> str:
    """The table with aligned columns, for the terminal."""
    rows = [list(map(str, table.columns))]
    rows += [[_cell(value) for value in row] for row in table.itertuples(index=False, name=None)]
    widths = [max(len(row[i]) for row in rows) for i in range(table.shape[1])]
    left = [pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind) for kind in table.dtypes]
    return "\n".join(
        "  ".join(
            text.ljust(width) if to_left else text.rjust(width)
            for text, width, to_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    )


def mean_and_spread(values: pd.Series) -> str:
    """``mean ± standard deviation``, or the one value there is."""
    known = values.dropna()
    if known.empty:
        return "-"
    spread = f" ± {known.std():.3f}" if len(known) > 1 else ""
    return f"{known.mean():.3f}{spread}"


def file_name(title: str) -> str:
    """Name of a table's file: lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _machine() -> str:
    """The machine, and its load of the last 15 minutes: above the cores, seconds are longer than they need be."""
    import os
    import platform

    load = f", load {os.getloadavg()[2]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{platform.machine()}, {os.cpu_count()} cores{load}"
