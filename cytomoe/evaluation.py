"""Clusters measured against manual gates: what ``evaluation.json`` and ``evaluation.csv`` hold.

Each block of numbers is about one set of events: ``all`` of them as they stand in the files, or the ``unique`` ones
that lie in one gate only. Populations of fewer than ``min_population`` events are discarded, as in the MoE-Sim-VAE
paper; they are judged before events are held out, anew among the unique events, and listed by name. Events in no gate
count neither for nor against a cluster, but where there is one gate only: they are its rest then, for precision within
one gate would be 1 whatever the cluster holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cytomoe.errors import InputError
from cytomoe.io.gates import Gates
from cytomoe.metrics import Contingency, PopulationScore

_TABLE_COLUMNS = [
    "sample",
    "counted_on",
    "gate",
    "events",
    "cluster",
    "precision",
    "recall",
    "f1",
    "most_in",
    "most_share",
]
_WORDS = {"all": "all gated events", "unique": "events in one gate"}
_WORDS_WITH_REST = {"all": "all events", "unique": "events in one gate or none"}
_POOLED = "all samples"  # the sample column of rows that are about all samples together


def evaluate(
    clusters: ArrayLike,
    gates: Gates,
    *,
    unique: ArrayLike | None = None,
    holdout: ArrayLike | None = None,
    sample: ArrayLike | None = None,
    min_population: int = 30,
) -> dict[str, Any]:
    """Measure clusters against gates, on all events and on those that lie in one gate only.

    Parameters
    ----------
    clusters
        (events,) integer cluster of each event.
    gates
        The gate of each event.
    unique
        (events,) whether an event lies in at most one gate, as :func:`cytomoe.io.overlaps.find_overlaps` tells; all
        do by default. Rows without a gate that are not are left out of both measures.
    holdout
        (events,) the events to measure on; all by default.
    sample
        (events,) name of the sample of each event. With more than one sample, each is measured by itself too.
    min_population
        Populations with fewer events are discarded. Counted before events are held out: over all samples together for
        the pooled measures, within the sample for its own.

    Returns
    -------
    dict
        Ready for JSON: ``{"min_population": n, "all": block, "unique": block}``, and with more than one sample
        ``"samples": {name: {"all": block, "unique": block}}``. A block has ``f_measure``, ``mean_f1``, ``ari``, ``nmi``
        (None when no population is left), ``n_events`` (events measured on), ``n_gated`` (those in the populations
        kept), ``n_rest`` (those in no gate, where they count as the rest of a single one), ``clusters_used`` (clusters
        among ``n_events``), ``populations`` (largest first; see :class:`cytomoe.metrics.PopulationScore`) and
        ``discarded`` (name and size of each population left out, before the hold-out).

    Raises
    ------
    InputError
        If the arrays differ in length or ``min_population`` is less than 1.
    """
    clusters = np.asarray(clusters)
    n_events = len(clusters)
    if min_population < 1:
        raise InputError(f"--min-population {min_population}: must be at least 1")
    masks = {"unique": _mask(unique, n_events, "unique"), "holdout": _mask(holdout, n_events, "holdout")}
    if len(gates.codes) != n_events:
        raise InputError(f"{len(gates.codes):,} gates for {n_events:,} cluster labels; they must be of the same events")

    def measure(rows: NDArray[np.bool_]) -> dict[str, Any]:
        # A row without a gate whose event stands in that of a gate too is no event outside of the gate.
        both = {"all": rows & (gates.gated | masks["unique"]), "unique": rows & masks["unique"]}
        return {
            name: _block(clusters, gates, eligible, eligible & masks["holdout"], min_population)
            for name, eligible in both.items()
        }

    evaluation = {"min_population": min_population, **measure(np.ones(n_events, dtype=bool))}
    if sample is not None:
        codes, names = pd.factorize(_of_length(np.asarray(sample, dtype=object), n_events, "sample"))
        if len(names) > 1:
            evaluation["samples"] = {str(name): measure(codes == code) for code, name in enumerate(names)}
    return evaluation


def evaluation_table(evaluation: dict[str, Any]) -> pd.DataFrame:
    """Flatten an evaluation to one row per sample, set of events and population: ``evaluation.csv``.

    Parameters
    ----------
    evaluation
        What :func:`evaluate` returned.

    Returns
    -------
    DataFrame
        Columns sample (``all samples`` for the pooled rows), counted_on (see :func:`counted_on`), gate, events (of the
        gate), cluster (missing when the population has none), precision, recall, f1, and the cluster that holds most
        of the gate with the share (most_in, most_share).
    """
    rows = [
        {"sample": name, "counted_on": counted_on(events, blocks[events]), **population}
        for name, blocks in [(_POOLED, evaluation), *evaluation.get("samples", {}).items()]
        for events in ("all", "unique")
        for population in blocks[events]["populations"]
    ]
    table = pd.DataFrame(rows).rename(columns={"n": "events"}).reindex(columns=_TABLE_COLUMNS)
    whole = {"cluster": "Int64", "most_in": "Int64"}
    return table.astype(whole).round(dict.fromkeys(("precision", "recall", "f1", "most_share"), 6))


def counted_on(events: str, block: Mapping[str, Any]) -> str:
    """Which events a block is about, in words.

    Parameters
    ----------
    events
        ``all`` or ``unique``.
    block
        Of an evaluation; those of earlier versions count no rest.
    """
    return (_WORDS_WITH_REST if block.get("n_rest") else _WORDS)[events]


def holdout_mask(event: ArrayLike, fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw the events to hold out at random; all rows of one event go to the same side.

    Parameters
    ----------
    event
        (rows,) identifier of each row's event, such as :attr:`cytomoe.io.overlaps.Overlaps.event`.
    fraction
        Share of the events to hold out, between 0 and 1.
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        (rows,) True for the rows held out.

    Raises
    ------
    InputError
        If ``fraction`` is not between 0 and 1, or leaves one of the two sides without events.
    """
    identifiers, row = np.unique(np.asarray(event), return_inverse=True)
    if not 0 < fraction < 1:
        raise InputError(f"--holdout {fraction:g}: must be a share between 0 and 1, such as 0.2")
    n_held_out = round(fraction * len(identifiers))
    if not 0 < n_held_out < len(identifiers):
        raise InputError(f"--holdout {fraction:g}: {len(identifiers):,} events can't be split so; give another share")
    held_out = np.zeros(len(identifiers), dtype=bool)
    held_out[rng.choice(len(identifiers), size=n_held_out, replace=False)] = True
    return held_out[row]


def _block(
    clusters: NDArray[Any],
    gates: Gates,
    eligible: NDArray[np.bool_],
    measured: NDArray[np.bool_],
    min_population: int,
) -> dict[str, Any]:
    """Measure on the ``measured`` events the populations that are large enough among the ``eligible`` ones."""
    sizes = _sizes(gates, eligible)
    kept = (sizes >= min_population) & (_sizes(gates, measured) > 0)
    scored = measured & gates.gated
    scored[scored] = kept[gates.codes[scored]]
    rest = measured & ~gates.gated & (len(gates.names) == 1)
    block: dict[str, Any] = dict.fromkeys(("f_measure", "mean_f1", "ari", "nmi"))
    scores: list[PopulationScore] = []
    if scored.any():
        counted = scored | rest
        block, scores = _scores(np.where(gates.gated, gates.codes, 1)[counted], clusters[counted], alone=rest.any())
    discarded = np.flatnonzero(~kept & (sizes > 0)).tolist()
    if rest.any():
        block["n_rest"] = int(np.count_nonzero(rest))
    return block | {
        "n_events": int(np.count_nonzero(measured)),
        "n_gated": int(np.count_nonzero(scored)),
        "clusters_used": len(np.unique(clusters[measured])),
        "populations": [{**asdict(score), "gate": gates.names[score.gate]} for score in scores],
        "discarded": [{"gate": gates.names[code], "n": int(sizes[code])} for code in discarded],
    }


def _scores(
    gates: NDArray[Any], clusters: NDArray[Any], *, alone: bool | np.bool_
) -> tuple[dict[str, Any], list[PopulationScore]]:
    """The four measures, and how each population was found; of the first ``alone``, the others being its rest."""
    table = Contingency.of(gates, clusters)
    scores = [table.best_of(0)] if alone else table.populations()
    measures = {
        "f_measure": scores[0].f1 if alone else table.f_measure(),
        "mean_f1": scores[0].f1 if alone else table.mean_f1(),
        "ari": table.adjusted_rand_index(),
        "nmi": table.normalized_mutual_information(),
    }
    return measures, scores


def _sizes(gates: Gates, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(gates,) events of each gate among the rows."""
    return np.bincount(gates.codes[rows & gates.gated], minlength=len(gates.names))


def _mask(mask: ArrayLike | None, n_events: int, name: str) -> NDArray[np.bool_]:
    """Return the mask as an array; all events when there is none."""
    if mask is None:
        return np.ones(n_events, dtype=bool)
    return _of_length(np.asarray(mask, dtype=bool), n_events, name)


def _of_length(values: NDArray[Any], n_events: int, name: str) -> NDArray[Any]:
    """Return the array if it has one value per event."""
    if values.shape != (n_events,):
        raise InputError(f"'{name}' has shape {values.shape}; it needs one value for each of {n_events:,} events")
    return values
