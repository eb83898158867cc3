"""Files that a run reads must stay as they are until it ends; else its results would be of no file that exists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cytomoe.errors import InputError

MODEL_FILE = "model.cytomoe"


@dataclass(frozen=True)
class Stamp:
    """A file as it stood when a run began.

    Attributes
    ----------
    path
        The file.
    size
        Bytes.
    modified
        Time of the last change, nanoseconds.
    inode
        Which file of the file system it is: another one may have taken its name.
    """

    path: Path
    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The file as it stands now.

        Raises
        ------
        InputError
            If there is no such file.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror or error})") from error
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def check(self) -> None:
        """Refuse a file that is not the one any more that it was.

        Raises
        ------
        InputError
            If it has changed or is gone.
        """
        if not self.path.exists():
            raise InputError(f"{self.path} was removed during the run; start again when it is back")
        if Stamp.of(self.path) != self:
            raise InputError(f"{self.path} has changed during the run; start again when it is complete")


@dataclass(frozen=True)
class Checksum:
    """What a file that stood so holds.

    Attributes
    ----------
    stamp
        The file.
    sha256
        Of its bytes, in hexadecimal.
    """

    stamp: Stamp
    sha256: str

    @classmethod
    def of(cls, stamp: Stamp, known: Iterable[Checksum] = ()) -> Checksum:
        """Checksum of a file that was read, worked out unless it is known of a file that stood just so.

        Raises
        ------
        InputError
            If the file is not the one any more that it was.
        """
        stamp.check()
        for one in known:
            if one.stamp == stamp:
                return one
        found = cls(stamp, sha256(stamp.path))
        stamp.check()
        return found


def refuse_to_replace(out: Path, paths: Iterable[Path]) -> None:
    """Refuse an output that would take the place of something that is read for it.

    Raises
    ------
    InputError
        If one of the paths is the output, or lies in it.
    """
    place = out.resolve()
    for path in paths:
        found = path.resolve()
        if found == place or place in found.parents:
            raise InputError(f"{path} is read, and --out {out} would replace it; give another --out")


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_path(path: Path) -> Path:
    """The model file that a path means: itself, or that in the folder of a run.

    Raises
    ------
    InputError
        If there is no such path, or it is a folder without a model.
    """
    if not path.exists():
        raise InputError(f"{path}: no such folder or file; give the folder of a run, or the {MODEL_FILE} in it")
    if not path.is_dir():
        return path
    if not (path / MODEL_FILE).is_file():
        raise InputError(
            f"{path} is a folder without a {MODEL_FILE}; give the folder of a run of cytomoe cluster or batch"
        )
    return path / MODEL_FILE
