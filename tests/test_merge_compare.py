"""Conditions carried through a run, clusters named and merged by a table, and abundance compared between conditions."""

import json
import re
import shutil
from pathlib import Path

import anndata
import flowio
import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.comparison import compare_abundance, compare_pairs, moved_by_others
from cytomoe.errors import InputError
from cytomoe.estimator import MoESimVAE
from cytomoe.plates.samples import read_sheet
from cytomoe.runs.events import open_events
from cytomoe.runs.samples import with_samples

FILES = [f"example_data/example_A0{i}.fcs" for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def plate(example_run, tmp_path_factory):
    """Three example wells mapped with a model, with a table of their samples."""
    folder = tmp_path_factory.mktemp("plate")
    (folder / "samples.csv").write_text(
        "file,sample,condition,batch\nexample_A03.fcs,third,drug,2\nexample_A01.fcs,first,none,1\n"
        "example_A02.fcs,second,none,1\nelsewhere.fcs,other,none,1\n"
    )
    arguments = ["predict", str(example_run / "model.cytomoe"), *FILES, "--samples", str(folder / "samples.csv")]
    assert run([*arguments, "--out", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def mapping(example_run, tmp_path_factory):
    """CATALYST's table: T cells and the rest."""
    clusters = pd.read_csv(example_run / "clusters.csv")
    names = np.where(clusters["label"].str.contains("CD3+", regex=False), "T cells", "the rest")
    path = tmp_path_factory.mktemp("map") / "merging.csv"
    pd.DataFrame({"old_cluster": clusters["cluster"], "new_cluster": names}).to_csv(path, index=False)
    return path


def test_conditions_are_carried_into_the_tables(plate):
    abundance = pd.read_csv(plate / "abundance.csv")
    assert abundance.columns[:4].tolist() == ["sample", "condition", "batch", "events"]
    assert abundance["sample"].tolist() == ["third", "first", "second"]
    cells = anndata.read_h5ad(plate / "cells.h5ad")
    assert set(cells.obs.loc[cells.obs["file"] == "example_A03.fcs", "condition"]) == {"drug"}
    medians = pd.read_csv(plate / "medians.csv")
    assert set(medians.loc[medians["condition"] == "drug", "sample"]) == {"third"}


def test_medians_are_of_the_cells_of_sample_and_cluster(plate):
    cells = anndata.read_h5ad(plate / "cells.h5ad")
    medians = pd.read_csv(plate / "medians.csv").set_index(["sample", "cluster"])
    mine = cells[(cells.obs["sample"] == "second") & (cells.obs["cytomoe"] == "1")]
    expected = np.median(mine.X, axis=0)
    np.testing.assert_allclose(medians.loc[("second", 1), list(cells.var_names)].astype(float), expected, atol=1e-4)
    assert medians["events"].sum() == cells.n_obs


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("well,condition\nA01,x\n", "no column sample"),
        ("file,condition\na.fcs,x\na.fcs,y\n", "file a.fcs stands in it twice"),
        ("file,sample\nexample_A02.fcs,x\n", "no row for the file example_A01.fcs"),
        ("file,sample,c\nexample_A01.fcs,x,1\nexample_A02.fcs,x,2\nexample_A03.fcs,x,2\n", "differ in c"),
        ("file,sample,gate\nexample_A01.fcs,x,1\n", "column gate is written by cytomoe"),
        ("file,sample,unassigned\nexample_A01.fcs,x,1\n", "column unassigned is written by cytomoe"),
        ("file,sample,,dose\nexample_A01.fcs,x,,1\n", "a column has no name"),
        (
            "file,sample,CD3\nexample_A01.fcs,x,1\nexample_A02.fcs,x,1\nexample_A03.fcs,x,1\n",
            "column CD3 is called like a marker",
        ),
        (
            "file,sample\nexample_A01.fcs,x\nexample_A02.fcs,\nexample_A03.fcs,z\n",
            "no sample is named for the file example_A02",
        ),
    ],
)
def test_a_wrong_table_of_samples_is_refused(example_run, table, message, tmp_path, capsys):
    (tmp_path / "samples.csv").write_text(table)
    arguments = ["predict", str(example_run / "model.cytomoe"), *FILES, "--samples", str(tmp_path / "samples.csv")]
    assert run([*arguments, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "row", "names"),
    [
        ("sample,condition", "example_A0{n},c{n}", "example_A0{n}"),
        ("file,condition", "example_A0{n}.fcs,c{n}", "example_A0{n}"),
        ("Sample,condition", "example_A0{n}.fcs,c{n}", "example_A0{n}"),
        ("file,sample,condition", "example_A0{n},s{n},c{n}", "s{n}"),
        ("Filename,sample,condition", "example_A0{n}.fcs,s{n},c{n}", "s{n}"),
    ],
)
def test_samples_of_a_run_are_named_by_sample_or_file_with_or_without_the_suffix(header, row, names, tmp_path):
    table = tmp_path / "samples.csv"
    table.write_text("\n".join([header, *(row.format(n=n) for n in (3, 2, 1))]))
    events = with_samples(open_events([Path(file) for file in FILES]), table)
    wells = [int(Path(file).stem[-1]) for file in FILES]
    assert [events.samples[i] for i in events.file_sample] == [names.format(n=n) for n in wells]
    assert events.conditions["condition"].to_dict() == {names.format(n=n): f"c{n}" for n in (3, 2, 1) if n in wells}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("sample,c\nexample_A01,1\nexample_A01,2\n", "sample example_A01 stands in it twice"),
        ("sample,c\nexample_A01,1\n", "no row for the sample example_A02; nearest: example_A01"),
    ],
)
def test_a_table_of_samples_without_files_is_held_against_the_run(table, message, tmp_path):
    (tmp_path / "samples.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        with_samples(open_events([Path(file) for file in FILES]), tmp_path / "samples.csv")


def test_merged_populations_have_their_names_everywhere(example_run, mapping, tmp_path):
    out = tmp_path / "merged"
    before = (example_run / "clusters.csv").read_bytes()
    assert run(["merge", str(example_run), "--map", str(mapping), "--out", str(out)]) == 0
    assert (example_run / "clusters.csv").read_bytes() == before
    labels = pd.read_csv(out / "labels.csv")
    assert set(labels["population"]) == {"T cells", "the rest"}
    assert labels["cluster"].tolist() == pd.read_csv(example_run / "labels.csv")["cluster"].tolist()
    populations = pd.read_csv(out / "populations.csv")
    assert (populations["T cells"] + populations["the rest"]).tolist() == populations["events"].tolist()
    assert populations["T cells"].sum() == (labels["population"] == "T cells").sum()
    assert set(anndata.read_h5ad(out / "cells.h5ad").obs["population"]) == {"T cells", "the rest"}
    assert set(pd.read_csv(out / "medians.csv")["population"]) == {"T cells", "the rest"}
    written = flowio.FlowData(str(out / "fcs" / "example_A01.fcs"))
    values = np.reshape(written.events, (written.event_count, -1))[:, written.pnn_labels.index("population")]
    names = [written.text[f"cytomoe_population_{int(value)}"] for value in values]
    assert names == labels.loc[labels["file"] == "example_A01.fcs", "population"].tolist()
    assert "merged" in json.loads((out / "run.json").read_text())


def test_events_of_a_merged_run_bear_the_number_of_their_population(example_run, mapping, tmp_path, capsys):
    out = tmp_path / "merged"
    assert run(["merge", str(example_run), "--map", str(mapping), "--out", str(out), "--no-report"]) == 0
    table = capsys.readouterr().out
    labels = pd.read_csv(out / "labels.csv")
    number = dict(zip(labels["population"], labels["population_number"], strict=True))
    assert number == {name: k for k, name in enumerate(labels["population"].value_counts().index, start=1)}
    cells = anndata.read_h5ad(out / "cells.h5ad").obs
    assert cells["population_number"].tolist() == labels["population_number"].tolist()
    clusters = sorted(set(labels.loc[labels["population"] == "T cells", "cluster"]))
    assert f"  joined: clusters {', '.join(map(str, clusters))}, of one name: T cells\n" in table


def test_the_merged_model_names_new_samples(example_run, mapping, tmp_path):
    assert run(["merge", str(example_run), "--map", str(mapping), "--out", str(tmp_path / "merged")]) == 0
    model = str(tmp_path / "merged" / "model.cytomoe")
    assert set(MoESimVAE.load(model).names_.populations) == {"T cells", "the rest"}
    out = tmp_path / "t.csv"
    assert run(["generate", model, "--name", "T cells", "-n", "100", "--out", str(out)]) == 0
    assert pd.read_csv(out)["cluster"].nunique() > 1


def test_clusters_that_a_map_leaves_out_keep_their_names(example_run, tmp_path):
    (tmp_path / "map.csv").write_text("cluster,name\n1,Helpers\n")
    out = tmp_path / "merged"
    assert run(["merge", str(example_run), "--map", str(tmp_path / "map.csv"), "--out", str(out), "--no-report"]) == 0
    before = pd.read_csv(example_run / "clusters.csv")["population"]
    after = pd.read_csv(out / "clusters.csv")["population"]
    assert after[0] == "Helpers"
    assert after[1:].tolist() == [f"unknown {k + 1}" if name == "unknown" else name for k, name in before[1:].items()]
    assert not (out / "report.html").exists()


def test_a_population_may_be_called_as_pandas_calls_what_is_missing(plate, tmp_path):
    (tmp_path / "map.csv").write_text("cluster,name\n1,NA\n2,null\n")
    out = tmp_path / "merged"
    assert run(["merge", str(plate), "--map", str(tmp_path / "map.csv"), "--out", str(out), "--no-report"]) == 0
    assert {"NA", "null"} <= set(pd.read_csv(out / "populations.csv").columns)
    (tmp_path / "sheet.csv").write_text("sample,dose\nfirst,001\nsecond,1\nthird,001\n")
    compared = ["--by", "dose", "--samples", str(tmp_path / "sheet.csv"), "--out", str(tmp_path / "x")]
    assert run(["compare", str(out), *compared]) == 0
    found = pd.read_csv(tmp_path / "x" / "comparison.csv", keep_default_na=False)
    assert {"NA", "null"} <= set(found["population"])
    assert "log2_1_over_001" in found.columns


@pytest.mark.parametrize("name", ["events", "sample"])
def test_a_population_can_not_be_called_like_a_column(example_run, name, tmp_path, capsys):
    (tmp_path / "map.csv").write_text(f"cluster,name\n1,{name}\n")
    assert run(["merge", str(example_run), "--map", str(tmp_path / "map.csv"), "--out", str(tmp_path / "x")]) == 2
    assert f"a population can't be called {name}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_conditions_are_the_text_that_the_sheet_holds(example_run, tmp_path, capsys):
    """Numbers among them stay as they were written: 1 is not 1.0, and 001 is not 1."""
    sheet = tmp_path / "samples.csv"
    sheet.write_text("file,sample,dose\nexample_A01.fcs,a,1\nexample_A02.fcs,b,0.50\nexample_A03.fcs,c,1\n")
    model, out = str(example_run / "model.cytomoe"), str(tmp_path / "run")
    assert run(["predict", model, *FILES, "--samples", str(sheet), "--out", out, "--quiet", "--no-report"]) == 0
    assert run(["compare", out, "--by", "dose", "--baseline", "0.50", "--out", str(tmp_path / "x"), "--json"]) == 0
    assert json.loads((tmp_path / "x" / "comparison.json").read_text())["samples"] == {"a": "1", "b": "0.50", "c": "1"}


def test_the_report_of_a_merged_run_is_of_its_populations(example_run, mapping, tmp_path, capsys):
    """Names, sizes, medians, gates and map of the populations; nothing of the clusters' report is left."""
    from cytomoe.metrics import Contingency
    from cytomoe.reporting.populations import by_population
    from cytomoe.reporting.run_files import RunFiles

    out = tmp_path / "merged"
    assert run(["merge", str(example_run), "--map", str(mapping), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"report: {out / 'report.html'}" in printed
    page = (out / "report.html").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    labels = pd.read_csv(out / "labels.csv")
    sizes = labels["population"].value_counts()
    assert [(each["name"], each["events"]) for each in data["clusters"]] == list(sizes.items())
    assert "<dt>Populations</dt><dd>2</dd>" in page
    cells = anndata.read_h5ad(out / "cells.h5ad")
    first = cells[cells.obs["population"] == sizes.index[0]]
    merged = by_population(RunFiles.read(out))
    np.testing.assert_allclose(merged.medians[0], np.median(first.X, axis=0), atol=1e-3)
    evaluation = json.loads((out / "evaluation.json").read_text())["all"]
    gate = cells.obs["gate"]
    gated = gate.isin(gate.value_counts().loc[lambda n: n >= 30].index)  # smaller ones are not measured
    table = Contingency.of(cells.obs["gate"][gated].cat.codes, cells.obs["population"][gated].cat.codes)
    assert evaluation["f_measure"] == pytest.approx(table.f_measure())
    assert evaluation["clusters_used"] == 2
    assert f"F-measure {table.f_measure():.3f}" in printed


@pytest.mark.parametrize("command", ["merge", "recut"])
def test_evaluate_measures_the_populations_of_a_merged_run(example_run, mapping, command, tmp_path, capsys):
    out = tmp_path / "merged"
    how = ["--map", str(mapping)] if command == "merge" else ["--clusters", "4"]
    assert run([command, str(example_run), *how, "--no-report", "--out", str(out)]) == 0
    capsys.readouterr()
    for labels in (out, out / "labels.csv"):
        assert run(["evaluate", str(labels), "--gate-channel", "gate", "--json"]) == 0
        output = capsys.readouterr()
        assert json.loads(output.out) == json.loads((out / "evaluation.json").read_text())
        assert "measured are the populations that clusters were merged into" in output.err
    assert run(["evaluate", str(out), "--gate-channel", "gate"]) == 0
    printed = capsys.readouterr().out
    assert " populations\n" in printed
    assert "cluster" not in printed


def test_labels_that_part_a_cluster_between_populations_are_refused(example_run, tmp_path, capsys):
    labels = pd.read_csv(example_run / "labels.csv")
    labels.assign(population_number=labels.index % 2 + 1).to_csv(tmp_path / "labels.csv", index=False)
    assert run(["evaluate", str(tmp_path / "labels.csv"), *FILES[:2], "--gate-channel", "gate"]) == 2
    assert "into several populations" in capsys.readouterr().err


def test_unknown_clusters_are_no_population(example_run, plate, tmp_path):
    clusters = pd.read_csv(example_run / "clusters.csv")
    names = ["unknown", "B cells", "Unknown", *["the rest"] * (len(clusters) - 3)]
    clusters["population"] = names
    clusters.to_csv(tmp_path / "map.csv", index=False)
    out = tmp_path / "merged"
    assert run(["merge", str(example_run), "--map", str(tmp_path / "map.csv"), "--out", str(out)]) == 0
    expected = {"unknown 1", "B cells", "unknown 3", "the rest"}
    assert set(pd.read_csv(out / "clusters.csv")["population"]) == expected
    shutil.copytree(plate, tmp_path / "plate")
    pd.read_csv(plate / "clusters.csv").assign(population=names).to_csv(
        tmp_path / "plate" / "clusters.csv", index=False
    )
    assert run(["compare", str(tmp_path / "plate"), "--by", "condition", "--out", str(tmp_path / "by")]) == 0
    assert set(pd.read_csv(tmp_path / "by" / "comparison.csv")["population"]) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("cluster,name\n1,T\n99,B\n", "the run has no cluster 99; it has clusters 1 to "),
        ("cluster,name\n1,T\n1,B\n", "cluster 1 is named twice"),
        ("cluster,colour\n1,red\n", "needs the columns cluster and name"),
    ],
)
def test_a_wrong_map_is_refused(example_run, table, message, tmp_path, capsys):
    (tmp_path / "map.csv").write_text(table)
    assert run(["merge", str(example_run), "--map", str(tmp_path / "map.csv"), "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def simulated(effect: float, *, n: int = 6, seed: int = 0):
    """Counts of 20 populations in two conditions whose shares vary between samples; the first one differs."""
    rng = np.random.default_rng(seed)
    conditions = pd.DataFrame({"condition": ["a"] * n + ["b"] * n}, index=[f"s{i}" for i in range(2 * n)])
    base = rng.dirichlet(np.full(20, 2.0))
    counts = []
    for condition in conditions["condition"]:
        shares = base.copy()
        shares[0] *= effect if condition == "b" else 1
        counts.append(rng.multinomial(5000, rng.dirichlet(300 * shares / shares.sum())))
    table = pd.DataFrame(counts, index=conditions.index, columns=[f"p{i}" for i in range(20)])
    return table, table.sum(axis=1), conditions


def test_a_population_that_doubles_is_found():
    table = compare_abundance(*simulated(3.0), "condition")
    assert table["population"][0] == "p0"
    assert table["p_adjusted"][0] < 0.01
    assert table["log2_b_over_a"][0] == pytest.approx(np.log2(3), abs=0.6)


def test_without_a_difference_few_populations_seem_to_differ():
    p = np.concatenate([compare_abundance(*simulated(1.0, seed=s), "condition")["p"] for s in range(10)])
    assert 0.01 < np.mean(p < 0.05) < 0.10


def test_a_population_absent_under_one_condition_is_significant():
    counts, totals, conditions = simulated(1.0)
    counts["p1"] = [0] * 6 + [200, 150, 240, 180, 210, 190]
    table = compare_abundance(counts, totals, conditions, "condition").set_index("population")
    assert table.loc["p1", "p_adjusted"] < 0.001
    assert np.isfinite(table.loc["p1", "log2_b_over_a"])


def test_what_goes_with_the_batch_is_not_taken_for_the_condition():
    counts, totals, conditions = simulated(1.0)
    conditions["batch"] = ["1", "2"] * 6
    counts["p2"] = np.where(conditions["batch"] == "1", 100, 600)
    adjusted = compare_abundance(counts, totals, conditions, "condition", ["batch"]).set_index("population")
    assert adjusted.loc["p2", "p"] > 0.05
    conditions["batch"] = conditions["condition"]
    with pytest.raises(InputError, match="can't be told from batch"):
        compare_abundance(counts, totals, conditions, "condition", ["batch"])


def of_three(fold, seed=0, n=5):
    """Ten populations in three conditions, the first of which is so many times as frequent in the last condition."""
    rng = np.random.default_rng(seed)
    conditions = pd.DataFrame({"condition": np.repeat(["a", "b", "c"], n)})
    base = rng.dirichlet(np.full(10, 3.0))
    counts = []
    for condition in conditions["condition"]:
        shares = base.copy()
        shares[0] *= fold if condition == "c" else 1
        counts.append(rng.multinomial(5000, rng.dirichlet(300 * shares / shares.sum())))
    table = pd.DataFrame(counts, columns=[f"p{k}" for k in range(10)])
    return table, table.sum(axis=1), conditions, "condition"


def test_of_three_conditions_the_pairs_that_differ_are_found():
    pairs = compare_pairs(*of_three(3.0))
    assert len(pairs) == 30
    differ = pairs[(pairs["p_adjusted"] < 0.05) & (pairs["population"] == "p0")]
    assert set(zip(differ["condition"], differ["over"], strict=True)) == {("c", "a"), ("c", "b")}
    np.testing.assert_allclose(differ["log2"], np.log2(3), atol=0.7)


def test_without_a_difference_few_pairs_seem_to_differ():
    found = [compare_pairs(*of_three(1.0, seed)) for seed in range(10)]
    assert 0.01 < np.mean(pd.concat(found)["p"] < 0.05) < 0.10
    assert sum((table["p_adjusted"] < 0.05).any() for table in found) <= 2


def test_the_pair_of_two_conditions_is_tested_as_both_together():
    whole, pair = (function(*simulated(2.0), "condition") for function in (compare_abundance, compare_pairs))
    pd.testing.assert_frame_equal(
        whole.rename(columns={"log2_b_over_a": "log2"})[["population", "log2", "F", "p", "p_adjusted"]],
        pair[["population", "log2", "F", "p", "p_adjusted"]],
    )


def test_pairs_are_compared_within_the_batches_too():
    counts, totals, conditions, by = of_three(1.0)
    conditions["batch"] = ["1", "2", "2", "2", "2", "1", "2", "2", "2", "1", "1", "1", "1", "2", "1"]
    counts["p1"] = (np.where(conditions["batch"] == "1", 800, 400) * (1 + 0.02 * (np.arange(15) % 3))).astype(int)
    crude, within = (compare_pairs(counts, totals, conditions, by, adjust) for adjust in ([], ["batch"]))
    asked = "population == 'p1' and condition == 'c' and over == 'a'"
    assert crude.query(asked)["log2"].item() > 0.4
    assert within.query(asked)["log2"].item() == pytest.approx(0, abs=0.1)
    assert within.query(asked)["p"].item() > 0.05


def test_many_conditions_are_held_against_the_baseline_alone():
    counts, totals, conditions, by = of_three(1.0, n=10)
    conditions["condition"] = [f"dose {k // 2}" for k in range(30)]
    pairs = compare_pairs(counts, totals, conditions, by, baseline="dose 3")
    assert set(pairs["over"]) == {"dose 3"}
    assert len(pairs) == 14 * 10


def grown(folds):
    """Twelve samples of ten populations, in half of which some are so many times as frequent before shares add up."""
    rng = np.random.default_rng(3)
    conditions = pd.DataFrame({"condition": ["a"] * 6 + ["b"] * 6})
    shares = np.linspace(0.02, 0.18, 10) * np.exp(rng.normal(0, 0.1, (12, 10)))
    for population, fold in folds.items():
        shares[6:, population] *= fold
    counts = [rng.multinomial(20000, row / row.sum()) for row in shares]
    table = pd.DataFrame(counts, columns=[f"p{k}" for k in range(10)])
    return table, table.sum(axis=1), conditions, "condition"


@pytest.mark.parametrize("folds", [{9: 3.0}, {9: 3.0, 2: 3.0}, {9: 0.3}])
def test_what_differs_because_others_grow_or_shrink_is_told(folds):
    compared = grown(folds)
    table = compare_abundance(*compared)
    differ = set(table.loc[table["p_adjusted"] < 0.05, "population"])
    assert len(differ) > 5
    movers, moved = moved_by_others(table, *compared)
    assert set(movers) == {f"p{k}" for k in folds}
    assert set(moved) == differ - set(movers)


def test_one_population_that_differs_is_moved_by_none():
    counts, totals, conditions, by = grown({0: 2.0})
    table = compare_abundance(counts, totals, conditions, by)
    assert table.loc[table["p_adjusted"] < 0.05, "population"].tolist() == ["p0"]
    assert moved_by_others(table, counts, totals, conditions, by) == ([], [])


def test_the_change_is_that_within_the_batches():
    """Most cases lie in the batch that has more of the population; within each batch they have less of it."""
    batch = ["B"] * 4 + ["A"] + ["A"] * 4 + ["B"]
    conditions = pd.DataFrame({"condition": ["case"] * 5 + ["control"] * 5, "batch": batch})
    share = np.where(conditions["batch"] == "B", 0.25, 0.10) * np.where(conditions["condition"] == "case", 0.7, 1.0)
    noise = 1 + 0.02 * np.array([1, -1, 1, -1, 0, 1, -1, 1, -1, 0])
    totals = pd.Series([5000] * 10)
    counts = pd.DataFrame({"p": (5000 * share * noise).astype(int)})
    crude = compare_abundance(counts, totals, conditions, "condition", baseline="control")
    assert crude["log2_case_over_control"][0] > 0.2
    within = compare_abundance(counts, totals, conditions, "condition", ["batch"], "control")
    assert within["p"][0] < 0.001
    assert within["log2_case_over_control"][0] == pytest.approx(np.log2(0.7), abs=0.05)


def test_a_column_that_follows_from_another_changes_nothing():
    """Each patient's samples stand in one batch; one patient has none of the population."""
    totals = pd.Series([2534, 497, 4829, 2663, 1269, 4841])
    counts = pd.DataFrame({"p": [0, 0, 20, 39, 2, 3]})
    conditions = pd.DataFrame({"condition": list("ababab"), "patient": list("112233"), "batch": list("yyxxyy")})
    alone = compare_abundance(counts, totals, conditions, "condition", ["patient"])
    both = compare_abundance(counts, totals, conditions, "condition", ["patient", "batch"])
    assert alone["p"][0] == pytest.approx(0.151, abs=0.001)
    pd.testing.assert_frame_equal(alone, both)


def test_a_covariate_of_which_every_sample_has_its_own_is_told_to_be_grouped():
    counts, totals, conditions = simulated(1.0)
    conditions["age"] = [str(30 + k) for k in range(len(conditions))]
    with pytest.raises(InputError, match=r"every sample has its own age.*numbers too: put age into a few groups"):
        compare_abundance(counts, totals, conditions, "condition", ["age"])


def test_compare_writes_table_and_figure(plate, tmp_path, capsys):
    out = tmp_path / "comparison"
    assert run(["compare", str(plate), "--by", "condition", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "% drug" in printed.out
    assert "Warning: drug has one sample" in printed.err
    assert "none has one" not in printed.err
    table = pd.read_csv(out / "comparison.csv")
    assert {"percent_drug", "percent_none", "p", "p_adjusted"} <= set(table.columns)
    clusters = pd.read_csv(plate / "clusters.csv")
    apart = [f"unknown {k}" if name == "unknown" else name for k, name in clusters[["cluster", "population"]].values]
    assert set(table["population"]) == set(apart)
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "comparison.svg").read_text()[:2000]
    assert json.loads((out / "comparison.json").read_text())["samples"]["third"] == "drug"


def test_changes_are_over_the_condition_of_the_first_sample_or_the_baseline_asked_for(plate, tmp_path, capsys):
    arguments = ["compare", str(plate), "--by", "condition"]
    assert run([*arguments, "--out", str(tmp_path / "a"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["baseline"] == "drug"
    assert [warning.split(":")[0] for warning in said["warnings"]] == ["drug has one sample"]
    assert run([*arguments, "--baseline", "none", "--out", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "log2: drug over none; above 0, more frequent under drug" in said
    assert re.search(r"different with an adjusted p below 0\.05: (none of \d+|.+ \(\d+ of \d+\))\n", said)
    either, other = (pd.read_csv(tmp_path / name / "comparison.csv").set_index("population") for name in "ab")
    np.testing.assert_allclose(either["log2_none_over_drug"], -other["log2_drug_over_none"][either.index], atol=1e-3)
    np.testing.assert_allclose(either["p"], other["p"][either.index])
    assert run([*arguments, "--baseline", "placebo", "--out", str(tmp_path / "c")]) == 2
    assert "there are drug, none" in capsys.readouterr().err


def test_the_order_of_a_table_given_later_decides_the_baseline(plate, tmp_path):
    (tmp_path / "late.csv").write_text(
        "file,sample,arm\nexample_A01.fcs,first,z\nexample_A02.fcs,second,z\nexample_A03.fcs,third,a\n"
    )
    arguments = ["compare", str(plate), "--by", "arm", "--samples", str(tmp_path / "late.csv")]
    assert run([*arguments, "--out", str(tmp_path / "x")]) == 0
    assert json.loads((tmp_path / "x" / "comparison.json").read_text())["baseline"] == "z"
    assert "log2_a_over_z" in pd.read_csv(tmp_path / "x" / "comparison.csv")


def test_compare_takes_conditions_given_later(example_run, plate, tmp_path, capsys):
    samples = str(plate.parent / "samples.csv")
    assert run(["compare", str(example_run), "--by", "batch", "--samples", samples, "--out", str(tmp_path / "x")]) == 2
    assert "all samples have batch 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("file,sample,arm", "example_A0{0},s{0},{1}"),
        ("file,sample,arm", "example_A0{0}.fcs,s{0},{1}"),
        ("file,sample,arm", "x{0},example_A0{0}.fcs,{1}"),
        ("file,arm", "example_A0{0}.fcs,{1}"),
    ],
)
def test_samples_of_a_table_are_found_by_their_name_or_that_of_their_file(example_run, header, row, tmp_path, capsys):
    (tmp_path / "samples.csv").write_text("\n".join([header, row.format(1, "a"), row.format(2, "b")]))
    arguments = ["compare", str(example_run), "--by", "arm", "--samples", str(tmp_path / "samples.csv")]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "2 samples are too few to compare" in capsys.readouterr().err  # so both were found


@pytest.fixture(scope="module")
def twelve():
    """Counts and events of twelve samples."""
    counts, totals, _ = simulated(1.0)
    counts.index = totals.index = [f"s{k + 1}" for k in range(12)]
    return counts, totals


def compared(monkeypatch, twelve, tmp_path, rows, *options):
    """``cytomoe compare`` of the twelve samples with a table of these rows."""
    counts, totals = twelve
    numbers = range(1, len(counts.columns) + 1)
    clusters = pd.DataFrame({"cluster": numbers, "label": list(counts.columns)})
    abundance = counts.set_axis([f"cluster_{k}" for k in numbers], axis=1).assign(events=totals)
    abundance = abundance.rename_axis("sample").reset_index()
    monkeypatch.setattr("cytomoe.runs.compare.is_batch", lambda run: True)
    monkeypatch.setattr("cytomoe.runs.compare.read_batch", lambda run: (clusters, abundance))
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("sample,condition,batch\n" + "\n".join(rows) + "\n")
    arguments = ["compare", str(tmp_path), "--by", "condition", "--samples", str(sheet), *options]
    return run([*arguments, "--force", "--out", str(tmp_path / "x")])


ROWS = [f"s{k},{'case' if k > 6 else 'control'},{'AB'[k % 2]}" for k in range(1, 13)]


@pytest.mark.parametrize("missing", ["", "NA"])
def test_a_sample_without_condition_is_left_out_and_told(monkeypatch, twelve, missing, tmp_path, capsys):
    rows = [f"s3,{missing},A" if row.startswith("s3,") else row for row in ROWS]
    assert compared(monkeypatch, twelve, tmp_path, rows) == 0
    assert "Warning: left out, no condition is given: s3\n" in capsys.readouterr().err
    found = pd.read_csv(tmp_path / "x" / "comparison.csv")
    kept = [k for k in range(12) if k != 2]
    counts, totals = (table.iloc[kept] for table in twelve)
    conditions = pd.DataFrame({"condition": ["control"] * 5 + ["case"] * 6}, index=counts.index)
    expected = compare_abundance(counts, totals, conditions, "condition")
    np.testing.assert_allclose(found["p"], expected["p"], rtol=1e-6)
    assert "s3" not in json.loads((tmp_path / "x" / "comparison.json").read_text())["samples"]


def test_samples_left_out_are_told_where_too_few_are_left(monkeypatch, twelve, tmp_path, capsys):
    rows = [row if row.startswith(("s6,", "s7,")) else row.split(",")[0] + ",," for row in ROWS]
    assert compared(monkeypatch, twelve, tmp_path, rows) == 2
    told = capsys.readouterr().err
    assert "Warning: left out, no condition is given: s1, s2, " in told
    assert "Error: 2 samples are too few" in told


def test_a_sample_without_a_value_to_adjust_for_is_left_out(monkeypatch, twelve, tmp_path, capsys):
    rows = ["s3,control," if row.startswith("s3,") else row for row in ROWS]
    assert compared(monkeypatch, twelve, tmp_path, rows, "--adjust", "batch") == 0
    assert "left out, no batch is given: s3" in capsys.readouterr().err


def test_a_sample_without_events_is_left_out(monkeypatch, twelve, tmp_path, capsys):
    counts, totals = (table.copy() for table in twelve)
    counts.loc["s12"], totals["s12"] = 0, 0
    assert compared(monkeypatch, (counts, totals), tmp_path, ROWS) == 0
    assert "left out, no events: s12" in capsys.readouterr().err


def test_populations_that_another_moves_are_told_and_marked(monkeypatch, tmp_path, capsys):
    counts, totals, *_ = grown({9: 3.0})
    counts.index = totals.index = [f"s{k}" for k in range(1, 13)]
    assert compared(monkeypatch, (counts, totals), tmp_path, ROWS, "--adjust", "batch") == 0
    said = capsys.readouterr().out
    assert re.search(r"\nnot different among the events without 10: p9: \d: p\d; .* \(shares add up to 100 %", said)
    assert re.search(r"\ndifferent with an adjusted p below 0\.05: 10: p9; \d: p\d; .* \(\d+ of 10\)", said)
    table = pd.read_csv(tmp_path / "x" / "comparison.csv", keep_default_na=False).set_index("population")
    assert table.loc["10: p9", "moved_by"] == ""
    assert table.loc["9: p8", "moved_by"] == "10: p9"


def test_of_three_conditions_the_meaning_of_p_is_told(monkeypatch, twelve, tmp_path, capsys):
    rows = [f"s{k},{'abc'[k % 3]},1" for k in range(1, 13)]
    assert compared(monkeypatch, twelve, tmp_path, rows, "--baseline", "a") == 0
    assert capsys.readouterr().out.startswith("p: whether any condition differs; comparison.csv has the change of each")


def test_pairs_that_differ_are_printed_and_written(monkeypatch, tmp_path, capsys):
    counts, totals, conditions, _ = of_three(4.0)
    counts.index = totals.index = [f"s{k}" for k in range(1, 16)]
    rows = [f"s{k},{condition},1" for k, condition in enumerate(conditions["condition"], start=1)]
    assert compared(monkeypatch, (counts, totals), tmp_path, rows) == 0
    said = capsys.readouterr().out
    pairs = pd.read_csv(tmp_path / "x" / "pairs.csv")
    differ = int((pairs["p_adjusted"] < 0.05).sum())
    assert f"pairs of conditions that differ with an adjusted p below 0.05: {differ} of 30\n" in said
    assert re.search(r"\n  1: p0: c over [ab] log2 \+\d\.\d\d, p \S+; c over [ab] log2", said)
    assert compared(monkeypatch, (counts, totals), tmp_path, rows, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["pairs"]) == 30


def test_two_conditions_have_no_table_of_pairs(monkeypatch, twelve, tmp_path):
    assert compared(monkeypatch, twelve, tmp_path, ROWS) == 0
    assert not (tmp_path / "x" / "pairs.csv").exists()


def test_rows_of_a_sample_that_disagree_are_refused(monkeypatch, twelve, tmp_path, capsys):
    assert compared(monkeypatch, twelve, tmp_path, [*ROWS, "s1,case,B"]) == 2
    assert "the rows of sample s1 differ in condition" in capsys.readouterr().err
    assert compared(monkeypatch, twelve, tmp_path, [*ROWS, ROWS[0]]) == 0


def test_conditions_that_differ_in_capital_letters_alone_are_told(monkeypatch, twelve, tmp_path, capsys):
    rows = [row.replace("control", "Control") if row[1] in "12" else row for row in ROWS]
    assert compared(monkeypatch, twelve, tmp_path, rows) == 0
    assert "condition: Control and control differ in capital letters alone" in capsys.readouterr().err


def test_numbers_to_adjust_for_are_told_to_be_groups(monkeypatch, twelve, tmp_path, capsys):
    rows = [f"{row[:-1]}{30 + k // 2 + 6 * (k % 2)}" for k, row in enumerate(ROWS)]
    rows[-1] = rows[-1][:-2] + "30"
    rows[-2] = rows[-2][:-2] + "31"
    compared(monkeypatch, twelve, tmp_path, rows, "--adjust", "batch")
    assert "--adjust batch: its values are taken for" in capsys.readouterr().err


def test_a_run_that_knows_no_conditions_asks_for_them(example_run, tmp_path, capsys):
    assert run(["compare", str(example_run), "--by", "condition", "--out", str(tmp_path / "x")]) == 2
    assert "give --samples with a table of the columns sample and condition" in capsys.readouterr().err


def test_compare_takes_a_batch_of_one_model_and_refuses_one_of_many(example_run, tmp_path, capsys):
    model = ["--model", str(example_run / "model.cytomoe"), "--quiet"]
    assert run(["batch", *FILES, *model, "--out", str(tmp_path / "batch")]) == 0
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("sample,condition\nexample_A02,drug\nexample_A01,none\nexample_A03,drug\n")
    arguments = ["--by", "condition", "--samples", str(sheet), "--clusters"]
    assert run(["compare", str(tmp_path / "batch"), *arguments, "--out", str(tmp_path / "x")]) == 0
    table = pd.read_csv(tmp_path / "x" / "comparison.csv").set_index("population")
    abundance = pd.read_csv(tmp_path / "batch" / "abundance.csv").set_index("sample")
    share = 100 * abundance["cluster_1"] / abundance["events"]
    first = table[table.index.str.startswith("1: ")].iloc[0]
    assert first["percent_drug"] == pytest.approx(share[["example_A02", "example_A03"]].mean(), abs=0.01)
    assert first["percent_none"] == pytest.approx(share["example_A01"], abs=0.01)
    manifest = json.loads((tmp_path / "batch" / "run.json").read_text()) | {"mode": "per-sample"}
    (tmp_path / "batch" / "run.json").write_text(json.dumps(manifest))
    assert run(["compare", str(tmp_path / "batch"), *arguments, "--out", str(tmp_path / "y")]) == 2
    assert "clusters of its own" in capsys.readouterr().err


def test_the_folder_of_a_run_stands_for_its_model(example_run, tmp_path, capsys):
    assert run(["predict", str(example_run), FILES[0], "--out", str(tmp_path / "x"), "--quiet", "--no-report"]) == 0
    assert (tmp_path / "x" / "labels.csv").is_file()
    assert run(["predict", str(tmp_path), FILES[0], "--out", str(tmp_path / "y")]) == 2
    assert "a folder without a model.cytomoe" in capsys.readouterr().err


def test_a_number_of_clusters_is_refused_with_what_there_is(tmp_path, capsys):
    assert run(["cluster", FILES[0], "--clusters", "10", "--out", str(tmp_path / "x")]) == 2
    assert "recut RUN --clusters 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "conditon"], "nearest: condition"),
        (["--by", "condition", "--adjust", "patient"], "no column patient"),
        (["--by", "condition", "--adjust", "batch"], "can't be told from batch"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(plate, arguments, message, tmp_path, capsys):
    assert run(["compare", str(plate), *arguments, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_sheet_of_catalyst_names_samples(tmp_path):
    (tmp_path / "md.csv").write_text("file_name,sample_id,condition\nexample_A01.fcs,first,none\n")
    events = with_samples(open_events([Path(FILES[0])]), tmp_path / "md.csv")
    assert events.samples == ["first"]
    assert list(events.conditions) == ["condition"]
    (tmp_path / "example_A01.fcs").write_bytes(Path(FILES[0]).read_bytes())
    (sample,) = read_sheet(tmp_path / "md.csv")
    assert (sample.name, sample.fields) == ("first", (("condition", "none"),))
