"""The ``cytomoe`` command: its group of commands, and the one place where errors become messages and exit codes.

Commands import torch, pandas and the rest of what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

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
from cytomoe.cli.simulate import simulate
from cytomoe.errors import CytomoeError

INTERRUPTED = 130


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
    """Run the command line and exit: 0 when all is well, 1 for a failed run, 2 for wrong input, 130 for Ctrl-C."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        return cli.main(arguments, prog_name="cytomoe", standalone_mode=False, obj=["cytomoe", *arguments]) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; nothing was written", INTERRUPTED)
    except CytomoeError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone (such as `head`). Python must not try to flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("out of memory; use fewer files at once, or --subsample", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1)
    except Exception as error:  # a defect of cytomoe: say so in a line, and how to see where
        if os.environ.get("CYTOMOE_DEBUG"):
            traceback.print_exc()
        message = " ".join(str(error).split())
        return _fail(
            f"unexpected {type(error).__name__}: {message}; this is a defect of cytomoe, please report it with the "
            "output of the same command under CYTOMOE_DEBUG=1",
            1,
        )


def _fail(message: str, code: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return code
