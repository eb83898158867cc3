"""Labels of clusters from their markers, population names from a reference table, and where both are written."""

import anndata
import flowio
import numpy as np
import pandas as pd
import pytest

from cytomoe.annotation import ClusterNames, enrichment, labels
from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.estimator import MoESimVAE
from cytomoe.naming import (
    UNKNOWN,
    Name,
    doubtful_names,
    is_known,
    name_clusters,
    title_of,
    with_known,
    with_populations,
)
from cytomoe.reference import SHIPPED, Population, columns_of, read_reference

MARKERS = ("CD45", "CD3", "CD4", "HLA-DR")
# Clusters: CD4 T, other T, B with HLA-DR, few cells with seven times as much of it.
LEVELS = np.array([[3.8, 3, 3, 0], [3.8, 3, 0, 0], [3.8, 0, 0, 3], [3.8, 0, 0, 5.0]])
SIZES = (400, 300, 250, 50)


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    clusters = np.repeat([1, 2, 3, 4], SIZES).astype(np.int32)
    cells = LEVELS[clusters - 1] + rng.normal(0, 0.3, (len(clusters), 4))
    order = rng.permutation(len(cells))
    return enrichment(cells[order].astype(np.float32), clusters[order], 4, MARKERS, [0.0] * 4)


def test_a_label_names_what_a_cluster_carries_and_what_tells_it_from_the_others(found):
    assert labels(found) == ["CD3+ CD4+", "CD3+ CD4-", "HLA-DR+", "HLA-DRhi"]


def test_a_marker_that_all_cells_carry_is_positive_but_in_no_label(found):
    assert (found.table().query("marker == 'CD45'")["level"] == "positive").all()
    assert not any("CD45" in label for label in labels(found))


def test_an_intermediate_cluster_is_mid():
    clusters = np.repeat([1, 2, 3], 200).astype(np.int32)
    cells = np.array([0.0, 1.7, 3.4])[clusters - 1] + np.random.default_rng(0).normal(0, 0.2, 600)
    found = enrichment(cells[:, None].astype(np.float32), clusters, 3, ["CD14"], [0.0])
    assert found.table()["level"].tolist() == ["negative", "mid", "positive"]


def test_effects_are_medians_apart_in_robust_deviations(found):
    # CD4 T cells against the rest: 3 apart, both with a deviation of 0.3.
    assert found.effects[0, 2] == pytest.approx(10, rel=0.15)
    assert abs(found.effects[0, 0]) < 0.3


def test_outliers_do_not_change_effects(found):
    rng = np.random.default_rng(0)
    clusters = np.repeat([1, 2], 500).astype(np.int32)
    cells = np.where(clusters == 1, 3.0, 0.0) + rng.normal(0, 0.3, 1000)
    cells[:20] = 8
    effect = enrichment(cells[:, None].astype(np.float32), clusters, 2, ["A"], [0.0]).effects[0, 0]
    assert effect == pytest.approx(10, rel=0.15)


def test_a_cluster_without_cells_is_called_empty():
    clusters = np.repeat([1, 3], 50).astype(np.int32)
    cells = np.where(clusters == 1, 0.0, 3.0)[:, None].astype(np.float32)
    found = enrichment(cells, clusters, 3, ["CD3"], [0.0])
    assert labels(found)[1] == "empty"
    assert name_clusters(found, [Population("T", (("CD3", "+"),))])[1].population == UNKNOWN


def test_levels_without_a_known_zero_come_from_the_clusters_alone():
    clusters = np.repeat([1, 2], 100).astype(np.int32)
    cells = np.where(clusters == 1, 2.0, 4.0)[:, None] + np.random.default_rng(0).normal(0, 0.1, (200, 1))
    found = enrichment(cells.astype(np.float32), clusters, 2, ["CD3"], [float("nan")])
    assert found.table()["level"].tolist() == ["negative", "positive"]


@pytest.mark.parametrize(("glow", "level"), [(False, "positive"), (True, "")])
def test_what_all_cells_of_fluorescence_show_may_be_their_own_glow(glow, level):
    clusters = np.repeat([1, 2], 100).astype(np.int32)
    cells = np.where(clusters == 1, 2.4, 2.7)[:, None] + np.random.default_rng(0).normal(0, 0.3, (200, 1))
    found = enrichment(cells.astype(np.float32), clusters, 2, ["CD90"], [0.0], glow=glow)
    assert found.table()["level"].tolist() == [level, level]
    bright = enrichment(cells.astype(np.float32) + 2, clusters, 2, ["CD45"], [0.0], glow=glow)
    assert bright.table()["level"].tolist() == ["positive", "positive"]
    dark = enrichment(cells.astype(np.float32) - 2.5, clusters, 2, ["CD4"], [0.0], glow=glow)
    assert dark.table()["level"].tolist() == ["negative", "negative"]


def test_the_most_specific_population_that_fits_is_taken(found):
    reference = [
        Population("T cells", (("CD3", "+"),)),
        Population("CD4 T cells", (("CD3", "+"), ("CD4", "+"))),
        Population("DR high", (("HLA-DR", "hi"), ("CD3", "-"))),
    ]
    names = name_clusters(found, reference)
    assert [name.population for name in names] == ["CD4 T cells", "T cells", UNKNOWN, "DR high"]
    assert names[0].runner_up == ""  # the broader row is no rival
    assert names[0].score > 0.95


def test_a_cluster_of_two_populations_fits_its_name_no_better_than_the_share_of_its_cells():
    rng = np.random.default_rng(0)
    clusters = np.repeat([1, 2, 3], (500, 500, 100)).astype(np.int32)
    basophils, monocytes = [3.0, 0.0], [0.0, 3.0]  # CD123, HLA-DR
    cells = np.array([[0.0, 0.0], monocytes, basophils])[clusters - 1] + rng.normal(0, 0.2, (1100, 2))
    cells[-40:, 1] += 3  # plasmacytoid dendritic cells in the cluster of basophils
    found = enrichment(cells.astype(np.float32), clusters, 3, ["CD123", "HLA-DR"], [0.0, 0.0])
    *_, mixed = name_clusters(found, [Population("Basophils", (("CD123", "+"), ("HLA-DR", "-")))])
    assert mixed.population == "Basophils"
    assert mixed.score == pytest.approx(0.6, abs=0.05)


# T cells of a panel that measures CD4 but neither CD8 nor TCRgd.
CD8_OR_GD = [
    Population("CD8 T cells", (("CD3", "+"), ("CD8", "+"), ("CD4", "-"), ("TCRgd", "-"))),
    Population("gd T cells", (("CD3", "+"), ("TCRgd", "+"), ("CD4", "-")), ("TCRgd",)),
    Population("CD4 T cells", (("CD3", "+"), ("CD4", "+"))),
]


def test_no_name_is_given_whose_own_markers_are_not_measured_but_a_broader_one(found):
    names = name_clusters(found, [Population("T cells", (("CD3", "+"),)), *CD8_OR_GD])
    assert [name.population for name in names[:2]] == ["CD4 T cells", "T cells, CD4-"]
    assert names[1].runner_up == "CD8 T cells"


def test_two_rows_that_the_panel_does_not_tell_apart_share_a_cluster_where_none_is_broader(found):
    assert name_clusters(found, CD8_OR_GD)[1].population == "CD8 T cells or gd T cells"


def test_a_name_is_given_where_its_marker_is_measured():
    clusters = np.repeat([1, 2], 300).astype(np.int32)
    cells = np.array([[3, 3.0], [3, 0.0]])[clusters - 1] + np.random.default_rng(0).normal(0, 0.3, (600, 2))
    found = enrichment(cells.astype(np.float32), clusters, 2, ["CD3", "CD8"], [0.0] * 2)
    names = name_clusters(found, [Population("T cells", (("CD3", "+"),)), *CD8_OR_GD])
    assert [name.population for name in names] == ["CD8 T cells", "T cells"]


def test_cells_below_the_level_of_the_reference_get_no_name(found):
    dim = Population("T cells", (("CD3", "+"),), within=(("CD45", "hi"),))
    assert {name.population for name in name_clusters(found, [dim])} == {UNKNOWN}


@pytest.mark.parametrize(
    ("name", "known"), [("", False), ("unknown", False), ("unknown 7 + Unknown 9", False), ("unknown 7 + T", True)]
)
def test_unknown_populations_stay_unknown_when_numbered_and_joined(name, known):
    assert is_known(name) == known


def test_unknown_clusters_bear_their_number_whether_named_by_a_reference_or_beforehand():
    plain = ClusterNames(("CD3+", "CD3-", "CD20+"))
    named = with_populations(plain, [Name("T"), Name(), Name()])
    assert named.populations == ("T", "unknown 2", "unknown 3")
    assert with_known(named, ["", "", "B"]).populations == ("T", "unknown 2", "B")
    assert with_known(plain, ["", "", "B"]).populations == ("unknown 1", "unknown 2", "B")


@pytest.mark.parametrize(
    ("number", "name", "title"),
    [
        (2, "T cells", "T cells"),
        (2, "unknown 2", "unknown (CD3-)"),
        (1, "unknown 2", "unknown 2 (CD3-)"),  # a population of a merge
        (2, "", "CD3-"),
    ],
)
def test_figures_show_the_markers_of_a_cluster_without_a_known_name(number, name, title):
    assert title_of(number, name, "CD3-") == title


def test_a_row_that_requires_a_marker_the_panel_lacks_is_left_out(found):
    with_marker = Population("Regulatory", (("CD3", "+"), ("CD25", "+")), ("CD25",))
    assert {name.population for name in name_clusters(found, [with_marker, Population("B", (("CD3", "-"),))])} == {
        UNKNOWN
    }


def test_markers_are_found_under_other_spellings():
    columns = columns_of(["145Nd_CD4", "HLADR", "CD8a", "CD45RA"])
    assert (columns["cd4"], columns["hladr"], columns["cd8"]) == (0, 1, 2)
    assert "cd45" not in columns


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_tables_do_not_ask_for_two_levels_of_a_marker(name):
    for population in read_reference(name):
        assert len({marker for marker, _ in population.levels}) == len(population.levels), population.name


def test_a_reference_that_knows_none_of_the_markers_is_refused(found):
    with pytest.raises(InputError, match="none of the 4 markers"):
        name_clusters(found, [Population("B", (("CD19", "+"),))])


def test_names_survive_saving():
    names = ClusterNames(("CD3+", "CD3-"), ("T", "unknown"), "reference", (0.9, 0.0), ("", ""), (0.0, 0.0))
    assert ClusterNames.from_dict(names.to_dict()) == names


def test_example_clusters_are_named_as_their_gates(example_run):
    clusters = pd.read_csv(example_run / "clusters.csv", index_col="cluster")
    named = dict(zip(clusters["population"], clusters.index, strict=True))
    labels = pd.read_csv(example_run / "labels.csv")
    assert set(labels["population"]) <= set(clusters["population"])
    for population in (
        "CD4 T cells",
        "T cells, CD4-",
        "NK cells",
        "IgM+ B cells",
        "CD14+ monocytes, HLA-DR+",
        "Basophils",
    ):
        assert population in named, population
    assert clusters["label"].str.len().min() > 0


def test_names_are_in_every_output(example_run):
    clusters = pd.read_csv(example_run / "clusters.csv")
    cells = anndata.read_h5ad(example_run / "cells.h5ad")
    of_cluster = dict(zip(clusters["cluster"].astype(str), clusters["label"], strict=True))
    assert (cells.obs["label"].astype(str) == cells.obs["cytomoe"].astype(str).map(of_cluster)).all()
    assert (
        cells.obs["population"].astype(str).to_numpy() == pd.read_csv(example_run / "labels.csv")["population"]
    ).all()
    text = flowio.FlowData(str(example_run / "fcs" / "example_A01.fcs"), only_text=True).text
    assert text["cytomoe_cluster_1"] == clusters["population"][0]
    assert MoESimVAE.load(example_run / "model.cytomoe").names_.populations == tuple(clusters["population"])


def test_new_samples_get_the_names_of_the_model(example_run, tmp_path):
    sample = "example_data/example_A03.fcs"
    out = tmp_path / "mapped"
    assert (
        run(["predict", str(example_run / "model.cytomoe"), sample, "--out", str(out), "--quiet", "--no-report"]) == 0
    )
    columns = ["cluster", "label", "population"]
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "clusters.csv")[columns], pd.read_csv(example_run / "clusters.csv")[columns]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "none of the tables"),
        ("population,positive\nT,CD3\n", "no column negative"),
        ("population,positive,negative\n,CD3,\n", "line 2:"),
        ("\npopulation,positive,negative\n\nT,CD3,\n,,\n,CD4,\n", "line 6:"),
        ('population,positive,negative\n"T\ncells",CD3,\n,CD4,\n', "line 4:"),
        ("population,positive,negative\n", "no rows"),
    ],
)
def test_a_wrong_reference_is_refused_before_any_work(content, message, tmp_path, capsys):
    table = tmp_path / "markers.csv"
    if content is not None:
        table.write_text(content)
    assert run(["cluster", "nowhere.fcs", "--reference", str(table)]) == 2
    assert message in capsys.readouterr().err


def test_levels_may_be_asked_for_in_a_table(tmp_path):
    table = tmp_path / "markers.csv"
    table.write_text("population;positive;negative\nPlasmablasts;CD38hi CD27bright CD19dim CD45RO;CD20- CD3\n")
    (population,) = read_reference(str(table))
    assert population.levels == (
        ("CD38", "hi"), ("CD27", "hi"), ("CD19", "mid"), ("CD45RO", "+"), ("CD20", "-"), ("CD3", "-")
    )  # fmt: skip


def test_names_of_a_low_score_are_told_with_their_equals():
    names = ["NK cells", "pDC", "B cells", "unknown 4", "possible doublets of T and B", "T cells"]
    scores, others, seconds = (
        [0.95, 0.519, 0.69, 0.0, 0.0, 0.65],
        ["", "Basophils", "pDC", "", "", ""],
        [0, 0.519, 0.4, 0, 0, 0],
    )
    rows = [
        {"cluster": k, "population": name, "score": score, "runner_up": other, "runner_up_score": second, "events": 9}
        for k, (name, score, other, second) in enumerate(zip(names, scores, others, seconds, strict=True), start=1)
    ]
    rows[5]["events"] = 0
    assert doubtful_names(rows) == ["2 pDC (0.52, Basophils 0.52)", "3 B cells (0.69)"]
    assert doubtful_names([{"cluster": 1, "label": "CD3+", "events": 9}]) == []


def test_a_known_name_does_not_bear_the_score_of_the_reference_s_name():
    named = ClusterNames(("a", "b"), ("T", "B"), "reference", (0.5, 0.6), ("", "NK"), (0.0, 0.6))
    known = with_known(named, ["T", "NK"])
    assert (known.scores, known.runners_up, known.runner_up_scores) == ((0.5, 0.0), ("", ""), (0.0, 0.0))
