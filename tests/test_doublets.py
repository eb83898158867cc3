"""Clusters that look like two cells in one event are called so, and rare populations are not."""

import re

import anndata
import numpy as np
import pandas as pd
import pytest

from cytomoe.annotation import enrichment
from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.doublets import PREFIX, exclusive_markers
from cytomoe.io import write_fcs
from cytomoe.naming import name_clusters
from cytomoe.reference import Population, read_reference
from cytomoe.reporting.doublets import size_in_words, tell_doublets
from cytomoe.reporting.run_files import RunFiles
from cytomoe.reporting.verdict import judge

MARKERS = ("CD3", "CD4", "CD8", "CD20", "HLA-DR")
T4, T8, B = (3, 3, 0, 0, 0), (3, 0, 3, 0, 0), (0, 0, 0, 3, 3)


def names_of(*clusters, sizes):
    """Names of clusters at these medians after the table for blood."""
    rng = np.random.default_rng(0)
    numbers = np.repeat(np.arange(1, len(sizes) + 1), sizes).astype(np.int32)
    cells = np.array(clusters, dtype=float)[numbers - 1] + rng.normal(0, 0.3, (len(numbers), len(MARKERS)))
    found = enrichment(cells.astype(np.float32), numbers, len(sizes), MARKERS, [0.0] * len(MARKERS))
    return [name.population for name in name_clusters(found, read_reference("pbmc"))]


@pytest.mark.parametrize(
    ("suspect", "size", "name"),
    [
        ((3.2, 3, 0, 3.1, 3), 100, "possible doublets of CD4 T cells and B cells"),
        ((3.2, 0, 3, 3.1, 3), 100, "possible doublets of CD8 T cells and B cells"),
        ((3.2, 3, 0, 3.1, 3), 500, "unknown"),  # too many for doublets
        ((3.2, 0, 0, 3.1, 0), 100, "unknown"),  # CD3 and CD20 alone: no sum of two populations
        ((3.2, 3, 0, 1.0, 1), 100, None),  # some CD20, as a doublet's never is
        ((3.0, 3, 3, 0, 0), 100, None),  # CD4+ CD8+ T cells exist
    ],
)
def test_a_cluster_is_suspected_where_its_markers_are_those_of_two_others(suspect, size, name):
    names = names_of(T4, T8, B, suspect, sizes=(1000, 900, 800, size))
    assert names[:3] == ["CD4 T cells", "CD8 T cells", "B cells"]
    assert names[3] == name if name else not names[3].startswith(PREFIX)


def test_markers_of_two_lineages_exclude_each_other_and_markers_of_subsets_do_not():
    found = exclusive_markers(read_reference("pbmc"))
    assert {frozenset({"cd3", "cd20"}), frozenset({"cd14", "cd3"}), frozenset({"cd14", "cd19"})} <= found
    assert not any(pair <= {"cd4", "cd8", "cd45ra", "cd45ro"} for pair in found)
    both = Population("strange", (("CD3", "+"), ("CD20", "+")))
    assert frozenset({"cd3", "cd20"}) not in exclusive_markers([*read_reference("pbmc"), both])


def test_doublets_put_into_a_well_are_found_named_and_told_with_their_dna(tmp_path):
    rng = np.random.default_rng(0)
    well = simulate_plate(seed=3, wells=1, events=4000)["A01"]
    t_cells, b_cells = (
        np.flatnonzero((well.obs["gate"] == gate).to_numpy()) for gate in ("CD4 T cells", "IgM+ B cells")
    )
    pairs = well[rng.choice(t_cells, 45, replace=False)].copy()
    pairs.X = pairs.X + well[rng.choice(b_cells, 45)].X
    pairs.obs_names = [f"pair {i}" for i in range(45)]
    both = anndata.concat([well, pairs], merge="same")
    both.var, both.uns = well.var, well.uns
    write_fcs(both, tmp_path / "well.fcs")
    out = tmp_path / "run"
    assert run(["cluster", str(tmp_path / "well.fcs"), "--reference", "pbmc", "--out", str(out), "--quiet"]) == 0
    labels = pd.read_csv(out / "labels.csv")
    assert (labels["population"][-45:] == "possible doublets of CD4 T cells and IgM+ B cells").mean() > 0.9
    suspected = labels["population"].str.startswith(PREFIX)
    assert suspected[:-45].mean() < 0.01
    clusters = pd.read_csv(out / "clusters.csv")
    numbers = dict(zip(clusters["cluster"], clusters["population"], strict=True))
    assert tell_doublets({1: "unknown 1", 2: "NK cells"}, {}, {}) == []
    (finding,) = (each for each in judge(RunFiles.read(out)) if "may be doublets" in each.title)
    assert finding.title == "1 cluster may be doublets"
    assert not any("--reference" in each.detail for each in judge(RunFiles.read(out)))
    assert re.search(r"DNA-1 (1\.9|2\.[01]), DNA-2 \S+, which speaks for doublets", finding.detail)
    (k,) = (k for k, name in numbers.items() if name.startswith(PREFIX))
    assert f"Cluster {k} (CD4 T cells and IgM+ B cells; {suspected.sum()} events; " in finding.detail


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([("DNA-1", 1.9), ("Cell_length", 1.2)], "DNA-1 1.9, Cell_length 1.2, which speaks for doublets"),
        ([("DNA-1", 1.0), ("Cell_length", 1.6)], "DNA-1 1.0, Cell_length 1.6, which speaks against doublets"),
        ([("FSC-A", 1.3)], "FSC-A 1.3, which decides nothing"),
    ],
)
def test_size_says_whether_these_are_doublets(ratios, said):
    assert size_in_words(ratios) == f"median over that of the other events: {said}"
