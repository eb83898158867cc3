"""Writing AnnData that was read from FCS files as .h5ad, whatever keeps the names of its events."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cytomoe.io.atomic import atomic_path, reserve
from cytomoe.io.fcs_names import distinct

if TYPE_CHECKING:
    from anndata import AnnData


def write_h5ad(adata: AnnData, path: str | os.PathLike[str]) -> None:
    """Write an .h5ad file that every version of anndata reads.

    :func:`cytomoe.io.read_fcs` keeps the names of many events by Arrow, which ``AnnData.write_h5ad`` refuses by
    default; they are written as plain strings here. The file appears whole or not at all.

    Parameters
    ----------
    adata
        What to write; it is left as it is.
    path
        Where to; an old file is replaced.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if adata.is_view:
        adata = adata.copy()
    names = adata.obs_names
    with atomic_path(path) as temporary:
        try:
            reserve(temporary, _size(adata))
            adata.obs_names = names.astype(object)
            adata.write_h5ad(temporary)
        finally:
            adata.obs_names = names


def _size(adata: AnnData) -> int:
    """Bytes of the file, rather too many: its arrays, and names and tables of the events."""
    arrays = [adata.X, *adata.layers.values(), *adata.obsm.values()]
    tables = 100 * adata.n_obs * (2 + adata.obs.shape[1])
    return 4_000_000 + tables + sum(int(getattr(array, "nbytes", 0)) for array in arrays if array is not None)


def hdf5_names(names: Sequence[str]) -> list[str]:
    """Names of channels as HDF5 can hold them, still distinct: it takes / for a folder and . for the present one."""
    flat = [name.replace("/", "_").replace("\x00", "_") for name in names]
    # anndata keeps the names of the rows under _index.
    return distinct((name if name.strip(".") else f"_{name}" for name in flat), taken=["_index"])
