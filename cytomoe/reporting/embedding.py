"""The map of the cells: UMAP (McInnes et al. 2018) of the codes of a sample of them.

Drawing every cell of a large run would hide the rare ones and take minutes, so a sample is drawn in which each cluster
keeps at least a few cells. The coordinates are kept in ``embedding.csv``, so that a report made again shows the same
map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.io.tables import read_safe_table
from cytomoe.io.written import write_csv
from cytomoe.processes import handed, prepare
from cytomoe.reporting.run_files import Cells, RunFiles

FILE_NAME = "embedding.csv"
CELLS_DRAWN = 4000
LEAST_PER_CLUSTER = 30
NEIGHBOURS = 15
# UMAP takes 500 for so few cells, which looks the same here and takes three times as long.
EPOCHS = 150


@dataclass(frozen=True, eq=False)
class Embedding:
    """Cells drawn, with their place on the map.

    Attributes
    ----------
    cells
        Ascending numbers of the cells, shape (drawn,).
    points
        Shape (drawn, 2).
    """

    cells: NDArray[np.int64]
    points: NDArray[np.float32]


@contextmanager
def embedded(run: RunFiles) -> Iterator[Callable[[], Embedding]]:
    """Have a map of a run made beside what is done within; gives what waits for it.

    It is the one kept in the run's folder, or a new one, which is kept.
    """
    kept = _read_kept(run)
    if kept is not None:
        yield lambda: kept
        return
    rng = np.random.default_rng([int(run.manifest["seed"]), 2])
    there = np.flatnonzero(run.cells.cluster)  # others have no code
    cells = there[draw_cells(run.cells.cluster[there], CELLS_DRAWN, rng)]
    codes = run.cells.take("obsm/X_moesimvae", cells)
    with handed(_mapper, (codes, rng)) as points:

        def embedding() -> Embedding:
            made = Embedding(cells, np.round(points(), 3))
            _keep(run, made)
            return made

        yield embedding


def prepare_map() -> None:
    """Have a process load and compile UMAP, which takes longer than a map, while there is no run to draw yet."""
    prepare(_mapper)


def _mapper() -> Callable[[tuple[NDArray[np.float32], np.random.Generator]], NDArray[np.float32]]:
    """What makes a map of codes; a map of a few points has compiled all that it needs."""
    rng = np.random.default_rng(0)
    _project((rng.random((4 * NEIGHBOURS, 2), dtype=np.float32), rng))
    return _project


def _project(task: tuple[NDArray[np.float32], np.random.Generator]) -> NDArray[np.float32]:
    from cytomoe.similarity.projection import umap_projection

    codes, rng = task
    return umap_projection(codes, metric="euclidean", neighbours=NEIGHBOURS, rng=rng, epochs=EPOCHS)


def draw_cells(clusters: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw about ``n`` cells at random, but at least 30 of each cluster, or all where it has fewer.

    Parameters
    ----------
    clusters
        Cluster of each cell, shape (cells,).
    n
        Cells to draw; all if there are no more.
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Ascending numbers of the cells drawn.
    """
    if len(clusters) <= n:
        return np.arange(len(clusters))
    shuffled = rng.permutation(len(clusters))
    by_cluster = shuffled[np.argsort(clusters[shuffled], kind="stable")]
    counts = np.bincount(clusters)
    rank = np.arange(len(clusters)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = by_cluster[rank < LEAST_PER_CLUSTER]
    others = by_cluster[rank >= LEAST_PER_CLUSTER]
    return np.sort(np.concatenate([kept, rng.permutation(others)[: max(0, n - len(kept))]]))


def _keep(run: RunFiles, embedding: Embedding) -> None:
    cells: Cells = run.cells
    table = pd.DataFrame(
        {
            "file": cells.file[embedding.cells],
            "event": cells.event[embedding.cells],
            "x": embedding.points[:, 0],
            "y": embedding.points[:, 1],
        }
    )
    write_csv(run.folder / FILE_NAME, table)


def _read_kept(run: RunFiles) -> Embedding | None:
    """Coordinates kept earlier, if they are of cells of this run."""
    path = run.folder / FILE_NAME
    if not path.is_file():
        return None
    table = read_safe_table(path, dtype={"file": str}, keep_default_na=False)
    if list(table.columns) != ["file", "event", "x", "y"]:
        return None
    cells = run.cells
    all_cells = pd.MultiIndex.from_arrays([np.asarray(cells.file, dtype=object), cells.event])
    found = all_cells.get_indexer(pd.MultiIndex.from_frame(table[["file", "event"]]))
    if len(found) == 0 or (found < 0).any() or (np.diff(found) <= 0).any():
        return None
    return Embedding(found.astype(np.int64), table[["x", "y"]].to_numpy(np.float32))
