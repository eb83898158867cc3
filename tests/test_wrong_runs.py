"""Runs that commands can't take, or can't replace: none there, an FCS file in their place, the output itself."""

import shutil

import pytest

from cytomoe.cli.main import run

WELL = "example_data/example_A01.fcs"


@pytest.mark.parametrize(
    "arguments",
    [
        ["recut", "nosuch"],
        ["recut", "nosuch", "--clusters", "2"],
        ["compare", "nosuch", "--by", "condition"],
        ["merge", "nosuch", "--map", "x.csv"],
        ["report", "nosuch"],
        ["generate", "nosuch", "--out", "x.csv"],
        ["predict", "nosuch", WELL, "--out", "x"],
        ["batch", WELL, "--model", "nosuch", "--out", "x"],
        ["evaluate", "nosuch", "--gate-file", "x.csv"],
    ],
)
def test_a_run_that_does_not_exist_is_told_so(arguments, capsys):
    assert run(arguments) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(("Error: nosuch: no such folder", "Error: nosuch: no such file or folder"))


def test_a_file_in_the_place_of_a_run_is_told_so(example_run, capsys):
    assert run(["recut", str(example_run / "model.cytomoe")]) == 2
    assert "model.cytomoe: is a file; give the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "meant"),
    [
        (["{run}"], "cytomoe predict {run} {well}"),
        (["{run}/model.cytomoe"], "cytomoe predict {run}/model.cytomoe {well}"),
        ([WELL], f"cytomoe predict MODEL {{well}} {WELL}"),
        ([WELL, "{run}", WELL], f"cytomoe predict {{run}} {{well}} {WELL} ..."),
    ],
)
def test_an_fcs_file_before_the_model_is_answered_with_the_command_meant(example_run, files, meant, tmp_path, capsys):
    given, own = {"run": example_run, "well": tmp_path / "own.fcs"}, str(tmp_path / "own.fcs")
    shutil.copy(WELL, own)
    assert run(["predict", own, *(name.format(**given) for name in files), "--out", str(tmp_path / "x")]) == 2
    assert (
        capsys.readouterr().err.strip().endswith(f"is an FCS file, and the model comes first: {meant.format(**given)}")
    )


def test_a_comparison_does_not_replace_the_run_that_it_reads(example_run, tmp_path, capsys):
    copy = shutil.copytree(example_run, tmp_path / "run")
    assert run(["compare", str(copy), "--by", "condition", "--out", str(copy), "--force"]) == 2
    assert f"{copy} is read, and --out {copy} would replace it; give another --out" in capsys.readouterr().err
    assert (copy / "run.json").is_file()


def test_a_comparison_replaces_comparisons_alone(example_run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    arguments = ["compare", str(example_run), "--by", "condition", "--out", str(tmp_path / "mine")]
    assert run([*arguments, "--force"]) == 2
    assert "holds no comparison, so --force does not replace it" in capsys.readouterr().err
    assert run(arguments) == 2
    assert "exists already; give another --out, or --force" in capsys.readouterr().err
