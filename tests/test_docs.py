"""The documentation says what the program does: commands parse, the reference is fresh, links lead somewhere."""

import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest

from cytomoe.cli.main import cli, run

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.fixture(scope="module")
def reference():
    """The script that writes the command reference."""
    spec = importlib.util.spec_from_file_location("commands_page", DOCS / "commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shell_lines(page, *, having="", lacking="no block has this"):
    """The cytomoe commands of a page, split as a shell splits them, without comments; of some of its blocks alone."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    blocks = [block for block in blocks if having in block and lacking not in block]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("cytomoe ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def run_all(commands):
    for arguments in commands:
        globbed = [
            str(path) for a in arguments for path in (sorted(Path().glob(a)) if "*" in a else [a])
        ]  # as a shell does
        assert run(globbed) == 0, " ".join(arguments)


def test_the_command_reference_is_fresh(reference):
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == reference.reference(), "run: python docs/commands.py"


def test_every_command_has_an_example(reference):
    for path, command in reference.commands(cli):
        assert re.search(r"Examples?:\n\s+cytomoe ", reference.help_of(path, command)), path


def test_every_dependency_has_its_licence_listed():
    rows = (DOCS / "licences.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip(" `") for cell in row.split(" | ")] for row in rows if row.startswith("| ")][1:]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    ranges = {name.strip("| ") + versions for name, versions, *_ in cells}
    assert ranges == set(declared), "run: python docs/licences.py"
    assert all(licence.strip("| ") not in ("", "none") for *_, licence in cells)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documentation_parse(page):
    for name, *arguments in shell_lines(page):
        assert name in cli.commands, f"{page.name}: cytomoe {name}"
        cli.commands[name].make_context(name, list(arguments))  # raises for an unknown option or a missing argument


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pictures_are_small():
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < 300_000, picture.name


@pytest.mark.slow
def test_the_tutorial_runs_on_simulated_wells_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_all(shell_lines(DOCS / "tutorial.md", having="cytomoe simulate"))
    assert (tmp_path / "H05" / "report.html").is_file()
    assert (tmp_path / "like_H08.fcs").is_file()


@pytest.mark.slow
def test_the_tutorial_runs_as_written(data, tmp_path, monkeypatch, capsys):
    (tmp_path / "wells").mkdir()
    for path in (data / "bodenmiller").glob("*_H0[58].fcs"):
        shutil.copy(path, tmp_path / "wells")
    monkeypatch.chdir(tmp_path)
    commands = shell_lines(DOCS / "tutorial.md", lacking="cytomoe simulate")
    assert len(commands) >= 6
    run_all(commands)
    assert (tmp_path / "H05" / "report.html").is_file()
    assert "14 files can be clustered" in capsys.readouterr().out


def test_the_python_page_runs_as_written(tmp_path, monkeypatch):
    """In one session, as a notebook; what each line gives is used by the next."""
    shutil.copytree(ROOT / "example_data", tmp_path / "example_data")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    session = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "python.md", "exec"), session)
    assert (tmp_path / "clustered.fcs").is_file()
    turned = session["estimator"].predict(session["table"][session["markers"][::-1]])
    assert (turned == session["estimator"].labels_).all()
