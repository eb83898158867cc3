"""A run whose clusters were merged, seen by its populations: they stand where the clusters stood, in every figure."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.annotation import enrichment, labels
from cytomoe.naming import number_populations
from cytomoe.preprocessing import Preprocessor
from cytomoe.reporting.run_files import RunFiles

# Cells of each population that its medians and label come from.
_CELLS_EACH = 20_000


def by_population(run: RunFiles) -> RunFiles:
    """The run with its populations, numbered by size, in place of its clusters; a run never merged as it is."""
    if "merged" not in run.manifest:
        return run
    numbers = number_populations(run.words("population"), run.sizes)
    grouped = replace(run, population_of=numbers)
    parts = [np.flatnonzero(numbers == number) for number in range(1, numbers.max() + 1)]
    table = _table(grouped, parts)
    counts = np.column_stack([run.counts[:, clusters].sum(axis=1) for clusters in parts])
    counted = [f"cluster_{k}" for k in run.clusters["cluster"]]
    abundance = run.abundance.drop(columns=counted)
    abundance[[f"cluster_{k}" for k in table["cluster"]]] = counts
    return replace(grouped, clusters=table, abundance=abundance)


def _table(run: RunFiles, parts: list[NDArray[np.int64]]) -> pd.DataFrame:
    """``clusters.csv`` as it would be of the populations; joined ones have no stability."""
    assert run.population_of is not None
    sizes = np.array([run.sizes[clusters].sum() for clusters in parts])
    names = run.words("population")
    stability = run.stability if run.stability is not None else np.full(run.n_clusters, np.nan)
    preprocessor = Preprocessor.from_dict(run.manifest["preprocessing"])
    own = np.where(run.cells.assigned & run.cells.counted, run.cells.cluster, 0)  # each event once
    order = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[order], np.arange(1, len(parts) + 2))
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(order[first:last])[:_CELLS_EACH] for first, last in pairwise(starts)]
    rows = np.sort(np.concatenate(chosen))
    found = enrichment(
        run.cells.take("X", rows),
        own[rows].astype(np.int32),
        len(parts),
        preprocessor.markers,
        preprocessor.zeros,
        sizes=sizes,
        glow=preprocessor.glow,
    )
    described = {
        "cluster": np.arange(1, len(parts) + 1),
        "label": labels(found),
        "population": [names[clusters[0]] for clusters in parts],
        "parts": [", ".join(str(k + 1) for k in clusters) for clusters in parts],
        "stability": [stability[clusters[0]] if len(clusters) == 1 else np.nan for clusters in parts],
        "events": sizes,
        "fraction": sizes / max(run.n_events, 1),
    }
    medians = found.medians.astype(np.float64)
    for row, clusters in enumerate(parts):
        if len(clusters) == 1:  # of all its events, as clusters.csv has them
            medians[row] = run.medians[clusters[0]]
    medians = pd.DataFrame(medians, columns=list(found.markers))
    return pd.concat([pd.DataFrame(described), medians], axis=1)
