"""``python -m cytomoe``: the command line."""

from cytomoe.cli import main

if __name__ == "__main__":  # processes of `--jobs` import this module again
    main()
