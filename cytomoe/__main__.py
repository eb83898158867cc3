"""``python -m cytomoe``: the command line."""

from cytomoe.cli import main

main()
