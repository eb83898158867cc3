"""Rows of a table of samples, found by the names and paths that people write."""

from pathlib import Path

import numpy as np
import pytest
from handmade import FLOW, make_adata

from cytomoe.errors import InputError
from cytomoe.io import write_fcs
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


def test_a_row_that_could_be_of_several_files_is_of_none(study):
    (study / "sheet.csv").write_text("file,condition\nelsewhere/plate1/A01.fcs,drug\nother/A01.fcs,none\n")
    with pytest.raises(InputError, match="no row for the sample A01"):
        with_samples(open_events([study / "plate1" / "A01.fcs"]), study / "sheet.csv")
