"""Plates: samples found and named, bad files set aside, nothing done twice, and the same results after a kill."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.errors import InputError
from cytomoe.io import read_fcs, write_fcs
from cytomoe.io.lock import alone
from cytomoe.plates.matching import match_clusters
from cytomoe.plates.samples import find_samples
from cytomoe.runs.events import _sample_names
from cytomoe.runs.panels import _difference
from cytomoe.runs.well_groups import run_group
from cytomoe.words import percent

QUICK = ["--subsample", "1500"]
HASHED = ("labels.csv", "labels.parquet", "clusters.csv", "abundance.csv", "cells.h5ad", "medians.csv", "failed.csv")


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Four wells of 800 events."""
    folder = tmp_path_factory.mktemp("input") / "p1"
    folder.mkdir()
    for well, sample in simulate_plate(3, wells=4, events=800).items():
        write_fcs(sample, folder / f"p1_{well}.fcs")
    return folder


@pytest.fixture(scope="module")
def pooled(plate, tmp_path_factory):
    out = tmp_path_factory.mktemp("batch") / "out"
    assert run(["batch", str(plate), "--out", str(out), "--quiet", *QUICK]) == 0
    return out


def contents(folder):
    """Checksum of every result that has no time in it."""
    files = [path for path in folder.rglob("*") if path.name in HASHED or path.suffix in (".fcs", ".cytomoe")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def test_one_folder_per_well_and_one_table_of_all(pooled, plate):
    abundance = pd.read_csv(pooled / "abundance.csv")
    assert abundance["well"].tolist() == ["A01", "A02", "A03", "A04"]
    assert abundance["plate"].tolist() == ["p1"] * 4
    assert abundance["events"].tolist() == [800] * 4
    assert (abundance.filter(like="cluster_").sum(axis=1) == 800).all()
    for well in abundance["sample"]:
        labels = pd.read_csv(pooled / "wells" / well / "labels.csv")
        assert len(labels) == 800
        assert (pooled / "wells" / well / "fcs" / f"{well}.fcs").is_file()
    assert json.loads((pooled / "run.json").read_text())["failed"] == 0


def test_the_manifest_of_a_batch_says_how_long_its_steps_took(pooled):
    seconds = json.loads((pooled / "run.json").read_text())["seconds"]
    assert list(seconds) == ["read", "fit", "samples", "write", "report"]
    assert seconds["fit"] > 0
    assert seconds["samples"] > 0


def test_clusters_of_a_batch_are_named_by_hand_for_all_its_samples(pooled, plate, tmp_path, capsys):
    counts = pd.read_csv(pooled / "abundance.csv").set_index("sample")
    (tmp_path / "map.csv").write_text("cluster,name\n1,mine\n2,mine\n")
    named, mapped = tmp_path / "named", tmp_path / "mapped"
    arguments = ["merge", str(pooled), "--map", str(tmp_path / "map.csv"), "--out", str(named)]
    assert run(arguments) == 0
    assert f"--model {named}" in capsys.readouterr().err
    assert run([*arguments, "--force", "--json"]) == 0
    named_events = json.loads(capsys.readouterr().out)["populations"]["mine"]
    assert named_events == counts[["cluster_1", "cluster_2"]].to_numpy().sum()
    assert run(["batch", str(plate), "--model", str(named), "--out", str(mapped), "--quiet"]) == 0
    first = pd.read_csv(mapped / "wells" / "p1_A01" / "clusters.csv")
    assert first["population"].tolist()[:2] == ["mine", "mine"]
    assert pd.read_csv(mapped / "abundance.csv").set_index("sample").equals(counts)
    assert run(["report", str(named)]) == 2
    assert "holds the model of a batch under names" in capsys.readouterr().err
    assert run(["merge", str(mapped), "--map", str(tmp_path / "map.csv"), "--out", str(tmp_path / "x")]) == 2
    assert "mapped with the model of another run" in capsys.readouterr().err


def test_clusters_of_a_batch_are_cut_by_a_tree(pooled, tmp_path, capsys):
    assert run(["recut", str(pooled), "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert len(tree["tree"]) == tree["clusters"] - 1
    assert run(["recut", str(pooled), "--clusters", "3", "--out", str(tmp_path / "three"), "--json"]) == 0
    populations = json.loads(capsys.readouterr().out)["populations"]
    assert len(populations) == 3
    assert sum(populations.values()) == pd.read_csv(pooled / "abundance.csv")["events"].sum()


@pytest.mark.slow
def test_two_processes_give_the_same(pooled, plate, tmp_path):
    out = tmp_path / "out"
    assert run(["batch", str(plate), "--out", str(out), "--quiet", "--jobs", "2", *QUICK]) == 0
    assert contents(out) == contents(pooled)


def test_results_of_samples_that_a_resumed_batch_does_not_have_are_told(plate, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(plate, folder)
    arguments = ["batch", str(folder), "--out", str(out), *QUICK]
    assert run(arguments) == 0
    (folder / "p1_A02.fcs").unlink()
    (folder / "p1_A03.fcs").write_bytes(b"")
    capsys.readouterr()
    assert run([*arguments, "--resume"]) == 1
    said = capsys.readouterr().err
    assert f"in {out / 'wells'} p1_A02, p1_A03 are results of an earlier batch, and in no table of this one" in said


def test_a_sample_with_swapped_channels_is_told(plate, tmp_path, capsys):
    sample = read_fcs(plate / "p1_A01.fcs")
    channels = sample.var_names.get_indexer(["CD3", "CD20"])
    sample.X[:, channels] = sample.X[:, channels[::-1]]
    write_fcs(sample, tmp_path / "swapped.fcs")
    files = [str(plate / f"p1_A0{k}.fcs") for k in (2, 3, 4)]
    assert run(["batch", *files, str(tmp_path / "swapped.fcs"), "--out", str(tmp_path / "out"), *QUICK]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "lie far from those of the fit" in line)
    assert set(re.findall(r"(CD\d+) 0\.\d\d", line.split(": swapped (")[1])) == {"CD3", "CD20"}


def test_a_bad_file_is_reported_and_the_others_go_on(plate, tmp_path, capsys):
    folder = tmp_path / "in"
    shutil.copytree(plate, folder)
    (folder / "p1_B01.fcs").write_bytes(b"no FCS file at all")
    holes = read_fcs(folder / "p1_A02.fcs")
    holes.X[5, holes.var_names.get_loc("CD4")] = np.nan
    write_fcs(holes, folder / "p1_A02.fcs")
    out = tmp_path / "out"
    assert run(["batch", str(folder), "--out", str(out), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["samples"] == 3
    assert sorted(lines[-1]["failed"]) == ["p1_A02", "p1_B01"]
    failed = pd.read_csv(out / "failed.csv").set_index("sample")["reason"]
    assert "CD4 (1 NaN)" in failed["p1_A02"]
    assert pd.read_csv(out / "abundance.csv")["sample"].tolist() == ["p1_A01", "p1_A03", "p1_A04"]


def test_what_is_odd_about_the_events_of_all_samples_is_kept_through_a_resume(plate, tmp_path, capsys):
    """Events in two wells, and a marker that the detector cut off."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    first, second = read_fcs(plate / "p1_A01.fcs"), read_fcs(plate / "p1_A02.fcs")
    at = first.var_names.get_loc("CD4")
    second.X[:100] = first.X[:100]
    second.X[:, at] = np.minimum(second.X[:, at], np.quantile(second.X[:, at], 0.9))
    write_fcs(first, folder / "p1_A01.fcs")
    write_fcs(second, folder / "p1_A02.fcs")
    arguments = ["batch", str(folder), "--out", str(out)]
    assert run(arguments) == 0
    said = " ".join(capsys.readouterr().err.split())
    warnings = json.loads((out / "run.json").read_text())["warnings"]
    assert len(warnings) == 2
    assert "stand in more than one file, and count in each (p1_A01.fcs and p1_A02.fcs); leave out" in warnings[0]
    assert warnings[1].startswith("saturated: CD4 (10.0 % of the events at ")
    assert "in p1_A02.fcs" in warnings[1]
    assert all(warning in said for warning in warnings)
    (out / "run.json").unlink()
    assert run([*arguments, "--resume"]) == 0
    assert json.loads((out / "run.json").read_text())["warnings"] == warnings


def test_resume_does_only_what_is_missing_or_changed(pooled, plate, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(plate, folder)
    model = str(pooled / "model.cytomoe")
    arguments = ["batch", str(folder), "--model", model, "--out", str(out), "--json"]
    assert run(arguments) == 0
    capsys.readouterr()
    shutil.rmtree(out / "wells" / "p1_A03")
    write_fcs(read_fcs(folder / "p1_A04.fcs")[:700], folder / "p1_A04.fcs")
    assert run(arguments) == 2  # the folder exists
    assert "--resume" in capsys.readouterr().err
    assert run([*arguments, "--resume"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert {line["sample"]: line["reused"] for line in lines} == {
        "p1_A01": True, "p1_A02": True, "p1_A03": False, "p1_A04": False
    }  # fmt: skip
    assert pd.read_csv(out / "abundance.csv")["events"].tolist() == [800, 800, 800, 700]


def test_files_and_model_are_read_for_their_checksum_once(pooled, plate, tmp_path, monkeypatch):
    digest, summed = hashlib.file_digest, []

    def counted(file, algorithm):
        summed.append(Path(file.name).name)
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    model = pooled / "model.cytomoe"
    assert run(["batch", str(plate), "--model", str(model), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert sorted(summed) == sorted(["model.cytomoe", *(path.name for path in plate.iterdir())])
    for path in plate.iterdir():
        (entry,) = json.loads((tmp_path / "out" / "wells" / path.stem / "run.json").read_text())["inputs"]
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_panel_and_table_of_names_are_found_by_a_worker_in_another_folder(plate, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    shutil.copy(plate / "p1_A01.fcs", tmp_path / "in")
    (tmp_path / "panel.csv").write_text("marker\nCD3\nCD4\nCD20\n")
    (tmp_path / "table.csv").write_text("population,positive,negative\nT,CD3,\n")
    monkeypatch.chdir(tmp_path)

    def elsewhere(group):
        os.chdir("/")
        try:
            return run_group(group)
        finally:
            os.chdir(tmp_path)

    monkeypatch.setattr("cytomoe.runs.batch.run_group", elsewhere)
    arguments = ["batch", "in", "--per-sample", "--panel", "panel.csv", "--reference", "table.csv", "--out", "out"]
    assert run([*arguments, "--quiet", *QUICK]) == 0
    assert "T" in pd.read_csv("out/wells/p1_A01/clusters.csv")["population"].tolist()


def test_a_damaged_note_of_the_model_makes_the_model_again(pooled, plate, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(pooled, out)
    (out / "model.json").write_text("{")
    assert run(["batch", str(plate), "--out", str(out), "--resume", "--quiet", *QUICK]) == 0
    assert contents(out) == contents(pooled)
    assert "unusable" in json.loads((out / "model.json").read_text())


def test_a_folder_that_is_a_link_is_replaced_behind_it(pooled, plate, tmp_path):
    shutil.copytree(pooled, tmp_path / "real")
    (tmp_path / "real" / "old.txt").touch()
    (tmp_path / "link").symlink_to("real")
    assert run(["batch", str(plate), "--out", str(tmp_path / "link"), "--force", "--quiet", *QUICK]) == 0
    assert (tmp_path / "link").is_symlink()
    assert not (tmp_path / "real" / "old.txt").exists()
    assert contents(tmp_path / "real") == contents(pooled)


def test_killed_at_any_moment_a_resume_ends_the_same(pooled, plate, tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "cytomoe", "batch", str(plate), "--out", str(out), "--quiet", *QUICK]
    process = subprocess.Popen(arguments)
    deadline = time.monotonic() + 120
    while not list(out.glob("wells/p1_*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "run.json").exists()
    (out / "wells" / ".p1_A04.123-abcdef12").mkdir()  # as a killed run leaves it
    assert run([*arguments[3:], "--resume"]) == 0
    assert contents(out) == contents(pooled)
    assert not list((out / "wells").glob(".*"))


def test_a_full_disk_fails_one_well_and_leaves_nothing_half_done(pooled, plate, tmp_path, monkeypatch, capsys):
    from cytomoe.runs import outputs

    write = outputs.write_labels

    def full(folder, mapped):
        write(folder, mapped)
        if mapped.events.names == ["p1_A02.fcs"]:
            raise OSError(28, "No space left on device", str(folder / "labels.csv"))

    monkeypatch.setattr(outputs, "write_labels", full)
    arguments = ["batch", str(plate), "--out", str(tmp_path / "out"), "--quiet", *QUICK]
    assert run(arguments) == 1
    assert "no space is left on the disk" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob(".p1_A02*"))
    monkeypatch.setattr(outputs, "write_labels", write)
    assert run([*arguments, "--resume"]) == 0
    assert contents(tmp_path / "out") == contents(pooled)


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_loses_nothing(pooled, plate, tmp_path):
    """A real scheduler and two workers on loopback; one worker is killed when the first well is there."""
    address = tmp_path / "scheduler.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen(
        [*base, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address)],
        env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    worker = [
        sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address),
        "--host", "127.0.0.1", "--no-nanny", "--nthreads", "1", "--no-dashboard",
    ]  # fmt: skip
    workers = [subprocess.Popen(worker, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    out = tmp_path / "out"
    try:
        deadline = time.monotonic() + 60
        while not address.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        tcp = json.loads(address.read_text())["address"]
        assert tcp.startswith("tcp://127.0.0.1:")
        arguments = ["batch", str(plate), "--per-sample", "--out", str(out), "--scheduler", tcp]
        process = subprocess.Popen([sys.executable, "-m", "cytomoe", *arguments], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(out.glob("wells/*/run.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        workers[0].kill()
        assert process.wait(timeout=180) == 0
    finally:
        for child in [*workers, scheduler]:
            child.kill()
            child.wait()
    assert pd.read_csv(out / "abundance.csv")["events"].tolist() == [800] * 4
    alone = tmp_path / "alone"
    assert run(["batch", str(plate), "--per-sample", "--out", str(alone), "--quiet"]) == 0
    assert contents(out) == contents(alone)
    matching = pd.read_csv(out / "matching.csv")
    assert matching.groupby("sample")["plate_cluster"].nunique().equals(matching.groupby("sample").size())


def test_a_scheduler_that_is_not_there_is_one_line(plate, pooled, tmp_path, capsys, monkeypatch):
    import distributed

    def refuse(*_, **__):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    arguments = ["batch", str(plate), "--model", str(pooled / "model.cytomoe"), "--out", str(tmp_path / "o")]
    assert run([*arguments, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "no scheduler answers there" in capsys.readouterr().err


def test_a_worker_with_another_version_is_refused(plate, pooled, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cytomoe.runs.well_groups.__version__", "0.0.9")
    arguments = ["batch", str(plate), "--model", str(pooled / "model.cytomoe"), "--out", str(tmp_path / "o"), "--quiet"]
    assert run(arguments) == 1
    assert "p1_A01: the worker has cytomoe 0.0.9, and batch" in capsys.readouterr().err


def test_panels_that_differ_are_refused_with_a_table_or_reduced(plate, tmp_path, capsys):
    folder = tmp_path / "in"
    shutil.copytree(plate, folder)
    sample = read_fcs(folder / "p1_A02.fcs")
    write_fcs(sample[:, sample.var_names != "CD20"], folder / "p1_A02.fcs")
    arguments = ["batch", str(folder), "--out", str(tmp_path / "o"), *QUICK]
    assert run(arguments) == 2
    message = capsys.readouterr().err
    assert "p1_A02: lacks CD20" in message
    assert not (tmp_path / "o").exists()
    assert run([*arguments, "--markers", "type"]) == 2  # no names, so panels are to agree
    assert run([*arguments, "--panel-mismatch", "common", "--quiet"]) == 0
    assert "CD20" not in pd.read_csv(tmp_path / "o" / "medians.csv").columns
    skipping = ["batch", str(folder), "--out", str(tmp_path / "skip"), "--panel-mismatch", "skip", "--quiet", *QUICK]
    assert run(skipping) == 1
    failed = pd.read_csv(tmp_path / "skip" / "failed.csv")
    assert failed.values.tolist() == [["p1_A02", "its panel is not that of most files: it lacks CD20"]]


def test_a_second_batch_in_the_same_folder_is_refused(plate, pooled, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(pooled, out)
    with alone(out):
        assert run(["batch", str(plate), "--out", str(out), "--resume"]) == 2
    assert "another run is writing there" in capsys.readouterr().err


def test_files_that_lie_in_the_folder_to_be_replaced_are_kept(pooled, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(pooled, out)
    before = contents(out)
    inside = sorted(map(str, out.glob("wells/*/fcs/*.fcs")))
    assert run(["batch", *inside, "--out", str(out), "--force"]) == 2
    assert "is read, and --out" in capsys.readouterr().err
    assert contents(out) == before


def test_a_batch_without_a_readable_file_leaves_no_folder(tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["batch", str(tmp_path / "nothere"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "none of 1 sample can be read; the first, nothere: " in said
    assert not out.exists()


def test_a_folder_that_is_no_batch_is_never_replaced(plate, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run(["batch", str(plate), "--out", str(tmp_path), "--force"]) == 2
    assert (tmp_path / "thesis.txt").exists()


def test_samples_by_name_by_pattern_and_by_sheet(tmp_path):
    for name in ("exp_B7.fcs", "exp_A12.fcs", "notes.txt", "results/fcs/old_A01.fcs"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "results" / "run.json").touch()
    found = find_samples([tmp_path])
    assert [(s.name, s.plate, s.well) for s in found] == [("exp_A12", "exp", "A12"), ("exp_B7", "exp", "B07")]
    assert [s.name for s in find_samples([str(tmp_path / "exp_*.fcs")])] == ["exp_A12", "exp_B7"]
    by_pattern = find_samples([tmp_path], "{plate}_{well}.fcs")
    assert [s.name for s in by_pattern] == ["exp_A12", "exp_B07"]
    with pytest.raises(InputError, match="does not match --well-pattern"):
        find_samples([tmp_path], "{plate}-{well}.fcs")
    sheet = tmp_path / "samples.csv"
    sheet.write_text("file,sample,condition\nexp_B7.fcs,one,drug\nexp_A12.fcs,one,drug\n")
    (sample,) = find_samples([sheet])
    assert (sample.name, len(sample.paths), sample.fields) == ("one", 2, (("condition", "drug"),))
    sheet.write_text("Filename,sample\nexp_B7,one\n")
    assert find_samples([sheet])[0].paths == (tmp_path / "exp_B7.fcs",)
    sheet.write_text("file,sample,condition\nexp_B7.fcs,one,drug\nexp_A12.fcs,one,none\n")
    with pytest.raises(InputError, match="disagree"):
        find_samples([sheet])


def test_cluster_calls_the_sample_of_a_file_as_batch_does(tmp_path):
    paths = [tmp_path / name for name in ("exp_A01.fcs", "exp_A02.FCS.gz", "notes")]
    assert _sample_names([path.name for path in paths]) == [sample.name for sample in find_samples(paths)]
    assert _sample_names(["p1/a.fcs", "p2/a.fcs"]) == ["p1/a", "p2/a"]
    assert _sample_names(["a.fcs", "a.fcs.gz"]) == ["a.fcs", "a.fcs.gz"]  # else both were a


def test_sample_names_never_leave_the_folder_and_never_meet(tmp_path):
    (tmp_path / "sheet.csv").write_text("file,sample\na.fcs,../../etc\nb.fcs,etc\nc.fcs,ETC\n")
    names = [sample.name for sample in find_samples([tmp_path / "sheet.csv"])]
    assert len({name.casefold() for name in names}) == 3
    assert not any("/" in name or name.startswith(".") for name in names)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_samples_stand_in_the_order_of_their_numbers(tmp_path):
    touch(tmp_path, "s10.fcs", "s2.fcs", "s1.fcs", "s02.fcs", "p 10/x.fcs", "p 9/y.fcs", "s.fcs")
    names = [sample.paths[0].name for sample in find_samples([tmp_path])]
    assert names == ["y.fcs", "x.fcs", "s.fcs", "s1.fcs", "s02.fcs", "s2.fcs", "s10.fcs"]
    assert [s.name for s in find_samples([str(tmp_path / "s*.fcs")])] == ["s", "s1", "s02", "s2", "s10"]


@pytest.mark.parametrize("pattern", [None, "{well}.fcs"])
def test_wells_of_one_name_in_the_folders_of_two_plates_are_samples_of_their_own(pattern, tmp_path):
    touch(tmp_path, "plate 1/A01.fcs", "plate 1/A02.fcs", "plate 2/A01.fcs")
    found = find_samples([tmp_path], pattern)
    assert [(s.name, s.plate, s.well, len(s.paths)) for s in found] == [
        ("plate 1_A01", "plate 1", "A01", 1),
        ("plate 1_A02", "plate 1", "A02", 1),
        ("plate 2_A01", "plate 2", "A01", 1),
    ]


def test_folders_are_no_plates_where_their_files_are_called_differently(tmp_path):
    touch(tmp_path, "one/p1_A01.fcs", "two/p2_A01.fcs")
    assert [(s.name, s.plate) for s in find_samples([tmp_path])] == [("p1_A01", "p1"), ("p2_A01", "p2")]
    touch(tmp_path / "gates", "cd4/x_cd4_A01.fcs", "cd8/x_cd8_A01.fcs")
    (sample,) = find_samples([tmp_path / "gates"], "{plate}_{gate}_{well}.fcs")
    assert (sample.name, len(sample.paths)) == ("x_A01", 2)


def test_what_a_pattern_passes_over_does_not_join_the_wells_of_two_folders(tmp_path):
    touch(tmp_path, "p1/0103_A01.fcs", "p2/0203_A01.fcs")
    assert [s.name for s in find_samples([tmp_path], "{_date}_{well}.fcs")] == ["p1_A01", "p2_A01"]


def test_a_sheet_of_files_of_one_name_in_two_folders_has_two_samples(tmp_path):
    touch(tmp_path, "p1/A01.fcs", "p2/A01.fcs")
    (tmp_path / "sheet.csv").write_text("file,condition\np1/A01.fcs,x\np2/A01.fcs,x\n")
    found = find_samples([tmp_path / "sheet.csv"])
    assert [(s.name, s.plate, len(s.paths)) for s in found] == [("p1_A01", "p1", 1), ("p2_A01", "p2", 1)]


def test_samples_keep_their_names_where_a_folder_can_be_called_so(tmp_path):
    names = ["Müller, Jörg (1)", "a b", "a_b", "=x", "5;5"]
    touch(tmp_path, *(f"{name}.fcs" for name in names))
    assert {s.name: s.paths[0].stem for s in find_samples([tmp_path])} == {name: name for name in names}


def test_names_that_only_differ_in_what_a_folder_can_not_be_called_are_numbered(tmp_path):
    (tmp_path / "sheet.csv").write_text("file,sample\n1.fcs,a/b\n2.fcs,a_b\n3.fcs,A_B\n4.fcs,a_b.2\n")
    found = {s.name: s.paths[0].stem for s in find_samples([tmp_path / "sheet.csv"])}
    assert found == {"a_b": "2", "A_B.3": "3", "a_b.2": "4", "a_b.4": "1"}


def test_compare_finds_the_samples_of_a_sheet_by_the_names_that_it_has(plate, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    rows = []
    for k, name in enumerate(["Pat 1/pre", "Größe 5,5", "a b", "a_b"], start=1):
        shutil.copy(plate / f"p1_A0{k}.fcs", folder / f"{k}.fcs")
        rows.append(f'{k}.fcs,"{name}",{"xy"[k % 2]}')
    (folder / "sheet.csv").write_text("file,sample,arm\n" + "\n".join(rows) + "\n")
    out = str(tmp_path / "out")
    assert run(["batch", str(folder / "sheet.csv"), "--out", out, "--quiet", "--subsample", "800"]) == 0
    names = pd.read_csv(tmp_path / "out" / "abundance.csv")["sample"].tolist()
    assert names == ["Pat 1_pre", "Größe 5,5", "a b", "a_b"]
    arguments = ["--by", "arm", "--samples", str(folder / "sheet.csv"), "--out", str(tmp_path / "x")]
    assert run(["compare", out, *arguments]) == 0
    found = json.loads((tmp_path / "x" / "comparison.json").read_text())["samples"]
    assert found == dict(zip(names, "yxyx", strict=True))


def test_the_terminal_gives_shares_of_all_events_and_those_without_a_cluster(plate, tmp_path, capsys):
    out = tmp_path / "out"
    wells = sorted(map(str, plate.glob("*.fcs")))[:2]
    assert run(["batch", *wells, "--out", str(out), "--subsample", "800", "--unassigned"]) == 0
    said = capsys.readouterr().out
    abundance = pd.read_csv(out / "abundance.csv")
    without, events = abundance["unassigned"].sum(), abundance["events"].sum()
    assert without > 0
    assert f"    0 {without:>10,} {percent(without / events):>7}  unassigned\n" in said
    first = abundance["cluster_1"].sum()
    assert f"    1 {first:>10,} {percent(first / events):>7} " in said


def test_a_sheet_with_a_column_of_ours_or_without_a_file_is_refused(tmp_path):
    sheet = tmp_path / "sheet.csv"
    for column in ("events", "cluster_1", "unassigned", "stability", "plate_cluster"):
        sheet.write_text(f"file,sample,{column}\na.fcs,one,good\n")
        with pytest.raises(InputError, match=f"the column {column} is written by cytomoe"):
            find_samples([sheet])
    sheet.write_text("file,sample\na.fcs,one\n,two\n")
    with pytest.raises(InputError, match=r"sheet\.csv, line 3: names no file"):
        find_samples([sheet])


def test_wells_that_spell_their_markers_differently_are_matched(plate, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(plate / "p1_A01.fcs", folder)
    sample = read_fcs(plate / "p1_A02.fcs")
    spelt = {"HLA-DR": "HLADR", "CD3": "cd3"}
    sample.var["antigen"] = [spelt.get(antigen, antigen) for antigen in sample.var["antigen"]]
    write_fcs(sample[:, ::-1], folder / "p1_A02.fcs")
    out = tmp_path / "out"
    assert run(["batch", str(folder), "--per-sample", "--out", str(out), "--quiet", *QUICK]) == 0
    columns = pd.read_csv(out / "medians.csv").columns
    assert {"HLA-DR", "CD3"} <= set(columns)
    assert not {"HLADR", "cd3"} & set(columns)
    matching = pd.read_csv(out / "matching.csv")
    assert set(matching["plate_cluster"][matching["sample"] == "p1_A01"]) & set(
        matching["plate_cluster"][matching["sample"] == "p1_A02"]
    )
    assert pd.read_csv(out / "abundance.csv")["events"].tolist() == [800, 800]


def test_clusters_are_matched_by_their_medians():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 4, (6, 10))

    def table(populations):
        medians = centres[populations] + rng.normal(0, 0.1, (len(populations), 10))
        numbers = pd.DataFrame({"cluster": range(1, len(populations) + 1), "events": 100, "fraction": 0.1})
        return pd.concat([numbers, pd.DataFrame(medians, columns=list("abcdefghij"))], axis=1)

    truth = {"x": [0, 1, 2, 3], "y": [3, 2, 1, 0, 4], "z": [5, 1]}
    matching = match_clusters({name: table(populations) for name, populations in truth.items()})
    matching["truth"] = [truth[row.sample][row.cluster - 1] for row in matching.itertuples(index=False)]
    assert (matching.groupby("truth")["plate_cluster"].nunique() == 1).all()
    assert (matching.groupby("plate_cluster")["truth"].nunique() == 1).all()
    assert matching["sample"].tolist() == ["x"] * 4 + ["y"] * 5 + ["z"] * 2


@pytest.fixture(scope="module")
def nine(tmp_path_factory):
    """Nine wells of 400 events, which make groups of two and one of one."""
    folder = tmp_path_factory.mktemp("nine") / "p2"
    folder.mkdir()
    for well, sample in simulate_plate(5, wells=9, events=400).items():
        write_fcs(sample, folder / f"p2_{well}.fcs")
    return folder


def test_models_of_their_own_are_stacked_and_one_bad_well_hurts_no_other(nine, tmp_path, monkeypatch, capsys):
    from cytomoe.runs import outputs
    from cytomoe.training import stacked

    folder, out, sizes = tmp_path / "in", tmp_path / "out", []
    shutil.copytree(nine, folder)
    (folder / "p2_A03.fcs").write_bytes((folder / "p2_A03.fcs").read_bytes()[:5000])
    holes = read_fcs(folder / "p2_A05.fcs")
    holes.X[5, holes.var_names.get_loc("CD4")] = np.nan
    write_fcs(holes, folder / "p2_A05.fcs")
    train, write = stacked.train_stacked, outputs.write_labels
    monkeypatch.setattr(stacked, "train_stacked", lambda ls, *a, **b: sizes.append(len(ls)) or train(ls, *a, **b))
    arguments = ["batch", str(folder), "--per-sample", "--out", str(out), "--quiet"]
    assert run(arguments) == 1
    assert sizes == [2, 1, 2, 2]  # A03 can't be opened, and makes no group; A05 leaves A06 alone
    failed = pd.read_csv(out / "failed.csv").set_index("sample")["reason"]
    assert failed.index.tolist() == ["p2_A03", "p2_A05"]
    assert "CD4 (1 NaN)" in failed["p2_A05"]
    before = contents(out)

    def full(folder, mapped):
        write(folder, mapped)
        if mapped.events.names == ["p2_A02.fcs"]:
            raise OSError(28, "No space left on device", str(folder / "labels.csv"))

    shutil.rmtree(out / "wells" / "p2_A02")
    monkeypatch.setattr(outputs, "write_labels", full)
    sizes.clear()
    capsys.readouterr()
    assert run([*arguments, "--resume"]) == 1
    assert "p2_A02" in capsys.readouterr().err
    monkeypatch.setattr(outputs, "write_labels", write)
    assert run([*arguments, "--resume"]) == 1
    assert sizes == [2, 2]  # A01 is trained once more, since a stack is whole; A06 is not, since A05 can't be
    assert contents(out) == before


def test_of_panels_that_differ_in_many_markers_a_few_are_named():
    panels = {"a": {"cd3": "CD3"}, "b": {"cd3": "CD3"} | {f"m{i:02}": f"M{i:02}" for i in range(30)}}
    told = _difference(frozenset(panels["b"]), frozenset(panels["a"]), panels)
    assert told.startswith("adds M00, M01, ")
    assert told.endswith(", M11 and 18 more")
