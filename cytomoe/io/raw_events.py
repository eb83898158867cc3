"""The events of a file as it holds them: what a run needs of an AnnData, without the package.

anndata takes two thirds of a second to import, more than most runs spend on their files. What is handed to users is an
AnnData; :func:`cytomoe.io.read_fcs` makes one of these events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True, eq=False)
class RawEvents:
    """Events of a file, or some of them.

    Attributes
    ----------
    X
        The file's values, shape (events, channels).
    var
        The channels, one row each, by unambiguous names: see :func:`cytomoe.io.read_fcs`.
    uns
        ``fcs``: path, version, keywords, data sets and warnings of the file.
    """

    X: NDArray[np.floating[Any]]
    var: pd.DataFrame
    uns: Mapping[str, Any]

    @property
    def n_obs(self) -> int:
        """Number of events."""
        return len(self.X)

    @property
    def n_vars(self) -> int:
        """Number of channels."""
        return len(self.var)

    @property
    def var_names(self) -> pd.Index:
        """Unambiguous names of the channels."""
        return self.var.index

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> RawEvents:
        """Some of the events."""
        return RawEvents(self.X[rows], self.var, self.uns)


# Raw events, whichever way they came: the attributes above mean the same in both.
Raw: TypeAlias = "AnnData | RawEvents"
