"""The errors that cytomoe raises on purpose, and how names are suggested in them.

Each carries one line in the user's words: what is wrong, where, what to do. The command line prints that line and
exits with ``exit_code``; anything else that escapes is a defect of cytomoe.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class CytomoeError(Exception):
    """Base of every error that cytomoe raises on purpose."""

    exit_code = 1


class RunError(CytomoeError):
    """A run failed although its input was right (a full disk, a collapsed training)."""


class InputError(CytomoeError):
    """The user's input is wrong: a name, a file, a combination of options."""

    exit_code = 2


class FCSError(InputError):
    """An FCS file can't be read without risking wrong numbers.

    Parameters
    ----------
    path
        The file.
    problem
        What is wrong, without the file's name.
    keyword
        The FCS keyword concerned, such as ``$TOT``.
    offset
        Byte offset in the file where the problem lies: of a compressed file as it is unpacked or, where the compression
        is damaged, as it stands. None when the file can't be read at all, or lacks the data set asked for.
    expected
        What a right file would have there. None when the file can't be read at all.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        problem: str,
        *,
        keyword: str | None = None,
        offset: int | None = None,
        expected: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.problem = problem
        self.keyword = keyword
        self.offset = offset
        self.expected = expected
        where = f" (at byte {offset})" if offset is not None else ""
        wanted = f"; expected {expected}" if expected else ""
        super().__init__(f"{self.path}: {problem}{where}{wanted}")

    def located(self, offset: int) -> FCSError:
        """The same error, which says at which byte it lies."""
        return FCSError(self.path, self.problem, keyword=self.keyword, offset=offset, expected=self.expected)

    def __reduce__(self) -> tuple[object, ...]:
        """Make the error survive the way back from a worker process."""
        return _rebuild_fcs_error, (self.path, self.problem, self.keyword, self.offset, self.expected)


def _rebuild_fcs_error(
    path: str, problem: str, keyword: str | None, offset: int | None, expected: str | None
) -> FCSError:
    return FCSError(path, problem, keyword=keyword, offset=offset, expected=expected)


def nearest(name: str, names: Iterable[str], n: int = 3, *, likeness: float = 0.6) -> list[str]:
    """Names most like ``name``, best first, ignoring case.

    Parameters
    ----------
    name
        What the user typed.
    names
        What exists.
    n
        How many to give at most.
    likeness
        How near a name must be: ``difflib``'s ratio of the letters in common, 0 to 1.
    """
    by_folded: dict[str, str] = {}
    for candidate in names:
        by_folded.setdefault(candidate.casefold(), candidate)
    matches = difflib.get_close_matches(name.casefold(), list(by_folded), n=n, cutoff=likeness)
    return [by_folded[match] for match in matches]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Suffix of an error message that lists the names nearest to ``name``; empty when none is near."""
    found = nearest(name, names)
    return f"; nearest: {', '.join(found)}" if found else ""


# An option of the command line, with its value where that is a word of its own.
_OPTION = re.compile(r"--([a-z][a-z-]*)(?: (none|drop|zero|refuse|auto|yes|no|arcsinh|logicle|umap|cpu|cuda)\b)?")


@contextmanager
def in_words_of_python() -> Iterator[None]:
    """Name parameters in the place of options in the errors of what Python users call: ``nan='drop'``, ``markers``."""
    try:
        yield
    except CytomoeError as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (with_parameters(error.args[0]),)
        raise


def with_parameters(message: str) -> str:
    """A message with parameters of Python in the place of the options of the command line that it names."""
    return _OPTION.sub(_parameter, message)


def _parameter(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    return f"{name}={option[2]!r}" if option[2] else name
