"""`batch --upload`: workers that can't see the files receive them, and what comes back is what would be made here.

The workers run in a mount namespace of their own, in which the folder of files, model and results is empty. What is
packed, moved and kept is tested without any, in this process.
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.errors import InputError
from cytomoe.io import write_fcs
from cytomoe.runs import upload
from cytomoe.runs.gating import GateSource
from cytomoe.runs.inputs import sha256
from cytomoe.runs.orders import ClusterJob, PredictJob, PreprocessingChoice
from cytomoe.runs.well_groups import WellGroup, attempt, run_group
from cytomoe.runs.wells import WellResult, WellTask

ALONE = ["unshare", "--map-root-user", "--mount"]
WELLS = 8
WITH_TIMES_OR_COMMANDS = ("run.json", "batch.json", "report.html")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Folder that no worker sees, with eight small wells, a panel and a reference."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "p1").mkdir()
    for well, sample in simulate_plate(3, wells=WELLS, events=500).items():
        write_fcs(sample, folder / "p1" / f"p1_{well}.fcs")
    markers = ["CD3", "CD4", "CD7", "CD14", "CD20", "CD33", "CD45", "CD123", "HLA-DR", "IgM"]
    pd.DataFrame({"marker": markers, "use": 1}).to_csv(folder / "panel.csv", index=False)
    pd.DataFrame({"population": ["B cells", "rest"], "positive": ["CD20", "CD45"], "negative": ["CD3", "CD20"]}).to_csv(
        folder / "table.csv", index=False
    )
    return folder


@contextmanager
def workers(hidden, folder, *options):
    """Address of a scheduler, and its two worker processes, for which a folder is empty."""
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine gives processes no view of their own of the files (unshare --mount)")
    note, elsewhere = folder / "scheduler.json", folder / "elsewhere"
    elsewhere.mkdir()
    quiet = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "cwd": elsewhere, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m"]
    common = ["--scheduler-file", str(note), "--host", "127.0.0.1", "--no-dashboard"]
    blind = [*ALONE, "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(hidden), *dask]
    commands = [[*dask, "distributed.cli.dask_scheduler", *common, "--port", "0"]]
    commands += [[*blind, "distributed.cli.dask_worker", *common, "--no-nanny", "--nthreads", "1", *options]] * 2
    started = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        deadline = time.monotonic() + 60
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield json.loads(note.read_text())["address"], started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert not [path for path in elsewhere.rglob("cytomoe-*") if path.is_dir()]


def contents(folder):
    """Checksum of every result but those with times or the command in them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in WITH_TIMES_OR_COMMANDS)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_workers_that_see_no_file_are_sent_them_and_one_is_killed(here, tmp_path):
    choices = ["--panel", str(here / "panel.csv"), "--reference", str(here / "table.csv"), "--per-sample"]
    arguments = ["batch", str(here / "p1"), *choices, "--quiet", "--out"]
    out, alone = here / "uploaded", tmp_path / "alone"
    with workers(here, tmp_path) as (address, processes):
        assert run([*arguments, str(here / "blind"), "--scheduler", address]) == 1
        assert pd.read_csv(here / "blind" / "failed.csv")["reason"].str.contains("no such file").sum() == WELLS
        process = subprocess.Popen(
            [sys.executable, "-m", "cytomoe", *arguments, str(out), "--scheduler", address, "--upload"]
        )
        deadline = time.monotonic() + 120
        while not list(out.glob("wells/*/run.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        processes[0].kill()
        assert process.wait(timeout=180) == 0
    assert run([*arguments, str(alone)]) == 0
    assert contents(out) == contents(alone)
    for well in json.loads((alone / "run.json").read_text())["samples"]:
        ours, theirs = (json.loads((folder / "wells" / well / "run.json").read_text()) for folder in (out, alone))
        assert ours["key"] == theirs["key"]
        assert ours["inputs"] == theirs["inputs"]
        assert ours["warnings"] == theirs["warnings"]


@pytest.mark.slow
def test_what_is_sent_is_mapped_as_here_and_what_is_wrong_is_said_of_the_file_here(here, example_run, tmp_path, capsys):
    folder, model = here / "in", here / "model.cytomoe"
    shutil.copytree(here / "p1", folder, ignore=lambda _, names: sorted(names)[3:])
    shutil.copy(example_run / "model.cytomoe", model)
    broken = folder / "p1_A02.fcs"
    broken.write_bytes(broken.read_bytes()[:-4000])
    arguments = ["batch", str(folder), "--model", str(model), "--out"]
    out, alone = here / "mapped", tmp_path / "alone"
    with workers(here, tmp_path) as (address, _):
        sent = [*arguments, str(out), "--scheduler", address, "--upload", "--resume", "--json"]
        assert run(sent) == run([*arguments, str(alone), "--quiet"]) == 1
        assert contents(out) == contents(alone)
        manifest = json.loads((out / "wells" / "p1_A01" / "run.json").read_text())
        assert manifest["model"]["path"] == str(model)
        shutil.rmtree(out / "wells" / "p1_A03")
        capsys.readouterr()
        assert run(sent) == 1
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {line["sample"]: line["reused"] for line in told[:-1]} == {
            "p1_A01": True, "p1_A02": False, "p1_A03": False,
        }  # fmt: skip
        assert contents(out) == contents(alone)


@pytest.mark.slow
def test_a_file_that_a_worker_has_no_memory_for_is_refused_in_a_line(here, example_run, tmp_path, capsys):
    shutil.copy(example_run / "model.cytomoe", here / "small.cytomoe")
    arguments = ["batch", str(here / "p1"), "--model", str(here / "small.cytomoe"), "--out", str(here / "small")]
    with workers(here, tmp_path, "--memory-limit", "400MB") as (address, _):
        assert run([*arguments, "--scheduler", address, "--upload", "--quiet"]) == 1
    assert "GB of memory are needed to receive and work on it, and a worker has 0.4 GB" in capsys.readouterr().err
    assert len(pd.read_csv(here / "small" / "failed.csv")) == WELLS


def test_there_is_nobody_to_upload_to_without_a_scheduler(here, tmp_path, capsys):
    assert run(["batch", str(here / "p1"), "--out", str(tmp_path / "out"), "--upload"]) == 2
    assert "--scheduler" in capsys.readouterr().err


# ------------------------------------------------------------------ without workers


@pytest.fixture
def task(small_plate, finished, tmp_path):
    """A small well to be mapped into a folder that is not there yet."""
    job = PredictJob((small_plate[0],), tmp_path / "here" / "A01", model=finished / "model.cytomoe", report=False)
    return WellTask("A01", job, "key", [sha256(small_plate[0])])


@pytest.fixture
def linked(tmp_path, monkeypatch):
    """Folder of a worker, which it knows by a link, as it is where /tmp is one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(local_directory=str(tmp_path / "link")))
    return folder


def test_what_was_worked_on_elsewhere_is_kept_as_if_it_were_made_here(task, linked, tmp_path):
    returned = upload.work_on(upload.pack(WellGroup((task,)), None))
    assert not list(linked.iterdir())
    assert not task.job.out.exists()
    result = upload.keep(task, returned, 0)
    assert result.events == 800
    alone = replace(task, job=replace(task.job, out=tmp_path / "alone"))
    (wanted,) = run_group(WellGroup((alone,)))
    assert (result.events, result.clusters) == (wanted.events, wanted.clusters)
    assert contents(task.job.out) == contents(alone.job.out)
    ours, theirs = (json.loads((folder / "run.json").read_text()) for folder in (task.job.out, alone.job.out))
    for changing in ("finished", "seconds"):
        del ours[changing], theirs[changing]
    assert ours == theirs


@pytest.mark.parametrize("how", ["problem", "error of one sample", "error of all"])
def test_no_path_of_the_worker_is_told(how, task, linked, monkeypatch):
    def fail(group, done):
        file = group.tasks[0].job.files[0]
        message = f"{file} and {file.resolve()} are odd"
        if how == "error of all":
            raise ValueError(message)
        return [WellResult(problem=message) if how == "problem" else ValueError(message)]

    monkeypatch.setattr(upload, "run_group", fail)
    parcel = upload.pack(WellGroup((task,)), None)
    outcome = attempt(lambda: upload.keep(task, upload.work_on(parcel), 0))
    said = outcome.problem if how == "problem" else str(outcome)
    assert said == "{0} and {0} are odd".format(*task.job.files)
    assert isinstance(outcome, WellResult if how == "problem" else ValueError)


def test_a_worker_without_room_for_the_files_says_so_of_each_sample(task, linked, monkeypatch):
    parcel = upload.pack(WellGroup((task, replace(task, name="again"))), None)

    def fill(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    returned = upload.work_on(parcel)
    for number in (0, 1):
        result = upload.keep(task, returned, number)
        assert "can't keep the file (No space left on device)" in result.problem


def test_results_of_another_file_are_not_kept(task, linked):
    returned = upload.work_on(upload.pack(WellGroup((task,)), None))
    outcome = attempt(upload.keep, replace(task, sums=["0" * 64]), returned, 0)
    assert outcome == WellResult(problem="its files have changed while they were sent; --resume does it again")
    assert not task.job.out.exists()


@pytest.mark.parametrize("table", ["given", "pbmc", None])
def test_all_that_a_run_reads_is_packed_and_found_below_the_folder_of_the_worker(table, small_plate, tmp_path):
    panel, given = tmp_path / "panel.csv", tmp_path / "table.csv"
    panel.write_text("marker\nCD3\n")
    given.write_text("population,positive,negative\nT,CD3,\n")
    choice = PreprocessingChoice(panel=panel)
    reference = str(given) if table == "given" else table
    names = tmp_path / "names.csv"
    names.write_text("gate,name\n1,T\n")
    gates = GateSource(channel="gate", names=names)
    out = tmp_path / "out"
    job = ClusterJob(small_plate, out, preprocessing=choice, reference=reference, gates=gates, known=("a checksum",))
    parcel = upload.pack(WellGroup((WellTask("both", job, "key", ["", ""]),)), None)
    read = [*small_plate, panel, *([given] if table == "given" else []), names]
    assert parcel.files == {path: path.read_bytes() for path in read}
    assert parcel.done == [None]
    moved = upload.moved(job, Path("/w/in"), Path("/w/out"))
    assert moved.out == Path("/w/out/out")
    assert moved.known == ()
    there = [*moved.files, moved.preprocessing.panel, *([Path(moved.reference)] if table == "given" else [])]
    there.append(moved.gates.names)
    assert [str(path) for path in there] == [f"/w/in{path}" for path in read]
    back = {"files": job.files, "out": job.out, "known": job.known, "preprocessing": choice, "reference": reference}
    back["gates"] = gates
    assert replace(moved, **back) == job


def test_what_can_not_be_sent_is_refused_in_one_line(task, tmp_path):
    def packed(limit=None, **changes):
        return upload.pack(WellGroup((replace(task, job=replace(task.job, **changes)),)), limit)

    with pytest.raises(InputError, match="two files of A01 have the same name"):
        packed(files=[*task.job.files, tmp_path / task.job.files[0].name])
    with pytest.raises(InputError, match=r"no\.cytomoe: can't be read"):
        packed(model=tmp_path / "no.cytomoe")
    with pytest.raises(InputError, match=r"GB of memory are needed .* a worker has 0\.1 GB"):
        packed(limit=10**8)
