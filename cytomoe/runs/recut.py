"""A tree of a run's clusters by their markers, and fewer clusters by a cut through it, without training again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.runs.merge import called, keep_unknown_apart
from cytomoe.words import listed, percent


@dataclass(frozen=True)
class TreeCut:
    """Names of the groups that are left when the tree of the clusters is cut at ``groups`` of them.

    A :class:`cytomoe.runs.merge.Naming`.
    """

    groups: int

    def names(self, clusters: pd.DataFrame) -> tuple[pd.Series[str], dict[str, Any]]:
        """Name of each cluster's group, and the tree for the manifest.

        Raises
        ------
        InputError
            If there are not that many clusters.
        """
        if not 1 <= self.groups <= len(clusters):
            raise InputError(
                f"--clusters {self.groups}: the run has {len(clusters)} clusters, which can be merged into 1 to "
                f"{len(clusters)}; finer ones take a new run, with --resolution 1.5 or --prior"
            )
        tree = tree_of(clusters)
        groups = cut(tree, len(clusters), self.groups)
        return group_names(clusters, groups), {"clusters": self.groups, "tree": tree.to_dict("records")}


def median_markers(clusters: pd.DataFrame) -> NDArray[np.float64]:
    """Median of each marker in each cluster, shape (clusters, markers); 0 where a cluster of the model is empty."""
    first = clusters.columns.get_loc("fraction") + 1
    return np.nan_to_num(clusters.iloc[:, first:].to_numpy(dtype=np.float64))


def tree_of(clusters: pd.DataFrame) -> pd.DataFrame:
    """Tree of the clusters of a run, with the marker in which both sides of each join lie furthest apart."""
    medians = median_markers(clusters)
    tree = merge_tree(medians)
    markers = clusters.columns[-medians.shape[1] :]
    sides = {k: [k - 1] for k in range(1, len(medians) + 1)}
    furthest = []
    for number, join in enumerate(tree.itertuples(index=False), start=len(medians) + 1):
        left, right = sides[join.left], sides[join.right]
        apart = np.abs(medians[left].mean(axis=0) - medians[right].mean(axis=0))
        furthest.append(str(markers[int(apart.argmax())]))
        sides[number] = left + right
    return tree.assign(marker=furthest)


def joins_in_words(tree: Sequence[Mapping[str, Any]], n_clusters: int) -> list[str]:
    """What the joins of a tree are, in order: clusters of either side, distance, marker."""
    sides = {k: [k] for k in range(1, n_clusters + 1)}
    lines = []
    for number, join in enumerate(tree, start=n_clusters + 1):
        left, right = sorted((sides[join["left"]], sides[join["right"]]))
        listed = " with ".join(" + ".join(map(str, side)) for side in (left, right))
        lines.append(f"{listed} at distance {join['height']:.2f}, furthest apart in {join['marker']}")
        sides[number] = sorted(left + right)
    return lines


def merge_tree(medians: NDArray[np.float64]) -> pd.DataFrame:
    """Tree of clusters by average linkage of their medians, the merges in order.

    Parameters
    ----------
    medians
        Transformed marker values, shape (clusters, markers).

    Returns
    -------
    DataFrame
        One row per merge: left and right (numbers of clusters from 1; a merge makes the next number), height (mean
        Euclidean distance of their medians, transformed units) and clusters (how many are left).
    """
    from scipy.cluster.hierarchy import average

    n_clusters = len(medians)
    steps = average(medians) if n_clusters > 1 else np.empty((0, 4))
    return pd.DataFrame(
        {
            "left": steps[:, 0].astype(int) + 1,
            "right": steps[:, 1].astype(int) + 1,
            "height": np.round(steps[:, 2], 4),
            "clusters": n_clusters - 1 - np.arange(len(steps)),
        }
    )


def cut(tree: pd.DataFrame, n_clusters: int, n_groups: int) -> NDArray[np.int64]:
    """Group of each cluster, from 0, when merging stops at ``n_groups``; shape (clusters,)."""
    members = {k: [k - 1] for k in range(1, n_clusters + 1)}
    for step, merge in enumerate(tree.itertuples(index=False)):
        if merge.clusters < n_groups:
            break
        members[n_clusters + 1 + step] = members.pop(merge.left) + members.pop(merge.right)
    groups = np.empty(n_clusters, dtype=np.int64)
    for group, clusters in enumerate(members.values()):
        groups[clusters] = group
    return groups


def group_names(clusters: pd.DataFrame, groups: NDArray[np.int64]) -> pd.Series[str]:
    """Name of each cluster's group: what its parts are called, joined by " + ", the largest part first.

    No group is named after its largest part alone, and no two have the same name: the smaller of two that would is
    numbered, as in ``NK cells (2)``.
    """
    parts = clusters["events"].groupby([groups, _called(clusters).to_numpy()]).sum()
    by_size = parts.groupby(level=0).sum().sort_values(ascending=False, kind="stable").index
    names: dict[Any, str] = {}
    for group in by_size:
        name = listed(parts[group].sort_values(ascending=False, kind="stable").index.tolist(), by=" + ")
        free = (name if n == 1 else f"{name} ({n})" for n in count(1))
        names[group] = next(each for each in free if each not in names.values())
    return pd.Series([names[group] for group in groups], index=range(1, len(clusters) + 1))


def described_clusters(clusters: pd.DataFrame) -> list[str]:
    """Number, name and share of the events of each cluster, for a tree."""
    return [
        f"{number} {name} ({percent(share)})"
        for number, name, share in zip(clusters["cluster"], _called(clusters), clusters["fraction"], strict=True)
    ]


def _called(clusters: pd.DataFrame) -> pd.Series[str]:
    return keep_unknown_apart(called(clusters))
