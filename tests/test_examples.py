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


@pytest.fixture
def slurm(tmp_path):
    """Run the script for a task, with a stand-in for cytomoe that writes down how it was called."""
    fake = tmp_path / "cytomoe"
    fake.write_text('#!/bin/bash\necho "$@" >> "$CALLS"\nmkdir -p "$5"; touch "$5/run.json"\n')
    fake.chmod(0o755)
    command = ["bash", str(EXAMPLES / "slurm_array.sh"), "m.cytomoe", "wells.txt", "results"]

    def run(task):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": "calls", "SLURM_CPUS_PER_TASK": "2"}
        environment["SLURM_ARRAY_TASK_ID"] = str(task)
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_slurm_script_maps_the_well_of_its_task_once(slurm, tmp_path):
    (tmp_path / "wells.txt").write_text("a/one.fcs\n./b/two words.fcs\n")
    assert [slurm(2).returncode for _ in range(2)] == [0, 0]
    assert (tmp_path / "calls").read_text() == "predict m.cytomoe ./b/two words.fcs --out results/b_two words --quiet\n"


def test_slurm_script_maps_wells_of_the_same_name(slurm, tmp_path):
    (tmp_path / "wells.txt").write_text("plate1/A01.fcs\nplate2/A01.fcs\n")
    assert [slurm(task).returncode for task in (1, 2)] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["plate1_A01", "plate2_A01"]


def test_slurm_script_refuses_wells_whose_folder_would_be_the_same(slurm, tmp_path):
    (tmp_path / "wells.txt").write_text("a/one.fcs\na_one.fcs\n")
    done = slurm(1)
    assert done.returncode == 1
    assert done.stderr == "wells.txt: several wells would be mapped into results/a_one; rename one\n"
    assert not (tmp_path / "results").exists()


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
