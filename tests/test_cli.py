"""The commands as a user types them: files in, files out, messages and exit codes."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import anndata
import flowio
import joblib
import numpy as np
import pandas as pd
import pytest

from cytomoe.cli import options
from cytomoe.cli.console import beside
from cytomoe.cli.main import cli, run
from cytomoe.estimator import MoESimVAE
from cytomoe.io import read_fcs, write_fcs

EXAMPLE = Path(__file__).parent.parent / "example_data"
WELL = EXAMPLE / "example_A01.fcs"


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """Folder of a run on two example wells with gates in a channel."""
    out = tmp_path_factory.mktemp("run") / "result"
    files = [str(EXAMPLE / f"example_{well}.fcs") for well in ("A01", "A02")]
    gates = ["--gate-channel", "gate", "--gate-names", str(EXAMPLE / "gates.csv")]
    assert run(["cluster", *files, *gates, "--out", str(out), "--quiet", "--no-report"]) == 0
    return out


def test_every_result_is_there(clustered):
    names = {str(path.relative_to(clustered)) for path in clustered.rglob("*") if path.is_file()}
    assert names == {
        "labels.csv", "labels.parquet", "clusters.csv", "enrichment.csv", "abundance.csv", "medians.csv",
        "model.cytomoe", "cells.h5ad", "evaluation.json", "evaluation.csv", "run.json",
        "fcs/example_A01.fcs", "fcs/example_A02.fcs",
    }  # fmt: skip


def test_labels_have_a_row_per_event_in_file_order(clustered):
    labels = pd.read_csv(clustered / "labels.csv")
    assert list(labels.columns) == ["file", "event", "cluster", "confidence"]
    sizes = [read_fcs(EXAMPLE / f"example_{well}.fcs").n_obs for well in ("A01", "A02")]
    assert labels["file"].tolist() == ["example_A01.fcs"] * sizes[0] + ["example_A02.fcs"] * sizes[1]
    assert labels["event"].tolist() == [*range(sizes[0]), *range(sizes[1])]
    assert labels["confidence"].between(0, 1).all()


def test_csv_and_parquet_agree(clustered):
    csv, parquet = pd.read_csv(clustered / "labels.csv"), pd.read_parquet(clustered / "labels.parquet")
    assert (csv["cluster"] == parquet["cluster"]).all()
    assert (csv["file"] == parquet["file"].astype(str)).all()
    np.testing.assert_allclose(csv["confidence"], parquet["confidence"], atol=1e-4)


def test_clusters_are_numbered_by_size(clustered):
    clusters = pd.read_csv(clustered / "clusters.csv")
    assert clusters["cluster"].tolist() == list(range(1, len(clusters) + 1))
    assert clusters["events"].is_monotonic_decreasing
    counts = pd.read_csv(clustered / "labels.csv")["cluster"].value_counts().sort_index()
    assert counts.tolist() == clusters["events"].tolist()


def test_abundance_counts_each_cluster_in_each_sample(clustered):
    abundance = pd.read_csv(clustered / "abundance.csv", index_col="sample")
    labels = pd.read_csv(clustered / "labels.csv")
    counted = pd.crosstab(labels["file"], labels["cluster"])
    np.testing.assert_array_equal(abundance.drop(columns="events"), counted)


def test_fcs_files_open_elsewhere_with_raw_values_and_clusters(clustered):
    source = read_fcs(WELL)
    written = flowio.FlowData(str(clustered / "fcs" / "example_A01.fcs"))
    values = np.reshape(written.events, (written.event_count, -1))
    np.testing.assert_array_equal(values[:, : source.n_vars], source.X)
    labels = pd.read_csv(clustered / "labels.csv").query("file == 'example_A01.fcs'")
    position = written.pnn_labels.index("cluster")
    np.testing.assert_array_equal(values[:, position], labels["cluster"])


def test_h5ad_holds_markers_raw_values_and_codes(clustered):
    cells = anndata.read_h5ad(clustered / "cells.h5ad")
    source = read_fcs(WELL)
    first = cells[cells.obs["file"] == "example_A01.fcs"]
    np.testing.assert_array_equal(first.layers["raw"], source[:, list(cells.var_names)].X)
    assert cells.obs["cytomoe"].astype(int).tolist() == pd.read_csv(clustered / "labels.csv")["cluster"].tolist()
    assert cells.obsm["X_moesimvae"].shape[0] == cells.n_obs
    assert "DNA-1" in cells.obsm["channels"]


def test_the_gate_channel_is_no_marker(clustered):
    assert "gate" not in anndata.read_h5ad(clustered / "cells.h5ad").var_names


def test_evaluation_has_both_measures(clustered):
    evaluation = json.loads((clustered / "evaluation.json").read_text())
    for block in (evaluation["all"], evaluation["unique"]):
        assert 0 < block["mean_f1"] <= block["f_measure"] <= 1
        assert block["n_gated"] <= block["n_events"]
    assert set(evaluation["samples"]) == {"example_A01", "example_A02"}


def test_evaluate_repeats_the_measures_of_the_run(clustered, capsys):
    names = str(EXAMPLE / "gates.csv")
    assert run(["evaluate", str(clustered), "--gate-channel", "gate", "--gate-names", names, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((clustered / "evaluation.json").read_text())


def test_the_stability_of_a_mapped_sample_is_said_to_be_that_of_the_fit(clustered, tmp_path, capsys):
    assert run(["predict", str(clustered), str(WELL), "--out", str(tmp_path / "mapped"), "--no-report"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["events", "stable", "in", "the", "fit"]


def test_clusters_that_a_mapped_sample_lacks_are_not_counted(clustered, tmp_path, capsys):
    labels = pd.read_csv(clustered / "labels.csv").query("file == 'example_A01.fcs'")["cluster"]
    n_clusters = json.loads((clustered / "run.json").read_text())["clusters"]
    of_largest = read_fcs(WELL)[(labels == 1).to_numpy()].copy()
    write_fcs(of_largest, tmp_path / "one.fcs")
    mapping = ["predict", str(clustered), str(tmp_path / "one.fcs"), "--no-report"]
    assert run([*mapping, "--out", str(tmp_path / "mapped")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{of_largest.n_obs:,} events in 1 of {n_clusters} clusters"
    assert not any("more of" in line for line in lines)
    assert run([*mapping, "--out", str(tmp_path / "again"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["clusters"], answer["clusters_with_events"]) == (n_clusters, 1)


def test_predict_repeats_the_labels_of_the_run(clustered, tmp_path):
    out = tmp_path / "mapped"
    assert (
        run(["predict", str(clustered / "model.cytomoe"), str(WELL), "--out", str(out), "--quiet", "--no-report"]) == 0
    )
    labels = pd.read_csv(clustered / "labels.csv").query("file == 'example_A01.fcs'")
    assert pd.read_csv(out / "labels.csv")["cluster"].tolist() == labels["cluster"].tolist()


def test_manifest_says_what_was_computed_from_what(clustered):
    manifest = json.loads((clustered / "run.json").read_text())
    assert manifest["command"].startswith("cytomoe cluster ")
    assert [entry["file"] for entry in manifest["inputs"]] == ["example_A01.fcs", "example_A02.fcs"]
    assert all(len(entry["sha256"]) == 64 for entry in manifest["inputs"])
    assert manifest["clusters"] == MoESimVAE.load(clustered / "model.cytomoe").n_clusters_
    assert {"torch", "numpy", "cytomoe"} <= set(manifest["software"])


def test_same_seed_same_labels(clustered, tmp_path):
    files = [str(EXAMPLE / f"example_{well}.fcs") for well in ("A01", "A02")]
    again = tmp_path / "again"
    assert run(["cluster", *files, "--gate-channel", "gate", "--out", str(again), "--quiet", "--no-report"]) == 0
    assert (again / "labels.csv").read_bytes() == (clustered / "labels.csv").read_bytes()


def test_an_existing_folder_is_kept_without_force(clustered, capsys):
    before = (clustered / "run.json").read_bytes()
    assert run(["cluster", str(WELL), "--out", str(clustered)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (clustered / "run.json").read_bytes() == before


def test_force_refuses_a_folder_from_which_nothing_can_be_removed(clustered, tmp_path, capsys, monkeypatch):
    out = tmp_path / "old"
    shutil.copytree(clustered, out)
    able = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != out / "fcs" and able(path, mode))
    assert run(["cluster", str(WELL), "--out", str(out), "--force"]) == 2
    assert f"{out} can't be replaced: nothing can be removed from {out / 'fcs'}" in capsys.readouterr().err
    assert (out / "labels.csv").is_file()


@pytest.mark.parametrize("command", [["cluster"], ["predict", "MODEL"]])
def test_files_without_events_are_named(command, clustered, tmp_path, capsys):
    write_fcs(read_fcs(WELL)[:0], tmp_path / "empty.fcs")
    command = [str(clustered) if word == "MODEL" else word for word in command]
    assert run([*command, str(tmp_path / "empty.fcs"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "Error: empty.fcs: holds no events"


def test_a_seed_that_no_file_can_hold_is_refused_before_any_work(tmp_path, capsys):
    assert run(["cluster", str(WELL), "--out", str(tmp_path / "out"), "--seed", "99999999999999999999999"]) == 2
    assert "not in the range 0<=x<=4294967295" in capsys.readouterr().err


def test_force_does_not_replace_a_folder_that_is_no_run(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert run(["cluster", str(WELL), "--out", str(tmp_path / "mine"), "--force"]) == 2
    assert "not the folder of an earlier run" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cluster", "nowhere.fcs"], "nowhere.fcs"),
        (["cluster", str(WELL), "--markers", "CD3,CD44"], "CD44"),
        (["cluster", str(WELL), "--metric", "canberra"], "canberra"),
        (["cluster", str(WELL), "--gate-channel", "gate", "--gate-file", "x.csv"], "--gate-channel and --gate-file"),
        (
            ["cluster", str(WELL), "--gate-names", "n.csv"],
            "n.csv names the numbers of --gate-channel, which is not given",
        ),
        (["predict", "x.cytomoe", str(WELL), "--gate-names", "n.csv"], "--gate-channel, which is not given"),
        (["batch", str(WELL), "--out", "x", "--gate-names", "n.csv"], "--gate-channel, which is not given"),
        (["evaluate", "x", "--gate-file", "g.csv", "--gate-names", "n.csv"], "--gate-channel, which is not given"),
        (["cluster", str(WELL), "--prior", "p.csv", "--gate-names", "n.csv"], "--gate-channel, which is not given"),
        (["cluster", str(WELL), "--gate-pattern", "{plate}_{gate}.fcs", "--panel", "nowhere.csv"], "nowhere.csv"),
        (["cluster", str(WELL), "--holdout", "1.5"], "holdout"),
        (["cluster", str(WELL), "--experts", "100000000"], "'--experts': 100000000 is not in the range 1<=x<=1000"),
        (["cluster", str(WELL), "--cofactor", "1e-300"], "--cofactor 1e-300 is not a number from 0.001 to 1,000,000"),
        (["check", str(WELL), "--cofactor", "1e300"], "--cofactor 1e+300 is not a number from 0.001 to 1,000,000"),
        (["simulate", "plate", "--events", "100000000000000000000000"], "1 to 1,000,000 are simulated"),
        (["predict", "nowhere.cytomoe", str(WELL)], "nowhere.cytomoe"),
        (["evaluate", "nowhere.csv", "--gate-channel", "gate"], "nowhere.csv"),
        (["info", str(EXAMPLE / "README.md")], "README.md"),
        (["clutser", str(WELL)], "clutser"),
        (["simulate", str(WELL)], "can't be made"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_names_of_gates_are_those_of_known_cells_that_come_as_numbers_too():
    choices = {**dict.fromkeys(["gate_pattern", "gate_channel", "gate_file", "prior"]), "gate_names": Path("n.csv")}
    choices["prior_channel"] = "known"
    assert options.gate_source(choices).names is None
    assert options.prior_source(choices).names == Path("n.csv")


def test_a_file_without_permission_is_refused_by_its_reader_and_not_with_the_usage(monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    assert run(["info", str(WELL)]) == 0, capsys.readouterr().err  # this one can be read all the same


def test_a_file_that_lacks_a_marker_is_refused_by_name(clustered, tmp_path, capsys):
    sample = read_fcs(WELL)
    from cytomoe.io import write_fcs

    write_fcs(sample[:, sample.var_names != "CD20"], tmp_path / "short.fcs")
    arguments = ["predict", str(clustered / "model.cytomoe"), str(tmp_path / "short.fcs"), "--out", str(tmp_path / "o")]
    assert run(arguments) == 2
    assert "CD20" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_check_finds_a_missing_marker_without_computing(capsys):
    assert run(["check", str(WELL), "--markers", "CD3,CD44"]) == 2
    assert "CD44" in capsys.readouterr().out


def test_check_passes_the_example(capsys):
    assert run(["check", str(WELL), "--gate-channel", "gate"]) == 0
    assert "can be clustered" in capsys.readouterr().out


def test_info_lists_channels_and_antigens(capsys):
    assert run(["info", str(WELL), "--json"]) == 0
    description = json.loads(capsys.readouterr().out)
    assert description["n_events"] == read_fcs(WELL).n_obs
    assert run(["info", str(WELL)]) == 0
    assert "HLA-DR" in capsys.readouterr().out


def test_source_files_are_never_changed(clustered):
    sums = {entry["file"]: entry["sha256"] for entry in json.loads((clustered / "run.json").read_text())["inputs"]}
    import hashlib

    for name, expected in sums.items():
        assert hashlib.sha256((EXAMPLE / name).read_bytes()).hexdigest() == expected


def test_help_answers_at_once():
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cytomoe", "--help"], check=True, capture_output=True)
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, cytomoe.cli.main; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert not {"torch", "pandas", "umap", "sklearn", "anndata"} & set(loaded)
    assert time.perf_counter() - started < 30  # a hang; the real figure is measured in benchmarks


def test_a_run_without_h5ad_has_no_use_for_anndata(clustered, tmp_path):
    arguments = ["predict", clustered / "model.cytomoe", WELL, "--out", tmp_path / "run", "--h5ad", "no"]
    code = f"import sys; from cytomoe.cli.main import run; run({list(map(str, arguments))}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "torch" in (loaded := done.stdout.splitlines()[-1].split())
    assert "anndata" not in loaded


@pytest.mark.skipif(joblib.cpu_count() < 2, reason="with one core no process is started")
def test_a_run_without_report_has_its_h5ad_tables_written_beside_it(clustered, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    arguments = ["predict", clustered / "model.cytomoe", WELL, "--out", tmp_path / "run", "--no-report"]
    code = f"import sys; from cytomoe.cli.main import run; run({list(map(str, arguments))}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "anndata" not in done.stdout.splitlines()[-1].split()
    assert (tmp_path / "run" / "cells.h5ad").is_file()


def test_each_command_has_an_example_in_its_help():
    for command in cli.commands.values():
        assert "Example" in (command.help or ""), command.name


def test_interrupted_run_leaves_nothing_and_exits_130(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cytomoe.training.recovery.train", interrupt)
    assert run(["cluster", str(WELL), "--out", str(tmp_path / "out")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_exits_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cytomoe.training.recovery.collapse", lambda *_: "99% of the cells in one of 2 clusters")
    assert run(["cluster", str(WELL), "--out", str(tmp_path / "out")]) == 1
    assert "collapsed 3 times" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_default_folder_is_named_by_the_first_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(WELL, tmp_path / "blood.fcs")
    assert run(["cluster", "blood.fcs", "--json", "--no-report"]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == "blood_cytomoe"
    assert (tmp_path / "blood_cytomoe" / "labels.csv").is_file()


@pytest.mark.parametrize(
    ("run_folder", "suffix", "expected"),
    [
        ("study/run", "merged", "study/run_merged"),
        (".", "merged", "{here}_merged"),
        ("..", "merged", "{above}_merged"),
        ("run", "by_dose/day", "run_by_dose_day"),
    ],
)
def test_results_stand_beside_a_run_however_it_is_called(tmp_path, monkeypatch, run_folder, suffix, expected):
    monkeypatch.chdir(tmp_path)
    assert str(beside(Path(run_folder), suffix)) == expected.format(here=tmp_path, above=tmp_path.parent)


def test_one_cluster_is_not_called_clusters(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [str(EXAMPLE / "example_A01.fcs"), "--markers", "CD3", "--resolution", "0.1", "--experts", "1"]
    assert run(["cluster", *arguments, "--subsample", "300", "--out", str(out)]) == 0
    assert "1 cluster of 5,000 events" in capsys.readouterr().out
    assert "1 clusters" not in (out / "report.html").read_text(encoding="utf-8")
    assert run(["evaluate", str(out), "--gate-channel", "gate"]) == 0
    assert "1 clusters" not in capsys.readouterr().out


def test_an_interruption_before_the_command_line_is_loaded_is_a_line():
    code = (
        "import sys\n"
        "class Interruption:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'cytomoe.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interruption())\n"
        "from cytomoe.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Error: interrupted; nothing was written\n")
