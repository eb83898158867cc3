"""The verdict: what the numbers of a run mean, in words, with what to do about it.

Each judge looks at one thing and returns what it found. Levels are ``good``, ``note`` (know this) and ``check`` (look
before you use the result).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cytomoe.reporting.run_files import RunFiles

Level = Literal["good", "note", "check"]

TINY = 10  # cells; fewer do not make a population that anyone would gate
UNSURE = 0.5  # below, the model holds another cluster, or several together, for as likely
_SETTLED = 0.02  # fall of the loss, relative; default runs on real wells lie below 0.01
_HEADLINES: dict[Level, str] = {
    "good": "The clusters can be read as they are",
    "note": "The clusters can be used; know the notes below",
    "check": "Look at the points marked “check” before you use these clusters",
}


@dataclass(frozen=True)
class Finding:
    """One thing the reader should know.

    Attributes
    ----------
    level
        How much it matters.
    title
        The finding in a few words.
    detail
        The numbers behind it.
    advice
        What to do; empty where nothing needs to be done.
    commands
        Commands that do it.
    """

    level: Level
    title: str
    detail: str
    advice: str = ""
    commands: tuple[str, ...] = ()


def judge(run: RunFiles) -> list[Finding]:
    """All findings about a run, the serious ones first."""
    judges: list[Callable[[RunFiles], list[Finding]]] = [
        _warnings,
        _convergence,
        _clusters_used,
        _confidence,
        _tiny_clusters,
        _dominant_cluster,
        _one_sample_clusters,
        _flat_markers,
        _gates,
        _stability,
    ]
    findings = [finding for judged in judges for finding in judged(run)]
    rank = {"check": 0, "note": 1, "good": 2}
    return sorted(findings, key=lambda finding: rank[finding.level])


def headline(findings: list[Finding]) -> tuple[Level, str]:
    """Level and words of the whole: those of the most serious finding."""
    levels = {finding.level for finding in findings}
    worst: Level = "check" if "check" in levels else "note" if "note" in levels else "good"
    return worst, _HEADLINES[worst]


def _warnings(run: RunFiles) -> list[Finding]:
    return [Finding("check", "The run gave a warning", str(warning)) for warning in run.manifest["warnings"]]


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
    detail = f"Over the last fifth of the training the loss {moved} by {abs(fall):.1%}.".replace("%", " %")
    if fall <= _SETTLED:
        return [Finding("good", "Training settled", detail)]
    advice = "Repeat with another --seed; if it stays so, fit on more cells."
    return [Finding("check", "Training had not settled", detail, advice)]


def _clusters_used(run: RunFiles) -> list[Finding]:
    bound = int(run.manifest["settings"]["experts"])
    used = int(np.count_nonzero(run.sizes))
    if "model" in run.manifest:
        if used == run.n_clusters:
            return [Finding("good", f"All {used} clusters of the model occur", "Each has at least one cell here.")]
        empty = ", ".join(str(k + 1) for k in np.flatnonzero(run.sizes == 0))
        return [Finding("note", f"{used} of the model's {run.n_clusters} clusters occur", f"No cells in {empty}.")]
    detail = f"Up to {bound} were allowed (--experts); the fit decides how many it uses."
    if used >= 0.9 * bound and bound > 1:
        advice = f"Repeat with --experts {2 * bound} and see whether more appear."
        return [Finding("check", f"{used} of {bound} allowed clusters are used", detail, advice)]
    if used == 1:
        advice = "Check with --markers that the markers chosen tell populations apart."
        return [Finding("check", "All cells are in one cluster", detail, advice)]
    return [Finding("good", f"{used} clusters were found", detail)]


def _confidence(run: RunFiles) -> list[Finding]:
    confidence = run.cells.confidence
    unsure = float((confidence < UNSURE).mean())
    detail = (
        f"Median confidence {np.median(confidence):.2f}; {_share(unsure)} of the cells have less than {UNSURE:g}, "
        "which means that other clusters together are as likely."
    )
    if unsure > 0.1:
        advice = "Colour the map by confidence; leave these cells out with the column confidence of labels.csv."
        return [Finding("check", "Many cells lie between clusters", detail, advice)]
    return [Finding("good", "Cells are assigned with confidence", detail)]


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
            f"{len(tiny)} cluster{'s have' if many else ' has'} fewer than {TINY} cells",
            f"Cluster{'s' if many else ''} {numbers}: {int(sizes[tiny].sum()):,} of {int(sizes.sum()):,} cells.",
            "Treat them as outliers, such as doublets or debris, rather than as populations.",
        )
    ]


def _dominant_cluster(run: RunFiles) -> list[Finding]:
    share = run.sizes.max() / max(run.sizes.sum(), 1)
    if share < 0.8 or np.count_nonzero(run.sizes) < 2:
        return []
    number = int(run.sizes.argmax()) + 1
    advice = "Where that is not expected, check that the markers tell these cells apart."
    return [
        Finding("note", f"Cluster {number} holds {_share(share)} of the cells", "One population dominates.", advice)
    ]


def _one_sample_clusters(run: RunFiles) -> list[Finding]:
    """Clusters that come nearly all from one of several samples: a true difference, or a batch effect."""
    counts = run.abundance[[f"cluster_{k}" for k in run.clusters["cluster"]]].to_numpy(dtype=float)
    if len(counts) < 2:
        return []
    totals = counts.sum(axis=0)
    shares = counts.sum(axis=1) / max(counts.sum(), 1.0)
    found = []
    for k in np.flatnonzero(totals >= 3 * TINY):
        sample = int(counts[:, k].argmax())
        if counts[sample, k] > 0.9 * totals[k] and shares[sample] < 0.6:
            found.append(f"{k + 1} ({run.abundance['sample'][sample]})")
    if not found:
        return []
    return [
        Finding(
            "check",
            f"{len(found)} cluster{'s come' if len(found) > 1 else ' comes'} nearly all from one sample",
            f"More than nine tenths of cluster {', '.join(found)}.",
            "A true difference between samples, or one between batches: compare the markers of the samples.",
        )
    ]


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


def _gates(run: RunFiles) -> list[Finding]:
    if run.evaluation is None:
        return []
    block = run.evaluation["unique"]
    if block["f_measure"] is None:
        return [Finding("note", "No gate is large enough to measure", "See --min-population.")]
    lost = [p["gate"] for p in block["populations"] if p["f1"] < 0.5]
    detail = (
        f"F-measure {block['f_measure']:.3f} (weighted by size), mean F1 {block['mean_f1']:.3f} (every population "
        f"counts the same), over {len(block['populations'])} populations."
    )
    if not lost:
        return [Finding("good", "Every gated population has its cluster", detail)]
    return [
        Finding(
            "note",
            f"{len(lost)} gated population{'s have' if len(lost) > 1 else ' has'} no cluster to match",
            f"F1 below 0.5: {', '.join(lost)}. {detail}",
            "See the table of gates for the cluster that holds them.",
        )
    ]


def _stability(run: RunFiles) -> list[Finding]:
    """What one run can't say: whether another seed finds the same."""
    if "model" in run.manifest:
        return []
    seed = int(run.manifest["seed"])
    return [
        Finding(
            "good",
            "Repeatable",
            f"Seed {seed}, the same version and the same files give the same labels. What another seed would find, "
            "one run can't say.",
            "To measure it, repeat and compare:",
            (
                f"cytomoe cluster FILES --seed {seed + 1} --out again",
                f"cytomoe evaluate {shlex.quote(run.folder.name)} --gate-file again/labels.csv:cluster",
            ),
        )
    ]


def _share(share: Any) -> str:
    """Percentage with as many digits as it needs."""
    percent = 100 * float(share)
    return f"{percent:.1f} %" if percent >= 0.1 or percent == 0 else "under 0.1 %"
