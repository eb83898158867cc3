"""Public data that the benchmarks use: what there is, where it lies on this machine, and who is to be cited.

Data is looked for in ``$CYTOMOE_DATA`` first and then in the user's cache, in the same folders in both.
:mod:`cytomoe.datasets.fetch` brings it there.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cytomoe.errors import InputError, did_you_mean

ENVIRONMENT = "CYTOMOE_DATA"


@dataclass(frozen=True)
class DataFile:
    """A file of a data set.

    Attributes
    ----------
    name
        File name.
    url
        Where it can be had; None where a person must.
    bytes
        Size; None where it is not known.
    sha256, git_blob
        What its content must be: SHA-256, or the git blob id. Both None where neither is known.
    """

    name: str
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    git_blob: str | None = None


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Attributes
    ----------
    name, title, licence, citation
        What it is, and what to write when it is used.
    folder
        Its folder in ``$CYTOMOE_DATA`` and in the cache; it may also lie in one of ``also``.
    files
        What belongs to it.
    by_hand
        How to get what can't be downloaded.
    """

    name: str
    title: str
    licence: str
    citation: str
    folder: str
    files: tuple[DataFile, ...]
    also: tuple[str, ...] = ()
    by_hand: str = ""

    @property
    def bytes(self) -> int:
        """Size of the files whose size is known."""
        return sum(file.bytes or 0 for file in self.files)


def registry() -> dict[str, DataSet]:
    """All data sets by name."""
    with (files("cytomoe.datasets") / "registry.toml").open("rb") as file:
        entries = tomllib.load(file)
    return {
        name: DataSet(
            name=name,
            title=entry["title"],
            licence=entry["licence"],
            citation=entry["citation"],
            folder=entry["folder"],
            files=tuple(DataFile(**values) for values in entry["files"]),
            also=tuple(entry.get("also", ())),
            by_hand=entry.get("by_hand", ""),
        )
        for name, entry in entries.items()
    }


def data_set(name: str) -> DataSet:
    """Return a data set of the registry.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    known = registry()
    if name not in known:
        raise InputError(f"unknown data set {name}{did_you_mean(name, known)}; cytomoe data list shows all")
    return known[name]


def cache_folder() -> Path:
    """Folder of downloaded data: ``cytomoe`` in the user's cache."""
    import pooch

    return Path(pooch.os_cache("cytomoe"))


def data_roots() -> list[Path]:
    """Folders in which data sets are looked for, the first that has one wins."""
    named = os.environ.get(ENVIRONMENT)
    return [*([Path(named)] if named else []), cache_folder()]


def present_files(entry: DataSet) -> dict[str, Path]:
    """Files of a data set that are on this machine, by name."""
    folders = [root / folder for root in data_roots() for folder in (entry.folder, *entry.also)]
    found = {}
    for file in entry.files:
        places = (folder / file.name for folder in folders)
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            found[file.name] = path
    return found


def folder_of(name: str) -> Path:
    """Folder that holds a data set on this machine.

    Raises
    ------
    InputError
        If no file of it is here; says how to get it.
    """
    entry = data_set(name)
    found = present_files(entry)
    if found:
        return next(iter(found.values())).parent
    for root in data_roots():
        if not entry.files and (root / entry.folder).is_dir():
            return root / entry.folder
    get = f"get it with: cytomoe data fetch {name}" if any(file.url for file in entry.files) else entry.by_hand
    raise InputError(f"data set {name} is not on this machine; {get}")
