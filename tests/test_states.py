"""Medians of the proteins that clusters are not made of, recomputed from the files."""

import json
import shutil
from pathlib import Path

import anndata
import flowio
import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.io import read_fcs, write_fcs
from cytomoe.runs import sampling

FILES = [f"example_data/example_A0{i}.fcs" for i in (1, 2)]
MARKERS = ["CD3", "CD4", "CD20", "CD14"]
STATES = ["CD45", "CD33", "CD123", "IgM", "HLA-DR", "CD7"]
FAST = ["--subsample", "1500", "--quiet"]


def values_of(path, names):
    """Transformed values of some antigens, read and transformed by others."""
    data = flowio.FlowData(str(path))
    antigens = [data.channels[i].get("pns") for i in sorted(data.channels)]
    raw = np.reshape(data.events, (-1, data.channel_count))
    return np.arcsinh(raw[:, [antigens.index(name) for name in names]] / 5)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Folder of a run of two samples of two conditions, on four markers."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "samples.csv").write_text("file,sample,condition\nexample_A01,one,drug\nexample_A02,two,none\n")
    arguments = ["cluster", *FILES, "--markers", ",".join(MARKERS), "--samples", str(folder / "samples.csv")]
    assert run([*arguments, "--out", str(folder / "run"), "--no-report", *FAST]) == 0
    return folder / "run"


def expected(folder, column, number, path, names):
    labels = pd.read_csv(folder / "labels.csv")
    own = labels.loc[labels["file"] == Path(path).name, column].to_numpy() == number
    return own.sum(), np.median(values_of(path, names)[own], axis=0)


def test_states_are_medians_of_the_proteins_that_were_not_chosen(cohort):
    states = pd.read_csv(cohort / "states.csv")
    assert list(states) == ["sample", "condition", "cluster", "events", *STATES]
    assert set(states.loc[states["condition"] == "drug", "sample"]) == {"one"}
    for row in states.to_dict("records"):
        size, medians = expected(cohort, "cluster", row["cluster"], FILES[row["sample"] == "two"], STATES)
        assert row["events"] == size
        np.testing.assert_allclose([row[name] for name in STATES], medians, atol=6e-5)


def test_cells_hold_the_values_of_the_states(cohort):
    cells = anndata.read_h5ad(cohort / "cells.h5ad")
    assert list(cells.uns["cytomoe_origin"]["states"]) == STATES
    np.testing.assert_allclose(cells.obsm["states"], np.vstack([values_of(f, STATES) for f in FILES]), atol=1e-5)


def test_merged_populations_have_medians_of_their_own(cohort, tmp_path):
    clusters = pd.read_csv(cohort / "clusters.csv")["cluster"]
    pd.DataFrame({"cluster": clusters, "name": np.where(clusters <= 3, "large", "small")}).to_csv(
        tmp_path / "names.csv", index=False
    )
    out = tmp_path / "named"
    assert run(["merge", str(cohort), "--map", str(tmp_path / "names.csv"), "--out", str(out), "--no-report"]) == 0
    assert set(pd.read_csv(out / "states.csv")["population"]) == {"large", "small"}
    table = pd.read_csv(out / "population_medians.csv")
    assert list(table) == ["sample", "condition", "population", "events", *MARKERS, *STATES]
    assert len(table) == 4
    for row in table.to_dict("records"):
        names = [*MARKERS, *STATES]
        size, medians = expected(out, "population", row["population"], FILES[row["sample"] == "two"], names)
        assert row["events"] == size
        np.testing.assert_allclose([row[name] for name in names], medians, atol=6e-5)


def test_without_cells_no_medians_of_earlier_populations_are_kept(cohort, tmp_path):
    clusters = pd.read_csv(cohort / "clusters.csv")["cluster"]
    for out, run_of, name in (("first", cohort, "old"), ("second", tmp_path / "first", "new")):
        pd.DataFrame({"cluster": clusters, "name": name}).to_csv(tmp_path / "names.csv", index=False)
        arguments = ["merge", str(run_of), "--map", str(tmp_path / "names.csv"), "--no-report"]
        assert run([*arguments, "--out", str(tmp_path / out)]) == 0
        (tmp_path / out / "cells.h5ad").unlink(missing_ok=True)
    assert (tmp_path / "first" / "population_medians.csv").is_file()
    assert not (tmp_path / "second" / "population_medians.csv").exists()


def test_a_run_on_every_protein_has_no_states(finished):
    assert not (finished / "states.csv").exists()


def test_states_of_a_large_run_are_of_the_kept_events(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "KEPT_EVENTS", 3000)
    assert run(["predict", str(cohort), FILES[0], "--out", str(tmp_path / "out"), "--no-report", "--quiet"]) == 0
    states = pd.read_csv(tmp_path / "out" / "states.csv")
    largest = states.sort_values("events").iloc[-1]
    _, medians = expected(tmp_path / "out", "cluster", largest["cluster"], FILES[0], STATES)
    np.testing.assert_allclose(largest[STATES].astype(float), medians, atol=0.15)


def test_a_file_that_lacks_a_state_has_no_median_of_it(cohort, tmp_path):
    cells = read_fcs(FILES[0])
    write_fcs(cells[:, cells.var["antigen"] != "CD33"], tmp_path / "lacking.fcs")
    files = [str(tmp_path / "lacking.fcs"), FILES[1]]
    assert run(["predict", str(cohort), *files, "--out", str(tmp_path / "out"), "--no-report", "--quiet"]) == 0
    states = pd.read_csv(tmp_path / "out" / "states.csv").set_index("sample")
    assert states.loc["lacking", "CD33"].isna().all()
    assert states.loc["lacking", "CD7"].notna().all()
    assert states.loc["example_A02", "CD33"].notna().all()


def test_a_value_that_is_no_number_takes_nothing_from_the_other_proteins(cohort, tmp_path):
    cells = read_fcs(FILES[0])
    cells.X[::2, cells.var["antigen"] == "CD33"] = np.nan
    write_fcs(cells, tmp_path / "example_A01.fcs")
    out = tmp_path / "out"
    assert run(["predict", str(cohort), str(tmp_path / "example_A01.fcs"), "--out", str(out), *FAST[2:]]) == 0
    others = [name for name in STATES if name != "CD33"]
    largest = pd.read_csv(out / "states.csv").iloc[0]
    _, medians = expected(out, "cluster", largest["cluster"], FILES[0], others)
    np.testing.assert_allclose(largest[others].astype(float), medians, atol=6e-5)
    values = values_of(FILES[0], ["CD33"])[1::2, 0]
    own = pd.read_csv(out / "labels.csv")["cluster"].to_numpy()[1::2] == largest["cluster"]
    assert largest["CD33"] == pytest.approx(np.median(values[own]), abs=6e-5)


def test_states_of_fluorescence_are_compensated(data, tmp_path):
    path = data / "flow" / "mouse_spleen_raw.fcs"
    arguments = ["cluster", str(path), "--markers", "CD3,CD4,CD8", "--out", str(tmp_path / "out"), "--no-report"]
    assert run([*arguments, *FAST]) == 0
    source = flowio.FlowData(str(path))
    words = source.text["spill"].split(",")
    channels, matrix = words[1 : int(words[0]) + 1], np.array(words[int(words[0]) + 1 :], dtype=float)
    names = [source.channels[i]["pnn"] for i in sorted(source.channels)]
    raw = np.reshape(source.events, (-1, source.channel_count))[:, [names.index(name) for name in channels]]
    compensated = raw @ np.linalg.inv(matrix.reshape(len(channels), -1))
    cd19 = np.arcsinh(compensated[:, channels.index("PE-Cy5-A")] / 150)
    labels = pd.read_csv(tmp_path / "out" / "labels.csv")["cluster"]
    states = pd.read_csv(tmp_path / "out" / "states.csv").set_index("cluster")
    np.testing.assert_allclose(states["CD19"], [np.median(cd19[labels == k]) for k in states.index], atol=1e-3)


@pytest.mark.parametrize("mode", ["--pooled", "--per-sample"])
def test_tables_of_a_batch_carry_conditions(tmp_path, mode):
    for path in FILES:
        shutil.copy(path, tmp_path)
    (tmp_path / "sheet.csv").write_text("file,sample,condition\nexample_A01.fcs,one,drug\nexample_A02.fcs,two,none\n")
    out = tmp_path / "out"
    arguments = ["batch", str(tmp_path / "sheet.csv"), mode, "--markers", ",".join(MARKERS), "--out", str(out)]
    assert run([*arguments, *FAST]) == 0
    numbered = ["cluster", "plate_cluster"] if mode == "--per-sample" else ["cluster"]
    for name in ("medians.csv", "states.csv"):
        table = pd.read_csv(out / name)
        assert set(table.loc[table["condition"] == "drug", "sample"]) == {"one"}
        assert table.columns[4 : 4 + len(numbered)].tolist() == numbered
    if mode == "--per-sample":
        matching = pd.read_csv(out / "matching.csv").set_index(["sample", "cluster"])["plate_cluster"]
        found = pd.read_csv(out / "states.csv").set_index(["sample", "cluster"])["plate_cluster"]
        assert (matching[found.index] == found).all()


def test_a_batch_with_results_of_an_earlier_version_has_the_states_of_the_others(tmp_path):
    for path in FILES:
        shutil.copy(path, tmp_path)
    out = tmp_path / "out"
    arguments = ["batch", str(tmp_path), "--markers", ",".join(MARKERS), "--h5ad", "no", "--out", str(out), *FAST]
    assert run(arguments) == 0
    (out / "wells" / "example_A01" / "states.csv").unlink()
    manifest = json.loads((out / "wells" / "example_A01" / "run.json").read_text())
    del manifest["outputs"]["states.csv"]
    (out / "wells" / "example_A01" / "run.json").write_text(json.dumps(manifest))
    assert run([*arguments, "--resume"]) == 0
    table = pd.read_csv(out / "states.csv", dtype=str)
    assert set(table["sample"]) == {"example_A02"}
    assert table["cluster"].str.isdecimal().all()
    assert table["events"].str.isdecimal().all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_sample_of_which_every_event_is_unassigned_is_mapped_and_named(cohort, tmp_path, capsys):
    cells = read_fcs(FILES[0])
    cells.X = np.full(cells.shape, 9000, dtype=np.float32)
    write_fcs(cells, tmp_path / "far.fcs")
    arguments = ["predict", str(cohort), str(tmp_path / "far.fcs"), "--unassigned", "--out", str(tmp_path / "mapped")]
    assert run(arguments) == 0
    assert "5,000 100.0 %  unassigned" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "mapped" / "states.csv")) == 0
    assert run(["report", str(tmp_path / "mapped")]) == 0
    n_clusters = len(pd.read_csv(cohort / "clusters.csv"))
    pd.DataFrame({"cluster": range(1, n_clusters + 1), "name": "all"}).to_csv(tmp_path / "names.csv", index=False)
    arguments = ["merge", str(tmp_path / "mapped"), "--map", str(tmp_path / "names.csv")]
    assert run([*arguments, "--out", str(tmp_path / "named")]) == 0
    table = pd.read_csv(tmp_path / "named" / "population_medians.csv")
    assert list(table) == ["sample", "population", "events", *MARKERS, *STATES]
    assert len(table) == 0


def test_columns_of_a_sheet_that_are_called_like_proteins_stand_beside_them(tmp_path):
    shutil.copy(FILES[0], tmp_path)
    (tmp_path / "sheet.csv").write_text("file,sample,CD3,CD45\nexample_A01.fcs,one,sorted,low\n")
    out = tmp_path / "out"
    arguments = ["batch", str(tmp_path / "sheet.csv"), "--markers", ",".join(MARKERS), "--h5ad", "no", *FAST]
    assert run([*arguments, "--out", str(out)]) == 0
    well = out / "wells" / "one"
    for name, column, said in (("medians.csv", "CD3", "sorted"), ("states.csv", "CD45", "low")):
        table = pd.read_csv(out / name)
        assert set(table[column]) == {said}
        np.testing.assert_array_equal(table[f"{column} (protein)"], pd.read_csv(well / name)[column])
