"""The verdict: what the numbers of a run mean, in words, with what to do about it.

Each judge looks at one thing and returns what it found.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import numpy as np

from cytomoe.fit_summary import STABLE, UNSTABLE
from cytomoe.io.remarks import is_remark, told_once
from cytomoe.naming import is_known
from cytomoe.reporting.doublets import judge_doublets
from cytomoe.reporting.findings import Finding, by_weight, lost_gates, mostly_lost
from cytomoe.reporting.judges import judge_names, judge_one_sample, judge_stability, judge_unassigned
from cytomoe.reporting.moved import judge_markers, judge_moved
from cytomoe.reporting.run_files import RunFiles
from cytomoe.settings import MOST_EXPERTS
from cytomoe.similarity.valleys import SHARE, SMALLEST
from cytomoe.words import counted, percent

# Events of a fit below which one cluster may be for want of events, and events that a population needs to be found.
FEW_FITTED, FEWEST_FOUND = 500, round(SMALLEST / SHARE)
TINY = 10  # events; fewer do not make a population that anyone would gate
UNSURE = 0.5  # below, the model holds another cluster, or several together, for as likely
_SETTLED = 0.02  # fall of the loss, relative; default runs on real wells lie below 0.01


def judge(run: RunFiles) -> list[Finding]:
    """All findings about a run, the serious ones first."""
    judges: list[Callable[[RunFiles], list[Finding]]] = [
        _warnings,
        _counted_twice,
        _convergence,
        _clusters_used,
        _joined_though_apart,
        _stability,
        _unassigned,
        _confidence,
        _tiny_clusters,
        _dominant_cluster,
        _one_sample_clusters,
        _moved,
        _flat_markers,
        _shared_names,
        _doubtful_names,
        judge_doublets,
        _drift,
        _gates,
        _repeatable,
    ]
    return by_weight([finding for judged in judges for finding in judged(run)])


def _warnings(run: RunFiles) -> list[Finding]:
    """The run's own warnings, without the remarks on files."""
    serious = [warning for warning in map(str, run.manifest["warnings"]) if not is_remark(warning)]
    return [Finding("check", "The run gave a warning:", line) for line in told_once(serious)]


def remarks_on_files(run: RunFiles) -> list[str]:
    """What the reader remarked on files whose values are not in doubt, a sentence for each kind."""
    return told_once([warning for warning in map(str, run.manifest["warnings"]) if is_remark(warning)])


def _counted_twice(run: RunFiles) -> list[Finding]:
    """Events that stand in more than one file, which labels.csv has a row for each time."""
    overlaps = run.manifest.get("overlaps")
    if not overlaps:
        return []
    rows, distinct = int(run.manifest["events"]), int(overlaps["distinct_events"])
    return [
        Finding(
            "good",
            f"{rows - distinct:,} rows repeat an event of another file; each event is counted once",
            f"{rows:,} rows hold {distinct:,} events. Counts and shares are of events; labels and FCS files have every "
            "row.",
        )
    ]


def last_fall(run: RunFiles) -> float | None:
    """Fall of the weighted loss from the second last to the last fifth of the joint training, relative to the loss.

    None where too few losses were recorded. The weighted sum is judged, not each loss alone: the similarity loss may
    end near 0, where its noise is large against itself and means nothing.
    """
    settings = run.manifest["settings"]
    joint = [record for record in run.manifest["training"] if "similarity" in record]
    fifth = len(joint) // 5
    if fifth < 2:
        return None
    weights = (settings["coef_reconstruction"], settings["coef_clustering"])
    loss = np.array([[record["reconstruction"], record["similarity"]] for record in joint]) @ weights
    before, last = loss[-2 * fifth : -fifth].mean(), loss[-fifth:].mean()
    return float((before - last) / max(abs(before), 1e-9))


def _convergence(run: RunFiles) -> list[Finding]:
    if not run.manifest.get("training"):
        return []
    fall = last_fall(run)
    if fall is None:
        return [Finding("note", "Training was too short to judge", "Too few losses were recorded.")]
    moved = "rose" if fall < 0 else "fell"
    detail = f"Over the last fifth of the training the loss {moved} by {percent(abs(fall))}."
    if fall <= _SETTLED:
        return [Finding("good", "Training settled", detail)]
    advice = "Repeat with another --seed; if it stays so, fit on more events."
    return [Finding("check", "Training had not settled", detail, advice)]


def _clusters_used(run: RunFiles) -> list[Finding]:
    if run.population_of is not None:
        joined = [k for k, parts in enumerate(run.words("parts")) if "," in parts]
        listed = "; ".join(f"population {k + 1} holds clusters {run.words('parts')[k]}" for k in joined)
        return [
            Finding(
                "good",
                f"{counted(run.n_clusters, 'population')}, of {counted(len(run.population_of), 'cluster')} merged",
                f"{listed[:1].upper()}{listed[1:]}." if joined else "Every cluster is a population of its own.",
            )
        ]
    bound = int(run.manifest["settings"]["experts"])
    used = int(np.count_nonzero(run.sizes))
    if "model" in run.manifest:
        if used == run.n_clusters:
            title = f"All {used} clusters of the model occur" if used > 1 else "The cluster of the model occurs"
            return [Finding("good", title, "Each has at least one event here." if used > 1 else "")]
        empty = ", ".join(str(k + 1) for k in np.flatnonzero(run.sizes == 0))
        return [Finding("note", f"{used} of the model's {run.n_clusters} clusters occur", f"No events in {empty}.")]
    detail = f"Up to {bound} were allowed (--experts); the fit decides how many it uses."
    if used >= 0.9 * bound and bound > 1:
        more = min(2 * bound, MOST_EXPERTS)
        advice = (
            f"Repeat with --experts {more} and see whether more appear." if more > bound else "No more can be allowed."
        )
        return [
            Finding(
                "check",
                f"{used} of {counted(bound, 'allowed cluster')} {'is' if used == 1 else 'are'} used",
                detail,
                advice,
            )
        ]
    if bound == 1:
        return [
            Finding("note", "One cluster was allowed (--experts)", "It holds all events.", "Allow more to see more.")
        ]
    if used == 1:
        advice = "Check with --markers that the markers chosen tell populations apart."
        fitted = int(run.manifest.get("events_fitted", run.n_events))
        if fitted < FEW_FITTED and run.manifest["settings"]["similarity"] == "valleys":
            detail = f"{counted(fitted, 'event')} are few: populations of fewer than {FEWEST_FOUND} are not told apart."
            advice = "Cluster the file together with others, or map it with a model of a larger one (cytomoe predict)."
        return [Finding("check", "All events are in one cluster", detail, advice)]
    if not any(run.words("score")):
        detail += " Doublets among them are looked for only where --reference names the others."
    return [Finding("good", f"{used} clusters were found", detail)]


def _joined_though_apart(run: RunFiles) -> list[Finding]:
    """Clusters that a merge joined although a marker parts them."""
    merged = run.manifest.get("merged", {})
    apart = merged.get("apart")
    if not apart:
        return []
    return [
        Finding(
            "check" if "tree" in merged else "note",
            "Clusters that a marker parts are joined",
            f"{'; '.join(apart)}.",
            "One population, or several? The report of the run before has the clusters.",
        )
    ]


def _stability(run: RunFiles) -> list[Finding]:
    """Whether the clusters are found again in the partitions of the cells that the fit drew."""
    if run.stability is None:
        return []
    partitions = run.manifest["settings"]["partitions"]
    fit = " It is that of the model's fit, not of this sample." if "model" in run.manifest else ""
    scale = (
        "Stability is how often the same cells come out as a cluster when the partition is repeated on other draws of "
        f"the cells, here {partitions} times (1 = always): {STABLE:g} and above stable, below {UNSTABLE:g} doubtful."
        f"{fit}"
    )
    numbers = run.clusters["cluster"].tolist()
    return judge_stability(run.stability, run.sizes, numbers, what=run.what, scale=scale)


def _unassigned(run: RunFiles) -> list[Finding]:
    return judge_unassigned(run.unassigned, max(run.n_events, 1))


def _confidence(run: RunFiles) -> list[Finding]:
    confidence = run.cells.confidence[run.cells.assigned & run.cells.counted]
    if not len(confidence):
        return []
    unsure = float((confidence < UNSURE).mean())
    detail = (
        f"Median confidence {np.median(confidence):.2f}; {percent(unsure)} of the events have less than {UNSURE:g}, "
        "which means that other clusters together are as likely."
    )
    if unsure > 0.1:
        advice = "Colour the map by confidence; leave these events out with the column confidence of labels.csv."
        return [Finding("check", "Many events lie between clusters", detail, advice)]
    return [Finding("good", "Events are assigned with confidence", detail)]


def _tiny_clusters(run: RunFiles) -> list[Finding]:
    sizes = run.sizes
    tiny = np.flatnonzero((sizes > 0) & (sizes < TINY))
    # In a mapped sample a population may be rare without being an outlier.
    if not len(tiny) or "model" in run.manifest:
        return []
    numbers = ", ".join(str(k + 1) for k in tiny)
    many = len(tiny) > 1
    return [
        Finding(
            "note",
            f"{len(tiny)} {run.what}{'s have' if many else ' has'} fewer than {TINY} events",
            f"{run.what.capitalize()}{'s' if many else ''} {numbers}: {int(sizes[tiny].sum()):,} of "
            f"{int(sizes.sum()):,} events.",
            "Treat them as outliers, such as doublets or debris, rather than as populations.",
        )
    ]


def _dominant_cluster(run: RunFiles) -> list[Finding]:
    share = run.sizes.max() / max(run.n_events, 1)
    if share < 0.8 or np.count_nonzero(run.sizes) < 2:
        return []
    number = int(run.sizes.argmax()) + 1
    advice = "Where that is not expected, check that the markers tell these cells apart."
    return [
        Finding(
            "note",
            f"{run.what.capitalize()} {number} holds {percent(share)} of the events",
            "One population dominates.",
            advice,
        )
    ]


def _one_sample_clusters(run: RunFiles) -> list[Finding]:
    samples, numbers = run.abundance["sample"].tolist(), run.clusters["cluster"].tolist()
    return judge_one_sample(run.counts, samples, numbers, what=run.what)


def _moved(run: RunFiles) -> list[Finding]:
    """Samples in which the shares of clusters are unlike those of the others, or of the fit."""
    fitted = run.manifest.get("fitted_shares")
    if fitted is not None and run.population_of is not None:
        fitted = np.bincount(run.population_of - 1, weights=fitted)
    samples, numbers = run.abundance["sample"].tolist(), run.clusters["cluster"].tolist()
    return judge_moved(
        run.counts,
        samples,
        numbers,
        what=run.what,
        fitted=None if fitted is None else np.asarray(fitted, dtype=np.float64),
        events=run.events_of_samples,
    )


def _flat_markers(run: RunFiles) -> list[Finding]:
    flat = [str(s["marker"]) for s in run.manifest["preprocessing"]["steps"] if s["high"] <= s["low"]]
    if not flat:
        return []
    return [
        Finding(
            "check",
            f"{len(flat)} marker{'s do' if len(flat) > 1 else ' does'} not vary",
            f"{', '.join(flat)}: the same value in every cell of the fit.",
            "Leave such channels out with --markers.",
        )
    ]


def _shared_names(run: RunFiles) -> list[Finding]:
    """Populations that several clusters are named after."""
    by_name: dict[str, list[str]] = {}
    for k, name in enumerate(run.words("population")):
        if is_known(name):
            by_name.setdefault(name, []).append(str(k + 1))
    shared = {name: clusters for name, clusters in by_name.items() if len(clusters) > 1}
    if not shared:
        return []
    folder = shlex.quote(run.folder.name)
    return [
        Finding(
            "note",
            f"{len(shared)} population{'s have' if len(shared) > 1 else ' has'} several clusters",
            "; ".join(f"{name}: {', '.join(clusters)}" for name, clusters in shared.items()) + ".",
            "Compare their markers: subsets, doublets, or one population in parts? To count a name as one population:",
            (f"cytomoe merge {folder} --map {folder}/clusters.csv --out merged",),
        )
    ]


def _doubtful_names(run: RunFiles) -> list[Finding]:
    """Clusters whose names the reference table gave with little certainty."""
    columns = ("population", "score", "runner_up", "runner_up_score")
    words = [run.words(column) for column in columns]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*words, strict=True)]
    rows = [row | {"cluster": k, "events": size} for k, (row, size) in enumerate(zip(rows, run.sizes, strict=True), 1)]
    return judge_names(rows, what=run.what)


def _drift(run: RunFiles) -> list[Finding]:
    """Whether the markers of a mapped run lie as in the model's training; where they left it, its warnings say so."""
    return [] if run.drift is None else judge_markers(run.drift, run.manifest["drift"])


def _gates(run: RunFiles) -> list[Finding]:
    if run.evaluation is None:
        return []
    block = run.evaluation["unique"]
    if block["f_measure"] is None:
        return [Finding("note", "No gate is large enough to measure", "See --min-population.")]
    lost = lost_gates(block)
    least, n_measured = run.evaluation["min_population"], len(block["populations"])
    detail = (
        f"F-measure {block['f_measure']:.3f} (weighted by size), mean F1 {block['mean_f1']:.3f} (every population "
        f"counts the same), over {counted(n_measured, 'population')} of {least} events or more."
    )
    if block["discarded"]:
        detail += f" Not measured, being smaller: {len(block['discarded'])}; a mean over other gates is not comparable."
    if not lost:
        weakest = min(block["populations"], key=lambda population: population["f1"])
        detail += f" The weakest is {weakest['gate']}, F1 {weakest['f1']:.3f}."
        return [Finding("good", f"Every gated population that was measured has its {run.what}", detail)]
    return [
        Finding(
            "check" if mostly_lost(len(lost), n_measured) else "note",
            f"{len(lost)} gated population{'s match' if len(lost) > 1 else ' matches'} no {run.what} well",
            f"F1 below 0.5: {'; '.join(_where_it_lies(run, p, block['populations']) for p in lost)}. {detail}",
            _to_tell_them_apart(run),
        )
    ]


def _to_tell_them_apart(run: RunFiles) -> str:
    if run.population_of is not None:
        return "The merge may have joined them with others: the report of the run before has the finer clusters."
    look = "Look whether the markers chosen tell them apart"
    return (
        f"{look}."
        if "model" in run.manifest
        else f"{look}; known cells of a rare population, and of others (--prior), find it without harm to the rest; "
        "--resolution 1.5 makes smaller clusters, and may divide large populations."
    )


def _where_it_lies(run: RunFiles, population: dict[str, Any], populations: list[dict[str, Any]]) -> str:
    """Name a gate with the cluster that holds most of it, and with the gate that this cluster matches."""
    gate, holder = population["gate"], run.holders.get(population["gate"])
    if holder is None:
        return str(gate)
    number, share = holder
    if number == population["cluster"]:
        return f"{gate}, {percent(share)} of it in its {run.what} {number}"
    matched = [p["gate"] for p in populations if p["cluster"] == number]
    which = f", which matches {matched[0]}" if matched else ""
    return f"{gate}, {percent(share)} of it in {run.what} {number}{which}"


def _repeatable(run: RunFiles) -> list[Finding]:
    """What one run can't say: whether another seed finds the same."""
    if "model" in run.manifest or run.population_of is not None:
        return []
    seed = int(run.manifest["seed"])
    return [
        Finding(
            "good",
            "Repeatable",
            f"Seed {seed}, the same version and the same files give the same labels.",
            f"To see what another seed finds, run the command at the end of this page with --seed {seed + 1} "
            "--out again, and then:",
            (f"cytomoe evaluate {shlex.quote(run.folder.name)} --gate-file again/labels.csv:cluster",),
        )
    ]
