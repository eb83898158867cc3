"""The samples of a plate: files found in folders, by globs or in a sample sheet, with their wells."""

from __future__ import annotations

import glob
import os
import re
import string
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from cytomoe.errors import InputError, did_you_mean
from cytomoe.io.event_rows import FILE_COLUMNS, SAMPLE_COLUMNS
from cytomoe.io.fcs_names import SUFFIXES, without_suffix
from cytomoe.io.given_tables import read_table, refuse_reserved
from cytomoe.words import counted

# What a pattern of file names may name, and how a part is called that is passed over.
_FIELDS = ("plate", "well", "sample", "gate")
_PASSED_OVER = "_"
# Folders that hold this are results of cytomoe: the FCS files in them are no input.
_RESULTS = ("run.json", "batch.json")
_SHEET_COLUMNS = ("file", "sample", "plate", "well")
# What can't stand in the name of a folder everywhere: separators, wildcards, quotes, what can't be seen or written.
_UNFIT = r"""[/\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202e\ufeff]+"""
_LONGEST = 200  # bytes, of the 255 that file systems take
# A01 to P24, as 96- and 384-well plates are labelled, with nothing but separators around it.
_WELL = re.compile(r"(?<![A-Za-z0-9])([A-P])(0?[1-9]|1[0-9]|2[0-4])(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Sample:
    """A sample: one file, or several that are clustered and counted as one.

    Attributes
    ----------
    name
        Unique; also the name of its folder of results.
    paths
        Its files.
    plate, well
        Where known, else empty. Wells are spelled A01.
    fields
        Further columns of the sample sheet, as pairs of name and value.
    """

    name: str
    paths: tuple[Path, ...]
    plate: str = ""
    well: str = ""
    fields: tuple[tuple[str, str], ...] = ()


def find_samples(
    arguments: Sequence[str | os.PathLike[str]], well_pattern: str | None = None, gate_pattern: str | None = None
) -> list[Sample]:
    """Find the samples that the user means.

    Parameters
    ----------
    arguments
        Files, folders (searched with all below), globs, or one sample sheet (``.csv``).
    well_pattern
        Pattern of file names with the fields ``{plate}``, ``{well}``, ``{sample}``, ``{gate}``, and such as ``{_date}``
        for what is passed over; files that agree in the first three are one sample. Without it each file is a sample,
        and its well is looked for in its name. Where files of one name stand in several folders, the folders tell
        samples and plates apart.
    gate_pattern
        Pattern of files that hold a gate each, in the place of ``well_pattern`` where there is none.

    Raises
    ------
    InputError
        If nothing is found, a name does not match the pattern, or the sheet is wrong.
    """
    given = [Path(argument) for argument in arguments]
    sheets = [path for path in given if path.suffix.lower() == ".csv"]
    if sheets:
        if len(given) > 1:
            raise InputError(f"{sheets[0]} is a sample sheet; give it alone, it names the files")
        return _distinct(read_sheet(sheets[0]))
    files = list(dict.fromkeys(file for path in given for file in _files(path)))
    if not files:
        raise InputError(f"no FCS files in {', '.join(map(str, given))}; they end in {', '.join(SUFFIXES)}")
    if well_pattern is not None:
        return _distinct(_grouped(files, well_pattern, "--well-pattern"))
    if gate_pattern is not None:
        return _distinct(_grouped(files, gate_pattern, "--gate-pattern"))
    folders = _folders(files, [without_suffix(file.name) for file in files])
    return _distinct([_by_name(file, folder) for file, folder in zip(files, folders, strict=True)])


def more_plates_than_wells(samples: Sequence[Sample]) -> str:
    """A hint where files of one well were taken for plates of their own; empty where nothing looks so."""
    plates, wells = {sample.plate for sample in samples}, {sample.well for sample in samples if sample.well}
    if not 0 < len(wells) < len(plates):
        return ""
    return (
        f"{len(samples)} samples on {len(plates)} plates with {counted(len(wells), 'well')}: where files of one well "
        "are one sample, say how they are called, such as --well-pattern '{plate}_{gate}_{well}.fcs'"
    )


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        found = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        files = (file for file in found if file.name.lower().endswith(SUFFIXES) and not _is_result(file, path))
        return sorted(files, key=_as_people_sort)
    if not path.exists() and glob.has_magic(str(path)):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - absolute ones too
        return sorted(map(Path, names), key=_as_people_sort)
    return [path]


def _as_people_sort(path: Path) -> list[list[tuple[int, str]]]:
    """A key by which ``s2`` stands before ``s10``, and a name before those that begin with it."""
    return [
        [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)] + [(-1, name)]
        for name in (*path.parent.parts, without_suffix(path.name))
    ]


def _is_result(file: Path, below: Path) -> bool:
    """Whether a file lies in a folder of results, or is a hidden one that a killed run left."""
    folders = [folder for folder in file.parents if folder == below or below in folder.parents]
    hidden = any(part.startswith(".") for part in file.relative_to(below).parts)
    return hidden or any((folder / name).is_file() for folder in folders for name in _RESULTS)


def _folders(files: Sequence[Path], called: Sequence[Hashable]) -> list[str]:
    """The folder of each file where files that are called the same stand in several, as those of plates do."""
    at = [Path(os.path.normpath(file.absolute())).parent for file in files]
    if len(set(zip(called, at, strict=True))) == len(set(called)):
        return [""] * len(files)
    common = os.path.commonpath(at)
    return ["_".join(folder.relative_to(common).parts) for folder in at]


def _by_name(path: Path, folder: str = "") -> Sample:
    """A sample of one file; the last well in its name is its well, what stands before it names the plate."""
    stem = without_suffix(path.name)
    wells = list(_WELL.finditer(stem))
    name = _joined(folder, stem)
    if not wells:
        return Sample(name, (path,), plate=folder)
    last = wells[-1]
    return Sample(name, (path,), plate=_joined(folder, _before(stem[: last.start()])), well=_spell(last.group()))


def _joined(*parts: str) -> str:
    return "_".join(filter(None, parts))


def _before(text: str) -> str:
    """What stands before a well, without the one kind of separator between them: a plate may end in a minus."""
    return re.sub(r"(_+|-+|\.+| +)$", "", text).lstrip(" _-.")


def _spell(well: str) -> str:
    """Spell a well A01; what is no well stays as it is."""
    match = _WELL.fullmatch(well.strip().upper())
    return f"{match[1]}{int(match[2]):02d}" if match else well.strip()


def _grouped(files: Sequence[Path], pattern: str, option: str) -> list[Sample]:
    expression = _expression(pattern, option)
    fields = []
    for path in files:
        match = expression.fullmatch(path.name)
        if match is None:
            raise InputError(f"{path.name} does not match {option} '{pattern}'")
        found = {field: match.groupdict().get(field) or "" for field in _FIELDS}
        fields.append({**found, "well": _spell(found["well"])})
    folders = _folders(files, [tuple(found.values()) for found in fields])
    groups: dict[tuple[str, str, str, str], list[Path]] = {}
    for path, folder, found in zip(files, folders, fields, strict=True):
        groups.setdefault((folder, found["sample"], found["plate"], found["well"]), []).append(path)
    return [
        Sample(_joined(folder, sample or _joined(plate, well)), tuple(paths), _joined(folder, plate), well)
        for (folder, sample, plate, well), paths in groups.items()
    ]


def _expression(pattern: str, option: str) -> re.Pattern[str]:
    text, fields = "", []
    try:
        for literal, field, _, _ in string.Formatter().parse(pattern):
            text += re.escape(literal)
            if field is not None:
                if not field.isidentifier() or field in fields:
                    raise InputError(f"{option} '{pattern}': '{{{field}}}' is no name, or stands in it twice")
                if field not in _FIELDS and not field.startswith(_PASSED_OVER):
                    raise InputError(
                        f"{option} '{pattern}': no field is called {{{field}}}{did_you_mean(field, _FIELDS)}; there "
                        f"are {', '.join(f'{{{name}}}' for name in _FIELDS)}, and {{_any}} for what is passed over"
                    )
                fields.append(field)
                text += f"(?P<{field}>.+?)"
    except ValueError as error:
        raise InputError(f"{option} '{pattern}': {error}") from None
    if not {"well", "sample"} & set(fields):
        raise InputError(f"{option} '{pattern}': has neither {{well}} nor {{sample}}; write '{{plate}}_{{well}}.fcs'")
    return re.compile(text)


def read_sheet(path: Path) -> list[Sample]:
    """Samples of a table with the column file and, where wanted, sample, plate, well and any others.

    Paths are relative to the folder of the sheet, with or without .fcs. Rows that name the same sample are files of
    one sample.

    Raises
    ------
    InputError
        If the table can't be read, lacks the column or a file's name, has a column that cytomoe writes, or rows of one
        sample disagree.
    """
    table = read_table(path, str(path))
    called = next((c for name in FILE_COLUMNS for c in map(str, table.columns) if c.casefold() == name), None)
    if called is None:
        raise InputError(
            f"{path}: has no column file{did_you_mean('file', map(str, table.columns))}; it names the files"
        )
    name = next((c for name in SAMPLE_COLUMNS for c in map(str, table.columns) if c.casefold() == name), None)
    table = table.rename(columns={called: "file"} if name is None else {called: "file", name: "sample"})
    others = [str(column) for column in table.columns if column not in _SHEET_COLUMNS]
    refuse_reserved(others, str(path))
    if not table["file"].all():
        raise InputError(f"{path}, line {table.index[table['file'] == ''][0]}: names no file")
    samples: dict[str, Sample] = {}
    files = [_file_of(path.parent / file) for file in table["file"]]
    folders = _folders(files, [without_suffix(file.name) for file in files])
    for file, folder, row in zip(files, folders, table.to_dict("records"), strict=True):
        found = _by_name(file, folder)
        name = row.get("sample") or found.name
        about = {"plate": row.get("plate", found.plate), "well": _spell(row.get("well", found.well))}
        fields = tuple((other, row[other]) for other in others)
        before = samples.get(name)
        if before is not None:
            for what in ("plate", "well"):
                if getattr(before, what) != about[what] and what not in table.columns:
                    about[what] = ""  # guessed from the names, which say different things
            told = {what: value for what, value in about.items() if what in table.columns}
            if fields != before.fields or any(getattr(before, what) != value for what, value in told.items()):
                raise InputError(f"{path}: the rows of sample {name} disagree in their other columns")
        paths = (*(before.paths if before else ()), *found.paths)
        samples[name] = Sample(name, paths, about["plate"], about["well"], fields)
    if not samples:
        raise InputError(f"{path}: names no file")
    return list(samples.values())


def _file_of(path: Path) -> Path:
    """The file that a sheet names with or without the suffix of FCS files."""
    if path.exists():
        return path
    return next((file for s in SUFFIXES if (file := path.with_name(path.name + s)).is_file()), path)


def folder_name(name: str) -> str:
    """The name of a sample without what no folder should be called; most names stay as they are."""
    return re.sub(_UNFIT, "_", name).strip(" .").encode()[:_LONGEST].decode(errors="ignore") or "sample"


def _distinct(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with names that are fit for folders and all different; those that are so stay as they are."""
    bases = [folder_name(sample.name) for sample in samples]
    taken: set[str] = set()
    given = {base.casefold() for base in bases}  # which no numbered name may be
    names = {}
    for i in sorted(range(len(samples)), key=lambda i: bases[i] != samples[i].name):
        base = bases[i]
        free = (f"{base}.{n}" for n in count(2) if f"{base}.{n}".casefold() not in taken | given)
        names[i] = base if base.casefold() not in taken else next(free)
        taken.add(names[i].casefold())
    return [replace(sample, name=names[i]) for i, sample in enumerate(samples)]
