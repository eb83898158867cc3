"""The command line: one file per command; it parses, calls and prints, and computes nothing."""

from cytomoe.cli.main import main

__all__ = ["main"]
