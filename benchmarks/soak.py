"""Memory and open files of one process that runs the same command again and again.

    python benchmarks/soak.py cluster --runs 200
    python benchmarks/soak.py batch --hours 2

Each run goes through the command's entry point on simulated wells. Every tenth ``cluster`` makes its report, every
tenth ``batch`` spreads its samples over two further processes. After each run the resident memory, the open files and
the child processes of this process are noted in a CSV. What is printed compares the runs after the first twenty, when
everything has been imported and every cache is warm, with the last ones: growth that goes on shows as a slope.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

WARM = 20


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the descriptor of the listing counts every time


def children() -> int:
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def arguments(command: str, plate: Path, out: Path, n: int) -> list[str]:
    wells = sorted(map(str, plate.glob("*.fcs")))
    if command == "cluster":
        report = [] if n % 10 == 9 else ["--no-report"]
        return ["cluster", *wells, "--gate-channel", "gate", "--out", str(out), "--force", "--quiet", *report]
    jobs = "2" if n % 10 == 9 else "1"
    mode = "--pooled" if n % 2 else "--per-sample"
    return ["batch", str(plate), mode, "--jobs", jobs, "--out", str(out), "--force", "--quiet"]


def soak(command: str, runs: int, seconds: float, events: int, table: Path) -> list[dict[str, float]]:
    from cytomoe.cli.main import run
    from cytomoe.datasets.simulate import write_plate

    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch, table.open("w", newline="") as file:
        plate = Path(scratch) / "plate"
        write_plate(plate, wells=2 if command == "cluster" else 4, events=events, seed=1)
        notes = csv.DictWriter(file, ["run", "seconds", "processor", "resident_mb", "open_files", "children"])
        notes.writeheader()
        started = time.monotonic()
        while len(rows) < runs and time.monotonic() - started < seconds:
            code = run(arguments(command, plate, Path(scratch) / "out", len(rows)))
            if code != 0:
                raise SystemExit(f"run {len(rows)} exited with {code}")
            rows.append(
                {
                    "run": len(rows),
                    "seconds": round(time.monotonic() - started, 1),
                    "processor": round(time.process_time(), 1),
                    "resident_mb": round(resident() / 1e6, 1),
                    "open_files": open_files(),
                    "children": children(),
                }
            )
            notes.writerow(rows[-1])
            file.flush()
    return rows


def summarise(command: str, rows: list[dict[str, float]]) -> None:
    if len(rows) < WARM + 20:
        raise SystemExit(f"{len(rows)} runs are too few to tell growth; at least {WARM + 20} are needed")
    memory = np.array([row["resident_mb"] for row in rows[WARM:]])
    files = np.array([row["open_files"] for row in rows[WARM:]])
    slope = np.polyfit(np.arange(len(memory)), memory, 1)[0]
    half = len(memory) // 2
    slope_late = np.polyfit(np.arange(len(memory) - half), memory[half:], 1)[0]
    print(f"{command}: {len(rows)} runs in one process, {rows[-1]['seconds'] / 3600:.2f} h, "
          f"{rows[-1]['processor']:.0f} s of processor")  # fmt: skip
    print(f"resident memory: {rows[0]['resident_mb']:.0f} MB after run 1; median of runs {WARM + 1}-{WARM + 10} "
          f"{np.median(memory[:10]):.0f} MB, of the last ten {np.median(memory[-10:]):.0f} MB; "
          f"highest {memory.max():.0f} MB")  # fmt: skip
    print(f"slope after run {WARM}: {slope * 1000:.0f} kB a run; over the second half {slope_late * 1000:.0f} kB a run")
    print(
        f"open files: {files.min():.0f} to {files.max():.0f} after run {WARM}, {rows[-1]['open_files']:.0f} at the end"
    )
    print(f"child processes: at most {max(row['children'] for row in rows):.0f} after a run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["cluster", "batch"])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--hours", type=float, default=1000.0)
    parser.add_argument("--events", type=int, default=1000, help="per well")
    parser.add_argument("--table", type=Path, help="where the figures of each run go; default: soak_COMMAND.csv")
    chosen = parser.parse_args()
    table = chosen.table or Path(f"soak_{chosen.command}.csv")
    summarise(chosen.command, soak(chosen.command, chosen.runs, chosen.hours * 3600, chosen.events, table))


if __name__ == "__main__":
    main()
