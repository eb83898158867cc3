"""Names of clusters beside their gates: does `--reference pbmc` name what most of a cluster's cells were gated as?

    cytomoe cluster ...*_H05.fcs --gate-pattern '{plate}_{gate}_{well}.fcs' --markers ... --reference pbmc --out H05
    python benchmarks/names.py H05

``MEANING`` says which names of the table mean the same as a gate of the Bodenmiller wells; "unknown" is right for gates
that are defined by the absence of every surface marker.
"""

import sys
from pathlib import Path

import pandas as pd

from cytomoe.naming import UNKNOWN, is_known

MEANING = {
    "cd4+": {"CD4 T cells"},
    "cd8+": {"CD8 T cells", "T cells, CD4-"},
    "nk": {"NK cells"},
    "igm+": {"IgM+ B cells"},
    "igm-": {"IgM- B cells"},
    "cd14+hladrmid": {"Classical monocytes", "CD14+ monocytes, HLA-DR+"},
    "cd14+hladrhigh": {"Classical monocytes", "CD14+ monocytes, HLA-DR+"},
    "cd14+hladr-": {"HLA-DR- monocytes"},
    "cd14-hladrmid": {"CD14- myeloid cells"},
    "cd14-hladrhigh": {"CD14- myeloid cells"},
    "dendritic": {"Plasmacytoid dendritic cells"},
    "cd14-surf-": {"unknown"},
    "cd14+surf-": {"unknown"},
}


def main(folder: Path) -> None:
    labels = pd.read_csv(folder / "labels.csv")
    clusters = pd.read_csv(folder / "clusters.csv", index_col="cluster")
    gates = labels["file"].str.split("_").str[1]
    agreed, cells = 0, 0
    for k, row in clusters.iterrows():
        counts = gates[labels["cluster"] == k].value_counts()
        fits = (row["population"] if is_known(row["population"]) else UNKNOWN) in MEANING.get(counts.index[0], set())
        agreed += fits
        cells += fits * row["events"]
        print(f"{k:>3} {row['events']:>6} {counts.index[0]:<15} {counts.iloc[0] / row['events']:>4.0%}  "
              f"{'yes' if fits else 'no ':<4} {row['population']:<30} {row['score']:<6} {row['label']}")  # fmt: skip
    print(f"{agreed} of {len(clusters)} clusters, {cells / clusters['events'].sum():.1%} of the cells")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
