"""A batch that is resumed: whatever a sample's folder has lost is made again, and nothing of another batch stays."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.io import read_fcs, write_fcs

QUICK = ["--subsample", "1200", "--h5ad", "yes", "--markers", "CD3,CD4,CD20,CD14"]


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Two wells of 600 events."""
    folder = tmp_path_factory.mktemp("input") / "p1"
    folder.mkdir()
    for well, sample in simulate_plate(3, wells=2, events=600).items():
        write_fcs(sample, folder / f"p1_{well}.fcs")
    return folder


@pytest.fixture(scope="module")
def whole(plate, tmp_path_factory):
    """A batch that nothing happened to."""
    out = tmp_path_factory.mktemp("batch") / "out"
    assert run(["batch", str(plate), "--out", str(out), "--quiet", *QUICK]) == 0
    return out


def contents(folder):
    """Checksum of every file that has no time in it."""
    files = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ("run.json", "batch.json")
    ]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "report.html"
    }


@pytest.mark.parametrize(
    "name",
    [
        "labels.csv",
        "labels.parquet",
        "states.csv",
        "drift.csv",
        "clusters.csv",
        "cells.h5ad",
        "fcs/p1_A01.fcs",
        "run.json",
    ],
)
@pytest.mark.parametrize("damage", ["deleted", "halved"])
def test_a_file_that_a_sample_has_lost_is_made_again(whole, plate, tmp_path, name, damage):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    lost = out / "wells" / "p1_A01" / name
    if damage == "deleted":
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes()[: lost.stat().st_size // 2])
    assert run(["batch", str(plate), "--out", str(out), "--resume", "--quiet", *QUICK]) == 0
    assert contents(out) == contents(whole)


def test_what_is_whole_is_not_done_again(whole, plate, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert run(["batch", str(plate), "--out", str(out), "--resume", "--json", *QUICK]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reused"] for line in lines[:-1]] == [True, True]


def test_a_folder_with_files_of_ones_own_is_not_replaced(whole, plate, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    well = out / "wells" / "p1_A01"
    (well / "run.json").unlink()
    (well / "my notes.txt").write_text("precious")
    assert run(["batch", str(plate), "--out", str(out), "--resume", "--quiet", *QUICK]) == 1
    assert (well / "my notes.txt").read_text() == "precious"


def test_another_mode_leaves_no_model_beside_clusters_of_other_models(whole, plate, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert run(["batch", str(plate), "--out", str(out), "--resume", "--per-sample", "--quiet", *QUICK]) == 0
    assert (out / "matching.csv").is_file()
    assert not (out / "model.cytomoe").exists()
    assert run(["batch", str(plate), "--out", str(out), "--resume", "--quiet", *QUICK]) == 0
    assert contents(out) == contents(whole)


def test_one_absurd_value_costs_its_sample_alone(plate, tmp_path, capsys):
    shutil.copytree(plate, tmp_path / "p1")
    cells = read_fcs(tmp_path / "p1" / "p1_A01.fcs")
    cells.X[5, list(cells.var["antigen"]).index("CD3")] = 3e38
    (tmp_path / "p1" / "p1_A01.fcs").unlink()
    write_fcs(cells, tmp_path / "p1" / "p1_A01.fcs")
    out = tmp_path / "out"
    assert run(["batch", str(tmp_path / "p1"), "--out", str(out), *QUICK]) == 1
    assert "p1_A01: CD3 reaches 88 after the transform: a raw value that large is no" in capsys.readouterr().err
    assert pd.read_csv(out / "abundance.csv")["sample"].tolist() == ["p1_A02"]


def test_a_truncated_file_is_read_as_far_as_it_goes_where_that_is_asked_for(plate, tmp_path, capsys):
    shutil.copytree(plate, tmp_path / "p1")
    cut = tmp_path / "p1" / "p1_A01.fcs"
    cut.write_bytes(cut.read_bytes()[:-4000])
    out = tmp_path / "out"
    assert run(["batch", str(tmp_path / "p1"), "--out", str(out), *QUICK]) == 1
    assert "--allow-truncated" in capsys.readouterr().err
    assert run(["batch", str(tmp_path / "p1"), "--out", str(out), "--allow-truncated", "--resume", *QUICK]) == 0
    events = pd.read_csv(out / "abundance.csv")["events"]
    assert 0 < events[0] < events[1] == 600


def test_warnings_stand_in_the_json_of_a_batch_and_of_a_run(plate, tmp_path, capsys):
    wells = [str(plate / "p1_A01.fcs"), str(plate / "p1_A02.fcs")]
    for command in ("batch", "cluster"):
        arguments = [command, *wells, "--markers", "CD3,DNA-1", "--subsample", "600", "--json"]
        assert run([*arguments, "--out", str(tmp_path / command), "--h5ad", "no"]) == 0
        output = capsys.readouterr()
        assert output.err == ""
        warnings = json.loads(output.out.splitlines()[-1])["warnings"]
        assert np.any(["measure no protein" in line for line in warnings])
