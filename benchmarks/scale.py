"""Time and memory of whole processes over the number of cells, cytomoe beside its peers on the same simulated files.

Run with ``python benchmarks/scale.py --all``, or choose with ``--cells 100000,1000000 --methods cytomoe,flowsom``. Each
run is a process of its own that reads FCS files of 32 markers and ends with labels on disk. Wall time, processor time
(all threads, and processes that it starts) and peak memory are those that the operating system counted for it. The
table and the plot go to docs/results (``--out``) after every run, with the load of the machine: on a machine that has
other work, processor time says more than wall time. What was stopped goes on with ``--resume``, which keeps the rows
that are there; ``--files DIR`` keeps the simulated files for another time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

MARKERS, POPULATIONS = 32, 24
EVENTS_PER_FILE = 500_000
FILES_AT_LEAST = 10
RESULTS = Path(__file__).parent.parent / "docs" / "results"
# What --all runs: first what matters most, so that it can be stopped at any time.
ALL = (
    *(("cytomoe", 1_000_000), ("cytomoe", 265_000), ("flowsom", 265_000), ("cytomoe", 100_000), ("flowsom", 1_000_000)),
    *(("flowsom", 100_000), ("cytomoe", 30_000), ("flowsom", 30_000), ("phenograph", 30_000), ("parc", 30_000)),
    *(("cytomoe", 5_000_000), ("cytomoe", 20_000_000), ("parc", 100_000), ("phenograph", 100_000)),
)
LIMITS = {"cytomoe": 20_000_000, "flowsom": 1_000_000, "phenograph": 100_000, "parc": 100_000}
COLUMNS = ("method", "cells", "seconds", "processor_seconds", "peak_gb", "clusters", "f_measure", "mean_f1", "load")


def populations() -> tuple[np.ndarray, np.ndarray]:
    """Shares (populations,) from 25 % down to 0.3 %, and levels (populations, markers) on the arcsinh scale."""
    rng = np.random.default_rng(0)
    share = np.geomspace(0.25, 0.003, POPULATIONS)
    carried = rng.random((POPULATIONS, MARKERS))
    level = np.where(carried < 0.35, rng.uniform(2.5, 5.5, carried.shape), 0.0)
    return share / share.sum(), np.where(carried > 0.9, rng.uniform(1.2, 2.2, carried.shape), level)


def simulate(cells: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw values (cells, markers) as a mass cytometer gives them, and the population (cells,) of each, from 1."""
    share, level = populations()
    rng = np.random.default_rng(seed)
    population = rng.choice(POPULATIONS, size=cells, p=share)
    signal = level[population]
    signal = np.maximum(signal + 0.45 * rng.standard_normal(signal.shape) * (signal > 0), 0)
    noise = rng.normal(0, 1.5, signal.shape) + rng.exponential(1.5, signal.shape) - 1
    return (5 * np.sinh(signal) + noise).astype(np.float32), population + 1


def write_files(folder: Path, cells: int) -> None:
    """Write the cells as FCS files with the channels Time, 32 markers and ``gate``, the population."""
    import pandas as pd
    from anndata import AnnData

    from cytomoe.io import write_fcs

    n_files = max(FILES_AT_LEAST, -(-cells // EVENTS_PER_FILE))
    names = ["Time", *(f"M{i}" for i in range(1, MARKERS + 1)), "gate"]
    var = pd.DataFrame({"channel": names, "antigen": names, "range": 1e4}, index=names)
    for i in range(n_files):
        n = cells // n_files
        raw, population = simulate(n, seed=i + 1)
        values = np.column_stack([np.arange(n) % (1 << 20), raw, population]).astype(np.float32)
        sample = AnnData(values, var=var, uns={"fcs": {"keywords": {"$CYT": "CyTOF (simulated)"}}})
        write_fcs(sample, folder / f"cells_{i:03d}.fcs")


def run_peer(method: str, folder: Path, out: Path) -> None:
    """What a user's script with the peer's package does: read, transform, cluster, write labels."""
    from cytomoe.benchmarks import baselines
    from cytomoe.io import read_fcs

    names = [f"M{i}" for i in range(1, MARKERS + 1)]
    values = np.concatenate([np.asarray(read_fcs(path)[:, names].X) for path in sorted(folder.glob("*.fcs"))])
    # FlowSOM's own number of passes: more of them find better clusters of few cells, and take as many times as long.
    options = {"passes": 10} if method == "flowsom" else {}
    np.save(out, getattr(baselines, method)(np.arcsinh(values / np.float32(5)), seed=0, **options) + 1)


def measure(method: str, folder: Path, work: Path) -> dict[str, float]:
    """Run one method in a process of its own; seconds and memory as the operating system counts them."""
    from cytomoe.benchmarks.workers import MemoryWatch

    shutil.rmtree(work, ignore_errors=True)
    if method == "cytomoe":
        files = [str(path) for path in sorted(folder.glob("*.fcs"))]
        command = ["-m", "cytomoe", "cluster", *files, "--out", str(work), "--no-report", "--quiet"]
    else:
        work.mkdir()
        command = [__file__, "--peer", method, str(folder), str(work / "labels.npy")]
    load, started = os.getloadavg()[0], time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    watch = MemoryWatch(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    own_peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{method} failed on {folder}")
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(max(own_peak, watch.peak) / 1e9, 2),
        "load": round(load, 1),
    }


def quality(method: str, folder: Path, work: Path) -> dict[str, float]:
    """Both measures of the labels against the simulated populations."""
    import pyarrow.parquet as pq

    from cytomoe.io import read_fcs
    from cytomoe.metrics import Contingency

    gates = np.concatenate([np.asarray(read_fcs(p)[:, "gate"].X)[:, 0] for p in sorted(folder.glob("*.fcs"))])
    if method == "cytomoe":
        labels = pq.read_table(work / "labels.parquet", columns=["cluster"])["cluster"].to_numpy()
    else:
        labels = np.load(work / "labels.npy")
    table = Contingency.of(gates.astype(np.int64) - 1, labels)
    found = len(np.unique(labels))
    return {"clusters": found, "f_measure": round(table.f_measure(), 3), "mean_f1": round(table.mean_f1(), 3)}


def in_own_process(task: str, *arguments: str) -> str:
    """Do a task apart: a child's peak memory starts at that of its parent, which therefore must stay small."""
    command = [sys.executable, __file__, f"--{task}", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_report(rows: list[dict[str, object]], out: Path) -> None:
    """Write the table as Markdown and CSV, and the plot."""
    import matplotlib as mpl
    import pandas as pd

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(["cells", "method"])
    table.to_csv(out / "scale.csv", index=False)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    heading = (
        "# Time and memory over the number of cells\n\n"
        f"Whole processes, FCS files in, labels on disk; {MARKERS} markers, {POPULATIONS} simulated populations, "
        f"{os.cpu_count()} cores ({os.environ.get('OMP_NUM_THREADS', 'all')} used by each library), no GPU, "
        f"{date.today().isoformat()}. Peak memory of a process and of those that it starts, as the operating system "
        "counted it. `load` is the load of the machine when the run began: above the number of cores its seconds are "
        "not those of a quiet machine, and `processor_seconds` (all threads and processes) compare better. These "
        "populations lie far apart: they show time and memory, not how well real ones are told apart. "
        "FlowSOM makes its default of 10 passes here.\n\n"
        "Made by `python benchmarks/scale.py`; what is not in the table has not been measured.\n\n"
    )
    (out / "scale.md").write_text(heading + "\n".join(lines) + "\n\n![scale](scale.svg)\n", encoding="utf-8")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, column in zip(axes, ("seconds", "peak_gb"), strict=True):
        for method, part in table.groupby("method"):
            axis.plot(part["cells"], part[column], marker="o", label=method)
        axis.set(xscale="log", yscale="log", xlabel="cells", ylabel=column.replace("_", " "))
    axes[0].legend()
    figure.savefig(out / "scale.svg", metadata={"Date": None})


def plan(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    """Method and cells of each run, in order."""
    if arguments.all:
        return list(ALL)
    sizes, methods = map(int, arguments.cells.split(",")), arguments.methods.split(",")
    return [(method, cells) for cells in sizes for method in methods if cells <= LIMITS[method]]


def run_all(runs: list[tuple[str, int]], out: Path, files: Path, *, resume: bool) -> None:
    """Do the runs that have no row yet, and write the results after each.

    Parameters
    ----------
    runs
        Method and cells of each.
    out
        Folder of the results.
    files
        Folder of the simulated files; those that are there are taken as they are.
    resume
        Whether the rows of an earlier table are kept.
    """
    import pandas as pd

    kept = pd.read_csv(out / "scale.csv").to_dict("records") if resume and (out / "scale.csv").is_file() else []
    rows: list[dict[str, object]] = [{str(key): value for key, value in row.items()} for row in kept]
    done = {(row["method"], row["cells"]) for row in rows}
    for method, cells in runs:
        if (method, cells) in done:
            continue
        folder = files / str(cells)
        if not folder.is_dir():
            unfinished = files / f"{cells}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            in_own_process("write", str(unfinished), str(cells))
            unfinished.rename(folder)
        with tempfile.TemporaryDirectory() as name:
            work = Path(name, "out")
            row = {"method": method, "cells": cells, **measure(method, folder, work)}
            row |= json.loads(in_own_process("quality", method, str(folder), str(work)))
        print(json.dumps(row), flush=True)
        rows.append(row)
        write_report(rows, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every run of the published table, the important ones first")
    parser.add_argument("--cells", default="30000,100000,265000,1000000,5000000,20000000")
    parser.add_argument("--methods", default=",".join(LIMITS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--files", type=Path, help="folder that keeps the simulated files")
    parser.add_argument("--resume", action="store_true", help="keep the rows of the table that is there")
    for task, count in (("peer", 3), ("write", 2), ("quality", 3)):
        parser.add_argument(f"--{task}", nargs=count, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        run_peer(arguments.peer[0], Path(arguments.peer[1]), Path(arguments.peer[2]))
    elif arguments.write:
        write_files(Path(arguments.write[0]), int(arguments.write[1]))
    elif arguments.quality:
        print(json.dumps(quality(arguments.quality[0], Path(arguments.quality[1]), Path(arguments.quality[2]))))
    else:
        with tempfile.TemporaryDirectory() as name:
            run_all(plan(arguments), arguments.out, arguments.files or Path(name), resume=arguments.resume)


if __name__ == "__main__":
    main()
