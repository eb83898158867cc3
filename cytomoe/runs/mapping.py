"""Events mapped with a model, and the results written from them: what clustering and mapping have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.annotation import ClusterNames, Enrichment, enrichment, labels
from cytomoe.reference import Population, name_clusters, with_known, with_populations
from cytomoe.runs import outputs
from cytomoe.runs.events import Events, GatedEvents

if TYPE_CHECKING:
    from cytomoe.estimator import MoESimVAE


@dataclass(frozen=True, eq=False)
class MappedEvents:
    """Events of a run with what the model says of them.

    Attributes
    ----------
    events
        The events.
    model
        The model that mapped them.
    expression
        Transformed marker values, shape (events, markers).
    clusters
        Cluster from 1, shape (events,).
    confidence
        Probability of that cluster, shape (events,).
    codes
        Shape (events, L).
    enrichment
        How the markers stand in each cluster of these events.
    names
        What the clusters are called.
    """

    events: Events
    model: MoESimVAE
    expression: NDArray[np.float32]
    clusters: NDArray[np.int32]
    confidence: NDArray[np.float32]
    codes: NDArray[np.float32]
    enrichment: Enrichment
    names: ClusterNames


def count_events(events: Events, gated: GatedEvents | None) -> str:
    """One line on what was read."""
    files, samples = len(events.names), len(events.samples)
    of_samples = f" of {samples} sample{'s' if samples > 1 else ''}" if samples != files else ""
    line = f"{events.n_events:,} events in {files} file{'s' if files > 1 else ''}{of_samples}"
    if gated is None:
        return line
    line += f"; {int(gated.gates.gated.sum()):,} in {len(gated.gates.names)} gates"
    overlap = gated.overlaps.message()
    return f"{line}\n{overlap}" if overlap else line


def map_events(model: MoESimVAE, events: Events, expressions: Sequence[NDArray[np.float32]]) -> MappedEvents:
    """Map events with a model whose clusters have their names."""
    expression = np.concatenate(expressions)
    codes, clusters, confidence = model.map_all(expression)
    found = _enrichment(model, expression, clusters)
    names = model.names_ or ClusterNames(tuple(labels(found)))  # models of version 0.1.0 may have none
    return MappedEvents(events, model, expression, clusters, confidence, codes, found, names)


def map_and_name(
    model: MoESimVAE,
    events: Events,
    expressions: Sequence[NDArray[np.float32]],
    *,
    reference: Sequence[Population] | None = None,
) -> MappedEvents:
    """Map the events of a run that made a model, number its clusters by their size, name them, and keep the names.

    Parameters
    ----------
    model
        As it was fitted; numbers and names are changed in it.
    events, expressions
        The events and their transformed values, one array per file.
    reference
        Populations to name the clusters after.
    """
    expression = np.concatenate(expressions)
    codes, clusters, confidence = model.map_all(expression)
    clusters = model.number_by_size(clusters)
    found = _enrichment(model, expression, clusters)
    names = ClusterNames(tuple(labels(found)))
    if reference is not None:
        names = with_populations(names, name_clusters(found, reference))
    names = with_known(names, model.known_as_)
    model.names_ = names
    return MappedEvents(events, model, expression, clusters, confidence, codes, found, names)


def _enrichment(model: MoESimVAE, expression: NDArray[np.float32], clusters: NDArray[np.int32]) -> Enrichment:
    preprocessor = model.preprocessor_
    return enrichment(expression, clusters, model.n_clusters_, preprocessor.markers, preprocessor.zeros)


def summary(mapped: MappedEvents) -> list[dict[str, Any]]:
    """Each cluster with its names, events and fraction, as the run prints them."""
    sizes, columns = mapped.enrichment.sizes, mapped.names.columns
    return [
        {
            "cluster": k,
            **{name: columns[name][k - 1] for name in ("label", "population") if name in columns},
            "events": int(size),
            "fraction": round(int(size) / max(mapped.events.n_events, 1), 6),
        }
        for k, size in enumerate(sizes.tolist(), start=1)
    ]


def measure(
    mapped: MappedEvents,
    gated: GatedEvents | None,
    *,
    held_out: NDArray[np.bool_] | None = None,
    min_population: int = 30,
) -> dict[str, Any] | None:
    """Measures of the clusters against the gates; None without gates."""
    from cytomoe.evaluation import evaluate

    if gated is None:
        return None
    return evaluate(
        mapped.clusters,
        gated.gates,
        unique=gated.overlaps.unique,
        holdout=held_out,
        sample=np.array(mapped.events.samples, dtype=object)[mapped.events.sample],
        min_population=min_population,
    )


def write_results(
    folder: Path, mapped: MappedEvents, gated: GatedEvents | None, evaluation: dict[str, Any] | None
) -> None:
    """Write labels, tables, AnnData and FCS files of mapped events, and the measures if there are any."""
    events, clusters, n_clusters = mapped.events, mapped.clusters, mapped.model.n_clusters_
    outputs.write_labels(folder, events, clusters, mapped.confidence, mapped.names)
    outputs.write_csv(folder / "clusters.csv", outputs.cluster_table(mapped.enrichment, mapped.names))
    outputs.write_csv(folder / "enrichment.csv", mapped.enrichment.table())
    outputs.write_csv(folder / "abundance.csv", outputs.abundance_table(events, clusters, n_clusters))
    outputs.write_csv(folder / "medians.csv", outputs.median_table(mapped))
    outputs.write_h5ad(folder / "cells.h5ad", mapped, gated)
    outputs.write_fcs_files(folder, events, clusters, mapped.confidence, mapped.names)
    if evaluation is not None:
        outputs.write_evaluation(folder, evaluation)
