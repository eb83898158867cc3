"""Simulated wells under the names of the published ones, to measure the time that a full plate set takes."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from cytomoe.benchmarks import published

# The public wells of the same study hold 6,316 (H01), 15,792 (H05) and 15,252 (H08) rows; the sizes of the others are
# not published, and are drawn between these ends.
_FEWEST, _MOST = 6_300, 15_800


def published_wells() -> dict[str, dict[str, Any]]:
    """Name of each well of table A1 and the events to simulate for it."""
    table = published.table_a1()
    sizes = np.random.default_rng(0).integers(_FEWEST, _MOST, len(table))
    names = table["inhibitor"] + "_" + table["well"]
    return {name: {"events": int(size)} for name, size in zip(names, sizes, strict=True)}


def write_well(folder: Path, name: str, events: int) -> list[Path]:
    """Simulate a well and write a file per population, ``<inhibitor>_<population>_<well>.fcs``.

    Parameters
    ----------
    folder
        Where to write.
    name
        ``<inhibitor>_<well>``; the same name gives the same events.
    events
        Events of the well.

    Returns
    -------
    list of Path
        A file per population; debris and doublets, which no gate holds, are left out.
    """
    from cytomoe.datasets import simulate_plate
    from cytomoe.io import write_fcs

    inhibitor, _, well = name.rpartition("_")
    sample = simulate_plate(zlib.crc32(name.encode()), wells=1, events=events)["A01"]
    paths = []
    for gate in sample.obs["gate"].cat.categories:
        rows = (sample.obs["gate"] == gate).to_numpy()
        if rows.any():
            path = folder / f"{inhibitor}_{gate.replace(' ', '-')}_{well}.fcs"
            write_fcs(sample[rows], path)
            paths.append(path)
    return paths
