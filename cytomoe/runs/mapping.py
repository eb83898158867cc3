"""Events mapped with a model, and the results written from them: what clustering and mapping have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cytomoe.annotation import ClusterNames, Enrichment, enrichment, labels
from cytomoe.errors import InputError
from cytomoe.fit_summary import UNSTABLE
from cytomoe.naming import name_clusters, with_known, with_populations
from cytomoe.outlyingness import BEYOND
from cytomoe.preprocessing import NanPolicy, describe_non_finite, numeric
from cytomoe.reference import Population
from cytomoe.runs import memory, outputs
from cytomoe.runs.cells import write_cells
from cytomoe.runs.events import Events, GatedEvents, Preview
from cytomoe.runs.job import Listener, RunResult
from cytomoe.runs.sampling import rows_of_clusters

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.estimator import MoESimVAE
    from cytomoe.preprocessing import Preprocessor

FloatArray = NDArray[np.float32]
NotNumbers = dict[str, dict[str, tuple[int, int]]]  # file, channel: NaN and infinite values
H5adChoice = Literal["auto", "yes", "no"]


# Share of the cells in unstable clusters above which a run warns of them.
SHAKY_SHARE = 0.01
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
    nearest
        Cluster from 1, shape (events,); 0 where the event was dropped for values that are not numbers.
    confidence
        Probability of that cluster, shape (events,).
    outlyingness
        How far outside its cluster's ranges each event lies, above 1: unassigned; shape (events,). None where all
        events are assigned, which is the default.
    kept
        Markers and codes of all events, or of a sample where there are more than ``KEPT_EVENTS``.
    enrichment
        How the markers stand in each cluster of these events.
    names
        What the clusters are called.
    not_numbers
        NaN and infinite values that were dropped or set to 0: by file and channel, both counts.
    counted
        One row of each event where events stand in several files, shape (events,): those that tables count. None where
        every row is an event of its own.
    """

    events: Events
    model: MoESimVAE
    nearest: NDArray[np.int32]
    confidence: NDArray[np.float32]
    outlyingness: FloatArray | None
    kept: KeptEvents
    enrichment: Enrichment
    names: ClusterNames
    not_numbers: NotNumbers
    counted: NDArray[np.bool_] | None = None

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


def map_events(
    model: MoESimVAE, events: Events, gated: GatedEvents | None = None, *, unassigned: bool = False
) -> MappedEvents:
    """Map events with a model whose clusters have their names; leave those out that fit none if ``unassigned``."""
    nearest, confidence, outlying, not_numbers = _map(model, events, unassigned)
    kept = _keep(model, events, nearest)
    counted = _counted(events, gated)
    found = _enrichment(model, kept, nearest, outlying, counted)
    names = model.names_ or ClusterNames(tuple(labels(found)))  # models of version 0.1.0 may have none
    return MappedEvents(events, model, nearest, confidence, outlying, kept, found, names, not_numbers, counted)


def map_and_name(
    model: MoESimVAE,
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
    nearest, confidence, outlying, not_numbers = _map(model, events, unassigned)
    counted = _counted(events, gated)
    assigned = np.ones(len(nearest), dtype=bool) if outlying is None else outlying <= 1
    nearest = model.number_by_size(nearest, assigned if counted is None else assigned & counted)
    kept = _keep(model, events, nearest)
    found = _enrichment(model, kept, nearest, outlying, counted)
    names = ClusterNames(tuple(labels(found)))
    if reference is not None:
        names = with_populations(names, name_clusters(found, reference))
    names = with_known(names, model.known_as_)
    model.names_ = names
    return MappedEvents(events, model, nearest, confidence, outlying, kept, found, names, not_numbers, counted)


def _counted(events: Events, gated: GatedEvents | None) -> NDArray[np.bool_] | None:
    """One row of each event; None where no event stands in several files."""
    if gated is None or gated.overlaps.n_events == events.n_events:
        return None
    return gated.overlaps.first


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
    parts = [model.preprocessor_.expression(adata, judge_scale=False, nan=model.nan) for adata in training]
    expression = numeric(np.concatenate(parts))
    found = _enrichment(model, KeptEvents(np.arange(len(expression)), expression, expression[:, :0]), model.labels_)
    names = ClusterNames(tuple(labels(found)))
    model.names_ = names if reference is None else with_populations(names, name_clusters(found, reference))


def expressions(
    events: Events, index: int, preprocessor: Preprocessor, nan: NanPolicy, not_numbers: NotNumbers
) -> Iterator[tuple[slice, FloatArray]]:
    """Transformed marker values of a file, piece by piece: the rows of the run that a piece is, and its values.

    The scale of a large file is judged when its last piece has gone by, so that it is read once. Values that are not
    numbers are treated as ``nan`` says, and counted in ``not_numbers`` unless they are refused.

    Raises
    ------
    InputError
        As :meth:`cytomoe.preprocessing.Preprocessor.expression` does of the whole file.
    """
    if events.held:
        for rows, adata in events.chunks(index):
            _count_not_numbers(events.names[index], preprocessor, adata, nan, not_numbers)
            yield rows, preprocessor.expression(adata, nan=nan)
        return
    preview = Preview(events.sizes[index])
    for rows, adata in events.chunks(index):
        preview.add(adata)
        _count_not_numbers(events.names[index], preprocessor, adata, nan, not_numbers)
        try:
            expression = preprocessor.expression(adata, judge_scale=False, nan=nan)
        except InputError:
            preprocessor.expression(events.read(index))  # raises, and counts the values over the whole file
            raise
        yield rows, expression
    preprocessor.refuse_other_scale(preview.adata())


def _count_not_numbers(
    name: str, preprocessor: Preprocessor, adata: AnnData, nan: NanPolicy, not_numbers: NotNumbers
) -> None:
    """Add what a piece of a file holds to the counts."""
    found = {} if nan == "refuse" else preprocessor.not_numbers(adata)
    for channel, (n_nan, n_infinite) in found.items():
        before = not_numbers.setdefault(name, {}).get(channel, (0, 0))
        not_numbers[name][channel] = (before[0] + n_nan, before[1] + n_infinite)


def _map(
    model: MoESimVAE, events: Events, unassigned: bool
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32] | None, NotNumbers]:
    """Cluster and confidence of each event, its outlyingness if that is wanted, and what is no number."""
    not_numbers: NotNumbers = {}
    clusters = np.empty(events.n_events, dtype=np.int32)
    confidence = np.empty(events.n_events, dtype=np.float32)
    outlying = np.empty(events.n_events, dtype=np.float32) if unassigned else None
    for i in range(len(events.files)):
        for rows, expression in expressions(events, i, model.preprocessor_, model.nan, not_numbers):
            _, clusters[rows], confidence[rows] = model.map_all(expression)
            if outlying is not None:
                outlying[rows] = model.outlyingness(expression)
    if events.n_events and not clusters.any():
        raise InputError(f"{', '.join(events.names)}: no event has numbers in all markers, so none can get a cluster")
    return clusters, confidence, outlying, not_numbers


def _keep(model: MoESimVAE, events: Events, clusters: NDArray[np.int32]) -> KeptEvents:
    rows = rows_of_clusters(clusters, KEPT_EVENTS, np.random.default_rng([model.seed, 2]))
    expression = np.empty((len(rows), len(model.preprocessor_.markers)), dtype=np.float32)
    for i, start in enumerate(events.starts.tolist()):
        first, last = np.searchsorted(rows, [start, start + events.sizes[i]])
        if last > first:
            adata = events.take(i, rows[first:last] - start)
            expression[first:last] = model.preprocessor_.expression(adata, judge_scale=False, nan=model.nan)
    return KeptEvents(rows, expression, model.transform(expression))


def _enrichment(
    model: MoESimVAE,
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
    return enrichment(expression, own, n_clusters, preprocessor.markers, preprocessor.zeros, sizes=sizes)


def summary(mapped: MappedEvents) -> list[dict[str, Any]]:
    """Each cluster with its names, events and fraction, as the run prints them."""
    sizes, columns, stability = mapped.sizes, mapped.names.columns, mapped.model.summary_.stability
    return [
        {
            "cluster": k,
            **{name: columns[name][k - 1] for name in ("label", "population") if name in columns},
            "events": int(size),
            "fraction": round(int(size) / max(mapped.n_counted, 1), 6),
            "stability": None if np.isnan(stable) else round(stable, 3),
        }
        for k, (size, stable) in enumerate(zip(sizes.tolist(), stability.tolist(), strict=True), start=1)
    ]


def unstable(model: MoESimVAE) -> list[str]:
    """A warning that names the clusters that another look at the same cells would not find again.

    None where they hold less than ``SHAKY_SHARE`` of the cells: most runs have some such, and the table shows them.
    """
    below = model.summary_.stability < UNSTABLE
    if model.summary_.sizes[below].sum() <= SHAKY_SHARE * model.summary_.sizes.sum():
        return []
    shaky = [int(k) + 1 for k in np.flatnonzero(below)]
    which = f"cluster{'s' if len(shaky) > 1 else ''} {', '.join(map(str, shaky))}"
    return [
        f"{which} of {model.n_clusters_}: stability below {UNSTABLE} (see clusters.csv), another look at the same "
        "cells may draw other borders; look at them before you count on them, or merge them (cytomoe merge)"
    ]


def result_of(
    mapped: MappedEvents,
    out: Path,
    evaluation: dict[str, Any] | None,
    seconds: dict[str, float],
    report: Path | None,
) -> RunResult:
    """What the run found, for the one who asked."""
    n_dropped = int(mapped.count(mapped.nearest)[0])
    unassigned = None if mapped.outlyingness is None else int(mapped.count(mapped.clusters)[0]) - n_dropped
    return RunResult(
        out,
        mapped.events.n_events,
        mapped.n_counted,
        mapped.model.n_clusters_,
        evaluation,
        seconds,
        summary(mapped),
        report,
        unassigned,
        n_dropped if mapped.model.nan == "drop" else None,
    )


def describe_not_numbers(mapped: MappedEvents) -> list[str]:
    """What was done to values that are not numbers, a warning for each file that has any."""
    warnings = []
    for i, name in enumerate(mapped.events.names):
        counts = mapped.not_numbers.get(name)
        if not counts:
            continue
        if mapped.model.nan == "zero":
            done = f"{sum(map(sum, counts.values())):,} values that are not numbers were set to 0 (--nan zero)"
        else:
            start = int(mapped.events.starts[i])
            dropped = np.count_nonzero(mapped.nearest[start : start + mapped.events.sizes[i]] == 0)
            done = f"{dropped:,} events with values that are not numbers are in no cluster (--nan drop)"
        warnings.append(f"{name}: {done}: {describe_non_finite(counts)}")
    return warnings


def record_not_numbers(mapped: MappedEvents) -> dict[str, Any] | None:
    """What was done to values that are not numbers, as ``run.json`` holds it; None where they are refused."""
    if mapped.model.nan == "refuse":
        return None
    channels = {
        name: {channel: {"nan": nan, "infinite": infinite} for channel, (nan, infinite) in counts.items()}
        for name, counts in mapped.not_numbers.items()
    }
    return {"policy": mapped.model.nan, "events_dropped": mapped.n_dropped, "channels": channels}


def record_overlaps(mapped: MappedEvents, gated: GatedEvents | None) -> dict[str, Any] | None:
    """Events that stand in several files, as ``run.json`` holds them; None where no row repeats another's event."""
    if gated is None or mapped.counted is None:
        return None
    return {"distinct_events": gated.overlaps.n_events, "in_several_gates": gated.overlaps.n_shared}


def count_unassigned(mapped: MappedEvents) -> dict[str, Any] | None:
    """Unassigned events of the run and of each sample, as ``run.json`` holds them; None where none are looked for."""
    if mapped.outlyingness is None:
        return None
    outlying = mapped.events.sample[(mapped.clusters == 0) & (mapped.nearest > 0)]
    found = np.bincount(outlying, minlength=len(mapped.events.samples))
    return {
        "events": int(found.sum()),
        "expected": round(BEYOND * mapped.events.n_events),
        "samples": dict(zip(mapped.events.samples, found.tolist(), strict=True)),
    }


def measure(
    mapped: MappedEvents,
    gated: GatedEvents | None,
    *,
    held_out: NDArray[np.bool_] | None = None,
    min_population: int = 30,
) -> dict[str, Any] | None:
    """Measures of the clusters against the gates, unassigned events in the nearest; None without gates.

    Events that were dropped have no cluster and are not measured.
    """
    from cytomoe.evaluation import evaluate

    if gated is None:
        return None
    there = mapped.nearest > 0
    return evaluate(
        mapped.nearest[there],
        gated.gates.take(there),
        unique=gated.overlaps.unique[there],
        holdout=None if held_out is None else held_out[there],
        sample=np.array(mapped.events.samples, dtype=object)[mapped.events.sample[there]],
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
    outputs.write_labels(folder, mapped)
    outputs.write_csv(folder / "clusters.csv", outputs.cluster_table(mapped))
    outputs.write_csv(folder / "enrichment.csv", mapped.enrichment.table())
    outputs.write_csv(folder / "abundance.csv", outputs.abundance_table(mapped))
    outputs.write_csv(folder / "medians.csv", outputs.median_table(mapped))
    if writes_cells(mapped.events, h5ad):
        write_cells(folder / "cells.h5ad", mapped, gated)
    outputs.write_fcs_files(folder, mapped)
    if evaluation is not None:
        outputs.write_evaluation(folder, evaluation)
