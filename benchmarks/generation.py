"""Round trip of generated cells: each population of a run written to FCS by `generate`, clustered again by `predict`.

    python benchmarks/generation.py RUN [cells per cluster]

prints the share of each cluster's synthetic cells that come back to it, and how far their marker distributions lie from
those of the real cells (largest distance of the cumulative distributions, mean over markers); beside it the same of
cells from N(centre, I), as the paper draws them, and the share of cells drawn with their own spread that belong to
their cluster before any is drawn again. Where the run knows gates, the same per gated population: a cluster
belongs to the gate that most of its cells in one gate only have, and gives as many cells as it holds of the run's.
"""

import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from cytomoe.cli.main import run
from cytomoe.estimator import MoESimVAE
from cytomoe.fit_summary import draw_codes, draw_residuals
from cytomoe.model.inference import codes_and_experts, decode


def distance(made, theirs) -> float:
    return float(np.mean([ks_2samp(made[:, i], theirs[:, i]).statistic for i in range(made.shape[1])]))


def first_draw(model: MoESimVAE, cluster: int, n: int) -> float:
    """Share of cells drawn with their own spread that the model puts into their cluster before any is drawn again."""
    rng = np.random.default_rng(0)
    codes = draw_codes(model.summary_, cluster - 1, n, rng)
    scaled = decode(model.network_, codes, np.full(n, cluster - 1))
    scaled = np.clip(scaled + draw_residuals(model.summary_, cluster - 1, n, rng), 0, 1)
    return float(np.mean(codes_and_experts(model.network_, scaled)[1] == cluster - 1))


def print_populations(cells: pd.DataFrame, clusters, asked, found) -> None:
    """Print the round trip of each gated population: synthetic cells of its clusters that come back to one of them."""
    single = cells["in_one_gate"].to_numpy(bool) & cells["gate"].notna().to_numpy()
    counts = pd.crosstab(clusters[single], cells["gate"].astype(str).to_numpy()[single])
    gate_of = counts.idxmax(axis=1)
    sizes = pd.Series(clusters).value_counts()
    print("\ngate              cells  returned  clusters")
    for gate, size in counts.sum().sort_values(ascending=False).items():
        own = gate_of.index[gate_of == gate].to_numpy()
        if not len(own):
            most = counts[gate].idxmax()
            print(
                f"{gate:<16}{size:>7}         -  none; most of its cells lie in {most}, where {gate_of[most]} has more"
            )
            continue
        returned = [np.mean(np.isin(found[asked == k], own)) for k in own]
        share = np.average(returned, weights=sizes[own])
        print(f"{gate:<16}{size:>7}{share:>10.4f}  {', '.join(map(str, own))}")


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
    loaded = MoESimVAE.load(model)
    steps = loaded.preprocessor_.steps
    print("                         own spread           unit spread")
    print("cluster  cells     first  returned  distance  returned  distance  label")
    rows = []
    for k in table.index:
        mine, theirs = again.X[asked == k], real.X[clusters == k]
        raw = loaded.sample(k, n, spread="unit")
        unit = np.column_stack([step.transform.apply(raw[:, i]) for i, step in enumerate(steps)])
        row = (first_draw(loaded, k, n), np.mean(found[asked == k] == k), distance(mine, theirs))
        row += (np.mean(loaded.predict(unit) == k), distance(unit, theirs))
        rows.append((len(theirs), *row))
        numbers = "".join(f"{value:>10.4f}" for value in row)
        print(f"{k:>7} {len(theirs):>6}{numbers}  {table['label'][k]}")
    sizes, *columns = map(np.array, zip(*rows, strict=True))
    for name, (returned, distances) in zip(("own", "unit"), (columns[1:3], columns[3:]), strict=True):
        weighted, apart = (np.average(values, weights=sizes) for values in (returned, distances))
        print(
            f"{name} spread: returned {weighted:.4f} weighted by size, {returned.mean():.4f} unweighted, "
            f"lowest {returned.min():.4f}; distance {apart:.3f} weighted"
        )
    first = np.average(columns[0], weights=sizes)
    print(
        f"first draw: {first:.4f} weighted by size, {columns[0].mean():.4f} unweighted, lowest {columns[0].min():.4f}"
    )
    if "gate" in real.obs:
        print_populations(real.obs, clusters, asked, found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
