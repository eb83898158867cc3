"""What the fuzzers share: their command line, what holds a target to its promises, and the two engines.

Engine ``mutate`` makes inputs with a fuzzer's own mutator; ``atheris`` is libFuzzer, guided by the lines that an input
reaches.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INSIDE = "--inside-atheris"  # how a fuzzer calls itself in the process that libFuzzer drives
_REPORT_BYTES = 1000  # what came of the inputs, padded so that no write leaves a rest of an earlier one


class BrokenPromiseError(AssertionError):
    """The target did something that it promises never to do."""


class Target(ABC):
    """Takes inputs as a file in memory, and is held to its promises.

    Parameters
    ----------
    name
        Of that file.
    slow
        Seconds of processor time that no input may take.
    """

    def __init__(self, name: str, slow: float) -> None:
        shared = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
        self.path = Path(self._folder.name) / name
        self.slow = slow
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0

    def __call__(self, content: bytes) -> None:
        self.path.write_bytes(content)
        started = time.process_time()
        self.outcomes[self.take(content)] += 1
        seconds = time.process_time() - started
        self.slowest = max(self.slowest, seconds)
        if seconds > self.slow:
            raise BrokenPromiseError(f"took {seconds:.1f} s")

    @abstractmethod
    def take(self, content: bytes) -> str:
        """What came of an input, which stands in ``path``, in a word; raises where a promise is broken."""

    def outcome(self) -> dict[str, Any]:
        """What came of the inputs so far."""
        return {**self.outcomes, "slowest_s": round(self.slowest, 3)}


@dataclass(frozen=True)
class Fuzzer:
    """A fuzzer, as the engines need to know it.

    Attributes
    ----------
    script, about
        Its file, and what it does in a line.
    seeds
        Folder of the inputs to begin with.
    suffix
        What the seeds' names end in, and those of findings.
    target
        Makes what takes the inputs.
    mutator
        Makes new inputs from the seeds.
    inside
        Lets libFuzzer drive the target, through :func:`drive`: report and options are passed on.
    runs
        Inputs, unless the user says how many.
    corpus
        Where atheris keeps its inputs, unless the user says where.
    memory
        Bytes of address space of ``mutate``: an input that makes the target ask for more is a finding, not a dead
        machine.
    memory_mb
        The same for atheris, of memory in use.
    max_size
        Bytes of an input of atheris.
    words
        What atheris may put into inputs.
    """

    script: str
    about: str
    seeds: Path
    suffix: str
    target: Callable[[], Target]
    mutator: Callable[[list[bytes], random.Random], Callable[[], bytes]]
    inside: Callable[[Path, list[str]], None]
    runs: int
    corpus: Path
    memory: int
    memory_mb: int
    max_size: int
    words: Sequence[bytes] = ()

    def read_seeds(self) -> list[bytes]:
        """The inputs to begin with."""
        return [path.read_bytes() for path in sorted(self.seeds.glob(f"*{self.suffix}*"))]

    def main(self) -> int:
        """Do what the command line says and print the result as JSON; the exit code is 1 where there are findings."""
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        if sys.argv[1:2] == [_INSIDE]:
            self.inside(Path(sys.argv[2]), sys.argv[3:])
            return 0
        parser = argparse.ArgumentParser(description=self.about)
        parser.add_argument("--engine", choices=["atheris", "mutate"], default="mutate")
        parser.add_argument("--runs", type=int, default=self.runs)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--corpus", type=Path, default=self.corpus, help="where atheris keeps its inputs")
        parser.add_argument("--findings", type=Path, default=Path("build/fuzz_findings"))
        arguments = parser.parse_args()
        if arguments.engine == "atheris":
            result = fuzz_by_coverage(self, arguments.runs, arguments.seed, arguments.corpus, arguments.findings)
        else:
            result = fuzz_by_mutation(self, arguments.runs, arguments.seed, arguments.findings)
        print(json.dumps(result))
        return 1 if result["findings"] else 0


def fuzz_by_mutation(fuzzer: Fuzzer, runs: int, seed: int, findings: Path) -> dict[str, Any]:
    """Give a target its seeds and then mutated ones, which are counted; every finding is kept and the run goes on."""
    seeds, target = fuzzer.read_seeds(), fuzzer.target()
    mutate = fuzzer.mutator(seeds, random.Random(seed))
    resource.setrlimit(resource.RLIMIT_AS, (fuzzer.memory, fuzzer.memory))
    found: list[str] = []
    started = time.perf_counter()
    for content in seeds:
        target(content)
    target.outcomes.clear()
    for run in range(1, runs + 1):
        content = mutate()
        try:
            target(content)
        except Exception as error:
            name = hashlib.sha1(content).hexdigest()[:12]
            findings.mkdir(parents=True, exist_ok=True)
            (findings / f"{name}{fuzzer.suffix}").write_bytes(content)
            found.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            print(found[-1], file=sys.stderr)
        if run % fuzzer.runs == 0:
            print(f"{run:,} runs, {dict(target.outcomes)}, {len(found)} findings", file=sys.stderr, flush=True)
    return {
        "engine": "mutate",
        "runs": runs,
        **target.outcome(),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds": round(time.perf_counter() - started),
        "findings": found,
    }


def fuzz_by_coverage(fuzzer: Fuzzer, runs: int, seed: int, corpus: Path, findings: Path) -> dict[str, Any]:
    """Run libFuzzer on a fuzzer in a process of its own, which it ends as it likes."""
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        dictionary = Path(folder) / "words.dict"
        lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in fuzzer.words if word]
        dictionary.write_text("".join(f'"{line}"\n' for line in lines))
        report = Path(folder) / "report.json"
        options = [
            f"-runs={runs}",
            f"-seed={seed + 1}",
            f"-max_len={fuzzer.max_size}",
            *([f"-dict={dictionary}"] if lines else []),
            f"-artifact_prefix={findings}/",
            f"-rss_limit_mb={fuzzer.memory_mb}",
            "-timeout=20",
            "-print_final_stats=1",
        ]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, fuzzer.script, _INSIDE, str(report), *options, str(corpus), str(fuzzer.seeds)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        sys.stderr.write(done.stderr[-3000:])
        outcome = json.loads(report.read_text()) if report.exists() else {}
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", done.stderr)
    return {
        "engine": "atheris",
        "runs": int(stats.get("number_of_executed_units", 0)),
        **outcome,
        "coverage": dict(zip(("edges", "features", "inputs"), map(int, covered[-1]), strict=True)) if covered else {},
        "peak_mb": int(stats.get("peak_rss_mb", 0)),
        "seconds": round(time.perf_counter() - started),
        "findings": [] if done.returncode == 0 else [f"exit code {done.returncode}; see {findings}"],
    }


def drive(
    report: Path, options: list[str], target: Target, mutate: Callable[[bytes, int, int], bytes] | None = None
) -> None:
    """Let libFuzzer drive a target, and write down what came of the inputs after each: it ends the process at will.

    ``mutate`` makes an input from another, of at most so many bytes and by a seed; libFuzzer's own way without it.
    """
    import atheris

    file = os.open(report, os.O_CREAT | os.O_WRONLY, 0o600)

    def write_down() -> None:
        os.pwrite(file, json.dumps(target.outcome()).ljust(_REPORT_BYTES).encode(), 0)

    def counted(content: bytes) -> None:
        try:
            target(content)
        finally:
            write_down()

    write_down()
    atheris.Setup([sys.argv[0], *options], counted, **({} if mutate is None else {"custom_mutator": mutate}))
    atheris.Fuzz()
