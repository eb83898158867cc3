"""The engine ``atheris`` of the fuzzers: libFuzzer, guided by the lines that an input reaches."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

INSIDE = "--inside-atheris"  # how a fuzzer calls itself in the process that libFuzzer drives


def fuzz_by_coverage(
    script: str,
    runs: int,
    seed: int,
    *,
    seeds: Path,
    corpus: Path,
    findings: Path,
    words: Iterable[bytes] = (),
    max_size: int,
    memory_mb: int,
    timeout: int = 20,
) -> dict[str, object]:
    """Run libFuzzer on a fuzzer in a process of its own, which it ends as it likes."""
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        dictionary = Path(folder) / "words.dict"
        lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in words if word]
        dictionary.write_text("".join(f'"{line}"\n' for line in lines))
        report = Path(folder) / "report.json"
        options = [
            f"-runs={runs}",
            f"-seed={seed + 1}",
            f"-max_len={max_size}",
            *([f"-dict={dictionary}"] if lines else []),
            f"-artifact_prefix={findings}/",
            f"-rss_limit_mb={memory_mb}",
            f"-timeout={timeout}",
            "-print_final_stats=1",
        ]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, script, INSIDE, str(report), *options, str(corpus), str(seeds)],
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
    report: Path,
    options: list[str],
    one_input: Callable[[bytes], None],
    outcome: Callable[[], dict[str, Any]],
    mutate: Callable[[bytes, int, int], bytes] | None = None,
) -> None:
    """Let libFuzzer drive a fuzzer; every so often, and of the first input, write down what came of it.

    ``mutate`` makes an input from another, of at most so many bytes and by a seed; libFuzzer's own way without it.
    """
    import atheris

    count = 0

    def counted(content: bytes) -> None:
        nonlocal count
        one_input(content)
        if count % 1000 == 0:
            report.write_text(json.dumps(outcome()))
        count += 1

    atheris.Setup([sys.argv[0], *options], counted, **({} if mutate is None else {"custom_mutator": mutate}))
    atheris.Fuzz()
