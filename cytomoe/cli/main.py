"""The ``cytomoe`` command: its group of commands, and the one place where errors become messages and exit codes.

Commands import torch, pandas and the rest of what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Sequence

import click

from cytomoe import __version__
from cytomoe.cli.batch import batch
from cytomoe.cli.benchmark import benchmark
from cytomoe.cli.check import check
from cytomoe.cli.cluster import cluster
from cytomoe.cli.compare import compare
from cytomoe.cli.data import data
from cytomoe.cli.evaluate import evaluate
from cytomoe.cli.generate import generate
from cytomoe.cli.info import info
from cytomoe.cli.merge import merge
from cytomoe.cli.predict import predict
from cytomoe.cli.recut import recut
from cytomoe.cli.report import report
from cytomoe.cli.signals import Ending, ended_by_signals
from cytomoe.cli.simulate import simulate
from cytomoe.cli.streams import guard, standard_output
from cytomoe.errors import CytomoeError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="cytomoe")
def cli() -> None:
    """Find cell populations in FCS files, map new samples, and measure against manual gates.

    \b
    Start with:
      cytomoe check sample.fcs
      cytomoe cluster sample.fcs --markers CD3,CD4,CD8,CD19
    """


# In the order in which they are used; one to a line, so that two changes seldom meet.
COMMANDS = (
    cluster,
    batch,
    predict,
    evaluate,
    report,
    merge,
    recut,
    compare,
    generate,
    check,
    info,
    simulate,
    benchmark,
    data,
)
for command in COMMANDS:
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    0 when all is well, 1 for a failed run, 2 for wrong input, 130 for Ctrl-C, 143 for SIGTERM.
    """
    guard()
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    output = standard_output()
    if code == 0 and output is not None and output.problem is not None:
        code = _say(f"the standard output can't be written to ({output.problem}); what is in files is complete", 1)
    gc.freeze()  # nothing is garbage before the end; to search all modules for it would take half a second
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    with ended_by_signals() as ending:
        try:
            return _run(arguments)
        except (click.Abort, KeyboardInterrupt) as error:
            return _ended(ending, error)
        except Exception as error:
            # Libraries in the middle of an import or of compiled code make errors of their own of an interruption.
            return _failed(error) if ending.signal is None else _ended(ending, error)


def _run(arguments: list[str]) -> int:
    try:
        return cli.main(arguments, prog_name="cytomoe", standalone_mode=False, obj=["cytomoe", *arguments]) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code


def _ended(ending: Ending, error: BaseException) -> int:
    """Say that a signal ended the command, and what a job noted of what it leaves behind."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    notes = [note for cause in causes for note in getattr(cause, "__notes__", ())]
    return _say("; ".join([ending.word, *(notes or ["no result is left half done"])]), ending.exit_code)


def _failed(error: Exception) -> int:
    """Say why the command failed, in one line."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, CytomoeError):
        return _say(str(error), error.exit_code)
    if isinstance(error, MemoryError):
        return _say("out of memory; use fewer files at once, or --subsample", 1)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", 1)
    if os.environ.get("CYTOMOE_DEBUG"):
        traceback.print_exception(error)
    message = " ".join(str(error).split())
    return _say(
        f"unexpected {type(error).__name__}: {message}; this is a defect of cytomoe, please report it with the "
        "output of the same command under CYTOMOE_DEBUG=1",
        1,
    )


def _say(message: str, code: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return code
