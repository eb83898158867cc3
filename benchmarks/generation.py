"""Round trip of generated cells: each cluster of a run written to FCS by `generate`, clustered again by `predict`.

    python benchmarks/generation.py RUN [cells per cluster]

prints the share of each cluster's synthetic cells that come back to it, and how far their marker distributions lie from
those of the real cells (largest distance of the cumulative distributions, mean over markers).
"""

import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from cytomoe.cli.main import run


def main(folder: Path, n: int) -> None:
    real = anndata.read_h5ad(folder / "cells.h5ad")
    clusters = real.obs["cytomoe"].astype(int).to_numpy()
    model = str(folder / "model.cytomoe")
    table = pd.read_csv(folder / "clusters.csv", index_col="cluster")
    with tempfile.TemporaryDirectory() as scratch:
        files = {k: Path(scratch) / f"cluster_{k:02d}.fcs" for k in table.index}
        for k, file in files.items():
            run(["generate", model, "--cluster", str(k), "-n", str(n), "--out", str(file), "--json"])
        out = Path(scratch) / "mapped"
        run(["predict", model, *map(str, files.values()), "--out", str(out), "--quiet"])
        again = anndata.read_h5ad(out / "cells.h5ad")
    cluster_of = {file.name: k for k, file in files.items()}
    asked = again.obs["file"].astype(str).map(cluster_of).to_numpy()
    found = again.obs["cytomoe"].astype(int).to_numpy()
    print("cluster  cells  returned  distance  label")
    rows = []
    for k in table.index:
        mine, theirs = again.X[asked == k], real.X[clusters == k]
        distance = np.mean([ks_2samp(mine[:, i], theirs[:, i]).statistic for i in range(real.n_vars)])
        rows.append((len(theirs), np.mean(found[asked == k] == k), distance))
        print(f"{k:>7} {len(theirs):>6} {rows[-1][1]:>9.4f} {distance:>9.3f}  {table['label'][k]}")
    sizes, returned, distances = map(np.array, zip(*rows, strict=True))
    large = sizes >= 30
    print(f"returned: weighted {np.average(returned, weights=sizes):.4f}, unweighted {returned.mean():.4f}, "
          f"lowest of clusters of 30 cells and more {returned[large].min():.4f}; "
          f"distance weighted {np.average(distances, weights=sizes):.3f}")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
