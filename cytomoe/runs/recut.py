"""A tree of a run's clusters by their markers, and fewer clusters by a cut through it, without training again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.runs.joins import called, group_names, keep_unknown_apart
from cytomoe.words import percent


@dataclass(frozen=True)
class TreeCut:
    """Names of the groups that are left when the tree of the clusters is cut at ``groups`` of them.

    A :class:`cytomoe.runs.merge.Naming`.
    """

    groups: int

    def names(self, clusters: pd.DataFrame, apart: pd.Series[str]) -> tuple[pd.Series[str], dict[str, Any]]:
        """Name of each cluster's group, of what its parts are called apart, and the tree for the manifest.

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
        return group_names(clusters["events"].to_numpy(dtype=np.int64), apart, groups), {
            "clusters": self.groups,
            "tree": tree.to_dict("records"),
            "called": apart.tolist(),
        }


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


def described_clusters(clusters: pd.DataFrame) -> list[str]:
    """Number, name and share of the events of each cluster, for a tree."""
    names = keep_unknown_apart(called(clusters))
    return [
        f"{number} {name} ({percent(share)})"
        for number, name, share in zip(clusters["cluster"], names, clusters["fraction"], strict=True)
    ]
