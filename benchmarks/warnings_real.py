"""How often real files come near the warnings of saturated channels and of events in several files.

    CYTOMOE_DATA=folder python benchmarks/warnings_real.py

For each pair of files without a common event, and for gates of one sample that overlap: the share of the events that
stand in two of them (warned above `cytomoe.twins.SHARE`). For each file: the marker of which the largest share of the
events has the highest value (warned from `cytomoe.saturation.SHARE`, where they are a pile).
"""

from __future__ import annotations

import os
import warnings
from itertools import combinations
from pathlib import Path

import anndata
import numpy as np
from anndata import AnnData

from cytomoe import saturation, twins
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.io import read_fcs
from cytomoe.preprocessing.channels import classify_channels


def halves(adata: AnnData) -> list[AnnData]:
    """The events of one file as two files."""
    middle = adata.n_obs // 2
    return [adata[:middle].copy(), adata[middle:].copy()]


def together(gates: list[AnnData]) -> AnnData:
    """The distinct events of a well's gates as one file."""
    well = anndata.concat(gates, merge="same", index_unique="-")
    _, first = np.unique(twins.hash_events(well), return_index=True)
    return well[np.sort(first)].copy()


def shared(files: list[AnnData]) -> tuple[int, int]:
    """Distinct events in more than one of the files, and distinct events."""
    distinct = [np.unique(twins.hash_events(adata)) for adata in files]
    counts = np.unique(np.concatenate(distinct), return_counts=True)[1]
    return int((counts > 1).sum()), len(counts)


def fullest(adata: AnnData) -> tuple[str, float]:
    """The marker of which the largest share of the events has the highest value, and that share."""
    names = [n for n, kind in zip(adata.var_names, classify_channels(adata.var), strict=True) if kind == "protein"]
    values = np.asarray(adata[:, names].X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # channels without a number
        shares = (values == np.nanmax(values, axis=0)).mean(axis=0)
    shares[values.min(axis=0) == values.max(axis=0)] = 0
    return names[int(shares.argmax())], float(shares.max())


def main() -> None:
    """Print both tables."""
    data = Path(os.environ["CYTOMOE_DATA"])
    wells = {w: [read_fcs(p) for p in sorted((data / "bodenmiller").glob(f"*_{w}.fcs"))] for w in ("H01", "H05", "H08")}
    spleen = read_fcs(data / "flow" / "mouse_spleen_raw.fcs")
    nilsson = read_fcs(data / "flow" / "Nilsson_rare_notransform.fcs.gz")
    zoo = {p.name: read_fcs(p) for p in sorted((data / "fcs_zoo").iterdir()) if p.suffix != ".json"}
    simulated = list(simulate_plate(1, wells=3, events=5000).values())
    print("| files | distinct events | in several files | share | warned |\n|---|---|---|---|---|")
    sets = {f"gates of {well}": files for well, files in wells.items()}
    whole = {well: together(files) for well, files in wells.items()}
    sets |= {f"{a} and {b}": [whole[a], whole[b]] for a, b in combinations(wells, 2)}
    sets |= {"mouse spleen, its halves": halves(spleen), "Nilsson rare, its halves": halves(nilsson)}
    sets |= {"three simulated wells": simulated}
    for a, b in (("0877408774.B08", "0877408774.F06"), ("060909.002", "060909.004")):
        sets[f"{a} and {b}"] = [zoo[a], zoo[b]]
    for name, files in sets.items():
        both, of = shared(files)
        print(f"| {name} | {of:,} | {both:,} | {both / of:.3%} | {'yes' if twins.warn_of_twins(files) else 'no'} |")
    print("\n| file | marker | share at its highest value | warned |\n|---|---|---|---|")
    named = whole | {"mouse spleen": spleen, "Nilsson rare": nilsson, "simulated": simulated[0]} | zoo
    for name, adata in named.items():
        if adata.n_obs >= 100 and adata.n_vars > 2:
            marker, share = fullest(adata)
            names = list(adata.var_names)
            found = saturation.ceilings(np.asarray(adata.X), names)
            said = any(ceiling.name == marker for ceiling in found)
            print(f"| {name} | {marker} | {share:.2%} | {'yes' if said else 'no'} |")


if __name__ == "__main__":
    main()
