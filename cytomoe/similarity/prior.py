"""Prior knowledge: known cells of one type are similar, of two types dissimilar, and the data decides the rest.

Partitions of the cells are made to agree with the known ones. A part with known cells of one type belongs to that type;
a part with several is shared out among them; parts of one type are joined; a part without known cells stays as it is,
so that a population nobody named is still found. A known cell that lies among those of other types, and few against
many, do not count: labels may be wrong. Nor does one in a part where its type's known cells are too thin for the
population that they were taken from to be there. A type of which a single cell is known only names the part in which
it lies.

Cells called ``other`` are known to be of none of the named types. They are no type of their own: they keep the named
ones from spreading over their parts, and stay where the data puts them. So a rare population without a valley around
it needs a few examples alone, and some cells that are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytomoe.similarity.base import Similarity
from cytomoe.similarity.consensus import ConsensusSimilarity

FloatArray = NDArray[np.float32]

# What cells of none of the named types are called.
OTHER = "other"
# A known cell counts if its nearest known neighbour of its own type is at most this much farther than that of another.
TRUST = 1.5
# A type takes part in a part's sharing out if it has this share of the known cells there; where cells of none of the
# types lie, of those of a type, and of its own that are known anywhere.
SHARE = 0.15
# Share of the known cells that are expected to be called after a type which they are not of.
WRONG = 0.05
# Weight of a type's mean over all its known cells beside those in a part, in cells.
TYPE_MEAN_CELLS = 2.0
# Weight of a part's own covariance beside that of its known cells, in cells, and shrinkage towards the diagonal.
PART_CELLS = 5
SHRINKAGE = 0.5
# Rounds in which the types' proportions in a part are estimated.
_ROUNDS = 4
# Known cells of a type that others are compared with, at most.
_COMPARED = 2_000


@dataclass(frozen=True, eq=False)
class Prior:
    """Known cells.

    Attributes
    ----------
    types
        Index into ``names`` of each cell, -1 where unknown; int64, shape (cells,).
    names
        Names of the types.
    """

    types: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: ArrayLike) -> Prior:
        """Known cells from one name per cell; None, NaN and the empty name mean unknown."""
        import pandas as pd

        given = pd.Series(np.asarray(labels, dtype=object)).replace("", None)
        codes, names = pd.factorize(given, sort=True)
        return cls(codes.astype(np.int64), tuple(str(name) for name in names))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Prior:
        """Prior of some of the cells."""
        return Prior(self.types[rows], self.names)

    @property
    def other(self) -> int:
        """Index of the name of cells that are of none of the types; -1 if none is called so."""
        return self.names.index(OTHER) if OTHER in self.names else -1

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether each cell is known, shape (cells,)."""
        return self.types >= 0

    def counts(self) -> dict[str, int]:
        """Known cells of each type."""
        counts = np.bincount(self.types[self.known], minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))


class KnownPairs:
    """A similarity in which pairs of known cells are as they are known to be, and the others as they were.

    Parameters
    ----------
    base
        The similarity found in the data.
    prior
        The known cells.
    """

    def __init__(self, base: Similarity, prior: Prior) -> None:
        self.weights, self.partition = base.weights, base.partition
        self._base, self._types, self._other = base, prior.types, prior.other

    def batch(self, cells: NDArray[np.int64]) -> FloatArray:
        """S between the cells of the batch, shape (B, B)."""
        similar = self._base.batch(cells)
        types = self._types[cells]
        known = types >= 0
        both = known[:, None] & known
        if self._other >= 0:
            of_no_type = types == self._other
            both &= ~(of_no_type[:, None] & of_no_type)
        return np.where(both, (types[:, None] == types).astype(np.float32), similar)

    def stability(self, clusters: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """That of the similarity found in the data."""
        return self._base.stability(clusters)


def with_prior(
    base: Similarity, expression: FloatArray, prior: Prior, *, sampling_power: float
) -> tuple[Similarity, NDArray[np.int64]]:
    """Similarity that agrees with known cells.

    Parameters
    ----------
    base
        The similarity found in the data.
    expression
        Transformed, unscaled marker values, shape (cells, markers).
    prior
        The known cells.
    sampling_power
        As in :class:`cytomoe.settings.Settings`.

    Returns
    -------
    similarity, types
        The similarity, and the type of each cell (-1: none) that follows from the partition in which training starts;
        of a similarity without partitions, the known types.
    """
    if not isinstance(base, ConsensusSimilarity) or base.partition is None:
        return KnownPairs(base, prior), np.where(prior.types == prior.other, -1, prior.types)
    trusted = trusted_types(expression, prior.types)
    means = type_means(expression, prior)
    shared = [share_out_parts(part, expression, trusted, means, prior.other) for part in base.partitions]
    partitions = np.stack([np.unique(part, return_inverse=True)[1].astype(np.int64) for part in shared])
    # Cells that are none of the types bound them in each partition in another place, on which the partitions disagree.
    start = base.partition if base.agree is None or prior.other >= 0 else base.agree(partitions)
    agreed = share_out_parts(start, expression, trusted, means, prior.other)
    types = np.where(agreed < len(prior.names), agreed, -1)
    numbered = np.unique(agreed, return_inverse=True)[1].astype(np.int64)
    weights = np.bincount(numbered).astype(np.float64)[numbered] ** -sampling_power
    return ConsensusSimilarity(partitions, numbered, weights), types


def trusted_types(expression: FloatArray, types: NDArray[np.int64]) -> NDArray[np.int64]:
    """Types of the known cells that lie by others of their type; -1 for the rest; shape (cells,).

    The only known cell of a type is trusted.
    """
    from sklearn.neighbors import NearestNeighbors

    known = np.flatnonzero(types >= 0)
    nearest = np.full((len(known), int(types.max(initial=-1)) + 1), np.inf)
    single = np.zeros(len(known), dtype=bool)
    for type_ in np.unique(types[known]):
        mine = types[known] == type_
        members = known[mine][:: -(-int(mine.sum()) // _COMPARED)]
        search = NearestNeighbors(n_neighbors=min(2, len(members))).fit(expression[members])
        distances = search.kneighbors(expression[known])[0]
        nearest[:, type_] = np.where(np.isin(known, members), distances[:, -1], distances[:, 0])
        single |= mine & (len(members) == 1)
    own = nearest[np.arange(len(known)), types[known]]
    nearest[np.arange(len(known)), types[known]] = np.inf
    trusted = np.full(len(types), -1, dtype=np.int64)
    good = single | (own <= TRUST * nearest.min(axis=1, initial=np.inf))
    trusted[known[good]] = types[known[good]]
    return trusted


def type_means(expression: FloatArray, prior: Prior) -> FloatArray:
    """Mean of the known cells of each type, shape (types, markers); 0 for a type without any."""
    sums = np.zeros((len(prior.names), expression.shape[1]))
    np.add.at(sums, prior.types[prior.known], expression[prior.known])
    counts = np.bincount(prior.types[prior.known], minlength=len(prior.names))
    return np.asarray(sums / np.maximum(counts, 1)[:, None], dtype=np.float32)


def share_out_parts(
    partition: NDArray[np.int64],
    expression: FloatArray,
    trusted: NDArray[np.int64],
    means: FloatArray,
    other: int = -1,
) -> NDArray[np.int64]:
    """Make a partition agree with known cells.

    Parameters
    ----------
    partition
        Part of each cell, from 0, shape (cells,).
    expression
        Transformed, unscaled marker values, shape (cells, markers).
    trusted
        Type of each known cell that counts, else -1, shape (cells,).
    means
        Mean of the known cells of each type, shape (types, markers).

    other
        Type of the cells that are known to be of no type; -1 if there are none.

    Returns
    -------
    ndarray
        The type of cells whose part belongs to types, else the part plus the number of types; shape (cells,).
    """
    shared = partition + len(means)
    if other < 0:  # cells that are none of the types bound them better
        trusted = np.where(_of_own_parts(partition, trusted, len(means)), trusted, -1)
    totals = np.bincount(trusted[trusted >= 0], minlength=len(means))
    order = np.argsort(partition, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(partition[order])) + 1):
        known = rows[trusted[rows] >= 0]
        if len(known) == 0:
            continue
        present = _present(np.bincount(trusted[known], minlength=len(means)), totals, other)
        if len(present) == 0 and len(known) == 1 and trusted[known[0]] != other:
            shared[rows] = trusted[known[0]]
        elif len(present) == 1:
            shared[rows] = present[0]
        elif len(present) > 1:
            known = known[np.isin(trusted[known], present)]
            centres = np.where(present[:, None] == other, expression[rows].mean(axis=0), means[present])
            found = present[_share_out(expression[rows], expression[known], trusted[known], present, centres)]
            shared[rows] = np.where(found == other, shared[rows], found)
    return shared


def _of_own_parts(partition: NDArray[np.int64], trusted: NDArray[np.int64], n_types: int) -> NDArray[np.bool_]:
    """Whether each cell lies in a part that its type's known cells were likely taken from, shape (cells,).

    Known cells are a draw of their population, so that parts of it hold about the same share of them, but for the wrong
    ones, which may lie anywhere. Of each type the parts are chosen that make its known cells likeliest, from that where
    they are densest on.
    """
    own = np.ones(len(trusted), dtype=bool)
    sizes = np.bincount(partition)
    for type_ in range(n_types):
        cells = np.flatnonzero(trusted == type_)
        counts = np.bincount(partition[cells], minlength=len(sizes))
        parts = np.flatnonzero(counts)
        if len(parts) < 2:
            continue
        parts = parts[np.argsort(-counts[parts] / sizes[parts], kind="stable")]
        right, held = counts[parts].cumsum(), sizes[parts].cumsum()
        likely = -right * np.log(held) + (len(cells) - right) * np.log(WRONG / len(trusted))
        own[cells] = np.isin(partition[cells], parts[: int(likely.argmax()) + 1])
    return own


def _present(counts: NDArray[np.int64], totals: NDArray[np.int64], other: int) -> NDArray[np.int64]:
    """Types that share out a part, from the known cells of each type there and anywhere; empty where none does."""
    # One cell says what its part is called, but neither where a part divides nor which parts belong together.
    may = (counts > 0) & (totals > 1)
    others = 0
    if other >= 0:
        others, may[other] = int(counts[other]), False
    n_known = int(counts.sum())
    present = may & (counts >= SHARE * (n_known - others))
    if others:
        present &= (counts >= SHARE * n_known) | (counts >= SHARE * totals)
        present[other] = bool(present.any())
    return np.flatnonzero(present)


def _share_out(
    values: FloatArray,
    known: FloatArray,
    types: NDArray[np.int64],
    present: NDArray[np.int64],
    centres: FloatArray,
) -> NDArray[np.int64]:
    """Index into ``present`` of each cell of a part, by linear discriminants whose proportions fit all its cells."""
    member = (types[:, None] == present).astype(np.float64)
    counts = member.sum(axis=0)
    sums = member.T @ known
    residuals = known - (sums / counts[:, None])[member.argmax(axis=1)]
    means = (sums + TYPE_MEAN_CELLS * centres) / (counts + TYPE_MEAN_CELLS)[:, None]
    scatter = residuals.T @ residuals + PART_CELLS * np.cov(values.T).reshape(values.shape[1], -1)
    covariance = scatter / (len(known) - len(present) + PART_CELLS)
    covariance = (1 - SHRINKAGE) * covariance + (SHRINKAGE * np.diag(covariance) + 1e-3) * np.eye(len(covariance))
    weights = np.linalg.solve(covariance, means.T)
    fits = values @ weights - 0.5 * (means.T * weights).sum(axis=0)
    shares = np.full(len(present), 1 / len(present))
    for _ in range(_ROUNDS):
        likely = fits + np.log(shares)
        likely = np.exp(likely - likely.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        shares = (likely.sum(axis=0) + 1) / (len(values) + len(present))
    return np.asarray(likely.argmax(axis=1))


def name_by_types(
    clusters: NDArray[np.int64], types: NDArray[np.int64], names: Sequence[str], n_clusters: int
) -> list[str]:
    """Name of the type to which most of a cluster's cells belong, empty where most belong to none.

    Parameters
    ----------
    clusters
        Cluster of each cell, from 0, shape (cells,).
    types
        Type of each cell, -1 for none, shape (cells,).
    names
        Names of the types.
    n_clusters
        Number of clusters.
    """
    table = np.zeros((n_clusters, len(names) + 1), dtype=np.int64)
    np.add.at(table, (clusters, types), 1)  # type -1 counts in the last column
    best = table[:, :-1].argmax(axis=1)
    most = table[np.arange(n_clusters), best] * 2 > table.sum(axis=1)
    return [names[t] if found else "" for t, found in zip(best, most, strict=True)]
