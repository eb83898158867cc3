"""Every table that a user gives, as spreadsheets of all countries save it, and what is no table."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.io import read_fcs
from cytomoe.io.event_rows import EventRows
from cytomoe.io.gate_tables import read_gate_file
from cytomoe.io.gates import read_gate_names
from cytomoe.io.given_tables import read_table
from cytomoe.plates.samples import read_sheet
from cytomoe.preprocessing.panel import Panel
from cytomoe.reference import read_reference
from cytomoe.runs.merge import read_map
from cytomoe.runs.samples import read_samples

# How a table of commas and plain line ends is saved elsewhere.
SAVED = {
    "as it is": lambda text: text.encode(),
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "old Macintosh line ends": lambda text: text.replace("\n", "\r").encode(),
    "byte-order mark (Excel, CSV UTF-8)": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    "semicolons (Excel in Europe)": lambda text: b"\xef\xbb\xbf" + text.replace(",", ";").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "UTF-16 (Excel, Unicode text)": lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "Windows' letters (Excel, CSV)": lambda text: text.replace("\n", "\r\n").encode("cp1252"),
    "spaces around cells": lambda text: text.replace(",", " , ").encode(),
    "empty columns and lines at the end": lambda text: (text.replace("\n", ",,\n") + ",,,\n\n").encode(),
    "no line end at the end": lambda text: text.rstrip("\n").encode(),
}
TABLES = {
    "sheet": ("file,sample,dose\na.fcs,für A,1 µM\nb.fcs,B,0\n", lambda path: read_sheet(path)),
    "samples": ("file,sample,dose\na.fcs,für A,1 µM\nb.fcs,B,0\n", lambda path: read_samples(path).to_dict("list")),
    "map": ("cluster,name\n1,größte\n2,NK\n", lambda path: read_map(path, 2).to_dict()),
    "reference": (
        "population,positive,negative\ngrößte,CD3 CD4,CD8\nB,CD19,\n",
        lambda path: read_reference(str(path)),
    ),
    "gate names": ("number,name\n1,größte\n2,NK\n", lambda path: read_gate_names(path)),
    "panel": ("channel,marker,use,cofactor\nA,größte,yes,5\nB,CD4,no,\n", lambda path: Panel.read(path).rows),
}


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("table", TABLES)
def test_a_table_means_the_same_however_it_is_saved(table, saved, tmp_path):
    text, read = TABLES[table]
    for name in ("a.fcs", "b.fcs"):
        (tmp_path / name).touch()
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    wanted = read(path)
    path.write_bytes(SAVED[saved](text))
    assert read(path) == wanted


@pytest.mark.parametrize("saved", [name for name in SAVED if not name.startswith("empty")])
def test_gates_of_events_mean_the_same_however_they_are_saved(saved, tmp_path):
    text = "well,gate\na,größte\na,\nb,NK\n"
    path = tmp_path / "gates.csv"
    path.write_bytes(SAVED[saved](text))
    gates = read_gate_file(f"{path}:gate", EventRows.of_files(["cells.fcs"], [3]))
    assert [gates.names[code] if code >= 0 else None for code in gates.codes] == ["größte", None, "NK"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\r\n;;\r\n", "is empty"),
        (b'""', "is empty"),
        (b'"",""\n" ",\n', "is empty"),
        (b"PK\x03\x04\x00\x00\x00", "save the table as CSV"),
        (b"cluster,name\n1,CD4,T cells\n", "line 2: has 3 cells, but there are 2 columns"),
        (b"cluster,cluster\n1,a\n", "the column cluster stands in it twice"),
        (b'cluster,name\n1,"' + b"x" * 200_000, "line 2: not a readable table"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, f"--map {path}")
    assert str(caught.value).startswith(f"--map {path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_table_that_can_not_be_read_is_refused_in_one_line(make, tmp_path):
    make(tmp_path / "table.csv")
    for read in (read[1] for read in TABLES.values()):
        with pytest.raises(InputError) as caught:
            read(tmp_path / "table.csv")
        assert "\n" not in str(caught.value)


def test_all_tables_of_a_run_from_a_european_windows(small_plate, tmp_path):
    """Samples, panel, known cells and gates with semicolons, byte-order mark and Windows line ends, in one command."""
    sample = read_fcs(small_plate[0])
    shutil.copy(small_plate[0], tmp_path / "a.fcs")
    proteins = [name for name in sample.var_names if name.startswith("CD")]
    numbers = sample[:, "gate"].X.ravel().astype(int)
    tables = {
        "samples.csv": [("file", "sample", "dose"), ("a.fcs", "A", "1 µM")],
        "panel.csv": [("channel", "marker", "use"), *((name, name, "yes") for name in proteins)],
        "known.csv": [("gate",), *((f"größte {n}" if n and i % 5 == 0 else "",) for i, n in enumerate(numbers))],
        "gates.csv": [("number", "name"), *((str(n), f"größte {n}") for n in sorted(set(numbers)) if n)],
    }
    for name, rows in tables.items():
        text = "".join(";".join(row) + "\r\n" for row in rows)
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    arguments = ["cluster", str(tmp_path / "a.fcs"), "--out", str(tmp_path / "out"), "--quiet", "--no-report"]
    arguments += ["--samples", str(tmp_path / "samples.csv"), "--panel", str(tmp_path / "panel.csv")]
    arguments += ["--prior", str(tmp_path / "known.csv"), "--gate-channel", "gate"]
    arguments += ["--gate-names", str(tmp_path / "gates.csv")]
    assert run(arguments) == 0
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert {population["gate"][:7] for population in evaluation["all"]["populations"]} == {"größte "}
    assert pd.read_csv(tmp_path / "out" / "abundance.csv")["dose"].tolist() == ["1 µM"]
    clusters = pd.read_csv(tmp_path / "out" / "clusters.csv")
    assert clusters["population"].dropna().str.startswith("größte ").any()


def test_labels_that_a_spreadsheet_saved_again_are_measured(finished, tmp_path, capsys):
    text = (finished / "labels.csv").read_text(encoding="utf-8")
    (tmp_path / "labels.csv").write_bytes(SAVED["semicolons (Excel in Europe)"](text.replace("\n", "\r\n")))
    shutil.copy(finished / "run.json", tmp_path)
    measured = []
    for folder in (finished, tmp_path):
        assert run(["evaluate", str(folder / "labels.csv"), "--gate-channel", "gate", "--json"]) == 0
        measured.append(json.loads(capsys.readouterr().out))
    assert measured[0] == measured[1]
