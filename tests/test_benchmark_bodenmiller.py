"""The Bodenmiller experiment from a folder of population files to its tables."""

import json

import numpy as np
import pandas as pd
import pytest

from cytomoe.benchmarks.bodenmiller import find_wells, published_inhibitors, violins, wins
from cytomoe.benchmarks.simulated_wells import published_wells, write_well
from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.settings import preset


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    """A tenth of the steps: enough for tables, too few for results."""
    short = preset("default", warm_steps=60, steps=10, partitions=3)
    monkeypatch.setattr("cytomoe.benchmarks.bodenmiller.settings_for", lambda *_: short)


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Folder of two small simulated wells of two inhibitors, one folder each."""
    folder = tmp_path_factory.mktemp("plates")
    for inhibitor, well in (("AKTi", "A02"), ("PP2", "A03")):
        (folder / inhibitor).mkdir()
        write_well(folder / inhibitor, f"{inhibitor}_{well}", 600)
    return folder


def test_wells_are_found_in_depth(plates):
    wells = dict(find_wells(plates))
    assert set(wells) == {"AKTi_A02", "PP2_A03"}
    assert all(path.stem.endswith("_A02") for path in wells["AKTi_A02"])


def test_a_folder_without_wells_is_refused_with_the_layout(tmp_path):
    with pytest.raises(InputError, match=r"AKTi_cd4\+_A02\.fcs"):
        find_wells(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_wells(tmp_path / "nowhere")


def test_a_method_has_one_colour_in_both_panels():
    wells = [("AKTi", "A01", method, 0.8) for method in ("FlowSOM", "PhenoGraph", "cytomoe")]
    rows = pd.DataFrame(wells, columns=["inhibitor", "well", "method", "f_measure"]).assign(gates="all")
    measured, printed = (
        {line.get_label().lower(): line.get_color() for line in axes.get_lines()} for axes in violins(rows).axes
    )
    for ours, theirs in (("flowsom", "flowsom"), ("phenograph", "phenograph"), ("cytomoe", "moe_sim_vae")):
        assert measured[ours] == printed[theirs]
    assert len(set(printed.values())) == 4


def test_each_well_is_measured_beside_the_published_numbers(plates, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["benchmark", "bodenmiller", "--data", str(plates), "--out", str(out)]) == 0
    rows = pd.read_csv(out / "rows.csv")
    assert set(rows["well"]) == {"A02", "A03"}
    assert set(rows["gates"]) == {"all", "unique"}
    assert rows["f_measure"].between(0.3, 1).all()
    assert rows["mean_f1"].between(0.1, 1).all()
    assert {"report.md", "run.json", "violins.png", "wells.csv"} <= {path.name for path in out.iterdir()}
    assert "published" in capsys.readouterr().out
    # What was measured is done: going on computes nothing again.
    before = {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert run(["benchmark", "bodenmiller", "--data", str(plates), "--out", str(out), "--resume", "--quiet"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()} == before


def test_no_column_holds_measured_and_published_numbers(plates, tmp_path):
    out = tmp_path / "out"
    assert run(["benchmark", "bodenmiller", "--data", str(plates), "--out", str(out), "--quick", "--quiet"]) == 0
    for path in out.glob("*.csv"):
        columns = list(pd.read_csv(path).columns)
        published_here = [name for name in columns if "(published)" in name]
        measured_here = [name for name in columns if "F-measure" in name or name in ("f_measure", "mean_f1")]
        assert not (published_here and measured_here), path.name
    assert json.loads((out / "run.json").read_text())["quick"] is True


def test_wins_count_ties_for_all():
    table = pd.DataFrame({"a": [0.9, 0.5, 0.7], "b": [0.8, 0.5, 0.9], "name": ["x", "y", "z"]})
    counted = wins(table).set_index("method")["wells won"]
    assert counted.to_dict() == {"a": 2, "b": 2}


def test_published_means_are_over_the_legible_wells():
    table = published_inhibitors(["SB202"])
    assert table["wells"].tolist() == [5, 267]
    assert table["moe_sim_vae (published)"].iloc[1] == pytest.approx(0.773, abs=5e-4)


def test_the_simulated_set_has_the_published_wells(tmp_path):
    wells = published_wells()
    assert len(wells) == 267
    assert wells["AKTi_A02"] == published_wells()["AKTi_A02"]
    paths = write_well(tmp_path, "AKTi_A02", 800)
    again = tmp_path / "again"
    again.mkdir()
    for path, other in zip(paths, write_well(again, "AKTi_A02", 800), strict=True):
        np.testing.assert_array_equal(
            np.frombuffer(path.read_bytes(), np.uint8), np.frombuffer(other.read_bytes(), np.uint8)
        )
