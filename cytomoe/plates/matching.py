"""Clusters of separate runs matched with each other, so that one number means one population over a plate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.preprocessing.channels import fold

# Clusters whose medians lie further apart than this (Euclidean, transformed values) are different populations: about
# what one marker changes by between cells without and with it.
FURTHEST = 2.0


def one_spelling(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Give the markers of runs the names that they have in the first: ``HLADR`` and ``HLA-DR`` are one.

    Where the names differ by more, the user named the markers, and their order tells which is which.

    Parameters
    ----------
    tables
        ``clusters.csv`` of each run by the name of its sample.
    """
    first = markers_of(next(iter(tables.values())))
    by_fold = {fold(marker): marker for marker in first}
    renamed = {}
    for name, table in tables.items():
        own = markers_of(table)
        called = [by_fold.get(fold(marker), "") for marker in own]
        if sorted(called) != sorted(first):
            called = own if sorted(own) == sorted(first) else first
        renamed[name] = table.set_axis([*table.columns[: -len(own)], *called], axis=1)
    return renamed


def markers_of(table: pd.DataFrame) -> list[str]:
    """Names of the markers in ``clusters.csv``, whose medians stand after the fraction."""
    columns = list(table.columns)
    return columns[columns.index("fraction") + 1 :]


def match_clusters(tables: Mapping[str, pd.DataFrame], furthest: float = FURTHEST) -> pd.DataFrame:
    """Match the clusters of runs by their medians.

    The run with the most clusters comes first, the others in their order. Each is assigned to the populations known so
    far so that the summed distance of the medians is least, one to one (Hungarian); what lies further from all than
    ``furthest`` becomes a population of its own. A population's medians are the mean of its clusters', by events.

    Parameters
    ----------
    tables
        ``clusters.csv`` of each run by the name of its sample: with a column per marker after fraction.
    furthest
        Largest distance of clusters that are one population.

    Returns
    -------
    DataFrame
        Columns sample, cluster, plate_cluster (from 1, the largest first), distance, events; a row per cluster.
    """
    from scipy.optimize import linear_sum_assignment

    names = sorted(tables, key=lambda name: -len(tables[name]))[:1]
    names += [name for name in tables if name not in names]
    markers = markers_of(tables[names[0]])
    medians: list[NDArray[np.float64]] = []
    sizes: list[float] = []
    rows = []
    for name in names:
        filled = tables[name][tables[name]["events"] > 0]
        own = filled[markers].to_numpy(dtype=np.float64)
        known = np.array(medians).reshape(-1, len(markers))
        distances = np.sqrt(((own[:, None] - known[None]) ** 2).sum(axis=2))
        # A column of its own for each cluster, at the price of the largest distance: staying alone.
        alone = np.where(np.eye(len(own), dtype=bool), furthest, np.inf)
        costs = np.minimum(np.concatenate([np.where(distances < furthest, distances, np.inf), alone], axis=1), 1e9)
        _, columns = linear_sum_assignment(costs)
        for i, (column, (cluster, events)) in enumerate(
            zip(columns, filled[["cluster", "events"]].itertuples(index=False), strict=True)
        ):
            if column >= len(known):
                medians.append(own[i])
                sizes.append(float(events))
                population, distance = len(medians) - 1, 0.0
            else:
                population, distance = int(column), float(distances[i, column])
                share = events / (sizes[population] + events)
                medians[population] = (1 - share) * medians[population] + share * own[i]
                sizes[population] += events
            rows.append((name, int(cluster), population, round(distance, 4), int(events)))
    table = pd.DataFrame(rows, columns=["sample", "cluster", "plate_cluster", "distance", "events"])
    order = np.argsort(-np.array(sizes), kind="stable")
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(1, len(order) + 1)
    table["plate_cluster"] = numbers[table["plate_cluster"]]
    position = {name: i for i, name in enumerate(tables)}
    return table.sort_values(
        ["sample", "cluster"], key=lambda s: s.map(position) if s.name == "sample" else s
    ).reset_index(drop=True)
