"""The house as docs/architecture.md describes it: every module in a room, and imports from rooms above alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "cytomoe"
FRONT_DOOR = {"__init__", "__main__"}


def floors():
    """Number of the row in which each room stands, by its name."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| room |") :].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {name: i for i, row in enumerate(rows) for name in re.findall(r"`(\w+)(?:/|\.py)`", row)}


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Rooms that a module imports from, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "cytomoe":
            yield from (name.name for name in node.names if not name.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("cytomoe."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("cytomoe."))


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) not in FRONT_DOOR]


def test_the_page_names_every_room_and_no_other():
    assert set(floors()) == {room_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_room_and_those_above(path):
    floor, own = floors(), room_of(path)
    below = {room for room in imports(path) if room != own and floor[room] > floor[own]}
    assert not below, f"{own} stands above {', '.join(sorted(below))} in docs/architecture.md"
