"""The methods paragraph of a run, ready for a paper, with what it cites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cytomoe.reporting.embedding import NEIGHBOURS
from cytomoe.reporting.run_files import RunFiles
from cytomoe.words import counted, percent

_SOURCES = {
    "moe": "Kopf A, Fortuin V, Somnath VR, Claassen M. Mixture-of-Experts Variational Autoencoder for clustering and "
    "generating from similarity-based representations on single cell data. PLoS Comput Biol 2021;17(6):e1009086. "
    "doi:10.1371/journal.pcbi.1009086",
    "arcsinh": "Bendall SC, Simonds EF, Qiu P, et al. Single-cell mass cytometry of differential immune and drug "
    "responses across a human hematopoietic continuum. Science 2011;332:687-696. doi:10.1126/science.1198704",
    "logicle": "Parks DR, Roederer M, Moore WA. A new “Logicle” display method avoids deceptive effects of logarithmic "
    "scaling for low signals and compensated data. Cytometry A 2006;69A:541-551. doi:10.1002/cyto.a.20258",
    "umap": "McInnes L, Healy J, Saul N, Großberger L. UMAP: Uniform Manifold Approximation and Projection. J Open "
    "Source Softw 2018;3(29):861. doi:10.21105/joss.00861",
    "flowcap": "Aghaeepour N, Finak G, The FlowCAP Consortium, et al. Critical assessment of automated flow cytometry "
    "data analysis techniques. Nat Methods 2013;10:228-238. doi:10.1038/nmeth.2365",
    "weber": "Weber LM, Robinson MD. Comparison of clustering methods for high-dimensional single-cell flow and mass "
    "cytometry data. Cytometry A 2016;89A:1084-1096. doi:10.1002/cyto.a.23030",
}

_SIMILARITIES = {
    "valleys": "the share of {partitions} random partitions, each dividing the cells where the density of a marker "
    "has a valley, in which they fall into one part",
    "consensus": "the share of {partitions} partitions (k-means with {micro_clusters} centres, merged by average "
    "linkage into {partition_clusters}) in which they meet",
    "umap": "a distance below {threshold:g} in a UMAP projection ({metric} distance, {projection_neighbours} "
    "neighbours)",
    "knn": "being among the {neighbours} nearest of the batch in a UMAP projection ({metric} distance)",
}


@dataclass(frozen=True)
class Methods:
    """A paragraph whose numbers in brackets count through ``references``."""

    paragraph: str
    references: list[str]


class Citations:
    """Numbers of the sources in brackets, in the order in which they are first cited."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> str:
        """Cite a source: its number in brackets."""
        if name not in self.names:
            self.names.append(name)
        return f"[{self.names.index(name) + 1}]"


def methods_of(run: RunFiles) -> Methods:
    """Methods paragraph of a run: data, preprocessing, clustering or mapping, measures, software."""
    cite = Citations()
    sentences = [
        *_data(run),
        *_preprocessing(run.manifest["preprocessing"], cite),
        *(_mapping(run, cite) if "model" in run.manifest else _clustering(run, cite)),
        f"For display, the codes were projected with UMAP ({NEIGHBOURS} neighbours) {cite('umap')}.",
        *_measures(run, cite),
        _software(run.manifest),
    ]
    return Methods(" ".join(sentences), [_SOURCES[name] for name in cite.names])


def _data(run: RunFiles) -> list[str]:
    inputs, samples = run.manifest["inputs"], run.manifest["samples"]
    kind = {"mass": "mass cytometry", "fluorescence": "flow cytometry"}[run.manifest["preprocessing"]["instrument"]]
    overlaps = run.manifest.get("overlaps")
    distinct = f"{overlaps['distinct_events']:,} distinct, as files of gates overlap; " if overlaps else ""
    return [
        f"{counted(run.manifest['events'], 'event')} of {counted(len(samples), 'sample')} ("
        f"{distinct}{counted(len(inputs), 'FCS file')}, {kind}) were analysed with cytomoe {run.manifest['version']}."
    ]


def _preprocessing(state: dict[str, Any], cite: Citations) -> list[str]:
    steps = state["steps"]
    names = [step["marker"] for step in steps]
    matrix = "a spillover matrix that was given" if state.get("given") else "the spillover matrix of each file"
    compensated = f"compensated with {matrix}, " if state["compensate"] else ""
    return [
        f"The {counted(len(names), 'marker')} {listing(names)} "
        f"{'were' if len(names) > 1 else 'was'} {compensated}{_transforms(steps, cite)}"
        f"{' (values below 0 set to 0)' if state['clip'] else ''} and scaled to [0, 1] by "
        f"{'0' if state['clip'] else 'the 0.1st percentile'} and the 99.9th percentile of the cells of the fit."
    ]


def _transforms(steps: list[dict[str, Any]], cite: Citations) -> str:
    parts = []
    for name in ("arcsinh", "logicle", "none"):
        chosen = [step for step in steps if step["transform"]["name"] == name]
        if not chosen:
            continue
        who = "" if len(chosen) == len(steps) else f" ({listing([step['marker'] for step in chosen])})"
        if name == "arcsinh":
            cofactors = sorted({step["transform"]["cofactor"] for step in chosen})
            which = " and ".join(f"{cofactor:g}" for cofactor in cofactors)
            parts.append(f"transformed with arcsinh(x / {which}){who} {cite('arcsinh')}")
        elif name == "logicle":
            parts.append(f"transformed with the logicle function{who} {cite('logicle')}")
        else:
            parts.append(f"taken as they stood in the files{who}")
    return ", ".join(parts)


def _clustering(run: RunFiles, cite: Citations) -> list[str]:
    settings = run.manifest["settings"]
    similarity = _SIMILARITIES[settings["similarity"]].format(**settings)
    fitted = run.manifest["events_fitted"]
    why = _why_fewer(run.manifest)
    steps = settings["steps"] + (settings["warm_steps"] if settings["similarity"] in ("valleys", "consensus") else 0)
    sizes = f"at most {counted(settings['experts'], 'cluster')}, {counted(settings['code_size'], 'code dimension')}"
    return [
        f"Cells were clustered with MoE-Sim-VAE {cite('moe')}, a variational autoencoder with a gating network and one "
        f"decoder per cluster, fitted to {counted(fitted, 'event')}{why} ({sizes}, {steps:,} steps of "
        f"{settings['batch_size']} cells, learning rate "
        f"{settings['learning_rate']:g}, seed {run.manifest['seed']}).",
        f"Two cells counted as similar by {similarity}.",
        *_valleys(settings, len(run.markers)),
        f"Each event was assigned to the cluster of its largest probability, which gave "
        f"{counted(run.manifest['clusters'], 'cluster')}.",
        *_left_out(run),
        *_merging(run),
    ]


def _left_out(run: RunFiles) -> list[str]:
    """The events that got no cluster, and why."""
    found = []
    if run.unassigned:
        found.append(f"{counted(run.unassigned, 'event')} with a marker far outside the range of the cluster")
    if run.not_numbers:
        found.append(f"{counted(run.not_numbers, 'event')} with values that are not numbers")
    return [f"Left without a cluster: {', '.join(found)}."] if found else []


def _valleys(settings: dict[str, Any], n_markers: int) -> list[str]:
    """What counted as a valley, and how many partitions had to agree, where the similarity rests on valleys."""
    if settings["similarity"] != "valleys":
        return []
    from cytomoe.similarity.valleys import USUAL_MARKERS, confidence_for

    usual, depth = settings["valley_confidence"], settings["valley_depth"]
    confidence = confidence_for(usual, n_markers)
    why = f" ({usual:g} for up to {USUAL_MARKERS} markers, raised for {n_markers})" if confidence != usual else ""
    share = percent(settings["agreement"] ** settings["resolution"])
    return [
        f"A valley counted where its density was below {'' if depth == 1 else f'{depth:g} times '}that of the lower of "
        f"its peaks with a confidence of {confidence:.2f} standard deviations{why}; groups of cells were kept apart as "
        f"clusters where {share} of the partitions or more parted them."
    ]


def _merging(run: RunFiles) -> list[str]:
    """How clusters became populations, where they did."""
    if run.population_of is None:
        return []
    how = (
        "by average linkage of their marker medians"
        if "tree" in run.manifest["merged"]
        else "by hand, under their names"
    )
    return [f"The clusters were merged into {counted(run.n_clusters, 'population')}, {how}."]


def _why_fewer(manifest: dict[str, Any]) -> str:
    """Why the fit took fewer events than there are, where it did."""
    overlaps, fitted = manifest.get("overlaps"), manifest["events_fitted"]
    dropped = (manifest.get("not_numbers") or {}).get("events_dropped", 0)
    left = overlaps["distinct_events"] if overlaps else manifest["events"]
    reasons = ["each event that stands in several files once"] if overlaps else []
    if manifest.get("holdout"):
        reasons.append(f"a held-out {percent(manifest['holdout'])} of the events not")
    elif fitted < left - dropped:
        reasons.append("a random part of them")
    return f", {', '.join(reasons)}" if reasons else ""


def _mapping(run: RunFiles, cite: Citations) -> list[str]:
    checksum = run.manifest["model"]["sha256"][:12]
    return [
        f"Events were mapped to the {counted(run.manifest['clusters'], 'cluster')} of an existing MoE-Sim-VAE model "
        f"{cite('moe')} (SHA-256 {checksum}…), whose transformation and scaling were applied unchanged; each was "
        "assigned to the cluster of its largest probability.",
        *_left_out(run),
        *_merging(run),
    ]


def _measures(run: RunFiles, cite: Citations) -> list[str]:
    if run.evaluation is None:
        return []
    held_out = f" on a held-out {percent(run.manifest['holdout'])} of the events" if run.manifest.get("holdout") else ""
    return [
        f"Clusters were compared with manual gates{held_out} by the F-measure of FlowCAP (each population's best F1, "
        f"weighted by its size) {cite('flowcap')} and by the mean F1 of a one-to-one matching (unweighted) "
        f"{cite('weber')}; {_what_the_fit_knew(run)}."
    ]


def _what_the_fit_knew(run: RunFiles) -> str:
    prior = run.manifest.get("prior")
    if not prior:
        return "the fit did not see the gates"
    return f"{sum(prior.values()):,} cells whose population was given to the fit are left out of the comparison"


def _software(manifest: dict[str, Any]) -> str:
    versions = manifest["software"]
    return f"Computed with Python {versions['python']}, PyTorch {versions['torch']} and NumPy {versions['numpy']}."


def listing(names: Sequence[str]) -> str:
    """Names in a sentence, all of them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
