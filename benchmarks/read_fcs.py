"""Time and memory of ``read_fcs`` against a memmap and copy of the same bytes.

Run with ``python benchmarks/read_fcs.py [EVENTS] [CHANNELS]``. Times are the best of several runs, after a first one
that also pays for imports and event names; memory is by how much one reading raises the peak of a fresh process that
has only read a file of ten events.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPEATS = 30
BYTE_ORDERS = {"little-endian": "<", "big-endian": ">"}
HEADER_SIZE = 58


def write_file(path: Path, order: str, shape: tuple[int, int]) -> None:
    """Write an FCS 3.0 float file of random values."""
    n_events, n_channels = shape
    byte_order = "1,2,3,4" if order == "<" else "4,3,2,1"
    size = 4 * n_events * n_channels
    channels = "".join(f"$P{n}N/C{n}/$P{n}B/32/$P{n}E/0,0/$P{n}R/262144/" for n in range(1, n_channels + 1))
    fixed = f"/$MODE/L/$DATATYPE/F/$BYTEORD/{byte_order}/$NEXTDATA/0/$PAR/{n_channels}/$TOT/{n_events}/{channels}"
    begin = HEADER_SIZE + len(fixed) + len("$BEGINDATA/000000000000/$ENDDATA/000000000000/")
    text = fixed + f"$BEGINDATA/{begin:012d}/$ENDDATA/{begin + size - 1:012d}/"
    with path.open("wb") as handle:
        handle.write(f"FCS3.0    {HEADER_SIZE:8d}{begin - 1:8d}{0:8d}{0:8d}{0:8d}{0:8d}{text}".encode())
        values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        values.astype(f"{order}f4").tofile(handle)


def read_with_memmap(path: Path, order: str, shape: tuple[int, int]) -> object:
    begin = path.stat().st_size - 4 * shape[0] * shape[1]
    return np.array(np.memmap(path, dtype=f"{order}f4", mode="r", offset=begin, shape=shape), dtype=np.float32)


def measure_time(path: Path, order: str, shape: tuple[int, int]) -> dict[str, float]:
    """Best seconds of both, run in turns so that a busy machine slows both alike."""
    from cytomoe.io import read_fcs

    read_fcs(path)
    best = {"memmap": float("inf"), "cytomoe": float("inf")}
    for _ in range(REPEATS):
        for method in best:
            started = time.perf_counter()
            result = read_fcs(path) if method == "cytomoe" else read_with_memmap(path, order, shape)
            best[method] = min(best[method], time.perf_counter() - started)
            del result
            gc.collect()  # AnnData objects hold themselves; the next run must not pay for freeing this one
    return best


def measure_peak(path: Path, order: str, shape: tuple[int, int]) -> dict[str, float]:
    """Growth of the process's peak by one reading, in units of the data's size."""
    from cytomoe.io import read_fcs

    small = path.with_suffix(".small")
    write_file(small, order, (10, shape[1]))
    read_fcs(small)
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_fcs(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak": (peak - baseline) * unit / (4 * shape[0] * shape[1])}


def in_own_process(task: str, order: str, path: Path, shape: tuple[int, int]) -> dict[str, float]:
    # The peak of a process starts at that of its parent, which therefore must stay small: it holds no data.
    command = [sys.executable, __file__, str(shape[0]), str(shape[1]), "--task", task, order, str(path)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=1_000_000)
    parser.add_argument("channels", type=int, nargs="?", default=40)
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shape = arguments.events, arguments.channels
    if arguments.task:
        task, order, path = arguments.task
        function = {"write": write_file, "time": measure_time, "peak": measure_peak}[task]
        print(json.dumps(function(Path(path), order, shape)))
        return
    print(f"{shape[0]} events x {shape[1]} channels of float32, best of {REPEATS}")
    with tempfile.TemporaryDirectory() as folder:
        for name, order in BYTE_ORDERS.items():
            path = Path(folder, f"{name}.fcs")
            in_own_process("write", order, path, shape)
            seconds = in_own_process("time", order, path, shape)
            peak = in_own_process("peak", order, path, shape)["peak"]
            ratio = seconds["cytomoe"] / seconds["memmap"]
            print(f"{name}: memmap + copy {seconds['memmap']:.3f} s, read_fcs {seconds['cytomoe']:.3f} s")
            print(f"  time {ratio:.2f} x memmap + copy (at most 1.5), peak {peak:.2f} x the data (at most 1.2)")


if __name__ == "__main__":
    main()
