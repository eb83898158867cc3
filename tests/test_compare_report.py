"""The report of a comparison: the numbers of its tables, every sample, words for what differs, and nothing loaded."""

import json
import re
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from test_report import HOSTILE, data_of, markup, page_of, visible

from cytomoe.cli.main import run

POPULATIONS = ["T cells", "B cells", "NK cells", "Monocytes", "Dendritic cells", "Basophils"]


def batch(folder, folds, *, populations=POPULATIONS, n=5, called="{group}_{number}"):
    """Folder of a batch of one model whose second population is so many times as frequent in each condition.

    Every condition has a sample of each patient.
    """
    rng = np.random.default_rng(0)
    base = np.linspace(1, 2, len(populations))
    rows = []
    for group, fold in folds.items():
        for number in range(1, n + 1):
            shares = base * np.exp(rng.normal(0, 0.1, len(base)))
            shares[1 % len(base)] *= fold
            counts = rng.multinomial(5000, shares / shares.sum())
            sample = {"sample": called.format(group=group, number=number), "condition": group, "patient": f"P{number}"}
            rows.append(sample | {"events": 5000} | {f"cluster_{k}": c for k, c in enumerate(counts, start=1)})
    abundance = pd.DataFrame(rows)
    first = folder / "wells" / abundance["sample"][0]
    first.mkdir(parents=True)
    abundance.to_csv(folder / "abundance.csv", index=False)
    (folder / "run.json").write_text(json.dumps({"mode": "pooled"}))
    clusters = {"cluster": range(1, len(base) + 1), "label": "CD3+", "population": populations, "events": 1}
    pd.DataFrame(clusters | {"fraction": 0.1, "CD3": 1.0}).to_csv(first / "clusters.csv", index=False)
    texts, numbers = ("version", "command", "finished", "device"), ("events", "seed", "events_fitted")
    manifest = dict.fromkeys(texts, "") | dict.fromkeys(numbers, 1) | {"clusters": len(base)}
    manifest |= {name: [] for name in ("inputs", "samples", "warnings")}
    manifest |= {name: {} for name in ("settings", "preprocessing", "software", "seconds")}
    (first / "run.json").write_text(json.dumps(manifest))
    return folder


def compared(folder, *options):
    """Folder of a comparison of a batch by condition."""
    out = folder.with_name("compared")
    assert run(["compare", str(folder), "--by", "condition", "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Comparison of two conditions, within patients."""
    folder = batch(tmp_path_factory.mktemp("two") / "study", {"control": 1.0, "case": 3.0})
    return compared(folder, "--adjust", "patient")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Comparison of three conditions, of which the last differs."""
    return compared(batch(tmp_path_factory.mktemp("three") / "study", {"none": 1.0, "low": 1.0, "high": 3.0}))


def tables_of(folder):
    return (pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in ("comparison", "pairs"))


@pytest.mark.parametrize("name", ["two", "three"])
def test_the_figures_have_the_numbers_of_the_table(name, request):
    folder = request.getfixturevalue(name)
    data, table = data_of(page_of(folder)), pd.read_csv(folder / "comparison.csv", keep_default_na=False)
    groups = [group["name"] for group in data["groups"]]
    columns = [f"percent_{group}" for group in groups], [f"log2_{group}_over_{groups[0]}" for group in groups[1:]]
    assert [row["population"] for row in data["populations"]] == table["population"].tolist()
    for row, written in zip(data["populations"], table.to_dict("records"), strict=True):
        assert row["percent"] == [written[column] for column in columns[0]]
        assert row["log2"] == [written[column] for column in columns[1]]
        assert [row[key] for key in ("dispersion", "F", "p", "p_adjusted")] == pytest.approx(
            [written[key] for key in ("dispersion", "F", "p", "p_adjusted")], rel=1e-12
        )
        assert row["differs"] == (written["p_adjusted"] < 0.05)
        assert row["moved_by"] == written["moved_by"]


def test_every_sample_stands_with_its_counts_and_condition(two):
    data, abundance = data_of(page_of(two)), pd.read_csv(two.with_name("study") / "abundance.csv")
    assert data["samples"] == abundance["sample"].tolist()
    assert data["events"] == abundance["events"].tolist()
    assert [data["groups"][k]["name"] for k in data["condition"]] == abundance["condition"].tolist()
    for row in data["populations"]:
        column = f"cluster_{POPULATIONS.index(row['population']) + 1}"
        assert row["counts"] == abundance[column].tolist()


def test_the_verdict_says_what_differs_which_way_and_by_how_much(two):
    text, table = visible(page_of(two)), pd.read_csv(two / "comparison.csv").set_index("population")
    row = table.loc["B cells"]
    fold = f"{2 ** row['log2_case_over_control']:.3g}"
    shares = f"{row['percent_control']:.3g} % under control, {row['percent_case']:.3g} % under case"
    assert f"B cells: {fold}-fold more frequent under case. {shares}" in text.replace("\u00a0", " ")
    n_differ = int((table["p_adjusted"] < 0.05).sum())
    assert re.search(rf"{n_differ} of 6 populations differs? between control and case", text)


def test_populations_moved_by_others_are_told_in_the_words_of_the_terminal(tmp_path, capsys):
    out = compared(batch(tmp_path / "study", {"control": 1.0, "case": 4.0}))
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("not different among"))
    assert said[1:] in visible(page_of(out)).replace("\u00a0", " ")


def test_warnings_of_the_terminal_stand_in_the_verdict(tmp_path):
    folder = batch(tmp_path / "study", {"control": 1.0, "case": 3.0})
    table = pd.read_csv(folder / "abundance.csv", dtype=str)
    table.loc[0, "condition"] = ""
    table.to_csv(folder / "abundance.csv", index=False)
    out = compared(folder)
    text = visible(page_of(out))
    assert "left out, no condition is given: control_1." in text
    assert "look at the points marked “check”" in text
    assert "control_1" not in data_of(page_of(out))["samples"]


def test_samples_of_one_patient_are_joined_and_those_of_a_batch_are_not(two, tmp_path):
    assert data_of(page_of(two))["paired"] == [f"P{k}" for k in range(1, 6)] * 2
    folder = batch(tmp_path / "study", {"control": 1.0, "case": 3.0})
    table = pd.read_csv(folder / "abundance.csv")
    table.assign(patient=np.tile(["one", "one", "two", "two", "two"], 2)).to_csv(folder / "abundance.csv", index=False)
    data = data_of(page_of(compared(folder, "--adjust", "patient")))
    assert data["paired"] is None
    assert data["within"]["patient"][0] == "one"


def test_of_three_conditions_the_pairs_are_listed_and_mark_the_changes(three):
    _, pairs = tables_of(three)
    page = page_of(three)
    section = page[page.index('<section id="pairs">') :].split("</section>")[0]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", section, re.DOTALL)[1:]]
    assert [(row[0], row[1], row[2]) for row in cells] == list(
        zip(pairs["population"], pairs["condition"], pairs["over"], strict=True)
    )
    sure = {row["population"]: row["sure"] for row in data_of(page)["populations"]}
    found = pairs.set_index(["population", "over", "condition"])["p_adjusted"] < 0.05
    assert sure["B cells"] == [found["B cells", "none", "low"], found["B cells", "none", "high"]] == [False, True]


def test_a_population_absent_under_a_condition_is_said_to_be(tmp_path):
    out = compared(batch(tmp_path / "study", {"control": 0.0, "case": 1.0}))
    assert "B cells: absent under control. 0 % under control" in visible(page_of(out)).replace("\u00a0", " ")


def test_one_population_has_a_report(tmp_path):
    out = compared(batch(tmp_path / "study", {"control": 1.0, "case": 1.0}, populations=["all"]))
    assert "The population does not differ between control and case" in visible(page_of(out))


def test_a_population_too_rare_to_test_has_no_p(tmp_path):
    folder = batch(tmp_path / "study", {"control": 1.0, "case": 3.0})
    pd.read_csv(folder / "abundance.csv").assign(cluster_6=1).to_csv(folder / "abundance.csv", index=False)
    page = page_of(compared(folder))
    assert "1 population too rare to test" in visible(page)
    last = data_of(page)["populations"][-1]
    assert (last["population"], last["p"], last["p_adjusted"], last["differs"]) == ("Basophils", None, None, False)


def test_names_of_strangers_are_text_everywhere(tmp_path):
    """Of populations, samples, conditions and columns; long ones whole."""
    long = "a sample whose name is so long that it takes sixty characters"
    names = [HOSTILE, "A & B", *POPULATIONS[2:]]
    called = long + " {group}_{number}"
    folder = batch(tmp_path / "study", {"<i>none</i>": 1.0, "a&b": 3.0}, populations=names, called=called)
    page = page_of(compared(folder))
    assert "owned" not in re.sub(r"&#39;owned&#39;|\\u0027owned\\u0027", "", page)
    assert "<i>none" not in page
    assert "A &amp; B" in markup(page)
    assert HOSTILE in visible(page)
    assert {row["population"] for row in data_of(page)["populations"]} == set(names)
    assert f"{long} a&b_1" in data_of(page)["samples"]


def test_the_report_is_one_small_file_that_loads_nothing(three):
    page = page_of(three)
    assert len(page.encode()) < 1.5e6
    assert "default-src 'none'" in page
    targets = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", markup(page))
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)


def test_methods_command_and_checksums_of_what_was_read(two):
    page, text = page_of(two), visible(page_of(two))
    assert "control in 5 samples and case in 5 samples" in text
    assert "accounting for patient as groups" in text
    assert f"cytomoe compare {two.with_name('study')} --by condition" in " ".join(text.split())
    inputs = json.loads((two / "comparison.json").read_text())["inputs"]
    assert {file["file"] for file in inputs} == {"run.json", "abundance.csv"}
    for file in inputs:
        assert file["sha256"] == sha256((two.with_name("study") / file["file"]).read_bytes()).hexdigest()
        assert file["sha256"] in page


def test_the_terminal_and_json_name_the_report(tmp_path, capsys):
    folder = batch(tmp_path / "study", {"control": 1.0, "case": 3.0})
    out = compared(folder)
    assert capsys.readouterr().out.endswith(f"report: {out / 'report.html'}\n")
    compared(folder, "--force", "--json")
    assert json.loads(capsys.readouterr().out)["report"] == str(out / "report.html")


def test_no_report_skips_it(tmp_path, capsys):
    out = compared(batch(tmp_path / "study", {"control": 1.0, "case": 3.0}), "--no-report")
    assert not (out / "report.html").exists()
    assert "\nreport: " not in capsys.readouterr().out
    assert (out / "comparison.csv").is_file()


def test_a_report_that_fails_costs_no_tables(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise ValueError("no room")

    monkeypatch.setattr("cytomoe.reporting.comparisons.render_page", fail)
    out = compared(batch(tmp_path / "study", {"control": 1.0, "case": 3.0}))
    assert "the report was not made (no room); the tables are complete" in capsys.readouterr().err
    assert (out / "comparison.csv").is_file()
    assert (out / "comparison.json").is_file()
