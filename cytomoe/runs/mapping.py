"""Events mapped with a model, and the results written from them: what clustering and mapping have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cytomoe.annotation import ClusterNames, Enrichment, enrichment, labels
from cytomoe.errors import InputError
from cytomoe.reference import Population, name_clusters, with_known, with_populations
from cytomoe.runs import memory, outputs
from cytomoe.runs.cells import write_cells
from cytomoe.runs.events import Events, GatedEvents, Preview
from cytomoe.runs.job import Listener
from cytomoe.runs.sampling import rows_of_clusters

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.estimator import MoESimVAE
    from cytomoe.preprocessing import Preprocessor

FloatArray = NDArray[np.float32]
H5adChoice = Literal["auto", "yes", "no"]


# Events whose markers and codes are kept in memory for tables and figures; of more, all clusters give as many.
KEPT_EVENTS = 500_000


@dataclass(frozen=True, eq=False)
class KeptEvents:
    """Events of a run that are kept in memory: all of a small run, of a larger one a sample of every cluster.

    Attributes
    ----------
    rows
        Ascending rows of the run, shape (kept,).
    expression
        Transformed marker values, shape (kept, markers).
    codes
        Shape (kept, L).
    """

    rows: NDArray[np.int64]
    expression: NDArray[np.float32]
    codes: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MappedEvents:
    """Events of a run with what the model says of them.

    Attributes
    ----------
    events
        The events.
    model
        The model that mapped them.
    clusters
        Cluster from 1, shape (events,).
    confidence
        Probability of that cluster, shape (events,).
    kept
        Markers and codes of all events, or of a sample where there are more than ``KEPT_EVENTS``.
    enrichment
        How the markers stand in each cluster of these events.
    names
        What the clusters are called.
    """

    events: Events
    model: MoESimVAE
    clusters: NDArray[np.int32]
    confidence: NDArray[np.float32]
    kept: KeptEvents
    enrichment: Enrichment
    names: ClusterNames

    def representative(self) -> tuple[NDArray[np.int64], FloatArray]:
        """Rows and transformed markers of events kept, every cluster with the share that it has among all events."""
        rows, expression = self.kept.rows, self.kept.expression
        if len(rows) == self.events.n_events:
            return rows, expression
        own = self.clusters[rows]
        weights = np.bincount(self.clusters) / np.maximum(np.bincount(own, minlength=self.model.n_clusters_ + 1), 1)
        drawn = np.random.default_rng([self.model.seed, 4]).random(len(rows)) < (weights / weights.max())[own]
        return rows[drawn], expression[drawn]


def announce(events: Events, h5ad: H5adChoice, listener: Listener, *, fitted: int = 0) -> None:
    """Say what is read and how much memory that takes, before anything slow happens.

    Parameters
    ----------
    events
        The files.
    h5ad
        Whether ``cells.h5ad`` is asked for.
    listener
        Who is told.
    fitted
        Events that will be fitted on.
    """
    files, samples = len(events.names), len(events.samples)
    of_samples = f" of {samples} sample{'s' if samples > 1 else ''}" if samples != files else ""
    needed = memory.estimate(events, fitted=fitted, kept=KEPT_EVENTS)
    listener.say(
        f"{events.n_events:,} events in {files} file{'s' if files > 1 else ''}{of_samples}, "
        f"about {needed / 1e9:.1f} GB of memory"
    )
    short = memory.shortage(needed)
    if short:
        listener.warn(short)
    if h5ad == "auto" and not writes_cells(events, h5ad):
        listener.say(
            f"above {KEPT_EVENTS:,} events cells.h5ad and the report are left out unless --h5ad yes asks for them"
        )


def describe_gates(gated: GatedEvents) -> str:
    """What is known of the gates, in a line or two."""
    line = f"{int(gated.gates.gated.sum()):,} events in {len(gated.gates.names)} gates"
    overlap = gated.overlaps.message()
    return f"{line}\n{overlap}" if overlap else line


def map_events(model: MoESimVAE, events: Events) -> MappedEvents:
    """Map events with a model whose clusters have their names."""
    clusters, confidence = _map(model, events)
    kept = _keep(model, events, clusters)
    found = _enrichment(model, kept, clusters)
    names = model.names_ or ClusterNames(tuple(labels(found)))  # models of version 0.1.0 may have none
    return MappedEvents(events, model, clusters, confidence, kept, found, names)


def map_and_name(model: MoESimVAE, events: Events, *, reference: Sequence[Population] | None = None) -> MappedEvents:
    """Map the events of a run that made a model, number its clusters by their size, name them, and keep the names.

    Parameters
    ----------
    model
        As it was fitted; numbers and names are changed in it.
    events
        The events.
    reference
        Populations to name the clusters after.
    """
    clusters, confidence = _map(model, events)
    clusters = model.number_by_size(clusters)
    kept = _keep(model, events, clusters)
    found = _enrichment(model, kept, clusters)
    names = ClusterNames(tuple(labels(found)))
    if reference is not None:
        names = with_populations(names, name_clusters(found, reference))
    names = with_known(names, model.known_as_)
    model.names_ = names
    return MappedEvents(events, model, clusters, confidence, kept, found, names)


def name_fitted(model: MoESimVAE, training: Sequence[AnnData], reference: Sequence[Population] | None = None) -> None:
    """Name the clusters of a model by the events that it was fitted on, where more are mapped than can be looked at.

    Parameters
    ----------
    model
        Just fitted; its names are set.
    training
        What it was fitted on, in the same order.
    reference
        Populations to name the clusters after.
    """
    expression = np.concatenate([model.preprocessor_.expression(adata, judge_scale=False) for adata in training])
    found = _enrichment(model, KeptEvents(np.arange(len(expression)), expression, expression[:, :0]), model.labels_)
    names = ClusterNames(tuple(labels(found)))
    model.names_ = names if reference is None else with_populations(names, name_clusters(found, reference))


def expressions(events: Events, index: int, preprocessor: Preprocessor) -> Iterator[tuple[slice, FloatArray]]:
    """Transformed marker values of a file, piece by piece: the rows of the run that a piece is, and its values.

    The scale of a large file is judged when its last piece has gone by, so that it is read once.

    Raises
    ------
    InputError
        As :meth:`cytomoe.preprocessing.Preprocessor.expression` does of the whole file.
    """
    if events.held:
        for rows, adata in events.chunks(index):
            yield rows, preprocessor.expression(adata)
        return
    preview = Preview(events.sizes[index])
    for rows, adata in events.chunks(index):
        preview.add(adata)
        try:
            expression = preprocessor.expression(adata, judge_scale=False)
        except InputError:
            preprocessor.expression(events.read(index))  # raises, and counts the values over the whole file
            raise
        yield rows, expression
    preprocessor.refuse_other_scale(preview.adata())


def _map(model: MoESimVAE, events: Events) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cluster and confidence of each event."""
    clusters = np.empty(events.n_events, dtype=np.int32)
    confidence = np.empty(events.n_events, dtype=np.float32)
    for i in range(len(events.files)):
        for rows, expression in expressions(events, i, model.preprocessor_):
            _, clusters[rows], confidence[rows] = model.map_all(expression)
    return clusters, confidence


def _keep(model: MoESimVAE, events: Events, clusters: NDArray[np.int32]) -> KeptEvents:
    rows = rows_of_clusters(clusters, KEPT_EVENTS, np.random.default_rng([model.seed, 2]))
    expression = np.empty((len(rows), len(model.preprocessor_.markers)), dtype=np.float32)
    for i, start in enumerate(events.starts.tolist()):
        first, last = np.searchsorted(rows, [start, start + events.sizes[i]])
        if last > first:
            adata = events.take(i, rows[first:last] - start)
            expression[first:last] = model.preprocessor_.expression(adata, judge_scale=False)
    return KeptEvents(rows, expression, model.transform(expression))


def _enrichment(model: MoESimVAE, kept: KeptEvents, clusters: NDArray[np.int32]) -> Enrichment:
    preprocessor, n_clusters = model.preprocessor_, model.n_clusters_
    sizes = np.bincount(clusters, minlength=n_clusters + 1)[1:]
    own = clusters[kept.rows]
    return enrichment(kept.expression, own, n_clusters, preprocessor.markers, preprocessor.zeros, sizes=sizes)


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


def writes_cells(events: Events, h5ad: H5adChoice) -> bool:
    """Whether ``cells.h5ad`` is written: by default for runs whose events are all kept in memory."""
    return h5ad == "yes" or (h5ad == "auto" and events.n_events <= KEPT_EVENTS)


def write_results(
    folder: Path,
    mapped: MappedEvents,
    gated: GatedEvents | None,
    evaluation: dict[str, Any] | None,
    *,
    h5ad: H5adChoice = "auto",
) -> None:
    """Write labels, tables, AnnData and FCS files of mapped events, and the measures if there are any."""
    events, clusters, n_clusters = mapped.events, mapped.clusters, mapped.model.n_clusters_
    outputs.write_labels(folder, events, clusters, mapped.confidence, mapped.names)
    outputs.write_csv(folder / "clusters.csv", outputs.cluster_table(mapped.enrichment, mapped.names))
    outputs.write_csv(folder / "enrichment.csv", mapped.enrichment.table())
    outputs.write_csv(folder / "abundance.csv", outputs.abundance_table(events, clusters, n_clusters))
    outputs.write_csv(folder / "medians.csv", outputs.median_table(mapped))
    if writes_cells(events, h5ad):
        write_cells(folder / "cells.h5ad", mapped, gated)
    outputs.write_fcs_files(folder, events, clusters, mapped.confidence, mapped.names)
    if evaluation is not None:
        outputs.write_evaluation(folder, evaluation)
