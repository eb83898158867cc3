"""Write the list of licences from the packages installed here: python docs/licences.py."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

PAGE = Path(__file__).with_name("licences.md")
PROJECT = Path(__file__).parent.parent / "pyproject.toml"
HEAD = """# Licences

The packages that cytomoe needs while it runs, which versions it takes, and the licence that each declares in its own
metadata. Written by `python docs/licences.py`; the versions are those it read. What these packages need in turn is
not listed.

| package | versions taken | version read | licence declared |
|---|---|---|---|
"""


def requirements() -> list[tuple[str, str]]:
    """Name and version range of each dependency, sorted by name."""
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = [re.fullmatch(r"([\w.-]+)(.*)", line) for line in declared]
    return sorted((match[1], match[2]) for match in found if match)


def licence_of(package: str) -> str:
    """What the metadata declare: the expression, else the first line of the old field, else the classifiers."""
    fields = metadata(package)
    if expression := fields.get("License-Expression"):
        return str(expression)
    classified = [
        line.rpartition(" :: ")[2] for line in fields.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    text = (fields.get("License") or "").strip()
    if text and "\n" not in text:  # several lines are a whole licence, not its name
        return text
    return ", ".join(classified) or "none"


def page() -> str:
    """The page."""
    rows = [
        f"| {name} | `{versions}` | {metadata(name)['Version']} | {licence_of(name)} |"
        for name, versions in requirements()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
