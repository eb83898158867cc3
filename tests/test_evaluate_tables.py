"""Tables of gates and labels that a spreadsheet sorted, as a user gives them: in whatever order, never beside it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run

EXAMPLE = Path(__file__).parent.parent / "example_data"


def measured(arguments, capsys):
    """Measures that the command prints, and what it says."""
    assert run(["evaluate", *map(str, arguments), "--json"]) == 0
    output = capsys.readouterr()
    return json.loads(output.out.splitlines()[-1]), output.err


@pytest.fixture
def gated(example_run, tmp_path, capsys):
    """A table of the gates of the run with its files and events, and the measures that are right."""
    labels = pd.read_csv(example_run / "labels.csv")
    names = [pd.read_csv(EXAMPLE / f"example_{well}_gates.csv", keep_default_na=False) for well in ("A01", "A02")]
    table = labels[["file", "event"]].assign(gate=pd.concat(names)["gate"].to_numpy())
    table[["gate"]].to_csv(tmp_path / "plain.csv", index=False)
    right, _ = measured([example_run, "--gate-file", tmp_path / "plain.csv"], capsys)
    return table, right


def test_a_shuffled_table_measures_the_same(example_run, gated, tmp_path, capsys):
    table, right = gated
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "gates.csv", index=False)
    found, said = measured([example_run, "--gate-file", f"{tmp_path / 'gates.csv'}:gate"], capsys)
    assert found == right
    assert "were matched by file and event" in said


def sort_labels(example_run, path):
    """Labels as a spreadsheet may sort them, the second file first."""
    pd.read_csv(example_run / "labels.csv").sort_values(["event", "file"], ascending=False).to_csv(path, index=False)


def test_sorted_labels_beside_their_manifest_measure_the_same(example_run, gated, tmp_path, capsys):
    sort_labels(example_run, tmp_path / "labels.csv")
    shutil.copy(example_run / "run.json", tmp_path)
    found, said = measured([tmp_path / "labels.csv", "--gate-file", tmp_path / "plain.csv"], capsys)
    assert found == gated[1]
    assert "labels.csv: its rows were brought into the order of the files" in said


def test_sorted_labels_elsewhere_need_gates_that_name_their_events(example_run, gated, tmp_path, capsys):
    sort_labels(example_run, tmp_path / "labels.csv")
    gated[0].to_csv(tmp_path / "gates.csv", index=False)
    found, said = measured([tmp_path / "labels.csv", "--gate-file", f"{tmp_path / 'gates.csv'}:gate"], capsys)
    assert found == gated[1]
    assert "labels.csv stands alone, so whether events are in several of its 2 files is not known" in said


def test_sorted_labels_elsewhere_are_matched_by_file(example_run, gated, tmp_path, capsys):
    sort_labels(example_run, tmp_path / "labels.csv")
    gated[0].drop(columns="event").to_csv(tmp_path / "gates.csv", index=False)
    found, _ = measured([tmp_path / "labels.csv", "--gate-file", f"{tmp_path / 'gates.csv'}:gate"], capsys)
    assert found == gated[1]


@pytest.mark.parametrize("lacking", [["file", "event"], ["file"]], ids=["both", "file"])
def test_sorted_labels_of_files_in_an_unknown_order_are_refused(example_run, gated, lacking, tmp_path, capsys):
    sort_labels(example_run, tmp_path / "labels.csv")
    gated[0].drop(columns=lacking).to_csv(tmp_path / "gates.csv", index=False)
    assert run(["evaluate", str(tmp_path / "labels.csv"), "--gate-file", f"{tmp_path / 'gates.csv'}:gate"]) == 2
    assert "the order of the files is not known; name the FCS files after the labels" in capsys.readouterr().err


def test_sorted_labels_measure_the_same_against_files(example_run, tmp_path, capsys):
    labels = pd.read_csv(example_run / "labels.csv").sort_values("confidence")
    labels.to_csv(tmp_path / "labels.csv", index=False)
    files = [EXAMPLE / f"example_{well}.fcs" for well in ("A02", "A01")]
    found, said = measured([tmp_path / "labels.csv", *files, "--gate-channel", "gate"], capsys)
    right = json.loads((example_run / "evaluation.json").read_text())
    assert found["all"] == right["all"]
    assert "brought into the order of the files" in said


@pytest.mark.parametrize("alone", [False, True], ids=["beside run.json", "elsewhere"])
def test_a_plain_table_counts_as_clustered_however_the_files_are_given(example_run, gated, alone, tmp_path, capsys):
    shutil.copy(example_run / "labels.csv", tmp_path)
    files = [EXAMPLE / f"example_{well}.fcs" for well in ("A02", "A01")]
    labels = tmp_path / "labels.csv" if alone else example_run
    found, said = measured([labels, *files, "--gate-file", tmp_path / "plain.csv"], capsys)
    assert found["all"] == gated[1]["all"]
    assert "taken in the order in which they were clustered: example_A01.fcs, example_A02.fcs" in said


def test_a_plain_table_counts_as_the_files_are_given_where_labels_were_moved(example_run, gated, tmp_path, capsys):
    sort_labels(example_run, tmp_path / "labels.csv")
    files = [EXAMPLE / f"example_{well}.fcs" for well in ("A01", "A02")]
    found, said = measured([tmp_path / "labels.csv", *files, "--gate-file", tmp_path / "plain.csv"], capsys)
    assert found["all"] == gated[1]["all"]
    assert "order in which they were clustered" not in said


def test_labels_of_some_events_are_measured_against_gates_of_the_same(example_run, gated, tmp_path, capsys):
    table, _ = gated
    labels = pd.read_csv(example_run / "labels.csv")
    some = np.sort(np.random.default_rng(0).permutation(len(labels))[:4000])
    labels.iloc[some].to_csv(tmp_path / "labels.csv", index=False)
    table.iloc[some][::-1].to_csv(tmp_path / "gates.csv", index=False)
    table.iloc[some][["gate"]].to_csv(tmp_path / "plain.csv", index=False)
    right, _ = measured([tmp_path / "labels.csv", "--gate-file", tmp_path / "plain.csv"], capsys)
    assert measured([tmp_path / "labels.csv", "--gate-file", f"{tmp_path / 'gates.csv'}:gate"], capsys)[0] == right


@pytest.mark.parametrize(
    ("files", "message"),
    [([], "event 0 of example_A01.fcs stands in it twice"), (["A01", "A02"], "stands in line 2 and again in line 3")],
    ids=["alone", "with files"],
)
def test_labels_that_repeat_an_event_are_refused(example_run, gated, files, message, tmp_path, capsys):
    labels = pd.read_csv(example_run / "labels.csv")
    labels.loc[1, "event"] = 0
    labels.to_csv(tmp_path / "labels.csv", index=False)
    names = [str(EXAMPLE / f"example_{well}.fcs") for well in files]
    assert run(["evaluate", str(tmp_path / "labels.csv"), *names, "--gate-file", str(tmp_path / "plain.csv")]) == 2
    assert message in capsys.readouterr().err


def test_a_shuffled_table_of_known_cells_is_the_same(gated, tmp_path, capsys):
    known = gated[0].assign(gate=gated[0]["gate"].where(gated[0].index % 50 == 0, ""))
    files = [str(EXAMPLE / f"example_{well}.fcs") for well in ("A01", "A02")]
    labels = []
    for name, table in (("straight", known), ("shuffled", known.sample(frac=1, random_state=0))):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        out = tmp_path / name
        arguments = ["cluster", *files, "--prior", f"{tmp_path / name}.csv:gate", "--no-report", "--out", str(out)]
        assert run(arguments) == 0
        said = capsys.readouterr().err
        labels.append((out / "labels.parquet").read_bytes())
    assert labels[0] == labels[1]
    assert f"--prior {tmp_path / 'shuffled.csv'}: its rows are in another order" in said


def test_a_few_known_cells_need_no_rows_of_the_others(gated, tmp_path, capsys):
    files = [str(EXAMPLE / f"example_{well}.fcs") for well in ("A01", "A02")]
    known = gated[0].assign(gate=gated[0]["gate"].where(gated[0].index % 50 == 0, ""))
    labels = []
    for name, table in (("all", known), ("some", known[known["gate"] != ""])):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        out = tmp_path / name
        assert run(["cluster", *files, "--prior", f"{out}.csv", "--no-report", "--out", str(out)]) == 0
        said = capsys.readouterr().err
        labels.append((out / "labels.parquet").read_bytes())
    assert labels[0] == labels[1]
    assert "events have no row in it and count as unknown (" in said


@pytest.fixture(scope="module")
def overlapping(small_plate, tmp_path_factory):
    """A run on two files that hold the same events: its files, and its folder."""
    folder = tmp_path_factory.mktemp("overlapping")
    for gate in ("T", "B"):
        shutil.copy(small_plate[0], folder / f"p_{gate}_A01.fcs")
    files, out = sorted(map(str, folder.iterdir())), folder / "out"
    pattern = ["--gate-pattern", "{plate}_{gate}_{well}.fcs"]
    assert run(["cluster", *files, *pattern, "--out", str(out), "--quiet", "--no-report"]) == 0
    return files, out


@pytest.mark.parametrize("with_files", [True, False])
def test_each_event_is_measured_once_however_the_labels_are_sorted(overlapping, with_files, tmp_path, capsys):
    """The mask of distinct events is in the order of the run, whatever that of labels, gates and files is."""
    files, out = overlapping
    gates = f"{out / 'labels.csv'}:cluster"
    right, _ = measured([out, "--gate-file", gates], capsys)
    moved = shutil.copytree(out, tmp_path / "moved")
    pd.read_csv(out / "labels.csv").sort_values("confidence").to_csv(moved / "labels.csv", index=False)
    arguments = [moved / "labels.csv", *(files[::-1] if with_files else []), "--gate-file", gates]
    assert measured(arguments, capsys)[0] == right
    assert right["all"]["n_events"] == json.loads((out / "run.json").read_text())["overlaps"]["distinct_events"]


@pytest.mark.parametrize("gates", ["channel", "file"])
def test_events_of_several_files_are_measured_once_without_a_manifest(overlapping, gates, tmp_path, capsys):
    files, out = overlapping
    shutil.copy(out / "labels.csv", tmp_path)
    source = ["--gate-channel", "gate"] if gates == "channel" else ["--gate-file", f"{out / 'labels.csv'}:cluster"]
    right, _ = measured([out, *files, *source], capsys)
    found, said = measured([tmp_path / "labels.csv", *files, *source], capsys)
    assert found["all"] == right["all"]
    assert "1,600 rows hold 800 distinct events, each measured once" in said


def gates_of_files(out, path):
    """A table in which each file is a gate of its own, as the pattern has it."""
    labels = pd.read_csv(out / "labels.csv")
    labels.assign(gate=labels["file"].str.split("_").str[1])[["file", "event", "gate"]].to_csv(path, index=False)
    return ["--gate-file", f"{path}:gate"]


@pytest.mark.parametrize("beside", [True, False], ids=["beside run.json", "elsewhere"])
def test_an_event_in_two_gates_is_measured_in_both_however_the_files_are_given(overlapping, beside, tmp_path, capsys):
    files, out = overlapping
    gates = gates_of_files(out, tmp_path / "gates.csv")
    shutil.copy(out / "labels.csv", tmp_path)
    right = json.loads((out / "evaluation.json").read_text())
    for given in ([], files, files[::-1]) if beside else (files, files[::-1]):
        found, said = measured([out if beside else tmp_path / "labels.csv", *given, *gates], capsys)
        assert found["all"] == right["all"]
        assert found["unique"] == right["unique"]
        assert "1,600 rows hold 800 distinct events; 800 of them lie in more than one gate (most: B and T 800)" in said


def test_the_gates_of_an_event_are_found_in_a_run_without_the_pattern(overlapping, tmp_path, capsys):
    files, out = overlapping
    assert run(["cluster", *files, "--out", str(tmp_path / "out"), "--quiet", "--no-report"]) == 0
    gates = gates_of_files(out, tmp_path / "gates.csv")
    for given in ([], files[::-1]):
        found, said = measured([tmp_path / "out", *given, *gates], capsys)
        assert (found["all"]["n_events"], found["unique"]["n_events"]) == (1600, 0)
        assert "800 of them lie in more than one gate" in said


def test_without_its_files_a_run_measures_an_event_in_the_gate_of_the_first(overlapping, tmp_path, capsys):
    moved = shutil.copytree(overlapping[1], tmp_path / "moved")
    manifest = (moved / "run.json").read_text()
    (moved / "run.json").write_text(manifest.replace(str(Path(overlapping[0][0]).parent), str(tmp_path / "gone")))
    found, said = measured([moved, *gates_of_files(moved, tmp_path / "gates.csv")], capsys)
    assert [population["gate"] for population in found["all"]["populations"]] == ["B"]
    assert "the FCS files of the run are not there" in said


def test_an_event_that_has_a_gate_in_one_file_only_is_measured_once_in_it(overlapping, tmp_path, capsys):
    _, out = overlapping
    labels = pd.read_csv(out / "labels.csv")
    gate = labels["cluster"].astype(str).where(labels["file"].str.contains("_T_"), "")
    labels.assign(gate=gate)[["file", "event", "gate"]].to_csv(tmp_path / "gates.csv", index=False)
    found, said = measured([out, "--gate-file", f"{tmp_path / 'gates.csv'}:gate"], capsys)
    assert found["all"]["n_gated"] == found["unique"]["n_gated"] == 800
    assert "each measured once" in said


def test_files_of_different_events_are_measured_whole(example_run, tmp_path, capsys):
    shutil.copy(example_run / "labels.csv", tmp_path)
    files = [EXAMPLE / f"example_{well}.fcs" for well in ("A01", "A02")]
    found, said = measured([tmp_path / "labels.csv", *files, "--gate-channel", "gate"], capsys)
    assert found == json.loads((example_run / "evaluation.json").read_text())
    assert "distinct" not in said


def test_the_column_of_known_cells_is_asked_for_by_populations(tmp_path, capsys):
    n_events = len(pd.read_csv(EXAMPLE / "example_A01_gates.csv"))
    pd.DataFrame({"one": ["T"] * n_events, "other": "B"}).to_csv(tmp_path / "known.csv", index=False)
    arguments = ["cluster", str(EXAMPLE / "example_A01.fcs"), "--prior", str(tmp_path / "known.csv")]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "which column holds the populations? one, other; say --prior" in capsys.readouterr().err


@pytest.fixture(scope="module")
def batched(tmp_path_factory):
    """A batch of two samples of other names than their files, and the gates of all their events."""
    folder = tmp_path_factory.mktemp("batched")
    wells = {"first": "A01", "second": "A02"}
    sheet = {"file": [EXAMPLE / f"example_{well}.fcs" for well in wells.values()], "sample": list(wells)}
    pd.DataFrame(sheet).to_csv(folder / "sheet.csv", index=False)
    quick = ["--subsample", "1500", "--h5ad", "no", "--quiet"]
    assert run(["batch", str(folder / "sheet.csv"), "--out", str(folder / "out"), *quick]) == 0
    parts = []
    for sample, well in wells.items():
        gates = pd.read_csv(EXAMPLE / f"example_{well}_gates.csv", keep_default_na=False)["gate"]
        parts.append(
            pd.DataFrame(
                {"file": f"example_{well}.fcs", "sample": sample, "event": range(len(gates)), "gate": gates.to_numpy()}
            )
        )
    return folder / "out", pd.concat(parts)


@pytest.mark.parametrize("by", ["file", "sample"])
def test_a_batch_is_measured_against_a_table_that_names_its_events(batched, by, tmp_path, capsys):
    batch, table = batched
    shuffled = table.sample(frac=1, random_state=1)
    shuffled[[by, "event", "gate"]].to_csv(tmp_path / "gates.csv", index=False)
    found, _ = measured([batch, "--gate-file", tmp_path / "gates.csv"], capsys)
    labels = pd.concat(pd.read_csv(batch / "wells" / sample / "labels.csv") for sample in ("first", "second"))
    labels.to_csv(tmp_path / "labels.csv", index=False)
    table[["file", "event", "gate"]].to_csv(tmp_path / "alone.csv", index=False)
    right, _ = measured([tmp_path / "labels.csv", "--gate-file", tmp_path / "alone.csv"], capsys)
    assert found["all"] == right["all"]
    assert found["all"]["f_measure"] > 0.8


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        (["gate"], [], "for a batch it must say which event each row is; add the columns file"),
        (["file", "event", "gate"], [str(EXAMPLE / "example_A01.fcs")], "without FCS files"),
        (None, ["--gate-channel", "gate"], "measured against a table of gates alone"),
    ],
)
def test_what_a_batch_can_not_be_measured_against_is_a_line(batched, columns, arguments, message, tmp_path, capsys):
    batch, table = batched
    given = []
    if columns is not None:
        table[columns].to_csv(tmp_path / "gates.csv", index=False)
        given = ["--gate-file", str(tmp_path / "gates.csv")]
    assert run(["evaluate", str(batch), *given, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_labels_that_are_not_there_are_told_before_gates_are_asked_for(tmp_path, capsys):
    assert run(["evaluate", str(tmp_path / "nowhere")]) == 2
    assert f"{tmp_path / 'nowhere'}: no such file or folder; give the labels.csv" in capsys.readouterr().err
