"""What a batch says of all its samples together: tables, report and manifest."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pandas as pd

from cytomoe import __version__
from cytomoe.io.tables import read_safe_table
from cytomoe.plates.matching import match_clusters
from cytomoe.plates.samples import Sample
from cytomoe.reporting.plates import BatchSummary, write_plate_report
from cytomoe.runs import outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cytomoe.runs.batch import BatchJob
    from cytomoe.runs.wells import WellResult


def write_tables(
    job: BatchJob, results: dict[str, WellResult], choices: dict[str, Any], warnings: Sequence[str]
) -> None:
    """Write the tables of all samples, the report and, last, the manifest.

    Parameters
    ----------
    job
        The batch.
    results
        What became of each sample, by name.
    choices
        All that decides the results but files and model, for the manifest.
    warnings
        What the user should know of the events that a model of all was fitted on.
    """
    good = [sample for sample in job.samples if not results[sample.name].problem]
    clusters = {s.name: read_safe_table(job.out / "wells" / s.name / "clusters.csv") for s in good}
    names = pd.DataFrame([_about(sample) for sample in good], columns=_about_columns(job.samples))
    abundance, called = names.assign(events=pd.Series(dtype=int)), dict[str, str]()
    if clusters:
        label, counts, names_by_number = "cluster", _counts(clusters), _names(clusters)
        if job.mode == "per-sample":
            matching = match_clusters(clusters)
            outputs.write_csv(job.out / "matching.csv", matching)
            label, counts = "plate_cluster", matching.set_index(["sample", "plate_cluster"])["events"]
            names_by_number = _matched_names(matching, clusters)
        wide = counts.unstack(fill_value=0).reindex(names["sample"]).astype(int)
        wide.columns = [f"{label}_{number}" for number in wide.columns]
        events = pd.Series({sample.name: results[sample.name].events for sample in good})
        wide.insert(0, "events", events)
        if job.unassigned or job.nan == "drop":
            wide.insert(1, "unassigned", events - wide.sum(axis=1) + events)
        abundance = names.merge(wide.reset_index(), on="sample")
        called = {f"{label}_{number}": name for number, name in names_by_number.items()}
        outputs.write_csv(job.out / "abundance.csv", abundance)
        medians = pd.concat(clusters, names=["sample"]).reset_index(level=0)
        outputs.write_csv(job.out / "medians.csv", medians)
    problems = [(name, result.problem) for name, result in results.items() if result.problem]
    failed = pd.DataFrame(problems, columns=["sample", "reason"])
    outputs.write_csv(job.out / "failed.csv", failed)
    _write_report(job, abundance, called, failed)
    manifest = {
        "version": __version__,
        "command": shlex.join(job.command),
        "mode": job.mode,
        "samples": {
            name: {"events": r.events, "clusters": r.clusters, "seconds": r.seconds}
            | ({"problem": r.problem} if r.problem else {})
            for name, r in results.items()
        },
        "failed": len(problems),
        "warnings": list(warnings),
        **choices,
        "software": outputs.software(),
    }
    outputs.write_json(job.out / outputs.MANIFEST, manifest)


def _counts(clusters: dict[str, pd.DataFrame]) -> pd.Series[int]:
    """Events of each cluster of each sample, by sample and cluster."""
    by_sample = {name: table.set_index("cluster")["events"] for name, table in clusters.items()}
    return pd.concat(by_sample, names=["sample"])


def _names(clusters: dict[str, pd.DataFrame]) -> dict[int, str]:
    """What the clusters of one model are called, by their number: the population where it is named, else the label."""
    table = next(iter(clusters.values()))
    column = next((name for name in ("population", "label") if name in table.columns), None)
    return {} if column is None else dict(zip(table["cluster"], table[column].astype(str), strict=True))


def _matched_names(matching: pd.DataFrame, clusters: dict[str, pd.DataFrame]) -> dict[int, str]:
    """What matched clusters are called: as the largest of each is."""
    largest = matching.sort_values("events").drop_duplicates("plate_cluster", keep="last")
    names = {sample: _names({sample: table}) for sample, table in clusters.items()}
    rows = largest[["plate_cluster", "sample", "cluster"]].itertuples(index=False)
    return {int(number): names[sample].get(cluster, "") for number, sample, cluster in rows}


def _write_report(job: BatchJob, abundance: pd.DataFrame, called: dict[str, str], failed: pd.DataFrame) -> None:
    places = {sample.name: (sample.plate, sample.well) for sample in job.samples}
    failed = failed.assign(
        plate=[places[name][0] for name in failed["sample"]], well=[places[name][1] for name in failed["sample"]]
    )
    columns = list(abundance.columns)
    summary = BatchSummary(
        title=job.out.absolute().name,
        mode=job.mode,
        abundance=abundance,
        clusters=[column for column in columns[columns.index("events") + 1 :] if column != "unassigned"],
        called=called,
        failed=failed,
        command=shlex.join(job.command),
    )
    write_plate_report(job.out, summary)


def _about_columns(samples: Sequence[Sample]) -> list[str]:
    return ["sample", "plate", "well", *dict.fromkeys(name for sample in samples for name, _ in sample.fields)]


def _about(sample: Sample) -> dict[str, str]:
    return {"sample": sample.name, "plate": sample.plate, "well": sample.well, **dict(sample.fields)}
