"""Compare the abundance of populations between conditions, from the tables of a run."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cytomoe import __version__
from cytomoe.comparison import compare_abundance, compare_pairs, conditions_of, moved_by_others
from cytomoe.errors import InputError, did_you_mean
from cytomoe.io.atomic import atomic_directory
from cytomoe.io.fcs_names import without_suffix
from cytomoe.io.given_tables import RESERVED
from cytomoe.io.lock import alone
from cytomoe.io.run_folder import is_batch, read_abundance, read_batch, read_clusters, read_manifest
from cytomoe.plates.samples import folder_name
from cytomoe.reporting.colours import cluster_colour
from cytomoe.runs import outputs
from cytomoe.runs.inputs import refuse_to_replace, sha256
from cytomoe.runs.job import Listener
from cytomoe.runs.merge import keep_unknown_apart, population_abundance
from cytomoe.runs.report import made_or_told
from cytomoe.runs.samples import read_samples

# Populations that the figure shows, the surest first.
SHOWN = 12
# How tables say that a value is not known: nothing, or what R, pandas and spreadsheets write.
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan")


@dataclass(frozen=True)
class CompareJob:
    """A comparison to do.

    Attributes
    ----------
    run
        Folder of a run, or of a batch of one model.
    by
        Column of the samples whose values are compared.
    adjust
        Further columns to account for.
    baseline
        Condition over which the changes of the others are given; by default the first that the samples have.
    samples
        Table of the samples, where the run was made without one.
    clusters
        Whether clusters are compared even where populations are named.
    out
        Folder of the result.
    force
        Whether an earlier comparison in ``out`` is replaced.
    report
        Whether ``report.html`` is made.
    command
        What the user typed.
    """

    run: Path
    by: str
    out: Path
    adjust: Sequence[str] = ()
    baseline: str | None = None
    samples: Path | None = None
    clusters: bool = False
    force: bool = False
    report: bool = True
    command: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    table
        See :func:`cytomoe.comparison.compare_abundance`; beside it ``moved_by``, as below, of the populations moved.
    baseline
        Condition over which the changes are given.
    warnings
        What speaks against relying on it.
    moved_by, moved
        See :func:`cytomoe.comparison.moved_by_others`.
    pairs
        See :func:`cytomoe.comparison.compare_pairs`; None where there are two conditions.
    report
        The report, where it was made.
    """

    table: pd.DataFrame
    baseline: str
    warnings: list[str]
    moved_by: list[str]
    moved: list[str]
    pairs: pd.DataFrame | None = None
    report: Path | None = None


def run_compare(job: CompareJob, listener: Listener | None = None) -> Comparison:
    """Compare populations between conditions and write the table, its figure and the report.

    Raises
    ------
    InputError
        If the run has no such column, or too few samples.
    """
    with alone(job.out):
        return _compare(job, listener or Listener())


def _compare(job: CompareJob, listener: Listener) -> Comparison:
    """Compare into an output folder that is ours."""
    refuse_to_replace(job.out, [job.run] if job.samples is None else [job.run, job.samples])
    if job.out.exists() and not job.force:
        raise InputError(f"{job.out} exists already; give another --out, or --force to replace an earlier comparison")
    if job.out.exists() and not (job.out / "comparison.csv").is_file():
        raise InputError(f"{job.out} holds no comparison, so --force does not replace it; give another --out")
    counts, totals, conditions = _tables(job)
    columns = (job.by, *job.adjust)
    _need_columns(job, conditions, columns)
    left_out = _unfit(totals, conditions, columns)
    fit = ~totals.index.isin([sample for samples in left_out.values() for sample in samples])
    counts, totals, conditions = counts[fit], totals[fit], conditions[fit]
    if not fit.any():
        raise InputError(f"no sample is left to compare: {', '.join(left_out)}")
    groups = conditions_of(conditions[job.by], job.baseline)
    warnings = [f"left out, {why}: {', '.join(samples)}" for why, samples in left_out.items()]
    warnings += _doubts(conditions, job.by, job.adjust)
    for warning in warnings:  # too few samples may be left
        listener.warn(warning)
    compared = counts, totals, conditions, job.by, job.adjust, groups[0]
    table = compare_abundance(*compared)
    moved_by, moved = moved_by_others(table, counts, totals, conditions, job.by, job.adjust)
    table["moved_by"] = np.where(table["population"].isin(moved), " + ".join(moved_by), "")
    pairs = compare_pairs(*compared) if len(groups) > 2 else None
    found = Comparison(table, groups[0], warnings, moved_by, moved, pairs)
    with atomic_directory(job.out, replace=job.out.exists()) as folder:
        manifest = _manifest(job, found, conditions[job.by])
        outputs.write_csv(folder / "comparison.csv", table)
        if pairs is not None:
            outputs.write_csv(folder / "pairs.csv", pairs)
        _figure(folder, table, counts.div(totals, axis=0) * 100, conditions[job.by], groups)
        outputs.write_json(folder / "comparison.json", manifest)
        made = _report(folder, job, found, (counts, totals, conditions), manifest, listener) if job.report else None
    return found if made is None else replace(found, report=job.out / made.name)


def _manifest(job: CompareJob, found: Comparison, condition: pd.Series[str]) -> dict[str, Any]:
    """``comparison.json``: what was compared, with what was read."""
    read = [job.run / name for name in ("run.json", "abundance.csv", "clusters.csv")]
    read += [] if job.samples is None else [job.samples]
    return {
        "version": __version__,
        "command": shlex.join(job.command),
        "run": str(job.run.resolve()),
        "inputs": [{"file": path.name, "sha256": sha256(path)} for path in read if path.is_file()],
        "by": job.by,
        "adjust": list(job.adjust),
        "baseline": found.baseline,
        "warnings": found.warnings,
        "samples": condition.to_dict(),
        "moved_by_others": {"populations": found.moved_by, "moved": found.moved} if found.moved else None,
        "test": "quasi-binomial regression, F test; p-values corrected by Benjamini and Hochberg's procedure (of "
        "pairs: over all populations and pairs)",
    }


def _report(
    folder: Path,
    job: CompareJob,
    found: Comparison,
    compared: tuple[pd.DataFrame, pd.Series[int], pd.DataFrame],
    manifest: dict[str, Any],
    listener: Listener,
) -> Path | None:
    """Make ``report.html``; None, with a warning, where that fails."""

    def write() -> Path:
        from cytomoe.reporting.comparisons import ComparisonSummary, write_comparison_report

        counts, totals, conditions = compared
        summary = ComparisonSummary(
            run=job.run.resolve().name,
            by=job.by,
            adjust=job.adjust,
            groups=conditions_of(conditions[job.by], found.baseline),
            table=found.table,
            pairs=found.pairs,
            moved_by=found.moved_by,
            moved=found.moved,
            counts=counts,
            totals=totals,
            conditions=conditions,
            warnings=found.warnings,
            command=manifest["command"],
            inputs=manifest["inputs"],
        )
        return write_comparison_report(folder, summary)

    return made_or_told(write, listener, "the tables are complete")


def _need_columns(job: CompareJob, conditions: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse columns that the table of samples lacks."""
    for column in columns:
        if column not in conditions:
            if conditions.columns.empty:
                raise InputError(
                    f"{job.run} knows no {column} of its samples: give --samples with a table of the columns "
                    f"sample and {column}"
                )
            near = did_you_mean(column, conditions.columns) or f"; it has {', '.join(conditions.columns)}"
            raise InputError(f"the table of samples has no column {column}{near}")


def _unfit(totals: pd.Series[int], conditions: pd.DataFrame, columns: Sequence[str]) -> dict[str, list[str]]:
    """Samples that can't be compared, by the reason."""
    found = {f"no {column} is given": conditions[column].isin(_MISSING) for column in columns}
    found["no events"] = totals == 0
    return {why: totals.index[unfit].tolist() for why, unfit in found.items() if unfit.any()}


def _doubts(conditions: pd.DataFrame, by: str, adjust: Sequence[str]) -> list[str]:
    """What speaks against relying on a comparison of these samples."""
    sizes = conditions[by].value_counts(sort=False)
    doubts = [
        f"{group} has one sample: how much its samples vary is unknown, so no p-value can be relied on"
        for group in sizes.index[sizes == 1]
    ]
    for column in (by, *adjust):
        values = pd.Series(conditions[column].unique())
        alike = values[values.str.casefold().duplicated(keep=False)]
        if len(alike):
            doubts.append(f"{column}: {' and '.join(alike)} differ in capital letters alone, and count as different")
    for column in adjust:
        values = conditions[column]
        if 2 * values.nunique() > len(values) and pd.to_numeric(values, errors="coerce").notna().all():
            doubts.append(f"--adjust {column}: its values are taken for {values.nunique()} groups, not for numbers")
    return doubts


def _tables(job: CompareJob) -> tuple[pd.DataFrame, pd.Series[int], pd.DataFrame]:
    """Counts (samples x populations), events and conditions of the samples."""
    if is_batch(job.run):
        clusters, abundance = read_batch(job.run)
    else:
        manifest = read_manifest(job.run)
        clusters = read_clusters(job.run, manifest)
        abundance = read_abundance(job.run, manifest, clusters)
    clusters = clusters.set_index("cluster")
    counted = [f"cluster_{k}" for k in clusters.index]
    named = "population" in clusters and not job.clusters
    counts = abundance[counted].set_axis([f"{k}: {clusters['label'][k]}" for k in clusters.index], axis=1)
    if named:
        names = keep_unknown_apart(clusters["population"])
        counts = population_abundance(abundance, names)[list(dict.fromkeys(names))]
    counts, totals = counts.set_index(abundance["sample"]), abundance.set_index("sample")["events"]
    if job.samples is not None:
        rows = _given_rows(job.samples, counts.index)
        return counts.loc[rows.index], totals.loc[rows.index], rows
    own = [c for c in abundance.columns if c not in (*counted, "sample", "unassigned") and c not in RESERVED]
    return counts, totals, abundance.set_index("sample")[own].astype(str)


def _given_rows(path: Path, samples: pd.Index) -> pd.DataFrame:
    """What a table says of each sample of a run, in the order of the table: its first condition is the baseline."""
    table = read_samples(path)
    for column in {"sample", "file"} & set(table):  # a sample may be given by the name of its file
        table[column] = [_called(name, samples, of_file=column == "file") for name in table[column]]
    by_file = "file" in table and not set(samples) <= set(table["sample"])
    called = table["file" if by_file else "sample"]
    missing = [sample for sample in samples if sample not in set(called)]
    if missing:
        raise InputError(
            f"--samples {path}: no row for the sample {missing[0]} of the run; to leave it out, give it a row with "
            "nothing in the column that is compared"
        )
    rows = table.drop(columns=["file", "sample"], errors="ignore").set_axis(pd.Index(called, name="sample"))
    rows = rows[rows.index.isin(samples)]
    for sample, same in rows[rows.index.duplicated(keep=False)].groupby(level=0, sort=False):
        differing = [str(column) for column in same if same[column].nunique() > 1]
        if differing:
            raise InputError(f"--samples {path}: the rows of sample {sample} differ in {', '.join(differing)}")
    return rows[~rows.index.duplicated()]


def _called(name: str, samples: pd.Index, *, of_file: bool) -> str:
    """What a run calls a sample that is given by its name, or by that of its file, with more folders or fewer."""
    plain = without_suffix(name)
    parts = Path(plain).parts
    ends = ["/".join(parts[i:]) for i in range(1, len(parts) if of_file else len(parts) - 1)]
    names = [name, plain, folder_name(name), *(each for end in ends for each in (end, folder_name(end)))]
    return next((each for each in names if each in samples), folder_name(plain))


def _figure(
    folder: Path, table: pd.DataFrame, percent: pd.DataFrame, condition: pd.Series[str], groups: Sequence[str]
) -> None:
    """Share of each sample by condition, a panel per population: ``comparison.png`` and ``.svg``."""
    from matplotlib.figure import Figure

    shown = table.head(SHOWN)
    n_columns = min(4, len(shown))
    n_rows = -(-len(shown) // n_columns)
    figure = Figure(figsize=(3 * n_columns, 2.8 * n_rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(n_rows, n_columns, squeeze=False)).ravel()
    for axis, row in zip(axes, shown.itertuples(), strict=False):
        for i, group in enumerate(groups):
            values = percent.loc[condition.index[condition == group], row.population].to_numpy()
            offsets = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.zeros(1)
            axis.plot(i + offsets, values, "o", color=cluster_colour(i + 1), markersize=5)
            axis.hlines(values.mean(), i - 0.25, i + 0.25, color="black", linewidth=1.5)
        axis.set_xticks(range(len(groups)), groups)
        axis.set_xlim(-0.5, len(groups) - 0.5)
        axis.set_ylim(0, max(1.12 * float(percent[row.population].max()), 1e-3))
        adjusted = "too rare to test" if np.isnan(row.p_adjusted) else f"adjusted p {row.p_adjusted:.2g}"
        axis.set_title(f"{textwrap.fill(row.population, 30)}\n{adjusted}", fontsize=9)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.supylabel("% of the sample's events", fontsize=9)
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"comparison.{suffix}", dpi=150)
