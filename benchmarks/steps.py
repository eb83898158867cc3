"""Where the seconds of one ``cytomoe cluster`` go: a table of its steps and of the packages that it imports.

Run with ``python benchmarks/steps.py FILES... [--report]``. Each step and each import is charged with its own time
alone, not with that of the steps and imports within it, so that the rows sum to the whole process. Processor seconds
count all threads, and compare on a machine that has other work; wall seconds do so on a quiet one. What the similarity
does in other processes is not among them: with ``OMP_NUM_THREADS=1`` in the environment all is done in one. torch is
imported in a thread: its processor seconds are among those of the step that goes on meanwhile.
"""

from __future__ import annotations

import argparse
import builtins
import functools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# A step, the module that calls it, and the function or method as that module knows it.
STEPS = (
    ("read FCS", "cytomoe.runs.events", "Events.read"),
    ("read FCS", "cytomoe.runs.opening", "open_events"),
    ("find gates", "cytomoe.runs.opening", "find_gates"),
    ("preprocess", "cytomoe.preprocessing.preprocessor", "Preprocessor.fit"),
    ("preprocess", "cytomoe.preprocessing.preprocessor", "Preprocessor.expression"),
    ("similarity: neighbours", "cytomoe.similarity.valleys", "neighbour_means"),
    ("similarity: noise and ties", "cytomoe.similarity.valleys", "spread_ties"),
    ("similarity: noise and ties", "cytomoe.similarity.valleys", "widen_noise"),
    ("similarity: trees of valleys", "cytomoe.similarity.valley_tree", "Tree.grow"),
    ("similarity: width of parts", "cytomoe.similarity.valleys", "divide_wide_parts"),
    ("similarity: partitions in processes", "cytomoe.processes", "share_out"),
    ("similarity: agreement", "cytomoe.similarity.consensus", "agreed_clusters"),
    ("similarity: the rest", "cytomoe.preparation", "build_similarity"),
    ("training", "cytomoe.clusterer", "train_safely"),
    ("experts kept and described", "cytomoe.clusterer", "Clusterer._keep_used_experts"),
    ("map", "cytomoe.runs.cluster", "map_and_name"),
    ("measure", "cytomoe.runs.ending", "_measure"),
    ("write labels", "cytomoe.runs.outputs", "write_labels"),
    ("write h5ad: matrices", "cytomoe.runs.cells", "_write_matrices"),
    ("write FCS", "cytomoe.runs.outputs", "write_fcs_files"),
    ("write model", "cytomoe.clusterer", "Clusterer.save"),
    ("write manifest, checksums", "cytomoe.runs.ending", "write_manifest"),
    ("write tables, wait for those of h5ad", "cytomoe.runs.ending", "_write_results"),
    ("report", "cytomoe.runs.ending", "report_of_run"),
)


class Ledger:
    """Own time of each step and import, in wall and processor seconds."""

    def __init__(self) -> None:
        self.own: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._open: list[str] = ["everything else"]
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def book(self) -> None:
        """Charge the time since the last booking to what is open."""
        now = self._now()
        for i in range(2):
            self.own[self._open[-1]][i] += now[i] - self._last[i]
        self._last = now

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Charge the time of the block to ``name``."""
        self.book()
        self._open.append(name)
        try:
            yield
        finally:
            self.book()
            self._open.pop()


def watch(ledger: Ledger) -> None:
    """Time every import of this thread, and the steps as soon as their modules are there."""
    import threading

    todo = set(STEPS)
    load, owner = builtins.__import__, threading.get_ident()

    def timed_import(name: str, *rest: Any, **named: Any) -> Any:
        if threading.get_ident() != owner:
            return load(name, *rest, **named)
        loaded = len(sys.modules)
        with ledger.within(f"import {name.partition('.')[0] or 'cytomoe'}"):
            module = load(name, *rest, **named)
        if len(sys.modules) != loaded:
            for step in list(todo):
                if _wrap(step, ledger):
                    todo.discard(step)
        return module

    builtins.__import__ = timed_import


def _wrap(step: tuple[str, str, str], ledger: Ledger) -> bool:
    """Time a function of a module that has been imported; whether it was there."""
    label, module, path = step
    holder: Any = sys.modules.get(module)
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part, None)
    found = None if holder is None else vars(holder).get(name)
    if found is None:
        return False
    is_class_method = isinstance(found, classmethod)
    function: Callable[..., Any] = found.__func__ if is_class_method else found

    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        with ledger.within(label):
            return function(*arguments, **named)

    setattr(holder, name, classmethod(timed) if is_class_method else timed)
    return True


def print_table(ledger: Ledger) -> None:
    """Print the rows that took a hundredth of a second, the largest first, and the sum."""
    total = [sum(own[i] for own in ledger.own.values()) for i in range(2)]
    print("| step | wall s | processor s | share |\n|---|---|---|---|")
    rows = sorted(ledger.own.items(), key=lambda row: -row[1][1])
    for name, (wall, cpu) in rows:
        if max(wall, cpu) >= 0.01:
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {cpu / total[1]:.0%} |")
    print(f"| **sum** | {total[0]:.2f} | {total[1]:.2f} | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--report", action="store_true", help="with the report")
    arguments = parser.parse_args()
    ledger = Ledger()
    watch(ledger)
    from cytomoe.cli.main import run

    with tempfile.TemporaryDirectory() as folder:
        command = ["cluster", *arguments.files, "--out", str(Path(folder, "run")), "--quiet"]
        code = run(command if arguments.report else [*command, "--no-report"])
    ledger.book()
    if code:
        raise SystemExit(code)
    print_table(ledger)


if __name__ == "__main__":
    main()
