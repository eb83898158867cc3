"""The paper's similarity: cells that lie close in a UMAP projection are similar.

Neighbours are found exactly by scikit-learn, which knows every metric of the paper, so that UMAP has no search of its
own to compile.
"""

from __future__ import annotations

import warnings
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from cytomoe.imports import load_umap
from cytomoe.settings import Settings


class ProjectionSimilarity:
    """Similarity from points in the plane, either by distance or by rank within the batch.

    Parameters
    ----------
    points
        Projected cells, shape (cells, 2).
    threshold
        Two cells closer than this are similar, unless ``neighbours`` is given.
    neighbours
        The nearest cells of the batch, this many, are similar.
    """

    def __init__(self, points: NDArray[np.float32], *, threshold: float = 2.0, neighbours: int | None = None) -> None:
        self.points = points
        self.threshold = threshold
        self.neighbours = neighbours
        self.weights: NDArray[np.float64] = np.ones(len(points))
        self.partition: NDArray[np.int64] | None = None

    def batch(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """1 where two cells of the batch are close, 0 elsewhere; shape (B, B), symmetric, ones on the diagonal."""
        from scipy.spatial.distance import cdist

        points = self.points[cells]
        distances = cdist(points, points)
        if self.neighbours is None:
            return (distances < self.threshold).astype(np.float32)
        similar = np.eye(len(cells), dtype=np.float32)
        np.fill_diagonal(distances, np.inf)
        number = min(self.neighbours, len(cells) - 1)
        nearest = np.argsort(distances, axis=1)[:, :number]
        np.put_along_axis(similar, nearest, 1.0, axis=1)
        return np.maximum(similar, similar.T)

    def stability(self, clusters: NDArray[np.int64]) -> None:
        """None: there is one projection, and nothing to compare it with."""
        return


def umap_projection(
    expression: NDArray[np.float32],
    *,
    metric: str,
    neighbours: int,
    rng: np.random.Generator,
    epochs: int | None = None,
) -> NDArray[np.float32]:
    """Project cells to two dimensions with UMAP.

    Parameters
    ----------
    expression
        Shape (cells, markers).
    metric
        Any metric of scikit-learn's ``NearestNeighbors``.
    neighbours
        Neighbours per cell in UMAP's graph; lowered where there are fewer cells.
    rng
        Source of all randomness.
    epochs
        Rounds of the layout; None takes UMAP's own choice. More: slower, clumps drawn tighter.

    Returns
    -------
    ndarray
        Shape (cells, 2), float32.
    """
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(neighbours, len(expression) - 1)
    if neighbours < 2:
        return expression[:, :2].copy()
    seed = int(rng.integers(2**31))
    search = NearestNeighbors(n_neighbors=neighbours, metric=metric, algorithm="auto").fit(expression)
    distances, indices = search.kneighbors(expression)
    start = PCA(2, random_state=seed).fit_transform(expression).astype(np.float32)
    start *= 10 / max(float(np.abs(start).max()), 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on a fixed seed meaning one thread, and a graph that is precomputed
        load_umap()
        import umap

        mapper = umap.UMAP(
            n_neighbors=neighbours,
            metric=metric,
            n_epochs=epochs,
            init=start,
            random_state=seed,
            precomputed_knn=(indices.astype(np.int32), distances.astype(np.float32)),
        )
        keep_compiled(True)
        try:
            projection = mapper.fit_transform(expression)
        except OSError:  # what was compiled can't be written
            keep_compiled(False)
            projection = mapper.fit_transform(expression)
    return np.nan_to_num(np.asarray(projection, dtype=np.float32))  # cells that are all alike have no places


def keep_compiled(keep: bool) -> None:
    """Whether numba writes what it compiles of UMAP beside it: to compile it again takes five seconds in each run."""
    from numba.core.caching import NullCache
    from numba.core.dispatcher import Dispatcher
    from umap import layouts, umap_

    for function in [*vars(layouts).values(), *vars(umap_).values()]:
        if not isinstance(function, Dispatcher):
            continue
        if keep:
            with suppress(RuntimeError):  # no folder can be written, neither UMAP's nor the user's
                function.enable_caching()
        else:
            function._cache = NullCache()  # type: ignore[attr-defined]


def projection_similarity(
    expression: NDArray[np.float32], settings: Settings, rng: np.random.Generator
) -> ProjectionSimilarity:
    """UMAP projection of the cells with the paper's rule (threshold or nearest neighbours) for pairs."""
    points = umap_projection(expression, metric=settings.metric, neighbours=settings.projection_neighbours, rng=rng)
    if settings.similarity == "knn":
        return ProjectionSimilarity(points, neighbours=settings.neighbours)
    return ProjectionSimilarity(points, threshold=settings.threshold)
