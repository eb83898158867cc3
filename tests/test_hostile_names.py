"""Names are untrusted: of files, markers, channels, samples. None leaves the output folder or runs in a spreadsheet."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from handmade import make_adata

from cytomoe.cli.main import run
from cytomoe.io import read_fcs, write_fcs
from cytomoe.io.tables import plain_cell, safe_cell
from cytomoe.runs.outputs import fcs_names

MARKERS = ['=HYPERLINK("x")', "+CD3", "-CD4", "@CD8", "../../CD19", "<script>alert(1)</script>", 'CD4, "naive"', "a/b"]
OTHERS = [".", "..", "é\u202eµ", "x" * 300, "'=1", "=DNA", "/abs", "C:\\x"]
DANGEROUS = "=+-@\t\r"


def write_cells(path, seed=0):
    rng = np.random.default_rng(seed)
    n = 300
    positive = rng.integers(0, 2, (n, 1)) == 1
    values = np.where(positive, 300.0, 2.0) * rng.lognormal(0, 0.3, (n, len(MARKERS) + len(OTHERS)))
    channels = [(f"Ch{i}Di", name) for i, name in enumerate(MARKERS)]
    channels += [(name, "") for name in OTHERS]
    write_fcs(make_adata(channels, values, keywords={"$CYT": "CyTOF2"}), path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run on files and markers of hostile names: (folder of the files, folder of the run)."""
    folder = tmp_path_factory.mktemp("files")
    names = [
        "=cmd|' -C calc'!A0.fcs",
        "-rf.fcs",
        "<script>alert(1)<|script>.fcs",
        "a" * 250 + ".fcs",
        "..fcs",
        "mit Umlaut ä.fcs",
    ]
    for seed, name in enumerate(names):
        write_cells(folder / name, seed)
    panel = folder / "panel.csv"
    with panel.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["channel", "marker", "use"])
        table.writerows([f"Ch{i}Di", name, 1] for i, name in enumerate(MARKERS))
    out = folder / "out"
    files = [str(folder / name) for name in names]
    assert run(["cluster", *files, "--panel", str(panel), "--out", str(out), "--quiet"]) == 0
    return folder, out


def test_nothing_is_written_beside_the_output_folder(hostile):
    folder, out = hostile
    assert {path.name for path in folder.iterdir() if path.suffix != ".fcs"} == {"panel.csv", "out"}
    for path in out.rglob("*"):
        assert path.resolve().is_relative_to(out.resolve())
        assert not path.is_symlink()
    assert len(list((out / "fcs").iterdir())) == 6


def test_no_cell_of_a_table_is_a_formula(hostile):
    _, out = hostile
    seen = set()
    for path in out.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    seen.add(cell)
                    if cell[:1] in DANGEROUS and cell:
                        float(cell)  # a number may be negative
    assert {'\'=HYPERLINK("x")', "'-rf.fcs", "'+CD3"} <= seen


def test_the_names_themselves_stay_as_they_are_elsewhere(hostile):
    _, out = hostile
    cells = anndata.read_h5ad(out / "cells.h5ad")
    assert cells.var_names.tolist() == MARKERS
    assert "-rf.fcs" in set(cells.obs["file"])
    assert "-rf.fcs" in set(pd.read_parquet(out / "labels.parquet")["file"].astype(str))
    manifest = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert "=cmd|' -C calc'!A0.fcs" in [entry["file"] for entry in manifest["inputs"]]
    back = [read_fcs(path) for path in (out / "fcs").iterdir()]
    assert all(adata.var["antigen"].tolist()[: len(MARKERS)] == MARKERS for adata in back)


def test_labels_are_still_found_by_evaluate(hostile, tmp_path, capsys):
    folder, out = hostile
    gates = tmp_path / "gates.csv"
    labels = pd.read_parquet(out / "labels.parquet")
    gates.write_text("gate\n" + "".join(f"g{k}\n" for k in labels["cluster"]))
    files = list(dict.fromkeys(labels["file"].astype(str)))
    arguments = ["evaluate", str(out / "labels.csv"), *(str(folder / name) for name in files)]
    assert run([*arguments, "--gate-file", str(gates), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["f_measure"] == 1.0


@pytest.mark.parametrize("text", ["=1", "'=1", "''=1", "-", "+x", "@x", "\tx", "plain", "'quoted'", "", "a=b"])
def test_cells_are_made_safe_and_plain_again(text):
    safe = safe_cell(text)
    assert safe[:1] not in DANGEROUS or not safe
    assert plain_cell(safe) == text
    assert (safe == text) == (text.lstrip("'")[:1] not in DANGEROUS or not text.lstrip("'"))


@pytest.mark.parametrize(
    "names",
    [
        ["../../x.fcs", "/etc/passwd", "..", "...", "", "a/b.fcs", "a\\b.fcs"],
        ["x" * 255, "x" * 256 + ".fcs"],
        ["A.fcs", "a.fcs"],
    ],
)
def test_names_of_written_files_are_flat_short_and_distinct(names):
    written = fcs_names(names)
    assert len({name.casefold() for name in written}) == len(names)  # some file systems take case for nothing
    for name in written:
        assert name == Path(name).name
        assert not name.startswith(".")
        assert len(name.encode()) < 220
        assert name.endswith(".fcs")


def test_a_file_name_that_is_no_text_is_read(tmp_path, capfd):
    path = os.fsencode(tmp_path) + b"/bl\xfcte.fcs"
    write_cells(tmp_path / "x.fcs")
    (tmp_path / "x.fcs").rename(os.fsdecode(path))
    assert run(["cluster", os.fsdecode(path), "--out", str(tmp_path / "out")]) == 0
    manifest = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert manifest["inputs"][0]["file"] == "bl\ufffdte.fcs"


def test_a_condition_with_a_slash_is_a_column_of_the_cells(example_run, tmp_path, recwarn):
    well = Path(__file__).parent.parent / "example_data" / "example_A01.fcs"
    (tmp_path / "samples.csv").write_text("file,sample,mg/ml\nexample_A01.fcs,x,2\n")
    arguments = ["predict", str(example_run), str(well), "--samples", str(tmp_path / "samples.csv"), "--no-report"]
    assert run([*arguments, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert set(anndata.read_h5ad(tmp_path / "out" / "cells.h5ad").obs["mg_ml"]) == {"2"}
    assert not [warning for warning in recwarn if "slashes" in str(warning.message)]
    assert pd.read_csv(tmp_path / "out" / "abundance.csv")["mg/ml"].tolist() == [2]
