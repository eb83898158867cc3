"""Rows of a table of samples, found by the names and paths that people write."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handmade import FLOW, make_adata

from cytomoe.errors import InputError
from cytomoe.io import write_fcs
from cytomoe.runs.compare import _given_rows
from cytomoe.runs.events import open_events
from cytomoe.runs.samples import with_samples


@pytest.fixture
def study(tmp_path):
    """Two plates that have a well A01 each."""
    for plate in ("plate1", "plate2"):
        (tmp_path / "study" / plate).mkdir(parents=True)
        write_fcs(make_adata(FLOW, np.ones((3, len(FLOW)))), tmp_path / "study" / plate / "A01.fcs")
    return tmp_path / "study"


@pytest.mark.parametrize("suffix", [".fcs", ""])
@pytest.mark.parametrize("columns", ["file,condition", "file,sample,condition"])
def test_a_row_names_its_file_by_folder_and_name_from_wherever_it_is_read(study, monkeypatch, columns, suffix):
    named = {1: "first,drug", 2: "second,none"} if "sample" in columns else {1: "drug", 2: "none"}
    rows = [f"plate{number}/A01{suffix},{rest}" for number, rest in named.items()]
    (study / "sheet.csv").write_text("\n".join([columns, *rows]))
    monkeypatch.chdir(study.parent)
    files = [study.relative_to(Path.cwd()) / f"plate{number}" / "A01.fcs" for number in (2, 1)]
    conditions = with_samples(open_events(files), study / "sheet.csv").conditions
    assert sorted(conditions["condition"]) == ["drug", "none"]
    alone = with_samples(open_events(files[:1]), study / "sheet.csv")
    assert alone.conditions["condition"].tolist() == ["none"]


def test_a_row_may_begin_above_the_folder_that_it_was_written_for(study):
    (study / "sheet.csv").write_text("file,sample,condition\n../plate1/A01.fcs,a,drug\n../plate2/A01.fcs,b,none\n")
    events = with_samples(open_events([study / "plate2" / "A01.fcs"]), study / "sheet.csv")
    assert events.samples == ["b"]


@pytest.mark.parametrize(
    ("samples", "rows"),
    [
        (["p1/A01", "p2/A01"], ["sample,condition", "/d/p1/A01.fcs,drug", "/d/p2/A01.fcs,none"]),  # of a run
        (["p1_A01", "p2_A01"], ["file,condition", "/d/p1/A01.fcs,drug", "/d/p2/A01.fcs,none"]),  # of a batch
        (["A01", "A02"], ["file,sample,condition", "/d/A01.fcs,Ann,drug", "/d/A02.fcs,Ben,none"]),
    ],
)
def test_compare_finds_the_samples_of_files_that_are_given_by_their_paths(tmp_path, samples, rows):
    (tmp_path / "sheet.csv").write_text("\n".join(rows))
    given = _given_rows(tmp_path / "sheet.csv", pd.Index(samples))
    assert given["condition"].to_dict() == dict(zip(samples, ["drug", "none"], strict=True))


def test_the_end_of_the_name_of_a_sample_is_no_other_sample(tmp_path):
    (tmp_path / "sheet.csv").write_text("sample,condition\nA01,drug\nelsewhere/A01,none\nA02,none\n")
    given = _given_rows(tmp_path / "sheet.csv", pd.Index(["A01", "A02"]))
    assert given["condition"].tolist() == ["drug", "none"]


def test_a_row_that_could_be_of_several_files_is_of_none(study):
    (study / "sheet.csv").write_text("file,condition\nelsewhere/plate1/A01.fcs,drug\nother/A01.fcs,none\n")
    with pytest.raises(InputError, match="no row for the sample A01"):
        with_samples(open_events([study / "plate1" / "A01.fcs"]), study / "sheet.csv")
