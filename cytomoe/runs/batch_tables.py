"""What a batch says of all its samples together: tables, report and manifest."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cytomoe import __version__
from cytomoe.io.run_folder import (
    MANIFEST,
    distinct_events,
    read_clusters,
    read_drift,
    read_evaluation,
    read_manifest,
    read_states,
)
from cytomoe.io.written import write_csv, write_json
from cytomoe.plates.matching import match_clusters, one_spelling
from cytomoe.plates.samples import Sample
from cytomoe.reporting.findings import lost_gates
from cytomoe.reporting.moved import FAR, far_from
from cytomoe.reporting.plate_verdict import judge_drift
from cytomoe.reporting.plates import BatchSummary, PlateDrift, write_plate_report
from cytomoe.runs import batch_clusters
from cytomoe.runs.manifest import software
from cytomoe.runs.medians import free_names
from cytomoe.runs.outputs import with_conditions
from cytomoe.twins import warn_of_shared_samples
from cytomoe.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cytomoe.runs.batch import BatchJob
    from cytomoe.runs.job import Stopwatch
    from cytomoe.runs.wells import WellResult


_MEMBERS = pd.DataFrame({"sample": [], "cluster": [], "number": [], "events": []})  # of a batch without results


def write_tables(
    job: BatchJob, results: dict[str, WellResult], choices: dict[str, Any], warnings: Sequence[str], watch: Stopwatch
) -> tuple[list[dict[str, Any]], int | None]:
    """Write the tables of all samples, the report and, last, the manifest; returns the clusters and unassigned events.

    These are None where every event has a cluster.

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
    watch
        Seconds of the steps so far.
    """
    good = [sample for sample in job.samples if not results[sample.name].problem]
    manifests = {s.name: read_manifest(_folder(job, s)) for s in good}
    clusters = {s.name: read_clusters(_folder(job, s), manifests[s.name]) for s in good}
    names = pd.DataFrame([_about(sample) for sample in good], columns=_about_columns(job.samples))
    abundance, described = names.assign(events=pd.Series(dtype=int)), batch_clusters.described({}, _MEMBERS, "cluster")
    profiles = None
    if clusters:
        events = pd.Series({name: distinct_events(manifest) for name, manifest in manifests.items()})
        abundance, described, profiles = _write_clusters(job, names, events, one_spelling(clusters))
    problems = [(name, result.problem) for name, result in results.items() if result.problem]
    failed = pd.DataFrame(problems, columns=["sample", "reason"])
    write_csv(job.out / "failed.csv", failed)
    watch.lap("write")
    loose = batch_clusters.less_than_stable(clusters) if job.mode == "per-sample" else None
    _write_report(job, abundance, described, profiles, failed, manifests, warnings, loose)
    watch.lap("report")
    manifest = {
        "version": __version__,
        "command": shlex.join(job.command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "mode": job.mode,
        "samples": {
            name: {"events": r.events, "clusters": r.clusters, "seconds": r.seconds}
            | ({"problem": r.problem} if r.problem else {})
            for name, r in results.items()
        },
        "failed": len(problems),
        "seconds": dict(watch.seconds),
        "warnings": list(warnings),
        **choices,
        "software": software(),
    }
    write_json(job.out / MANIFEST, manifest)
    unassigned = int(abundance["unassigned"].sum()) if "unassigned" in abundance else None
    return batch_clusters.printed(described, int(abundance["events"].sum())), unassigned


def shared_between(job: BatchJob, results: dict[str, WellResult]) -> list[str]:
    """A warning where samples hold the same events, of which a fit of all samples has told already."""
    if job.mode == "pooled":
        return []
    good = [sample for sample in job.samples if not results[sample.name].problem]
    return warn_of_shared_samples({s.name: str(read_manifest(_folder(job, s)).get("sketch", "")) for s in good})


def left_over(job: BatchJob, results: dict[str, WellResult]) -> list[str]:
    """A warning of folders that an earlier batch left for samples that this one does not have, or that failed."""
    wells = job.out / "wells"
    used = {name for name, result in results.items() if not result.problem}
    found = sorted(path.parent.name for path in wells.glob(f"*/{MANIFEST}"))
    old = [name for name in found if name not in used]
    if not old:
        return []
    which = "are results" if len(old) > 1 else "is a result"
    return [
        f"in {wells} {listed(old)} {which} of an earlier batch, and in no table of this one; remove what you don't need"
    ]


def unlike_the_fit(job: BatchJob, results: dict[str, WellResult]) -> list[str]:
    """Warnings of samples whose markers or cells are unlike those that the model of all was fitted on."""
    good = [sample for sample in job.samples if not results[sample.name].problem]
    drift = _drift(job, {s.name: read_manifest(_folder(job, s)) for s in good})
    return [
        f"{finding.title[0].lower()}{finding.title[1:]}: {finding.detail.rstrip('.')}"
        for finding in judge_drift(drift)
        if finding.level == "check"
    ]


def _write_clusters(
    job: BatchJob, names: pd.DataFrame, events: pd.Series[int], clusters: dict[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write the tables that need clusters.

    Parameters
    ----------
    job
        The batch.
    names
        A row for each sample that did not fail, with what the user says of it.
    events
        Events of each of them, each counted once.
    clusters
        ``clusters.csv`` of each of them, with the same markers.

    Returns
    -------
    DataFrame
        ``abundance.csv``.
    DataFrame
        As :func:`cytomoe.runs.batch_clusters.described` gives it.
    DataFrame
        As :func:`cytomoe.runs.batch_clusters.profiles` gives it.
    """
    label, counts = "cluster", _counts(clusters)
    members = counts.reset_index().assign(number=lambda table: table["cluster"])
    if job.mode == "per-sample":
        matching = match_clusters(clusters)
        write_csv(job.out / "matching.csv", matching)
        label, counts = "plate_cluster", matching.set_index(["sample", "plate_cluster"])["events"]
        members = matching.rename(columns={"plate_cluster": "number"})
    wide = counts.unstack(fill_value=0).reindex(names["sample"], fill_value=0)
    wide.columns = [f"{label}_{number}" for number in wide.columns]
    if job.unassigned or job.nan == "drop":
        wide.insert(0, "unassigned", events - wide.sum(axis=1))
    wide.insert(0, "events", events)
    abundance = names.merge(wide.reset_index(), on="sample")
    write_csv(job.out / "abundance.csv", abundance)
    medians = pd.concat(clusters, names=["sample"]).reset_index(level=0)
    about, numbers = names.set_index("sample"), members.set_index(["sample", "cluster"])["number"]
    numbers = numbers if job.mode == "per-sample" else None
    write_csv(job.out / "medians.csv", _described_medians(medians[medians["events"] > 0], about, numbers))
    _write_states(job, about, numbers)
    described, profiles = batch_clusters.described(clusters, members, label), batch_clusters.profiles(clusters, members)
    write_csv(job.out / "clusters.csv", batch_clusters.table_of(described, profiles, int(events.sum())))
    return abundance, described, profiles


def _described_medians(medians: pd.DataFrame, about: pd.DataFrame, numbers: pd.Series[int] | None) -> pd.DataFrame:
    """Medians with what the user says of the samples and, of models of their own, plate-wide numbers of clusters."""
    of_user = [name for name in medians if name in about]  # names of proteins: all other columns of ours are reserved
    medians = medians.rename(columns=dict(zip(of_user, free_names(of_user, about.columns), strict=True)))
    table = with_conditions(medians.reset_index(drop=True), about)
    if numbers is not None:
        found = numbers.reindex(pd.MultiIndex.from_frame(table[["sample", "cluster"]]))
        table.insert(table.columns.get_loc("cluster") + 1, "plate_cluster", found.astype("Int64").to_numpy())
    return table


def _write_states(job: BatchJob, about: pd.DataFrame, numbers: pd.Series[int] | None) -> None:
    """Write ``states.csv`` of all samples; results of earlier versions have none."""
    found = {name: read_states(job.out / "wells" / name) for name in about.index}
    tables = {name: table.drop(columns="sample") for name, table in found.items() if table is not None and len(table)}
    if not tables:
        (job.out / "states.csv").unlink(missing_ok=True)  # of an earlier batch with other markers
        return
    states = pd.concat(tables, names=["sample"]).reset_index(level=0)
    write_csv(job.out / "states.csv", _described_medians(states, about, numbers))


def _counts(clusters: dict[str, pd.DataFrame]) -> pd.Series[int]:
    """Events of each cluster of each sample, by sample and cluster."""
    by_sample = {name: table.set_index("cluster")["events"] for name, table in clusters.items()}
    return pd.concat(by_sample, names=["sample"])


def _folder(job: BatchJob, sample: Sample) -> Path:
    return job.out / "wells" / sample.name


def _drift(job: BatchJob, manifests: dict[str, dict[str, Any]]) -> PlateDrift | None:
    """Drift of all samples, from their folders."""
    if job.mode == "per-sample" or not manifests:
        return None
    drift = pd.concat([read_drift(job.out / "wells" / name).assign(sample=name) for name in manifests])
    unfit = {name: found["drift"]["fits_no_expert"].get(name, 0.0) for name, found in manifests.items()}
    markers = list(dict.fromkeys(drift["marker"]))
    distance, left = (
        drift.pivot(index="sample", columns="marker", values=what).reindex(list(unfit))[markers]
        for what in ("distance", "left_range")
    )
    limits = pd.Series(FAR, index=distance.index)
    if "events" in drift:  # results of earlier versions do not tell
        limits.update(far_from(drift.groupby("sample")["events"].first()))
    return PlateDrift(distance.astype(float), left.astype(bool), pd.Series(unfit, dtype=float), limits)


def _fitted_shares(job: BatchJob, manifests: dict[str, dict[str, Any]]) -> NDArray[np.float64] | None:
    """Share of each cluster in the fit of the model that was given; results of earlier versions do not tell."""
    found = next((m["fitted_shares"] for m in manifests.values() if "fitted_shares" in m), None)
    return None if job.mode != "model" or found is None else np.asarray(found, dtype=np.float64)


def _measures(job: BatchJob, samples: Iterable[str]) -> pd.DataFrame | None:
    """Both measures of each sample that could be measured, on the events in one gate only, and gates that were lost."""
    if not job.gates:
        return None
    rows = {}
    for name in samples:
        block = read_evaluation(job.out / "wells" / name)["unique"]
        if block["f_measure"] is not None:
            n_lost = len(lost_gates(block))
            rows[name] = (block["f_measure"], block["mean_f1"], block["n_gated"], len(block["populations"]), n_lost)
    columns = ["f_measure", "mean_f1", "events", "gates", "gates_lost"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _write_report(
    job: BatchJob,
    abundance: pd.DataFrame,
    clusters: pd.DataFrame,
    profiles: pd.DataFrame | None,
    failed: pd.DataFrame,
    manifests: dict[str, dict[str, Any]],
    warnings: Sequence[str],
    loose: pd.DataFrame | None,
) -> None:
    places = {sample.name: (sample.plate, sample.well) for sample in job.samples}
    failed = failed.assign(
        plate=[places[name][0] for name in failed["sample"]], well=[places[name][1] for name in failed["sample"]]
    )
    measures = _measures(job, manifests)
    if measures is not None:
        write_csv(job.out / "measures.csv", measures.rename_axis("sample").reset_index())
    summary = BatchSummary(
        title=job.out.absolute().name,
        mode=job.mode,
        abundance=abundance,
        clusters=clusters,
        profiles=profiles,
        loose=loose,
        failed=failed,
        command=shlex.join(job.command),
        drift=_drift(job, manifests),
        fitted=_fitted_shares(job, manifests),
        measures=measures,
        warnings=warnings,
        sample_warnings={name: manifest["warnings"] for name, manifest in manifests.items()},
    )
    write_plate_report(job.out, summary)


def _about_columns(samples: Sequence[Sample]) -> list[str]:
    return ["sample", "plate", "well", *dict.fromkeys(name for sample in samples for name, _ in sample.fields)]


def _about(sample: Sample) -> dict[str, str]:
    return {"sample": sample.name, "plate": sample.plate, "well": sample.well, **dict(sample.fields)}
