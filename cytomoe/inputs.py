"""What people hand to the Python functions, brought to the two forms that are computed with: an AnnData or an array.

Tables, lists, sparse, masked and backed data are taken too, and a kind of data that can't be is refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.preprocessing import Preprocessor
from cytomoe.preprocessing.transform import TRANSFORMED_BELOW
from cytomoe.words import counted

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame


# What fit and predict are written for; lists, sparse and masked arrays pass too.
Cells: TypeAlias = "NDArray[np.floating[Any]] | DataFrame | AnnData"
_ROWS_JUDGED = 1_000  # few: each piece of a large file is judged


def as_cells(X: Any, *, raw: bool = True) -> Cells:
    """Bring cells to an array, a table or an AnnData in memory, with dense numbers.

    Parameters
    ----------
    X
        AnnData, table, array (sparse or masked too) or nested list.
    raw
        Whether ``layers["raw"]`` of an AnnData goes before its ``X``.

    Raises
    ------
    InputError
        If it is none of these, holds what is no number, or has two channels of one name.
    """
    from anndata import AnnData
    from pandas import DataFrame

    if isinstance(X, AnnData):
        return _plain(X, raw)
    if isinstance(X, DataFrame):
        texts = [str(name) for name, kind in X.dtypes.items() if kind.kind not in "biuf"]
        if texts:
            raise InputError(f"the table has columns that are not numbers: {', '.join(texts)}; leave them out")
        _refuse_twins([str(name) for name in X.columns])
        return X
    if isinstance(X, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(X), np.nan, X.data)
    if isinstance(X, np.ndarray):
        return X
    if hasattr(X, "toarray"):
        return np.asarray(X.toarray())
    if isinstance(X, Sequence) and not isinstance(X, str):
        return np.asarray(X)
    raise InputError(
        f"cells come as an AnnData, a table (pandas) or an array, not as {type(X).__name__}; "
        "cytomoe.read_fcs(path) reads a file"
    )


def own_channels(X: Any, cells: Cells) -> list[str] | None:
    """Channels of an AnnData to which `as_cells` added others for its compensation; None where it added none.

    They are the markers then, unless others are named.
    """
    names = [str(name) for name in X.var_names] if hasattr(X, "var_names") else []
    return names if names and np.shape(cells)[1] > len(names) else None


def named_columns(table: DataFrame, markers: Sequence[str]) -> NDArray[np.floating[Any]]:
    """The markers of a model in a table, in the model's order; by place where the model's markers have no names.

    Raises
    ------
    InputError
        If the table lacks markers, or has another number of columns than a model without names.
    """
    names = [str(name) for name in table.columns]
    if list(markers) == unnamed(len(markers)) and names != list(markers):
        return np.asarray(table.to_numpy())
    missing = [marker for marker in markers if marker not in names]
    if missing:
        raise InputError(
            f"the table lacks {len(missing)} of the {counted(len(markers), 'marker')}: {', '.join(missing)}"
        )
    return np.asarray(table.iloc[:, [names.index(marker) for marker in markers]].to_numpy())


def unnamed(n: int) -> list[str]:
    """Names of the markers of an array, which has none."""
    return [f"marker {i + 1}" for i in range(n)]


def refuse_raw_array(expression: NDArray[np.float32], preprocessor: Preprocessor) -> None:
    """Refuse an array for a model whose markers were transformed when the array's can't have been.

    A model takes arrays of transformed values: raw ones of the right markers would be mapped to clusters at random.
    """
    sample = expression[:: max(1, len(expression) // _ROWS_JUDGED)]
    numbers = sample[np.isfinite(sample)]
    if not numbers.size:
        return
    highest = max(max(abs(step.low), abs(step.high)) for step in preprocessor.steps)
    reached = float(np.percentile(np.abs(numbers), 99))
    if reached > max(TRANSFORMED_BELOW, 2.0 * highest):
        raise InputError(
            f"the values reach {reached:,.0f} and those of the fit {highest:.3g}: arrays and tables must hold "
            "transformed values; give raw ones as an AnnData, which the model transforms itself"
        )


def _plain(adata: AnnData, raw: bool) -> AnnData:
    """An AnnData in memory with dense numbers in ``X``; itself where it is that."""
    _refuse_twins([str(name) for name in adata.var_names])
    cells = adata.to_memory() if adata.isbacked else adata
    if raw and "raw" in cells.layers and "channels" in cells.obsm and "cytomoe_origin" in cells.uns:
        return _raw_of_a_run(cells)
    values = cells.layers["raw"] if raw and "raw" in cells.layers else cells.X
    if values is None:
        raise InputError("the AnnData holds no values: its X is None")
    dense = values.toarray() if hasattr(values, "toarray") else values
    if dense is cells.X:
        return cells
    from anndata import AnnData

    return AnnData(dense, obs=cells.obs, var=cells.var, uns=cells.uns)


def _raw_of_a_run(cells: AnnData) -> AnnData:
    """The raw values of all channels in a run's ``cells.h5ad``, with the matrix that compensates them.

    The markers alone could not be compensated: spillover of a channel that is no marker would be left in.
    """
    from anndata import AnnData
    from pandas import concat

    others, origin = cells.obsm["channels"], cells.uns["cytomoe_origin"]
    matrices = json.loads(origin["spillover"])
    needed = {matrices.get(str(name), "") for name in cells.obs["file"].unique()}
    if len(needed) > 1:
        raise InputError(
            "the cells are of files with different spillover matrices, so their raw values can't be compensated as "
            "one; take those of one file (obs['file']), or give the files to cytomoe cluster or predict"
        )
    keywords = {"$CYT": str(origin["cytometer"]), "$SPILLOVER": next(iter(needed), "")}
    return AnnData(
        np.column_stack([cells.layers["raw"], others.to_numpy(dtype=np.float32)]),
        obs=cells.obs,
        var=concat([cells.var, origin["channels"].loc[list(others.columns)]]),
        uns={**cells.uns, "fcs": {"keywords": keywords}},
    )


def _refuse_twins(names: Sequence[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise InputError(f"several channels are called {', '.join(twins)}; give each a name of its own")
