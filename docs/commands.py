"""Write the command reference from the help of the commands: python docs/commands.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from cytomoe.cli.main import cli

PAGE = Path(__file__).with_name("commands.md")
WIDTH = 90
HEAD = """# Commands

Written from the commands' own help by `python docs/commands.py`; `cytomoe COMMAND --help` prints the same.

Exit codes: 0 all is well, 1 the run failed, 2 the input is wrong, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""


def commands(group: click.Group, path: str = "cytomoe") -> Iterator[tuple[str, click.Command]]:
    """Every command below a group with its full name, in the order of the help."""
    for name in group.list_commands(click.Context(group)):
        command = group.commands[name]
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def help_of(path: str, command: click.Command) -> str:
    """The help of a command as it is printed, at a fixed width."""
    context = click.Context(
        command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"]
    )
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def reference() -> str:
    """The page."""
    sections = [f"## {path}\n\n```text\n{help_of(path, command)}\n```\n" for path, command in commands(cli)]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
