"""The report of a run: what it says, that strangers' names can't break it, that it never costs a run."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from cytomoe import read_fcs, write_fcs
from cytomoe.cli.console import print_evaluation
from cytomoe.cli.main import run
from cytomoe.reporting.colours import CLUSTERS, SEQUENTIAL, ink_on
from cytomoe.reporting.embedding import draw_cells
from cytomoe.reporting.findings import headline
from cytomoe.reporting.histograms import marker_histograms
from cytomoe.reporting.methods import methods_of
from cytomoe.reporting.page import write_report
from cytomoe.reporting.payload import confusion_of
from cytomoe.reporting.profiles import cluster_records, profiles_of
from cytomoe.reporting.run_files import RunFiles
from cytomoe.reporting.verdict import _clusters_used, judge

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{ 7 * 7 }}"


@pytest.fixture
def copy(finished, tmp_path):
    """Copy of the run that a test may change."""
    return shutil.copytree(finished, tmp_path / "wells")


def page_of(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def data_of(page):
    """The data of the figures, as the page's script reads them."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def markup(page):
    """The page without what stands inside scripts and style."""
    return re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)


def visible(page):
    """The page's text in one line, as the browser shows it."""
    from html import unescape

    return unescape(" ".join(re.sub(r"<[^>]+>", " ", markup(page)).split()))


def change_manifest(folder, **changes):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def disguise(folder):
    """Give a marker, a sample, a gate, a label, a warning and the command of a run a name that is a script."""
    manifest = json.loads((folder / "run.json").read_text())
    manifest["preprocessing"]["steps"][0]["marker"] = HOSTILE
    change_manifest(folder, **manifest | {"samples": [HOSTILE, "b"], "warnings": [HOSTILE], "command": HOSTILE})
    clusters = pd.read_csv(folder / "clusters.csv")
    clusters = clusters.rename(columns={clusters.columns[-10]: HOSTILE}).assign(label=HOSTILE)
    clusters.to_csv(folder / "clusters.csv", index=False)
    abundance = pd.read_csv(folder / "abundance.csv")
    abundance.assign(sample=[HOSTILE, "b"]).to_csv(folder / "abundance.csv", index=False)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    evaluation["unique"]["populations"][0]["gate"] = HOSTILE
    (folder / "evaluation.json").write_text(json.dumps(evaluation))


def titles(folder, level):
    return [finding.title for finding in judge(RunFiles.read(folder)) if finding.level == level]


# ------------------------------------------------------------------ the page


def test_the_report_is_one_small_file_that_loads_nothing(finished):
    page = page_of(finished)
    assert len(page.encode()) < 8e6
    assert "default-src 'none'" in page
    targets = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", markup(page))
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)


def test_the_first_screen_counts_what_the_run_counted(finished):
    manifest, text = json.loads((finished / "run.json").read_text()), visible(page_of(finished))
    evaluation = json.loads((finished / "evaluation.json").read_text())["unique"]
    assert f"Events {manifest['events']:,} Samples 2 Markers 10 Clusters {manifest['clusters']} " in text
    assert f"F-measure weighted {evaluation['f_measure']:.3f} Mean F1 unweighted {evaluation['mean_f1']:.3f}" in text


def test_the_first_screen_says_on_which_events_it_measured(copy):
    assert "of the events in one gate only" not in visible(page_of(copy))  # all events lie in one gate
    path = copy / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["unique"] |= {"n_gated": 1234, "f_measure": 0.99}
    path.write_text(json.dumps(evaluation))
    write_report(copy)
    text, everything = visible(page_of(copy)), evaluation["all"]
    rows = f"{everything['n_gated']:,} gated rows (an event of two gates is a row in each)."
    assert f"of the events in one gate only, 1,234 of {rows}" in text
    assert f"F-measure {everything['f_measure']:.3f}, mean F1 {everything['mean_f1']:.3f}." in text


def test_rows_that_are_no_distinct_events_are_called_rows(copy, capsys):
    path = copy / "evaluation.json"
    evaluation = json.loads(path.read_text())
    n_gated = f"{evaluation['all']['n_gated']:,}"
    print_evaluation(evaluation)
    assert f", {n_gated} events, " in capsys.readouterr().out
    assert f"{n_gated} rows" not in visible(page_of(copy))
    evaluation["unique"] |= {"n_gated": 1234, "f_measure": 0.99}
    path.write_text(json.dumps(evaluation))
    write_report(copy)
    print_evaluation(evaluation)
    printed = capsys.readouterr().out
    assert f", {n_gated} rows, " in printed
    assert ", 1,234 events, " in printed
    text = visible(page_of(copy))
    assert f" {n_gated} rows " in text
    assert "1,234 rows" not in text


def test_every_gate_is_in_the_table_with_its_scores(finished):
    text = visible(page_of(finished))
    for population in json.loads((finished / "evaluation.json").read_text())["unique"]["populations"]:
        scores = " ".join(f"{population[name]:.3f}" for name in ("precision", "recall", "f1"))
        cluster = "none" if population["cluster"] is None else population["cluster"]
        assert f"{population['gate']} {population['n']:,} {cluster} {scores}" in text


def test_the_figures_hold_every_cluster_and_sample(finished):
    data = data_of(page_of(finished))
    clusters = pd.read_csv(finished / "clusters.csv")
    assert [cluster["events"] for cluster in data["clusters"]] == clusters["events"].tolist()
    assert data["abundance"]["samples"] == ["example_A01", "example_A02"]
    assert sum(map(sum, data["confusion"]["counts"])) == json.loads((finished / "evaluation.json").read_text())["all"][
        "n_gated"
    ] + sum(gate["n"] for gate in json.loads((finished / "evaluation.json").read_text())["all"]["discarded"])


def test_the_command_to_repeat_the_run_stands_in_the_report(finished):
    assert json.loads((finished / "run.json").read_text())["command"] in visible(page_of(finished))


def test_options_and_names_are_not_broken_behind_a_hyphen(copy):
    change_manifest(copy, command="cytomoe cluster 'cd14-hladr-.fcs' --out <b>-x", warnings=["about 3 % of cd4-.fcs"])
    write_report(copy)
    page = page_of(copy)
    words = ["'cd14-hladr-.fcs'", "--out", "<b>-x"]
    whole = " ".join(f'<span class="word">{escape(word)}</span>' for word in words)
    assert f'<pre id="command">cytomoe cluster {whole}</pre>' in page
    assert "The run gave a warning: about 3\u00a0% of cd4-.fcs." in re.sub(r"<[^>]+>", "", page)


def test_a_report_made_again_from_the_files_is_the_same(copy, capsys):
    before = page_of(copy)
    (copy / "report.html").unlink()
    assert run(["report", str(copy)]) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    assert page_of(copy) == before


def test_a_map_is_made_anew_where_the_kept_one_is_of_other_cells(copy):
    kept = pd.read_csv(copy / "embedding.csv")
    kept.assign(event=kept["event"] + 1_000_000).to_csv(copy / "embedding.csv", index=False)
    write_report(copy)
    pd.testing.assert_frame_equal(pd.read_csv(copy / "embedding.csv"), kept)


def test_names_of_strangers_are_text_everywhere(copy):
    disguise(copy)
    write_report(copy)
    page = page_of(copy)
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert HOSTILE in visible(page)  # whole, so not evaluated as a template either
    assert data_of(page)["markers"][0] == HOSTILE
    assert data_of(page)["abundance"]["samples"][0] == HOSTILE


def test_a_mapped_sample_has_a_report_without_training(finished, small_plate, tmp_path):
    out = tmp_path / "mapped"
    assert run(["predict", str(finished / "model.cytomoe"), str(small_plate[0]), "--out", str(out), "--quiet"]) == 0
    text = visible(page_of(out))
    assert "were mapped to the" in text
    assert "The markers of the sample stay in the range of the model's training" in text
    assert np.shape(data_of(page_of(out))["drift"]["distance"]) == (1, 10)
    assert run(["report", str(out), "--figures"]) == 0
    assert (out / "figures" / "drift.svg").is_file()
    assert "Training settled" not in text
    assert "Against manual gates" not in text


def test_shares_are_of_all_events_where_some_are_unassigned(finished, small_plate, tmp_path):
    out = tmp_path / "mapped"
    arguments = ["predict", str(finished / "model.cytomoe"), str(small_plate[0]), "--unassigned", "--no-report"]
    assert run([*arguments, "--out", str(out), "--quiet"]) == 0
    clusters = pd.read_csv(out / "clusters.csv")
    records = cluster_records(RunFiles.read(out))
    assert clusters["fraction"].sum() < 1
    assert [record["fraction"] for record in records] == pytest.approx(clusters["fraction"].tolist(), abs=1e-5)


def test_unassigned_events_stand_in_the_verdict_and_below_the_clusters(finished, small_plate, tmp_path):
    out = tmp_path / "mapped"
    arguments = ["predict", str(finished), str(small_plate[0]), "--unassigned", "--out", str(out), "--quiet"]
    assert run(arguments) == 0
    number = int(pd.read_csv(out / "abundance.csv")["unassigned"].sum())
    text = visible(page_of(out))
    assert number > 1
    assert f"{number:,} events are unassigned." in text
    assert f" 0 unassigned: far outside the range of their cluster {number:,} " in text
    assert f"{number:,} events with a marker far outside the range of the cluster." in text  # the methods
    assert "are unassigned" not in visible(page_of(finished))


def test_events_that_were_dropped_stand_below_the_clusters(small_plate, tmp_path):
    cells = read_fcs(small_plate[0])
    cells.X[:7, cells.var_names.get_loc("CD3")] = np.nan
    write_fcs(cells, tmp_path / "holes.fcs")
    out = tmp_path / "out"
    fast = ["--subsample", "500", "--quiet", "--nan", "drop", "--markers", "CD3,CD4,CD20"]
    assert run(["cluster", str(tmp_path / "holes.fcs"), *fast, "--out", str(out)]) == 0
    text = visible(page_of(out))
    assert " 0 unassigned: values that are not numbers 7 " in text
    assert "Left without a cluster: 7 events with values that are not numbers." in text
    assert "are unassigned" not in text


def test_a_mapped_sample_with_gates_is_measured_in_its_report(finished, small_plate, tmp_path):
    out = tmp_path / "mapped"
    model = str(finished / "model.cytomoe")
    arguments = ["predict", model, str(small_plate[0]), "--gate-channel", "gate", "--out", str(out), "--quiet"]
    assert run(arguments) == 0
    assert "Against manual gates" in visible(page_of(out))


def test_a_report_that_fails_costs_no_results(finished, small_plate, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise ValueError("no ink\nleft")

    monkeypatch.setattr("cytomoe.reporting.page.write_report", fail)
    out = tmp_path / "mapped"
    assert run(["predict", str(finished / "model.cytomoe"), str(small_plate[0]), "--out", str(out)]) == 0
    assert "the report was not made (no ink left); the results are complete" in capsys.readouterr().err
    assert (out / "run.json").is_file()
    assert not (out / "report.html").exists()


def test_no_report_skips_it(finished, small_plate, tmp_path, capsys):
    model, out = str(finished / "model.cytomoe"), tmp_path / "mapped"
    assert run(["predict", model, str(small_plate[0]), "--out", str(out), "--no-report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] is None
    assert not (out / "report.html").exists()


def test_figures_for_print_are_png_and_svg_with_their_text(copy):
    assert run(["report", str(copy), "--figures"]) == 0
    names = {path.name for path in (copy / "figures").iterdir()}
    drawn = ["map_clusters", "map_confidence", "map_markers", "heatmap", "histograms", "abundance", "confusion"]
    assert names == {
        f"{name}.{kind}" for name in [*drawn, "training", "generated", "transforms"] for kind in ("png", "svg")
    }
    assert (copy / "figures" / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert "HLA-DR" in (copy / "figures" / "heatmap.svg").read_text()
    assert "example_A01" in (copy / "figures" / "abundance.svg").read_text()


@pytest.mark.parametrize("name", ["run.json", "clusters.csv", "abundance.csv", "cells.h5ad"])
def test_an_incomplete_folder_is_refused_by_what_it_lacks(copy, name, capsys):
    (copy / name).unlink()
    assert run(["report", str(copy)]) == 2
    assert f"has no {name}" in capsys.readouterr().err


def test_a_damaged_file_is_one_line(copy, capsys):
    (copy / "cells.h5ad").write_bytes(b"not HDF5")
    assert run(["report", str(copy)]) == 2
    error = capsys.readouterr().err
    assert "cells.h5ad: can't be read" in error
    assert len(error.splitlines()) == 1


# ------------------------------------------------------------------ what the figures are made of


def test_histograms_count_every_cell_once(finished):
    files = RunFiles.read(finished)
    counts = marker_histograms(files).counts
    np.testing.assert_array_equal(counts.sum(axis=2), np.repeat(files.sizes[:, None], len(files.markers), axis=1))


def test_histograms_and_medians_tell_the_same(finished):
    files = RunFiles.read(finished)
    histograms = marker_histograms(files)
    width = (histograms.high - histograms.low) / histograms.counts.shape[2]
    cells = anndata.read_h5ad(finished / "cells.h5ad")
    assert (np.abs(histograms.percentile(50) - np.median(cells.X, axis=0)) <= width).all()


def test_raw_medians_are_those_of_the_file(finished):
    files = RunFiles.read(finished)
    profiles = profiles_of(files, marker_histograms(files))
    cells = anndata.read_h5ad(finished / "cells.h5ad")
    of_cluster = np.median(cells.layers["raw"][cells.obs["cytomoe"] == "1"], axis=0)
    np.testing.assert_allclose(profiles.raw[0], of_cluster, rtol=0.01, atol=0.01)


def test_the_tree_holds_each_cluster_once(finished):
    files = RunFiles.read(finished)
    profiles = profiles_of(files, marker_histograms(files))
    assert sorted(profiles.order.tolist()) == list(range(files.n_clusters))
    assert len(profiles.tree) == files.n_clusters - 1


def test_rare_clusters_keep_their_cells_on_the_map():
    clusters = np.repeat([1, 2, 3], [90_000, 40, 3])
    drawn = draw_cells(clusters, 1000, np.random.default_rng(0))
    counts = np.bincount(clusters[drawn])
    assert len(drawn) == 1000
    assert counts[2] >= 30
    assert counts[3] == 3
    assert (np.diff(drawn) > 0).all()


# ------------------------------------------------------------------ the verdict and the methods


def test_the_verdict_repeats_every_warning_of_the_run(copy):
    change_manifest(copy, warnings=["events lie in two gates"])
    assert "The run gave a warning:" in titles(copy, "check")
    assert headline(judge(RunFiles.read(copy)))[0] == "check"


def test_events_that_stand_in_two_files_count_once_in_every_table(small_plate, tmp_path, capsys):
    wells = tmp_path / "wells"
    wells.mkdir()
    for gate in ("T", "B"):
        shutil.copy(small_plate[0], wells / f"p_{gate}_A01.fcs")
    files, out = sorted(map(str, wells.iterdir())), tmp_path / "out"
    assert run(["cluster", *files, "--gate-pattern", "{plate}_{gate}_{well}.fcs", "--out", str(out), "--quiet"]) == 0
    manifest = json.loads((out / "run.json").read_text())
    distinct = manifest["events"] // 2
    assert manifest["overlaps"]["distinct_events"] == distinct
    clusters = pd.read_csv(out / "clusters.csv")
    rows = pd.read_csv(out / "labels.csv")["cluster"].value_counts()
    assert (clusters["events"] * 2).tolist() == rows.sort_index().tolist()
    assert clusters["fraction"].sum() == pytest.approx(1, abs=1e-5)
    abundance = pd.read_csv(out / "abundance.csv")
    assert abundance["events"].tolist() == [distinct]
    assert abundance.filter(like="cluster_").iloc[0].tolist() == clusters["events"].tolist()
    assert pd.read_csv(out / "medians.csv")["events"].sum() == distinct
    assert f"{distinct:,} rows repeat an event of another file; each event is counted once" in titles(out, "good")
    assert f"<dt>Events</dt><dd>{distinct:,}</dd>" in page_of(out)
    counted = RunFiles.read(out).cells.counted
    assert counted.tolist() == [True] * distinct + [False] * distinct
    assert run(["evaluate", str(out), "--gate-file", f"{out / 'labels.csv'}:cluster", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["all"]["n_gated"] == distinct
    alone = shutil.copytree(out, tmp_path / "alone", ignore=shutil.ignore_patterns("cells.h5ad"))
    for labels in (out / "labels.csv", alone, alone / "labels.csv"):
        assert run(["evaluate", str(labels), "--gate-file", f"{out / 'labels.csv'}:cluster", "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == measured
    assert run(["recut", str(out), "--clusters", "2", "--out", str(tmp_path / "two")]) == 0
    assert f"<dt>Events</dt><dd>{distinct:,}</dd>" in page_of(tmp_path / "two")
    paragraph = methods_of(RunFiles.read(out)).paragraph
    assert f"fitted to {distinct:,} events, each event that stands in several files once (" in paragraph


def test_medians_of_clusters_count_events_of_overlapping_gates_once(small_plate, tmp_path):
    """One gate holds all events, the other the brighter half once more: by rows the medians would move."""
    wells = tmp_path / "wells"
    wells.mkdir()
    cells = read_fcs(small_plate[0])
    channel = np.asarray(cells[:, "CD7"].X).ravel()
    write_fcs(cells, wells / "p_all_A01.fcs")
    write_fcs(cells[channel > np.median(channel)], wells / "p_bright_A01.fcs")
    files, out = sorted(map(str, wells.iterdir())), tmp_path / "out"
    arguments = ["--gate-pattern", "{plate}_{gate}_{well}.fcs", "--no-report", "--quiet", "--out", str(out)]
    assert run(["cluster", *files, *arguments]) == 0
    by_cluster = pd.read_csv(out / "clusters.csv").set_index("cluster")
    by_sample = pd.read_csv(out / "medians.csv").set_index("cluster")
    markers = [name for name in by_sample.columns if name in by_cluster.columns and name.startswith("CD")]
    assert len(markers) > 3
    np.testing.assert_allclose(by_cluster.loc[by_sample.index, markers], by_sample[markers], atol=1e-3)


def test_training_that_still_falls_is_told_from_one_that_settled(copy):
    falling = [{"step": i, "clusters": 5, "reconstruction": 1 - 0.015 * i, "similarity": 0.1} for i in range(40)]
    change_manifest(copy, training=falling)
    assert "Training had not settled" in titles(copy, "check")
    change_manifest(copy, training=[record | {"reconstruction": 0.4} for record in falling])
    assert "Training settled" in titles(copy, "good")


def test_a_full_house_of_experts_asks_for_more(copy):
    files = RunFiles.read(copy)
    used = int(np.count_nonzero(files.sizes))
    change_manifest(copy, settings=files.manifest["settings"] | {"experts": used})
    assert f"{used} of {used} allowed clusters are used" in titles(copy, "check")


def test_no_more_experts_are_advised_than_are_allowed():
    manifest = {"settings": {"experts": 600}}
    full = SimpleNamespace(population_of=None, manifest=manifest, sizes=np.ones(600), n_clusters=600)
    assert "--experts 1000" in _clusters_used(full)[0].advice
    manifest["settings"]["experts"], full.sizes = 1000, np.ones(1000)
    assert "--experts" not in _clusters_used(full)[0].advice


def test_one_cluster_that_was_asked_for_is_not_laid_on_the_markers(copy):
    settings = json.loads((copy / "run.json").read_text())["settings"]
    change_manifest(copy, settings=settings | {"experts": 1})
    assert "One cluster was allowed (--experts)" in titles(copy, "note")
    assert not [title for title in titles(copy, "check") if "cluster" in title]


def test_a_cluster_of_one_sample_is_noticed(copy):
    abundance = pd.read_csv(copy / "abundance.csv")
    abundance["cluster_1"] = [500, 0]
    abundance["cluster_2"] = [100, 600]
    abundance.to_csv(copy / "abundance.csv", index=False)
    clusters = pd.read_csv(copy / "clusters.csv")
    clusters["events"] = [abundance[f"cluster_{k}"].sum() for k in clusters["cluster"]]
    clusters.to_csv(copy / "clusters.csv", index=False)
    assert any("nearly all from one sample" in title for title in titles(copy, "check"))


def with_column(folder, column, values):
    """Put a column before events into the table of clusters."""
    clusters = pd.read_csv(folder / "clusters.csv").drop(columns=column, errors="ignore")
    clusters.insert(clusters.columns.get_loc("events"), column, values(clusters))
    clusters.to_csv(folder / "clusters.csv", index=False)


def test_clusters_that_are_not_found_again_are_named(copy):
    with_column(copy, "stability", lambda clusters: np.where(clusters["cluster"] == 3, 0.7, 0.95))
    n = len(pd.read_csv(copy / "clusters.csv"))
    assert f"1 of {n} clusters is less than stable" in titles(copy, "note")
    with_column(copy, "stability", lambda clusters: np.where(clusters["cluster"] == 1, 0.4, 0.95))
    assert f"1 of {n} clusters is less than stable" in titles(copy, "check")  # it holds too many cells
    with_column(copy, "stability", lambda clusters: np.full(len(clusters), 0.9))
    assert f"All {n} clusters are stable" in titles(copy, "good")
    with_column(copy, "stability", lambda clusters: [0.75, 0.74, 0.49, *[0.9] * (len(clusters) - 3)])
    write_report(copy)
    rows = visible(page_of(copy))
    assert [word in rows for word in ("0.75 stable", "0.74 loose", "0.49 doubtful")] == [True] * 3


def test_stability_that_is_shown_as_the_limit_reaches_it(copy):
    with_column(copy, "stability", lambda clusters: [0.748, 0.745, *[0.9] * (len(clusters) - 2)])
    n = len(pd.read_csv(copy / "clusters.csv"))
    (weak,) = (found for found in judge(RunFiles.read(copy)) if "less than stable" in found.title)
    assert weak.title == f"1 of {n} clusters is less than stable"
    assert weak.detail.startswith("Cluster 2 (0.74)")
    assert [record["holds"] for record in cluster_records(RunFiles.read(copy))[:3]] == ["stable", "loose", "stable"]


def test_a_population_in_several_clusters_is_told_with_the_command_that_joins_them(copy, tmp_path, capsys):
    with_column(copy, "population", lambda clusters: ["T cells", "T cells", *["unknown"] * (len(clusters) - 2)])
    assert "1 population has several clusters" in titles(copy, "note")
    table = copy / "clusters.csv"
    unknown = [f"unknown {k}" for k in pd.read_csv(table)["cluster"][2:]]
    assert run(["merge", str(copy), "--map", str(table), "--out", str(tmp_path / "merged"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["populations"]) == {"T cells", *unknown}


def test_names_given_with_little_certainty_are_told(copy):
    with_column(copy, "population", lambda clusters: ["T cells", "pDC", *["unknown"] * (len(clusters) - 2)])
    with_column(copy, "score", lambda clusters: [0.9, 0.519, *[0.0] * (len(clusters) - 2)])
    with_column(copy, "runner_up", lambda clusters: ["", "Basophils", *[""] * (len(clusters) - 2)])
    with_column(copy, "runner_up_score", lambda clusters: [0.0, 0.519, *[0.0] * (len(clusters) - 2)])
    (found,) = (found for found in judge(RunFiles.read(copy)) if "little certainty" in found.title)
    assert found.level == "note"
    assert found.title == "1 cluster named with little certainty"
    assert found.detail.startswith("2 pDC (0.52, Basophils 0.52): ")


def test_remarks_on_files_are_one_line_below_the_files_and_no_finding(copy):
    remarks = [f"a{i}.fcs: $P{i}R is no range; the values do not depend on it" for i in (9, 10, 11)]
    change_manifest(copy, warnings=remarks)
    assert not any("gave a warning" in finding.title for finding in judge(RunFiles.read(copy)))
    write_report(copy)
    text = visible(page_of(copy))
    sentence = f"{remarks[0]}. And 2 more like this: see run.json."
    assert text.count(sentence) == 1
    assert text.index("Files and checksums") < text.index(sentence) < text.index("Settings, software and time")


def test_a_gate_without_a_cluster_is_told_with_the_cluster_that_holds_it(copy):
    files = RunFiles.read(copy)
    evaluation = files.evaluation
    lost, other = evaluation["unique"]["populations"][:2]
    number, share = files.holders[lost["gate"]]
    lost |= {"cluster": None, "f1": 0.0}
    other["cluster"] = number
    (copy / "evaluation.json").write_text(json.dumps(evaluation))
    found = [f for f in judge(RunFiles.read(copy)) if "no cluster well" in f.title]
    said = f"{lost['gate']}, {100 * share:.1f} % of it in cluster {number}, which matches {other['gate']}"
    assert said in found[0].detail
    write_report(copy)
    text = visible(page_of(copy))
    assert f"{lost['gate']} {lost['n']:,} none" in text
    assert "Most events in" in text


def test_the_weakest_gate_is_named_where_every_gate_has_its_cluster(copy):
    evaluation = RunFiles.read(copy).evaluation
    *others, weak = evaluation["unique"]["populations"]
    weak["f1"] = 0.543
    for gate in others:
        gate["f1"] = max(gate["f1"], 0.6)
    (copy / "evaluation.json").write_text(json.dumps(evaluation))
    found = [f for f in judge(RunFiles.read(copy)) if f.title.startswith("Every gated population")]
    assert f"The weakest is {weak['gate']}, F1 0.543." in found[0].detail


def test_a_run_without_reference_says_that_doublets_were_not_looked_for(finished):
    (found,) = (f for f in judge(RunFiles.read(finished)) if f.title.endswith("clusters were found"))
    assert found.detail.endswith("Doublets among them are looked for only where --reference names the others.")


def test_a_mapped_sample_whose_marker_moved_is_not_called_like_the_training(finished, small_plate, tmp_path):
    out = tmp_path / "mapped"
    assert run(["predict", str(finished / "model.cytomoe"), str(small_plate[0]), "--out", str(out), "--quiet"]) == 0
    drift = pd.read_csv(out / "drift.csv")
    drift.loc[0, "distance"] = 0.42
    drift.to_csv(out / "drift.csv", index=False)
    assert "1 marker lies far from the model's training" in titles(out, "note")
    assert not any("stay in the range of" in title for title in titles(out, "good"))
    with_column(out, "stability", lambda clusters: np.where(clusters["cluster"] == 3, 0.7, 0.95))
    assert any(title.endswith("is less than stable") for title in titles(out, "note"))


def test_confidence_counts_an_event_that_stands_in_several_rows_once(copy):
    cells = anndata.read_h5ad(copy / "cells.h5ad")
    first = (cells.obs["cytomoe"].astype(str) == "1").to_numpy()
    cells.obs["confidence"] = np.where(first & (np.cumsum(first) % 2 == 0), 0.1, 0.9).astype(np.float32)
    cells.obs["counted"] = cells.obs["confidence"] > 0.5
    cells.write_h5ad(copy / "cells.h5ad")
    run = RunFiles.read(copy)
    assert cluster_records(run)[0]["confidence"] == pytest.approx(0.9)
    (found,) = (found for found in judge(run) if "onfidence" in found.title)
    assert found.detail.startswith("Median confidence 0.90; 0 % of the events have less")


def test_events_of_several_gates_are_left_out_of_the_confusion(copy):
    cells = anndata.read_h5ad(copy / "cells.h5ad")
    assert cells.obs["in_one_gate"].all()  # a channel holds one gate for each event
    gated = np.flatnonzero(cells.obs["gate"].notna())
    cells.obs["in_one_gate"] = ~np.isin(np.arange(cells.n_obs), gated[:50])
    cells.write_h5ad(copy / "cells.h5ad")
    assert np.sum(confusion_of(RunFiles.read(copy))["counts"]) == len(gated) - 50


def test_a_cluster_whose_events_lie_in_no_gate_is_not_said_to_be_of_the_gate_of_a_few(copy):
    cells = anndata.read_h5ad(copy / "cells.h5ad")
    gate = cells.obs["gate"].astype(object)
    second = np.flatnonzero((cells.obs["cytomoe"].astype(str) == "2") & gate.notna())
    gate.iloc[second[5:]] = None
    cells.obs["gate"] = gate.astype("category")
    cells.write_h5ad(copy / "cells.h5ad")
    run = RunFiles.read(copy)
    record = cluster_records(run)[1]
    assert record["gate"] == "no gate"
    assert record["gate_share"] == pytest.approx(1 - 5 / run.sizes[1])


def test_generated_cells_lie_as_the_cells_of_the_fit(finished):
    found = data_of(page_of(finished))["generated"]
    assert len(found["returned"]) == len(pd.read_csv(finished / "clusters.csv"))
    assert np.mean(found["returned"]) > 0.9
    assert np.mean(found["distance"]) < 0.25


def test_a_run_without_a_model_has_no_generated_cells(copy):
    (copy / "model.cytomoe").unlink()
    write_report(copy)
    assert data_of(page_of(copy))["generated"] is None
    assert "Generated cells" not in visible(page_of(copy))


def test_methods_name_data_transform_seed_and_sources(finished):
    methods = methods_of(RunFiles.read(finished))
    manifest = json.loads((finished / "run.json").read_text())
    assert f"{manifest['events']:,} events of 2 samples (2 FCS files, mass cytometry)" in methods.paragraph
    assert "arcsinh(x / 5)" in methods.paragraph
    assert "seed 0" in methods.paragraph
    assert "kept apart as clusters where 87.5 % of the partitions or more parted them" in methods.paragraph
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", methods.paragraph)}
    assert cited == set(range(1, len(methods.references) + 1))


def test_methods_say_how_sure_valleys_had_to_be(copy):
    """Of 24 markers the confidence is that of 10 corrected for their number; other settings are those of the run."""
    run_files = RunFiles.read(copy)
    steps = [dict(run_files.manifest["preprocessing"]["steps"][0], marker=f"m{i}") for i in range(24)]
    change_manifest(copy, preprocessing=run_files.manifest["preprocessing"] | {"steps": steps})
    change_manifest(copy, settings=run_files.manifest["settings"] | {"agreement": 0.9, "resolution": 2.0})
    paragraph = methods_of(RunFiles.read(copy)).paragraph
    assert "2.57 standard deviations (2.25 for up to 10 markers, raised for 24)" in paragraph
    assert "where 81.0 % of the partitions" in paragraph


def test_a_fit_that_knew_cells_beforehand_says_so(copy):
    change_manifest(copy, prior={"B": 20, "T": 1000})
    assert "1,020 cells whose population was given to the fit" in methods_of(RunFiles.read(copy)).paragraph
    write_report(copy)
    assert "The fit knew some cells beforehand (1,020)" in visible(page_of(copy))
    assert "never saw the gates" not in visible(page_of(copy))


def test_methods_without_gates_cite_no_measures(copy):
    (copy / "evaluation.json").unlink()
    assert "F-measure" not in methods_of(RunFiles.read(copy)).paragraph


# ------------------------------------------------------------------ colours

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def lab(colours, seen):
    """CIE L*a*b* of #rrggbb colours as a reader with the colour blindness ``seen`` sees them; shape (colours, 3)."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = np.cbrt(np.clip(linear @ seen.T, 0, 1) @ to_xyz.T / [0.9505, 1.0, 1.089])
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("seen", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all", "deuteranopia", "protanopia"])
def test_the_colours_of_the_largest_clusters_can_be_told_apart(seen):
    points = lab(CLUSTERS[:8], seen)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert distances[np.triu_indices(8, 1)].min() > 25


def test_numbers_can_be_read_on_the_colour_of_every_cluster():
    light = lab(CLUSTERS, np.eye(3))[:, 0]
    ink = np.array([0 if ink_on(colour) == "black" else 100 for colour in CLUSTERS])
    assert np.abs(light - ink).min() > 45
    assert {ink_on(CLUSTERS[6]), ink_on(CLUSTERS[4])} == {"white", "black"}


def test_no_colour_is_given_twice():
    assert len(set(CLUSTERS)) == len(CLUSTERS) >= 50


def test_the_scale_of_the_markers_keeps_its_order_in_grey():
    assert (np.diff(lab(SEQUENTIAL, np.eye(3))[:, 0]) < 0).all()


def test_one_cluster_of_a_few_events_is_said_to_be_for_want_of_events(tmp_path):
    example = Path(__file__).parent.parent / "example_data" / "example_A01.fcs"
    write_fcs(read_fcs(example)[:30].copy(), tmp_path / "few.fcs")
    assert run(["cluster", str(tmp_path / "few.fcs"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "30 events are few: populations of fewer than 25 are not told apart" in text
    assert "Check with --markers" not in text
