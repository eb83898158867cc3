"""AnnData as the FCS reader gives it, made by hand for tests of what comes after reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike

Channels = Sequence[tuple[str, str]]

MASS: Channels = [
    ("Time", "Time"),
    ("Event_length", ""),
    ("Ir191Di", "191Ir_DNA1"),
    ("Nd142Di", "142Nd_CD19"),
    ("Nd145Di", "145Nd_CD4"),
    ("Nd146Di", "146Nd_CD8"),
    ("Yb174Di", "174Yb_HLA-DR"),
    ("Ce140Di", "140Ce"),
]
FLOW: Channels = [("FSC-A", ""), ("FITC-A", "CD4"), ("PE-A", "CD8"), ("APC-A", "CD19"), ("Time", "")]


def make_adata(
    channels: Channels,
    values: ArrayLike | None = None,
    *,
    keywords: dict[str, str] | None = None,
    path: str = "hand.fcs",
    events: int = 300,
    seed: int = 0,
    **columns: Any,
) -> AnnData:
    """Raw values of channels given as ($PnN, $PnS); without ``values`` log-normal ones, a third of them zero."""
    rng = np.random.default_rng(seed)
    if values is None:
        drawn = rng.lognormal(3, 2, (events, len(channels)))
        values = np.where(rng.random(drawn.shape) < 1 / 3, 0, drawn)
    antigens = [antigen for _, antigen in channels]
    index = [antigen if antigen and antigens.count(antigen) == 1 else channel for channel, antigen in channels]
    var = pd.DataFrame(
        {
            "channel": [channel for channel, _ in channels],
            "antigen": antigens,
            "range": 262144.0,
            "log": "0,0",
            "gain": 1.0,
            "bits": 32,
            "datatype": "F",
            **columns,
        },
        index=index,
    )
    obs = pd.DataFrame(index=[str(i) for i in range(len(np.asarray(values)))])
    record = {
        "path": path,
        "version": "3.0",
        "keywords": keywords or {},
        "data_set": 1,
        "n_data_sets": 1,
        "warnings": [],
    }
    return AnnData(np.asarray(values, dtype=np.float32), obs=obs, var=var, uns={"fcs": record})
