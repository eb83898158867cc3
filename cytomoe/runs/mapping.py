"""Events mapped with a model: their clusters, what these are called, and how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.annotation import ClusterNames, Enrichment, enrichment, labels
from cytomoe.cores import on_threads
from cytomoe.errors import InputError
from cytomoe.naming import name_clusters, with_known, with_populations
from cytomoe.preprocessing import numeric
from cytomoe.reference import Population
from cytomoe.runs import sampling
from cytomoe.runs.events import Events
from cytomoe.runs.expressions import NotNumbers, expressions
from cytomoe.runs.gating import GatedEvents
from cytomoe.twins import SharedEvents

if TYPE_CHECKING:
    from cytomoe.clusterer import Clusterer
    from cytomoe.io.raw_events import RawEvents

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class KeptEvents:
    """Events of a run that are kept in memory: all of a small run, of a larger one a sample of every cluster.

    Attributes
    ----------
    rows
        Ascending rows of the run, shape (kept,).
    expression
        Transformed marker values, shape (kept, markers).
    """

    rows: NDArray[np.int64]
    expression: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class WholeEvents:
    """All events of a small run, kept in memory so that nothing is worked out twice; NaN where one was dropped.

    Attributes
    ----------
    expression
        Transformed marker values, shape (events, markers).
    codes
        Codes, shape (events, L).
    """

    expression: NDArray[np.float32]
    codes: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Found:
    """What a model finds of each event; as in :class:`MappedEvents`."""

    nearest: NDArray[np.int32]
    confidence: NDArray[np.float32]
    outlying: NDArray[np.float32] | None
    not_numbers: NotNumbers
    whole: WholeEvents | None


@dataclass(frozen=True, eq=False)
class MappedEvents:
    """Events of a run with what the model says of them.

    Attributes
    ----------
    events
        The events.
    model
        The model that mapped them.
    nearest
        Cluster from 1, shape (events,); 0 where the event was dropped for values that are not numbers.
    confidence
        Probability of that cluster, shape (events,).
    outlyingness
        How far outside its cluster's ranges each event lies, above 1: unassigned; shape (events,). None where all
        events are assigned, which is the default.
    kept
        Markers of all events, or of a sample where there are more than ``sampling.KEPT_EVENTS``.
    enrichment
        How the markers stand in each cluster of these events.
    names
        What the clusters are called.
    not_numbers
        NaN and infinite values that were dropped or set to 0: by file and channel, both counts.
    counted
        One row of each event where events stand in several files, shape (events,): those that tables count. None where
        every row is an event of its own.
    whole
        Markers and codes of all events where they are few enough to be kept in memory, else None.
    """

    events: Events
    model: Clusterer
    nearest: NDArray[np.int32]
    confidence: NDArray[np.float32]
    outlyingness: FloatArray | None
    kept: KeptEvents
    enrichment: Enrichment
    names: ClusterNames
    not_numbers: NotNumbers
    counted: NDArray[np.bool_] | None = None
    whole: WholeEvents | None = None

    @cached_property
    def clusters(self) -> NDArray[np.int32]:
        """Cluster from 1, or 0 where the event is unassigned, shape (events,)."""
        if self.outlyingness is None:
            return self.nearest
        return np.where(self.outlyingness > 1, np.int32(0), self.nearest)

    @property
    def leaves_out(self) -> bool:
        """Whether events may have cluster 0, unassigned: the tables have a place for them then, even if none has."""
        return self.outlyingness is not None or self.model.nan == "drop"

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Events of each cluster, each counted once, shape (clusters,)."""
        return self.count(self.clusters)[1:]

    @property
    def n_counted(self) -> int:
        """Distinct events."""
        return self.events.n_events if self.counted is None else int(np.count_nonzero(self.counted))

    def count(self, clusters: NDArray[np.int32], rows: slice = slice(None)) -> NDArray[np.int64]:
        """Events of each cluster from 0, each counted once, shape (clusters + 1,); of some rows if they are given."""
        own = clusters[rows] if self.counted is None else clusters[rows][self.counted[rows]]
        return np.bincount(own, minlength=self.model.n_clusters_ + 1)

    @property
    def n_dropped(self) -> int:
        """Events left out of all clusters for values that are not numbers."""
        return int(np.count_nonzero(self.nearest == 0))

    def representative(self) -> tuple[NDArray[np.int64], FloatArray]:
        """Rows and transformed markers of events kept, every cluster with the share that it has among all events."""
        rows, expression = self.kept.rows, self.kept.expression
        if self.counted is not None:
            once = self.counted[rows]
            rows, expression = rows[once], expression[once]
        if len(rows) == self.n_counted:
            return rows, expression
        own = self.nearest[rows]
        weights = self.count(self.nearest) / np.maximum(np.bincount(own, minlength=self.model.n_clusters_ + 1), 1)
        weights[0] = 0  # dropped events, of which none is kept
        drawn = np.random.default_rng([self.model.seed, 4]).random(len(rows)) < (weights / weights.max())[own]
        return rows[drawn], expression[drawn]


def map_events(
    model: Clusterer,
    events: Events,
    gated: GatedEvents | None = None,
    *,
    unassigned: bool = False,
    shared: SharedEvents | None = None,
) -> MappedEvents:
    """Map events with a model whose clusters have their names; leave those out that fit none if ``unassigned``.

    ``shared`` looks at the values as they go by.
    """
    found = _map(model, events, unassigned, shared)
    return _described(model, events, found, found.nearest, _counted(events, gated))


def map_and_name(
    model: Clusterer,
    events: Events,
    gated: GatedEvents | None = None,
    *,
    reference: Sequence[Population] | None = None,
    unassigned: bool = False,
) -> MappedEvents:
    """Map the events of a run that made a model, number its clusters by their size, name them, and keep the names.

    Parameters
    ----------
    model
        As it was fitted; numbers and names are changed in it.
    events
        The events.
    gated
        Their gates, if they have any, and which of the rows are one event.
    reference
        Populations to name the clusters after.
    unassigned
        Whether events that fit no cluster are left out of all.
    """
    found, counted = _map(model, events, unassigned), _counted(events, gated)
    assigned = np.ones(events.n_events, dtype=bool) if found.outlying is None else found.outlying <= 1
    nearest = model.number_by_size(found.nearest, assigned if counted is None else assigned & counted)
    model.names_ = None
    mapped = _described(model, events, found, nearest, counted)
    names = mapped.names
    if reference is not None:
        names = with_populations(names, name_clusters(mapped.enrichment, reference))
    model.names_ = with_known(names, model.known_as_)
    return replace(mapped, names=model.names_)


def _described(
    model: Clusterer, events: Events, found: _Found, nearest: NDArray[np.int32], counted: NDArray[np.bool_] | None
) -> MappedEvents:
    """Events with their clusters, how the markers stand in these, and the names that the model has or that follow."""
    kept = _keep(model, events, nearest, found.whole)
    levels = _enrichment(model, kept, nearest, found.outlying, counted)
    names = model.names_ or ClusterNames(tuple(labels(levels)))  # models of version 0.1.0 may have none
    return MappedEvents(
        events,
        model,
        nearest,
        found.confidence,
        found.outlying,
        kept,
        levels,
        names,
        found.not_numbers,
        counted,
        found.whole,
    )


def _counted(events: Events, gated: GatedEvents | None) -> NDArray[np.bool_] | None:
    """One row of each event; None where no event stands in several files."""
    if gated is None or gated.overlaps.n_events == events.n_events:
        return None
    return gated.overlaps.first


def name_fitted(model: Clusterer, training: Sequence[RawEvents], reference: Sequence[Population] | None = None) -> None:
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
    parts = [model.preprocessor_.expression(raw, judge_scale=False, nan=model.nan) for raw in training]
    expression = numeric(np.concatenate(parts))
    found = _enrichment(model, KeptEvents(np.arange(len(expression)), expression), model.labels_)
    names = ClusterNames(tuple(labels(found)))
    model.names_ = names if reference is None else with_populations(names, name_clusters(found, reference))


def _map(model: Clusterer, events: Events, unassigned: bool, shared: SharedEvents | None = None) -> _Found:
    """Cluster and confidence of each event, its outlyingness if that is wanted, and what is no number."""
    from cytomoe.training.loop import single_thread

    not_numbers: NotNumbers = {}
    clusters = np.empty(events.n_events, dtype=np.int32)
    confidence = np.empty(events.n_events, dtype=np.float32)
    outlying = np.empty(events.n_events, dtype=np.float32) if unassigned else None
    whole = None
    if events.n_events <= sampling.KEPT_EVENTS:
        widths = (len(model.preprocessor_.markers), model.settings_.code_size)
        whole = WholeEvents(*(np.empty((events.n_events, width), dtype=np.float32) for width in widths))

    def place(piece: tuple[slice, NDArray[np.float32]]) -> None:
        rows, expression = piece
        codes, clusters[rows], confidence[rows] = model.map_all(expression, threads=1)
        if whole is not None:
            whole.expression[rows], whole.codes[rows] = expression, codes
        if outlying is not None:
            outlying[rows] = model.outlyingness(expression, threads=1)

    pieces = (
        piece
        for i in range(len(events.files))
        for piece in expressions(events, i, model.preprocessor_, model.nan, not_numbers, shared)
    )
    with single_thread():  # each piece, and several at a time
        on_threads(place, pieces, None if model.on_cpu else 1)
    if events.n_events and not clusters.any():
        raise InputError(f"{', '.join(events.names)}: no event has numbers in all markers, so none can get a cluster")
    return _Found(clusters, confidence, outlying, not_numbers, whole)


def _keep(
    model: Clusterer, events: Events, clusters: NDArray[np.int32], whole: WholeEvents | None = None
) -> KeptEvents:
    """Markers of all events that have a cluster or, where these are too many, of a sample of every cluster."""
    if whole is not None:
        there = np.flatnonzero(clusters)
        return KeptEvents(there, whole.expression if len(there) == len(clusters) else whole.expression[there])
    rows = sampling.rows_of_clusters(clusters, sampling.KEPT_EVENTS, np.random.default_rng([model.seed, 2]))
    expression = np.empty((len(rows), len(model.preprocessor_.markers)), dtype=np.float32)
    for i, start in enumerate(events.starts.tolist()):
        first, last = np.searchsorted(rows, [start, start + events.sizes[i]])
        if last > first:
            raw = events.take(i, rows[first:last] - start)
            expression[first:last] = model.preprocessor_.expression(raw, judge_scale=False, nan=model.nan)
    return KeptEvents(rows, expression)


def _enrichment(
    model: Clusterer,
    kept: KeptEvents,
    clusters: NDArray[np.int32],
    outlying: NDArray[np.float32] | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> Enrichment:
    """Markers of the events of each cluster, each event once, those left out that are outlying."""
    preprocessor, n_clusters = model.preprocessor_, model.n_clusters_
    use = np.ones(len(clusters), dtype=bool) if counted is None else counted
    if outlying is not None:
        use = use & (outlying <= 1)
    own, expression = clusters[kept.rows][use[kept.rows]], kept.expression[use[kept.rows]]
    sizes = np.bincount(clusters[use], minlength=n_clusters + 1)[1:]
    markers, zeros = preprocessor.markers, preprocessor.zeros
    return enrichment(expression, own, n_clusters, markers, zeros, sizes=sizes, glow=preprocessor.glow)
