"""The verdict on a batch: what its samples and tables mean, in words, with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cytomoe.drift import MOST_UNFIT
from cytomoe.fit_summary import STABLE, UNSTABLE
from cytomoe.io.remarks import is_remark
from cytomoe.reporting.doublets import tell_doublets
from cytomoe.reporting.findings import Finding, by_weight, mostly_lost, named
from cytomoe.reporting.judges import judge_names, judge_one_sample, judge_stability
from cytomoe.reporting.moved import CAUSES, FAR, OF_OTHER_MODELS, judge_moved
from cytomoe.words import counted, listed, percent

if TYPE_CHECKING:
    import pandas as pd

    from cytomoe.reporting.plates import BatchSummary, PlateDrift

# A sample with less than this share of the median number of events is told.
_FEW = 0.2
_LIE_FAR = (
    "Another scale, swapped channels or another stain do this, and very different proportions of the populations: see "
    "Drift, and look at the files before you compare."
)


def judge_batch(summary: BatchSummary) -> list[Finding]:
    """All findings about a batch, the serious ones first."""
    judges = (
        _failures, _warnings, _drift, _stability, _unassigned, _few_events, _one_sample_clusters, _moved, _names,
        _doublets, _gates,
    )  # fmt: skip
    return by_weight([finding for judged in judges for finding in judged(summary)])


def _failures(summary: BatchSummary) -> list[Finding]:
    n_failed, n_done = len(summary.failed), len(summary.abundance)
    if not n_failed:
        return [
            Finding(
                "good",
                f"All {n_done} samples were clustered" if n_done > 1 else "The sample was clustered",
                "None failed.",
            )
        ]
    return [
        Finding(
            "check",
            f"{n_failed} of {counted(n_failed + n_done, 'sample')} failed",
            f"{named(summary.failed['sample'].tolist())}: the reasons stand below.",
            "They are in no figure and no table. Mend the files and run the same command with --resume: the others are "
            "not done again.",
        )
    ]


def _warnings(summary: BatchSummary) -> list[Finding]:
    """Warnings of the fit of all, and how many samples have some of their own."""
    found = [Finding("check", "The fit gave a warning:", f"{warning.rstrip('.')}.") for warning in summary.warnings]
    own = {name: [w for w in warnings if not is_remark(w)] for name, warnings in summary.sample_warnings.items()}
    warned = [name for name, warnings in own.items() if warnings]
    if warned:
        first = own[warned[0]][0].rstrip(".")
        found.append(
            Finding(
                "note",
                f"{counted(len(warned), 'sample')} with warnings of their own",
                f"{named(warned)}. The first: {first}.",
                "See the run.json of each.",
            )
        )
    return found


def _drift(summary: BatchSummary) -> list[Finding]:
    return judge_drift(summary.drift)


def judge_drift(drift: PlateDrift | None) -> list[Finding]:
    """Findings about samples that are not like the cells of the fit; none where the drift is not known."""
    if drift is None:
        return []
    found = []
    left = drift.distance.index[drift.left_range.any(axis=1)].tolist()
    if left:
        markers = [marker for marker in drift.left_range if drift.left_range[marker].any()]
        found.append(
            Finding(
                "check",
                f"In {counted(len(left), 'sample')} values left the range of the fit",
                f"{named(left)}: {', '.join(markers)}.",
                "Are stain, instrument settings and units the same? See Drift.",
            )
        )
    unfit = drift.unfit.index[drift.unfit > MOST_UNFIT].tolist()
    if unfit:
        found.append(
            Finding(
                "check",
                f"In {counted(len(unfit), 'sample')} many events fit no cluster",
                f"{named([f'{name} ({percent(drift.unfit[name])})' for name in unfit])}.",
                "They may be populations that the fit has not seen, or damaged cells.",
            )
        )
    found += [
        Finding("check", "Markers of some samples lie far from those of the fit", f"{line}.", _LIE_FAR)
        for line in _tell_far(drift.distance, drift.limits)
    ]
    if not found:
        of_enough = drift.distance[drift.limits <= FAR]
        highest = (drift.distance if of_enough.empty else of_enough).stack()
        sample, marker = highest.idxmax()
        found.append(
            Finding(
                "good",
                "The markers of all samples stay in the range of the fit",
                f"The largest distance is that of {marker} in {sample}, {highest.max():.2f} "
                "(0 is the same, 1 has no value in common).",
            )
        )
    return found


def _tell_far(distance: pd.DataFrame, limits: pd.Series[float]) -> list[str]:
    """A line that names the samples with a marker far from that of the fit, the furthest first, if there are some."""
    furthest = distance.max(axis=1).sort_values(ascending=False, kind="stable")
    far = furthest.index[furthest > limits.reindex(furthest.index)]
    if far.empty:
        return []
    told = []
    for sample in far:
        markers = distance.loc[sample].sort_values(ascending=False, kind="stable")
        told.append(
            f"{sample} ({', '.join(f'{name} {value:.2f}' for name, value in markers[:3].items() if value > FAR)})"
        )
    return [f"{listed(told, 6)}: distance of the distribution above {FAR:g}; 0 is the same, 1 has no value in common"]


def _stability(summary: BatchSummary) -> list[Finding]:
    """Clusters of the model that another look at the same cells would not find again."""
    if summary.loose is not None:
        return _own_stability(summary.loose)
    clusters = summary.clusters
    fit = " It is that of the model's fit, not of these samples." if summary.mode == "model" else ""
    return judge_stability(
        clusters["stability"].to_numpy(dtype=np.float64),
        clusters["events"].to_numpy(dtype=np.int64),
        clusters["number"].tolist(),
        what="cluster",
        look_at="their marker profiles",
        scale=f"From {STABLE:g} a cluster is stable, below {UNSTABLE:g} doubtful.{fit}",
    )


def _own_stability(loose: pd.DataFrame) -> list[Finding]:
    """Clusters of models of their own that another look at the same cells would not find again."""
    n_loose, n = int(loose["loose"].sum()), int(loose["clusters"].sum())
    if not n:
        return []
    if not n_loose:
        return [Finding("good", f"The clusters of all samples are stable ({STABLE:g} or more)", "")]
    most = loose[loose["loose"] > 0].sort_values("share", ascending=False, kind="stable")
    told = [f"{row.Index} ({row.loose}: {percent(row.share)} of its events)" for row in most.itertuples()]
    return [
        Finding(
            "note",
            f"{n_loose} of {counted(n, 'cluster')} "
            f"{'is less than stable in its sample' if n_loose == 1 else 'are less than stable in their samples'}",
            f"{named(told)}; below {STABLE:g}, see clusters.csv of each.",
            "Small samples have such clusters. One model for all (without --per-sample) knows more cells.",
        )
    ]


def _unassigned(summary: BatchSummary) -> list[Finding]:
    if not summary.unassigned:
        return []
    events = int(summary.abundance["events"].sum())
    return [
        Finding(
            "good",
            f"{counted(summary.unassigned, 'event')} {'is' if summary.unassigned == 1 else 'are'} unassigned",
            f"{percent(summary.unassigned / events)} of the events are in no cluster; shares are of all events.",
            "cytomoe report makes the report of a sample, which tells why.",
        )
    ]


def _few_events(summary: BatchSummary) -> list[Finding]:
    events = summary.abundance.set_index("sample")["events"]
    if len(events) < 3:
        return []
    few = events.index[events < _FEW * events.median()].tolist()
    if not few:
        return []
    return [
        Finding(
            "note",
            f"{counted(len(few), 'sample')} with few events",
            f"{named([f'{name} ({events[name]:,})' for name in few])}; the median is {int(events.median()):,}.",
            "Shares of rare clusters are uncertain there.",
        )
    ]


def _one_sample_clusters(summary: BatchSummary) -> list[Finding]:
    counts = summary.abundance[list(summary.clusters.index)].to_numpy(dtype=np.int64)
    samples, numbers = summary.abundance["sample"].tolist(), summary.clusters["number"].tolist()
    return judge_one_sample(counts, samples, numbers, what="cluster")


def _moved(summary: BatchSummary) -> list[Finding]:
    """Wells in which the shares of clusters are unlike those of the others, or of the fit."""
    counts = summary.abundance[list(summary.clusters.index)].to_numpy(dtype=np.int64)
    samples, numbers = summary.abundance["sample"].tolist(), summary.clusters["number"].tolist()
    events = summary.abundance["events"].to_numpy(dtype=np.int64)
    causes = OF_OTHER_MODELS if summary.mode == "per-sample" else CAUSES
    return judge_moved(counts, samples, numbers, what="cluster", fitted=summary.fitted, events=events, causes=causes)


def _names(summary: BatchSummary) -> list[Finding]:
    rows = summary.clusters.rename(columns={"number": "cluster"}).to_dict("records")
    return judge_names(rows, what="cluster")


def _doublets(summary: BatchSummary) -> list[Finding]:
    """Clusters that may be doublets; how large their events are stands in the report of each sample."""
    clusters = summary.clusters.set_index("number")
    return tell_doublets(clusters["population"].to_dict(), clusters["events"].to_dict(), {})


def _gates(summary: BatchSummary) -> list[Finding]:
    measures = summary.measures
    if measures is None:
        return []
    if measures.empty:
        return [Finding("note", "No gate of any sample is large enough to measure", "See --min-population.")]
    parts = [
        f"{title} {np.median(values):.3f} (lowest {values.min():.3f} in {values.idxmin()})"
        for title, values in (
            ("F-measure", measures["f_measure"]),
            ("mean F1", measures["mean_f1"]),
        )
    ]
    detail = f"Median over the samples, events in one gate only: {', '.join(parts)}."
    mostly = [row.Index for row in measures.itertuples() if mostly_lost(row.gates_lost, row.gates)]
    lost = [f"{row.Index} ({row.gates_lost} of {row.gates})" for row in measures.itertuples() if row.gates_lost]
    if not lost:
        return [Finding("good", f"Measured against the gates of {counted(len(measures), 'sample')}", detail)]
    advice = (
        "Look whether the markers chosen tell the gated populations apart; evaluation.csv of each sample names them."
    )
    if mostly:
        title = f"In {counted(len(mostly), 'sample')} half of the gates or more match no cluster well"
        return [Finding("check", title, f"{named(mostly)}. {detail}", advice)]
    title = f"In {counted(len(lost), 'sample')} some gates match no cluster well"
    return [Finding("note", title, f"{named(lost)}. {detail}", advice)]
