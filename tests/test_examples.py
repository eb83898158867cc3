"""The example scripts of the documentation run, with a stand-in for cytomoe."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def test_slurm_script_is_bash():
    subprocess.run(["bash", "-n", str(EXAMPLES / "slurm_array.sh")], check=True)


def test_slurm_script_maps_the_well_of_its_task_once(tmp_path):
    """Run with a stand-in for cytomoe that writes down how it was called."""
    fake = tmp_path / "cytomoe"
    fake.write_text('#!/bin/bash\necho "$@" >> "$CALLS"\nmkdir -p "$5"; touch "$5/run.json"\n')
    fake.chmod(0o755)
    (tmp_path / "wells.txt").write_text("a/one.fcs\nb/two words.fcs\n")
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls), "SLURM_CPUS_PER_TASK": "2"}
    command = ["bash", str(EXAMPLES / "slurm_array.sh"), "m.cytomoe", "wells.txt", "results"]
    for _ in range(2):
        subprocess.run(command, check=True, cwd=tmp_path, env={**environment, "SLURM_ARRAY_TASK_ID": "2"})
    assert calls.read_text() == "predict m.cytomoe b/two words.fcs --out results/two words --quiet\n"


def test_snakemake_makes_the_model_and_maps_every_well(tmp_path):
    """Snakemake itself, with a stand-in for cytomoe that writes down how it was called."""
    snakemake = shutil.which("snakemake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if snakemake is None:
        pytest.skip("Snakemake is not installed")
    fake = tmp_path / "bin" / "cytomoe"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/bash\necho "$@" >> "$CALLS"\nout=${@: -2:1}\n[ "$1" = cluster ] && out=${@: -4:1}\n'
        'mkdir -p "$out"; touch "$out/run.json"\n'
    )
    fake.chmod(0o755)
    wells, calls = tmp_path / "wells", tmp_path / "calls"
    wells.mkdir()
    for name in ("A01.fcs", "A 02.fcs"):
        (wells / name).touch()
    command = [snakemake, "--snakefile", str(EXAMPLES / "Snakefile"), "--cores", "1", "--config", "out=results"]
    environment = os.environ | {
        "PATH": f"{fake.parent}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "HOME": str(tmp_path),
    }
    subprocess.run([*command, f"wells={wells}"], check=True, cwd=tmp_path, env=environment, capture_output=True)
    first, *rest = calls.read_text().splitlines()
    assert first == f"cluster {wells}/A 02.fcs {wells}/A01.fcs --out results/model --h5ad no --quiet"
    assert sorted(rest) == [
        f"predict results/model {wells}/{name}.fcs --out results/{name} --quiet" for name in ("A 02", "A01")
    ]


def test_snakefile_has_only_rules_and_python():
    """What is not a rule is Python; in a rule every line is a directive of Snakemake or Python below one."""
    text = (EXAMPLES / "Snakefile").read_text(encoding="utf-8")
    python, *rules = re.split(r"^rule \w+:$", text, flags=re.MULTILINE)
    ast.parse(python)
    assert len(rules) == 3
    directives = {"input", "output", "log", "threads", "params", "shell"}
    for rule in rules:
        found = re.findall(r"^    (\w+):(.*(?:\n        .*|\n\s*$)*)", rule, flags=re.MULTILINE)
        assert {name for name, _ in found} <= directives
        for _, value in found:
            ast.parse(f"f({value.strip()})")
