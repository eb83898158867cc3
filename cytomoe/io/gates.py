"""Manual gates: where they stand in the user's files, and the gate of every event.

Gates come from one of three places: file names (one file per population, as Cytobank exports them), a channel of the
file, or a table with one row per event (:mod:`cytomoe.io.gate_tables`). Each becomes a :class:`Gates`. Exported
population files may overlap: :mod:`cytomoe.io.overlaps` finds the events that lie in more than one.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cytomoe.errors import InputError, did_you_mean
from cytomoe.io.given_tables import read_rows
from cytomoe.words import counted

if TYPE_CHECKING:
    from cytomoe.io.raw_events import Raw

# How files say that an event lies in no gate, compared without regard to case.
NO_GATE = frozenset({"", "unlabeled", "unlabelled", "ungated", "unassigned", "na", "nan", "0", "0.0"})

_GATE_FIELD = "gate"
_ONLY_SAMPLE = "sample"  # name of the sample where the pattern has no field but {gate}


@dataclass(frozen=True, eq=False)
class Gates:
    """The gate of every event.

    Attributes
    ----------
    codes
        (events,) int32 index into ``names``, -1 for no gate.
    names
        Names of the populations; each has at least one event.
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def from_labels(cls, labels: ArrayLike) -> Gates:
        """Make gates of one label per event; the words of :data:`NO_GATE`, None and NaN mean no gate.

        Parameters
        ----------
        labels
            (events,) names of gates, surrounded by any white space.
        """
        codes, values = pd.factorize(np.asarray(labels, dtype=object), use_na_sentinel=True)
        names = [str(value).strip() for value in values]
        kept = sorted({name for name in names if name.casefold() not in NO_GATE})
        position = {name: index for index, name in enumerate(kept)}
        lookup = np.array([position.get(name, -1) for name in names] + [-1], dtype=np.int32)  # the last for code -1
        return cls(lookup[codes], tuple(kept))

    @property
    def gated(self) -> NDArray[np.bool_]:
        """(events,) whether an event lies in a gate."""
        return self.codes >= 0

    def take(self, rows: NDArray[np.bool_]) -> Gates:
        """Gates of some of the events, shape (events,): those that hold any of them."""
        if rows.all():
            return self
        return Gates.from_labels(np.array([*self.names, None], dtype=object)[self.codes[rows]])

    def counts(self) -> dict[str, int]:
        """Events per gate, by name."""
        sizes = np.bincount(self.codes[self.gated], minlength=len(self.names))
        return dict(zip(self.names, sizes.tolist(), strict=True))

    def names_alike(self, what: str = "gates") -> list[str]:
        """A line on names that differ in capital letters or spaces alone, which may be one population; else none."""
        groups: dict[str, list[str]] = {}
        for name in self.names:
            groups.setdefault(" ".join(name.casefold().split()), []).append(name)
        counts = self.counts()
        alike = [
            " and ".join(f"'{n}' ({counted(counts[n], 'event')})" for n in g) for g in groups.values() if len(g) > 1
        ]
        if not alike:
            return []
        return [
            f"{what} whose names differ in capital letters or spaces alone are taken for different ones: "
            f"{'; '.join(alike)}; if they are one population, spell its name in one way, and repeat this"
        ]

    def to_categorical(self) -> pd.Categorical:
        """Return the gates as a column for ``obs``; no gate is a missing value."""
        return pd.Categorical.from_codes(self.codes.astype(np.int64), categories=pd.Index(self.names, dtype=object))


@dataclass(frozen=True)
class GatedSample:
    """The population files of one sample.

    Attributes
    ----------
    name
        The pattern's other fields joined by ``_``, such as ``Staurosporine_H05``.
    paths
        Its files, in the order given.
    gates
        The gate that each file holds.
    """

    name: str
    paths: tuple[Path, ...]
    gates: tuple[str, ...]


class GatePattern:
    """A pattern of file names with named fields, one of them ``{gate}``.

    Parameters
    ----------
    pattern
        Such as ``{plate}_{gate}_{well}.fcs``. Text outside braces must stand in the file name as it is.

    Raises
    ------
    InputError
        If the braces do not pair, a field has no name or a name twice, or ``{gate}`` is missing.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        literals, self.fields = _parse_pattern(pattern)
        # A name that can be split in more than one way has different shortest-first and longest-first splits.
        self._shortest_first = _expression(literals, self.fields, "+?")
        self._longest_first = _expression(literals, self.fields, "+")

    def fields_of(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """Read the fields of one file name.

        Raises
        ------
        InputError
            If the name does not match, or matches in more than one way.
        """
        name = Path(path).name
        match = self._shortest_first.fullmatch(name)
        if match is None:
            raise InputError(f"{path}: the file name does not match --gate-pattern '{self.pattern}'")
        other = self._longest_first.fullmatch(name)
        if other is not None and other.groups() != match.groups():
            raise InputError(
                f"{path}: --gate-pattern '{self.pattern}' fits the file name in more than one way (gate "
                f"'{match[_GATE_FIELD]}' or '{other[_GATE_FIELD]}'); write the part that is the same in all names "
                "as plain text"
            )
        return match.groupdict()

    def group(self, paths: Iterable[str | os.PathLike[str]]) -> list[GatedSample]:
        """Sort population files into samples: files that agree in every field but the gate are one sample.

        Parameters
        ----------
        paths
            The files of one or many samples.

        Returns
        -------
        list of GatedSample
            In the order in which the samples first appear.

        Raises
        ------
        InputError
            If a file name does not match, or two files claim the same gate of the same sample.
        """
        samples: dict[str, dict[str, Path]] = {}
        for path in map(Path, paths):
            fields = self.fields_of(path)
            gate = fields.pop(_GATE_FIELD)
            name = "_".join(fields.values()) or _ONLY_SAMPLE
            files = samples.setdefault(name, {})
            if gate in files:
                raise InputError(
                    f"{path} and {files[gate]} both hold gate '{gate}' of sample '{name}'; give one of them"
                )
            files[gate] = path
        return [GatedSample(name, tuple(files.values()), tuple(files)) for name, files in samples.items()]


def gates_from_files(gates: Sequence[str], sizes: Sequence[int]) -> Gates:
    """Gates of a sample whose populations lie in one file each.

    Parameters
    ----------
    gates
        Gate of each file, as in :attr:`GatedSample.gates`; the words of :data:`NO_GATE` mean events without a gate.
    sizes
        Events of each file.
    """
    return Gates.from_labels(np.repeat(np.array(gates, dtype=object), sizes))


def gates_from_channel(sample: Raw, channel: str) -> Gates:
    """Gates that stand as numbers in a channel of the file; 0 and NaN mean no gate.

    Parameters
    ----------
    sample
        A sample as :func:`cytomoe.io.read_fcs` returns it.
    channel
        Name of the channel: as in ``var_names``, its $PnN, or its antigen; exact, else the one that fits without
        regard to case.

    Returns
    -------
    Gates
        Named by their numbers (``"1"``, ``"2"``), in increasing order.

    Raises
    ------
    InputError
        If there is no such channel, or it holds measurements instead of whole numbers.
    """
    values = np.asarray(sample.X)[:, _channel_position(sample, channel)].astype(np.float64)
    gated = np.isfinite(values) & (values != 0)
    numbers, inverse = np.unique(values[gated], return_inverse=True)
    if (numbers != np.round(numbers)).any():
        raise InputError(
            f"--gate-channel {channel}: holds measured values ({numbers[numbers != np.round(numbers)][0]:g}), "
            "not the number of a gate"
        )
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[gated] = inverse
    return Gates(codes, tuple(str(int(number)) for number in numbers))


def read_gate_names(path: Path) -> dict[str, str]:
    """Names behind the numbers of a channel of gates: a table with a column of whole numbers and one of names.

    Raises
    ------
    InputError
        If the table can't be read, lacks one of the two columns, or names a number twice.
    """
    rows = [row for _, row in read_rows(path, f"--gate-names {path}")]
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    if rows and not any(value.isdecimal() for value in rows[0]):
        rows = rows[1:]  # the header
    columns = list(zip(*rows, strict=True))
    numbers = next((column for column in columns if all(value.isdecimal() for value in column)), None)
    names = next((column for column in columns if not any(value.isdecimal() for value in column)), None)
    if numbers is None or names is None:
        raise InputError(f"--gate-names {path}: needs a column with the numbers of the gates and one with their names")
    found = dict(zip(map(str, map(int, numbers)), names, strict=True))
    if len(found) < len(numbers):
        raise InputError(f"--gate-names {path}: a number is named twice")
    return found


def _parse_pattern(pattern: str) -> tuple[list[str], list[str]]:
    """Literal text before each field plus the text after the last, and the names of the fields."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise InputError(f"--gate-pattern '{pattern}': {error}") from None
    literals = [literal for literal, field, _, _ in parts]
    fields = [field for _, field, _, _ in parts if field is not None]
    for field in fields:
        if not field.isidentifier():
            raise InputError(f"--gate-pattern '{pattern}': '{{{field}}}' is no field name; use letters, as in {{well}}")
    if repeated := {field for field in fields if fields.count(field) > 1}:
        raise InputError(f"--gate-pattern '{pattern}': field {{{min(repeated)}}} stands in it twice; name each once")
    if _GATE_FIELD not in fields:
        raise InputError(
            f"--gate-pattern '{pattern}': the field {{gate}} is missing; write it where the population's name stands, "
            "as in '{plate}_{gate}_{well}.fcs'"
        )
    return literals, fields


def _expression(literals: list[str], fields: list[str], repeat: str) -> re.Pattern[str]:
    """Regular expression of a pattern whose fields take as few (``+?``) or as many (``+``) characters as they can."""
    pieces = [re.escape(literal) for literal in literals]
    for index, field in enumerate(fields):
        pieces[index] += f"(?P<{field}>.{repeat})"
    return re.compile("".join(pieces))


def _channel_position(sample: Raw, channel: str) -> int:
    """Position of the channel that the user named."""
    columns = [list(map(str, sample.var_names))]
    columns += [list(map(str, sample.var[name])) for name in ("channel", "antigen") if name in sample.var]
    for fold in (str, str.casefold):
        for names in columns:
            found = [i for i, name in enumerate(names) if fold(name) == fold(channel)]
            if len(found) == 1:
                return found[0]
    known = dict.fromkeys(name for names in columns for name in names if name)
    near = did_you_mean(channel, known) or "; cytomoe info lists those that it has"
    raise InputError(f"--gate-channel {channel}: the file has no such channel{near}")
