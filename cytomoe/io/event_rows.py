"""Which event each row of a run is, and the rows of a table that names its events brought into that order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cytomoe.errors import InputError
from cytomoe.io.fcs_names import without_suffix
from cytomoe.io.tables import plain_cell
from cytomoe.words import counted, listed

# How tables call the column that names a file, compared without regard to case.
FILE_COLUMNS = ("file", "filename", "file_name", "file name")
# Headings of a sample's name in tables of samples; the second is CATALYST's.
SAMPLE_COLUMNS = ("sample", "sample_id")
_FIRST_LINE = 2  # of a table's rows, below its header
_NAMED = 4  # files that a message names
_FEWEST = 3  # rows of a table of which a column is taken for their count


@dataclass(frozen=True, eq=False)
class EventRows:
    """Which event each row of a run is.

    Attributes
    ----------
    names
        Names of the files, as ``labels.csv`` writes them.
    file
        (rows,) index into ``names``.
    event
        (rows,) position of the event within its file, from 0.
    ordered
        Whether the files are known to be in the order of the run.
    """

    names: tuple[str, ...]
    file: NDArray[np.int64]
    event: NDArray[np.int64]
    ordered: bool = True

    @classmethod
    def of_files(cls, names: Sequence[str], sizes: Sequence[int]) -> EventRows:
        """All events of files, file by file.

        Parameters
        ----------
        names
            Names of the files.
        sizes
            Events of each.
        """
        event = np.concatenate([np.arange(0), *(np.arange(size) for size in sizes)])
        return cls(tuple(names), np.repeat(np.arange(len(sizes)), sizes), event)

    def __len__(self) -> int:
        return len(self.event)

    @property
    def whole(self) -> bool:
        """Whether the rows are the files in order, each from its first event on without a gap."""
        begins = np.append(True, np.diff(self.file) != 0)
        return bool((self.event[begins] == 0).all() and (np.diff(self.event)[~begins[1:]] == 1).all())


def file_codes(files: ArrayLike, names: Sequence[str], what: str, where: str = "the run") -> NDArray[np.int64]:
    """Index into ``names`` of the file that each row of a table names, with or without its folder and .fcs.

    Parameters
    ----------
    files
        (rows,) names of files in the table.
    names
        Names of the files of the run.
    what, where
        How messages call the table, and that to which the files belong.

    Raises
    ------
    InputError
        If a row names no file of the run, or one that can't be told from another.
    """
    codes, given = pd.factorize(np.asarray(files, dtype=object), use_na_sentinel=False)
    lookup = np.empty(len(given), dtype=np.int64)
    for i, (text, found) in enumerate(_found_files(given, names)):
        if len(found) != 1:
            line = int(np.argmax(codes == i)) + _FIRST_LINE
            known = listed([names[k] for k in found] or list(names), _NAMED)
            problem = f"which may be any of {known}" if found else f"which is not in {where} ({known})"
            raise InputError(f"{what}: line {line} names the file {text or '(empty)'}, {problem}")
        lookup[i] = found[0]
    return lookup[codes]


def names_a_file(cells: ArrayLike, names: Sequence[str]) -> bool:
    """Whether any cell of a column names a file of the run, so that the column is about files."""
    return any(found for _, found in _found_files(pd.unique(np.asarray(cells, dtype=object)), names))


def order_by_event(
    file: NDArray[np.int64], event: NDArray[np.int64], rows: EventRows, what: str, *, where: str = "the run"
) -> NDArray[np.intp]:
    """Where each row of the run stands in a table of the same events, counted from 0 or throughout from 1.

    Parameters
    ----------
    file
        (rows,) index into ``rows.names`` of each row of the table.
    event
        (rows,) number of its event.
    rows
        The run's, as many as the table's.
    what, where
        How messages call the table, and that to which the events belong.

    Raises
    ------
    InputError
        If the table repeats or lacks an event, or has one that is not in the run.
    """
    own, theirs = np.lexsort((rows.event, rows.file)), np.lexsort((event, file))
    of_same_file = file[theirs] == rows.file[own]
    apart = event[theirs] - rows.event[own]
    if of_same_file.all() and ((apart == 0).all() or (apart == 1).all()):
        order = np.empty(len(own), dtype=np.intp)
        order[own] = theirs
        return order
    raise InputError(f"{what}: {_difference(file, event, rows, where)}")


def refuse_repeated(rows: EventRows, what: str) -> None:
    """Refuse a table, sorted by file and event, in which an event stands twice.

    Parameters
    ----------
    rows
        Events of the table.
    what
        How the message calls it.
    """
    same = (np.diff(rows.file) == 0) & (np.diff(rows.event) == 0)
    if same.any():
        row = int(np.argmax(same))
        raise InputError(f"{what}: event {rows.event[row]} of {rows.names[rows.file[row]]} stands in it twice")


def refuse_unordered(rows: EventRows, what: str) -> None:
    """Refuse a table that does not name its events where nobody knows the order of the files.

    Parameters
    ----------
    rows
        The run's.
    what
        How the message calls the table.
    """
    if not rows.ordered:
        raise InputError(
            f"{what}: does not say of which file and event its rows are, and the labels were moved, so that the order "
            "of the files is not known; name the FCS files after the labels, or add the columns file and event"
        )


def order_of_table(
    files: pd.Series[Any] | None,
    events: pd.Series[Any] | None,
    rows: EventRows,
    what: str,
    say: Callable[[str], None],
    others: Mapping[str, pd.Series[Any]] = MappingProxyType({}),
) -> NDArray[np.intp] | None:
    """Where each row of the run stands in a table that the user gives; None where its order is the run's.

    Parameters
    ----------
    files, events
        The table's columns, texts; either may lack. Without numbers of events, the rows of each file are in its order.
    rows
        The run's, as many as the table's.
    what
        How messages call the table.
    say
        Told where rows are moved, or the numbers of the events are not used.
    others
        Further columns, by name: where one counts the rows, but not in their order, these were shuffled.

    Raises
    ------
    InputError
        If its events are not those of the run, or it is not clear which they are.
    """
    if files is None and len(rows.names) > 1:
        refuse_unordered(rows, what)
    file = None if files is None else file_codes(files, rows.names, what)
    numbers = None if events is None else _whole_numbers(events, what)
    if events is not None and numbers is None:
        say(f"{what}: its column event holds no numbers of events; its rows are taken in the order of the files")
    if numbers is None:
        _refuse_shuffled(others, file, what)
    if numbers is not None:
        order, by = _order_in_table(file, numbers, rows, what), "file and event"
    elif file is not None:
        order, by = _order_by_file(file, rows, what), "file"
    else:
        refuse_unordered(rows, what)
        return None
    if (order == np.arange(len(order))).all():
        return None
    say(f"{what}: its rows are in another order than the events, and were matched by {by}")
    return order


def order_of_some(
    files: pd.Series[Any] | None, events: pd.Series[Any], rows: EventRows, what: str, say: Callable[[str], None]
) -> NDArray[np.intp]:
    """Where each row of the run stands in a table of some of its events; -1 where it does not.

    Parameters
    ----------
    files, events, rows, what
        As in :func:`order_of_table`; ``files`` may lack where there is one.
    say
        Told how many events have no row.

    Raises
    ------
    InputError
        If the table repeats an event, or has one that is not in the run.
    """
    numbers = _whole_numbers(events, what)
    if numbers is None:
        raise InputError(
            f"{what}: {counted(len(events), 'row')} for {counted(len(rows), 'event')}, and its column event holds no "
            "numbers of events; it needs one row per event, in the order of the files"
        )
    file = np.zeros(len(numbers), dtype=np.int64) if files is None else file_codes(files, rows.names, what)
    if problem := _difference(file, numbers, rows, "the run", some=True):
        raise InputError(f"{what}: {problem}")
    first = _first_number(file, numbers, rows)
    own = pd.MultiIndex.from_arrays([rows.file, rows.event])
    order = pd.MultiIndex.from_arrays([file, numbers - first]).get_indexer(own)
    say(
        f"{what}: {np.count_nonzero(order < 0):,} of {len(rows):,} events have no row in it and count as in no gate "
        f"({counted(len(numbers), 'event')} in it, numbered from {first})"
    )
    return order


def difference_of_files(files: pd.Series[Any] | None, rows: EventRows, what: str) -> str:
    """The first file of which a table of another length has too many or too few rows, in words; empty without files."""
    return "" if files is None else _difference_of_counts(file_codes(files, rows.names, what), rows)


def counts_rows(cells: pd.Series[Any]) -> bool:
    """Whether a column numbers the rows of its table from 0 or 1, in whichever order."""
    values = _numbers_of(cells)
    return values is not None and _is_count(np.sort(values))


def _refuse_shuffled(others: Mapping[str, pd.Series[Any]], file: NDArray[np.int64] | None, what: str) -> None:
    """Refuse a table that does not number its events as such, but has a column that shows that it was shuffled."""
    for name, cells in others.items():
        values = _numbers_of(cells)
        if values is None or _is_count(values):
            continue
        by_file = np.arange(len(values)) if file is None else np.argsort(file, kind="stable")
        through = _is_count(np.sort(values))
        begins = np.zeros(len(values), dtype=np.int64)  # what of a count stands before the file
        if not through and file is not None:
            begins = np.searchsorted(file[by_file], file[by_file])
            if not _is_count(values[np.lexsort((values, file))] + begins):
                continue
        elif not through:
            continue
        if not _is_count(values[by_file] + begins):
            raise InputError(
                f"{what}: its column {name or '(without a name)'} counts the events, but not in the order of its rows; "
                f"call it event if it counts through {'all files' if through else 'each file'} as the run does, else "
                f"sort the table by {'it' if through else 'file and then by it'}"
            )


def _numbers_of(cells: pd.Series[Any]) -> NDArray[np.int64] | None:
    """Whole numbers of a column that may count rows; None where it holds anything else."""
    if len(cells) < _FEWEST or not str(cells.iloc[0]).strip().replace(".", "").isdecimal():
        return None
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
    return values.astype(np.int64) if whole.all() else None


def _is_count(values: NDArray[np.int64]) -> bool:
    """Whether numbers are 0, 1, 2, ... or 1, 2, 3, ..."""
    return bool(values[0] in (0, 1) and (np.diff(values) == 1).all())


def _order_in_table(
    file: NDArray[np.int64] | None, numbers: NDArray[np.int64], rows: EventRows, what: str
) -> NDArray[np.intp]:
    """Where each row of the run stands in a table that numbers its events."""
    try:
        if file is None and len(rows.names) > 1:
            return _order_without_files(numbers, rows, what)
        file = rows.file * 0 if file is None else file
        through = _order_of_count(numbers, rows)
        if through is not None and (file[through] == rows.file).all():
            return through
        return order_by_event(file, numbers, rows, what)
    except InputError as error:
        hint = "; without a column event, rows count in the order of the files" if rows.ordered else ""
        raise InputError(f"{error}{hint}") from None


def _order_by_file(file: NDArray[np.int64], rows: EventRows, what: str) -> NDArray[np.intp]:
    """Where each row of the run stands in a table that names the files of its rows, in the order of each file."""
    if difference := _difference_of_counts(file, rows):
        raise InputError(f"{what}: {difference}; without a column event, it needs one row per event of each file")
    begins = file[np.append(True, np.diff(file) != 0)]
    if len(begins) > len(np.unique(begins)):
        first = int(begins[np.argmax(np.bincount(begins)[begins] > 1)])
        raise InputError(
            f"{what}: the rows of {rows.names[first]} do not stand together, so that their order within the file is "
            "not known; add a column event, as labels.csv has it"
        )
    order = np.empty(len(file), dtype=np.intp)
    order[np.lexsort((rows.event, rows.file))] = np.argsort(file, kind="stable")
    return order


def _difference_of_counts(file: NDArray[np.int64], rows: EventRows) -> str:
    """The first file of which a table has too many or too few rows, in words; empty where there is none."""
    given, own = (np.bincount(codes, minlength=len(rows.names)) for codes in (file, rows.file))
    wrong = given != own
    if not wrong.any():
        return ""
    first = int(np.argmax(wrong))
    return f"{counted(int(given[first]), 'row')} of {rows.names[first]}, which has {counted(int(own[first]), 'event')}"


def _found_files(given: Iterable[Any], names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Each text that may name a file, with the indices of the files that it fits: by its whole name, else its end."""
    position = {name: i for i, name in enumerate(names)}
    parts = [_parts(name) for name in names]
    stems = [_parts(without_suffix(name)) for name in names]
    for text in map(str, given):
        plain = plain_cell(text.strip())
        found = [position[name] for name in (text, plain) if name in position][:1]
        found = found or [k for k, other in enumerate(parts) if _same_end(_parts(plain), other)]
        yield text, found or [k for k, other in enumerate(stems) if _same_end(_parts(plain), other)]


def _parts(name: str) -> list[str]:
    """A path from its end, whichever system wrote it."""
    return name.replace("\\", "/").split("/")[::-1]


def _same_end(one: list[str], other: list[str]) -> bool:
    """Whether one path is the end of the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _whole_numbers(cells: pd.Series[Any], what: str) -> NDArray[np.int64] | None:
    """Numbers of events; None where no cell is a whole number, so that the column is about something else."""
    values = pd.to_numeric(cells.astype(str).str.strip(), errors="coerce").to_numpy(dtype=np.float64)
    whole = (values == np.floor(values)) & (np.abs(values) < 2**53)
    if not whole.any():
        return None
    if not whole.all():
        line = int(np.argmin(whole))
        raise InputError(
            f"{what}: its column event should number the events, but line {line + _FIRST_LINE} of it holds "
            f"'{cells.iloc[line]}'"
        )
    return values.astype(np.int64)


def _order_without_files(numbers: NDArray[np.int64], rows: EventRows, what: str) -> NDArray[np.intp]:
    """Order of a table of several files that does not name them."""
    if any(((numbers - rows.event) == first).all() for first in (0, 1)):
        return np.arange(len(rows))
    order = _order_of_count(numbers, rows)
    if order is None:
        raise InputError(
            f"{what}: its events are not in the order of the {len(rows.names)} files, and it does not say of which "
            "file each is; add a column file, as labels.csv has it"
        )
    return order


def _order_of_count(numbers: NDArray[np.int64], rows: EventRows) -> NDArray[np.intp] | None:
    """Order of a table that counts through all files, from 0 or 1; None where it does not, or events lack."""
    order = np.argsort(numbers, kind="stable")
    counts = numbers.min() in (0, 1) and (numbers[order] - numbers.min() == np.arange(len(rows))).all()
    return order if counts and rows.whole else None


def _first_number(file: NDArray[np.int64], event: NDArray[np.int64], rows: EventRows) -> int:
    """Whether a table numbers its events from 0, as labels.csv does, or from 1, by which more are of the run."""
    own = pd.MultiIndex.from_arrays([rows.file, rows.event])
    known = [pd.MultiIndex.from_arrays([file, event - first]).isin(own).sum() for first in (0, 1)]
    return int(known[1] > known[0])


def _difference(
    file: NDArray[np.int64], event: NDArray[np.int64], rows: EventRows, where: str, *, some: bool = False
) -> str:
    """The first event that a table repeats, or that the run does not have, and the first that lacks in the table.

    ``some``: none lacks in a table of some events.
    """
    own = pd.MultiIndex.from_arrays([rows.file, rows.event])
    first = _first_number(file, event, rows)
    table = pd.MultiIndex.from_arrays([file, event - first])
    repeated, unknown, lacking = table.duplicated(), ~table.isin(own), ~own.isin(table)
    problems = []
    if (repeated | unknown).any():
        line = int(np.argmax(repeated | unknown))
        called = f"event {event[line]} of {rows.names[file[line]]}"
        before = int(np.argmax(table == table[line]))
        problems = [
            f"line {line + _FIRST_LINE} is {called}, which is not in {where}"
            if unknown[line]
            else f"{called} stands in line {before + _FIRST_LINE} and again in line {line + _FIRST_LINE}"
        ]
    if lacking.any() and not some:
        row = int(np.argmax(lacking))
        problems.append(f"event {rows.event[row] + first} of {rows.names[rows.file[row]]} has no row")
    return ", and ".join(problems)
