"""A batch on several processes and machines: certificates asked for, and a worker killed while it writes."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import psutil
import pytest
from distributed import LocalCluster

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.io import write_fcs
from cytomoe.plates.engine import Engine, run_tasks

WELLS = 4


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Four wells of 3,000 events."""
    folder = tmp_path_factory.mktemp("input") / "p1"
    folder.mkdir()
    for well, sample in simulate_plate(3, wells=WELLS, events=3000).items():
        write_fcs(sample, folder / f"p1_{well}.fcs")
    return folder


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path / "tls")


def make_certificate(folder):
    """A certificate that vouches for itself, and its key: for this machine alone, and a day."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not here")
    folder.mkdir()
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    named = ["-subj", "/CN=cytomoe", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(["openssl", *made, *named, *files], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def secured(folder, certificate):
    """Address and process of a scheduler, with one worker; they talk by TLS alone."""
    cert, key = map(str, certificate)
    tls = ["--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key, "--host", "tls://127.0.0.1", "--no-dashboard"]
    note = folder / "scheduler.json"
    options = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "stderr": subprocess.DEVNULL}
    own = {"scheduler": ["--port", "0"], "worker": ["--no-nanny", "--nthreads", "1"]}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *tls, "--scheduler-file", str(note), *more],
            **options,
        )
        for name, more in own.items()
    ]
    try:
        deadline = time.monotonic() + 60
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield json.loads(note.read_text())["address"], started[0]
    finally:
        for process in started:
            process.kill()
            process.wait()


def one_line(capsys):
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.slow
def test_a_scheduler_with_certificates_serves_those_who_have_one(
    small_plate, example_run, certificate, tmp_path, monkeypatch, capsys
):
    cert, key = map(str, certificate)
    arguments = ["batch", str(small_plate[0].parent), "--model", str(example_run / "model.cytomoe"), "--quiet"]
    with secured(tmp_path, certificate) as (address, _):
        assert address.startswith("tls://127.0.0.1:")
        arguments += ["--scheduler", address, "--out"]
        assert run([*arguments, str(tmp_path / "a")]) == 2
        assert "give --tls-ca, --tls-cert and --tls-key" in one_line(capsys)
        other, other_key = map(str, make_certificate(tmp_path / "stranger"))
        strange = ["--tls-ca", cert, "--tls-cert", other, "--tls-key"]
        assert run([*arguments, str(tmp_path / "a"), *strange, key]) == 2
        assert "the certificates can't be used" in one_line(capsys)
        assert run([*arguments, str(tmp_path / "a"), *strange, other_key]) == 2
        assert "no scheduler answers there" in one_line(capsys)
        assert not (tmp_path / "a").exists()
        assert run([*arguments, str(tmp_path / "a"), "--tls-ca", cert, "--tls-cert", cert, "--tls-key", key]) == 0
        for name, value in {"CA_FILE": cert, "CLIENT__CERT": cert, "CLIENT__KEY": key}.items():
            monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", value)
        own = [sys.executable, "-m", "cytomoe", *arguments, str(tmp_path / "b")]
        assert subprocess.run(own, check=False).returncode == 0
    for out in ("a", "b"):
        assert pd.read_csv(tmp_path / out / "abundance.csv")["events"].tolist() == [800, 800]


@dataclass(frozen=True)
class Task:
    key: str


def memory_settings(task):
    return sorted(name for name in os.environ if name.startswith("MALLOC_"))


def test_workers_of_jobs_hand_memory_back_as_other_processes_do():
    """Dask's own setting takes a plate of wells twice the time."""
    found = [outcome for _, outcome in run_tasks(memory_settings, [Task("a"), Task("b")], Engine(jobs=2))]
    assert found == [memory_settings(None)] * 2


@pytest.mark.slow
def test_a_worker_of_jobs_killed_while_it_writes_loses_nothing(plate, example_run, tmp_path):
    out = tmp_path / "out"
    arguments = ["batch", str(plate), "--model", str(example_run / "model.cytomoe"), "--quiet", "--out"]
    process = psutil.Popen([sys.executable, "-m", "cytomoe", *arguments, str(out), "--jobs", "2"])
    killed, deadline = None, time.monotonic() + 120
    while killed is None and process.poll() is None and time.monotonic() < deadline:
        for half in out.glob("wells/.*.*-*/"):  # .SAMPLE.PROCESS-DIGITS
            number = int(half.name.rsplit(".", 1)[1].split("-")[0])
            (killed,) = (child for child in process.children(recursive=True) if child.pid == number)
            killed.kill()
            break
        time.sleep(0.002)
    assert killed is not None
    assert process.wait(timeout=180) == 0
    assert pd.read_csv(out / "abundance.csv")["events"].tolist() == [3000] * WELLS
    assert not list((out / "wells").glob(".*"))
    assert run([*arguments, str(tmp_path / "alone")]) == 0
    for table in ("abundance.csv", *(f"wells/p1_A0{well}/labels.csv" for well in range(1, WELLS + 1))):
        assert (out / table).read_bytes() == (tmp_path / "alone" / table).read_bytes()


@pytest.mark.slow
def test_a_batch_whose_scheduler_dies_ends_and_is_resumed(plate, example_run, certificate, tmp_path):
    out, (cert, key) = tmp_path / "out", map(str, certificate)
    arguments = ["batch", str(plate), "--model", str(example_run / "model.cytomoe"), "--quiet", "--out", str(out)]
    with secured(tmp_path, certificate) as (address, scheduler):
        there = ["--scheduler", address, "--tls-ca", cert, "--tls-cert", cert, "--tls-key", key]
        process = subprocess.Popen(
            [sys.executable, "-m", "cytomoe", *arguments, *there], stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 120
        while not list(out.glob("wells/*/run.json")) and time.monotonic() < deadline:
            time.sleep(0.002)
        scheduler.kill()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "the scheduler is gone" in said
    done = len(list(out.glob("wells/*/run.json")))
    assert 1 <= done < WELLS
    assert run([*arguments, "--resume"]) == 0
    assert pd.read_csv(out / "abundance.csv")["events"].tolist() == [3000] * WELLS


@pytest.fixture
def scheduler(monkeypatch):
    """A scheduler in this process, which has no workers yet; whether it has some is looked at often."""
    monkeypatch.setattr("cytomoe.plates.engine._LOOK", 0.02)
    monkeypatch.setattr("cytomoe.plates.engine._PATIENCE", 0.2)
    alone = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(**alone, host="127.0.0.1", protocol="tcp://", silence_logs=50) as cluster:
        yield cluster


def test_a_scheduler_without_workers_is_said_at_once_and_again(scheduler):
    said = []

    def say(line):
        said.append(line)
        if len(said) == 3:
            scheduler.scale(1)

    tasks, engine = [Task("a"), Task("b")], Engine(scheduler=scheduler.scheduler_address)
    assert len(list(run_tasks(memory_settings, tasks, engine, say=say))) == 2
    address = re.escape(scheduler.scheduler_address)
    assert re.fullmatch(f"no worker is connected to {address} yet; the samples wait for one", said[0])
    later = rf"no worker at {address} for \d+ s; the samples that are left wait for one"
    assert all(re.fullmatch(later, line) for line in said[1:])


def test_a_scheduler_that_lost_its_workers_is_said(scheduler):
    scheduler.scale(1)
    scheduler.wait_for_workers(1)
    said = []

    def say(line):
        said.append(line)
        scheduler.scale(1)

    outcomes = run_tasks(
        memory_settings, [Task("a"), Task("b")], Engine(scheduler=scheduler.scheduler_address), say=say
    )
    next(outcomes)
    assert said == []
    scheduler.scale(0)
    deadline = time.monotonic() + 30
    while not said and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "the samples that are left wait for one" in said[0]
    outcomes.close()
