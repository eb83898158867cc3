"""Medians in each cluster of each sample: of the markers, and of the proteins that the clusters are not made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.cores import on_threads
from cytomoe.preprocessing import Preprocessor
from cytomoe.preprocessing.markers import NOT_CHOSEN, find_channel
from cytomoe.preprocessing.steps import MarkerStep
from cytomoe.preprocessing.transform import COFACTORS, MarkerTransform
from cytomoe.runs.outputs import abundance_counts, with_conditions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from cytomoe.io.raw_events import RawEvents
    from cytomoe.runs.mapping import MappedEvents

FloatArray = NDArray[np.float32]


class StateProteins:
    """Proteins of a run's files that were not chosen as markers, such as signalling proteins.

    They are treated as the markers are: compensated, and transformed by arcsinh with the cofactor that most markers
    have, or taken as they are where all markers are.

    Parameters
    ----------
    preprocessor
        Of the model.
    """

    def __init__(self, preprocessor: Preprocessor) -> None:
        self.names = list(preprocessor.left_out.get(NOT_CHOSEN, ()))
        self._preprocessor = replace(preprocessor, clip=False)
        kinds = Counter(step.transform.cofactor for step in preprocessor.steps if step.transform.name == "arcsinh")
        if all(step.transform.name == "none" for step in preprocessor.steps):
            self._transform = MarkerTransform("none")
        else:
            cofactor = kinds.most_common(1)[0][0] if kinds else COFACTORS[preprocessor.instrument]
            self._transform = MarkerTransform("arcsinh", cofactor=cofactor)

    def expression(self, raw: RawEvents) -> FloatArray:
        """Their transformed values, shape (events, proteins).

        NaN where the file lacks a protein, or an event has no number in it or in what it is compensated with.
        """
        values = np.full((raw.n_obs, len(self.names)), np.nan, dtype=np.float32)
        whole, alone = list[tuple[int, str]](), list[list[tuple[int, str]]]()
        for i, name in enumerate(self.names):
            found = find_channel(raw.var, name)
            if len(found) == 1 and np.isfinite(raw.X[:, raw.var_names.get_loc(found[0])]).all():
                whole.append((i, found[0]))
            elif len(found) == 1:  # together with others it would take their events along
                alone.append([(i, found[0])])
        for together in [whole, *alone] if whole else alone:
            steps = tuple(MarkerStep(name, name, "", self._transform) for _, name in together)
            located = replace(self._preprocessor, steps=steps)
            values[:, [i for i, _ in together]] = located.expression(raw, judge_scale=False, nan="drop")
        return values


def median_table(mapped: MappedEvents) -> pd.DataFrame:
    """Median of each marker (transformed values) in each cluster of each sample that has events of it.

    Columns sample, the samples' conditions, cluster, population where named, events, markers.
    """
    return _table(mapped, mapped.kept.expression, list(mapped.enrichment.markers))


def state_table(mapped: MappedEvents) -> pd.DataFrame | None:
    """The same of the proteins that were not chosen as markers: what diffcyt's tests of cell states start from.

    None where there are none.
    """
    proteins = StateProteins(mapped.model.preprocessor_)
    if not proteins.names:
        return None
    events, rows = mapped.events, mapped.kept.rows
    values = np.empty((len(rows), len(proteins.names)), dtype=np.float32)
    for i, start in enumerate(events.starts.tolist()):
        first, last = np.searchsorted(rows, [start, start + events.sizes[i]])
        if last > first:
            values[first:last] = proteins.expression(events.take(i, rows[first:last] - start))
    taken = () if events.conditions is None else events.conditions.columns
    return _table(mapped, values, free_names(proteins.names, taken))


def population_table(cells: AnnData, samples: pd.DataFrame, names: pd.Series[str]) -> pd.DataFrame:
    """Medians in each population of each sample that has events of it, of markers and of all other proteins.

    Parameters
    ----------
    cells
        Of ``cells.h5ad``.
    samples
        The column sample, and the conditions of each.
    names
        Population of each cluster, by its number from 1.
    """
    obs, called = cells.obs, list(dict.fromkeys(names))
    number = pd.Series([called.index(name) for name in names], index=names.index)
    cluster = obs["cytomoe"].astype(int).to_numpy()
    sample = pd.Index(samples["sample"]).get_indexer(pd.Index(obs["sample"].astype(str)))
    counted = (cluster > 0) & (obs["counted"].to_numpy(dtype=bool) if "counted" in obs else True)
    groups = np.full(len(obs), -1)
    groups[counted] = sample[counted] * len(called) + number.loc[cluster[counted]].to_numpy()
    matrices, columns = [np.asarray(cells.X)], list(cells.var_names)
    if "states" in cells.obsm:
        taken = [*samples.columns, *columns]
        columns += free_names([str(name) for name in cells.uns["cytomoe_origin"]["states"]], taken)
        matrices.append(cells.obsm["states"])
    found, sizes = np.unique(groups[counted], return_counts=True)
    order = np.argsort(groups, kind="stable")[np.count_nonzero(~counted) :]
    parts = [order[end - size : end] for end, size in zip(np.cumsum(sizes), sizes, strict=True)]
    described = samples.iloc[found // len(called)].reset_index(drop=True)
    described["population"] = np.array(called, dtype=object)[found % len(called)]
    described["events"] = sizes
    medians = np.concatenate([medians_of(values, parts) for values in matrices], axis=1)
    return pd.concat([described, pd.DataFrame(medians, columns=columns)], axis=1)


def free_names(proteins: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names of proteins as columns, told from those that the table has besides."""
    used = {"sample", "cluster", "population", "events", *taken}
    return [f"{name} (protein)" if name in used else name for name in proteins]


def medians_of(values: FloatArray, parts: Sequence[NDArray[np.int64]]) -> FloatArray:
    """Median of each column over each part's rows, of the values that are numbers; shape (parts, columns)."""

    def median(rows: NDArray[np.int64]) -> NDArray[Any]:
        own = values[rows]
        if len(own) and not np.isnan(own).any():
            return np.asarray(np.median(own, axis=0))
        known = [column[~np.isnan(column)] for column in own.T]
        return np.array([np.median(column) if len(column) else np.nan for column in known])

    found = on_threads(median, parts)
    return np.round(np.array(found, dtype=np.float64).reshape(len(parts), values.shape[1]), 4)


def _table(mapped: MappedEvents, values: FloatArray, columns: list[str]) -> pd.DataFrame:
    """Medians of the values of the events that are kept, shape (kept, columns), by sample and cluster."""
    events, n_clusters, kept = mapped.events, mapped.model.n_clusters_, mapped.kept
    counts = abundance_counts(mapped)[:, 1:].ravel()
    found = np.flatnonzero(counts)
    own = mapped.clusters[kept.rows]
    groups = events.sample[kept.rows] * np.int64(n_clusters) + (own - 1)
    groups[own == 0] = counts.size  # behind those that are asked for
    if mapped.counted is not None:
        groups[~mapped.counted[kept.rows]] = counts.size
    order = np.argsort(groups, kind="stable")
    starts, ends = (np.searchsorted(groups[order], found, side=side) for side in ("left", "right"))
    parts = [order[first:last] for first, last in zip(starts, ends, strict=True)]
    described: dict[str, Any] = {
        "sample": np.array(events.samples, dtype=object)[found // n_clusters],
        "cluster": found % n_clusters + 1,
    }
    if mapped.names.populations:
        described["population"] = np.array(mapped.names.populations, dtype=object)[found % n_clusters]
    described["events"] = counts[found]
    # Of a few events among many, none may have been kept: their medians are not known.
    medians = pd.DataFrame(medians_of(values, parts), columns=columns)
    return with_conditions(pd.concat([pd.DataFrame(described), medians], axis=1), events.conditions)
