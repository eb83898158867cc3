"""``cytomoe`` and ``python -m cytomoe``: the command line."""

import sys


def main() -> None:
    """Run the command line and exit, in a line where Ctrl-C comes before it is loaded."""
    try:
        from cytomoe.cli import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("Error: interrupted; nothing was written\n")
        sys.exit(130)
    command_line()


if __name__ == "__main__":  # processes of `--jobs` import this module again
    main()
