"""Downloads of public data: resumable, verified before use, and no broken file left behind.

A download grows in ``<name>.part``; a broken one goes on from there. Only a file whose content is what the registry
says gets its name.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cytomoe.datasets.registry import DataFile, DataSet, cache_folder, present_files
from cytomoe.errors import InputError, RunError
from cytomoe.io.atomic import atomic_path

if TYPE_CHECKING:
    import requests

Say = Callable[[str], None]
_CHUNK = 1 << 16  # bytes; what a broken connection loses at most
_TIMEOUT = 30  # seconds without a byte


def fetch(entry: DataSet, *, from_dir: Path | None = None, say: Say = lambda _: None) -> Path:
    """Bring the files of a data set into the cache.

    Parameters
    ----------
    entry
        The data set.
    from_dir
        Take the files from this folder instead of the network, such as one filled on another machine.
    say
        Called with a line per file.

    Returns
    -------
    Path
        Their folder in the cache. Files that are on this machine already, there or in ``$CYTOMOE_DATA``, are left.

    Raises
    ------
    InputError
        If ``from_dir`` is no folder, holds none of the files, or nothing of the data set can be downloaded.
    RunError
        If a download fails or gives another content than the registry says.
    """
    folder = cache_folder() / entry.folder
    present = present_files(entry)
    missing = [file for file in entry.files if file.name not in present]
    for name, path in present.items():
        say(f"{name}: is here already, {path}")
    if from_dir is not None:
        _copy_from(from_dir, missing, folder, entry, say)
    elif missing:
        wanted = [file for file in missing if file.url is not None]
        if not wanted:
            names = ", ".join(file.name for file in missing)
            raise InputError(f"{names}: can't be downloaded; {entry.by_hand}")
        for file in wanted:
            try:
                download(file, folder)
            except RunError as error:
                hand = f"or download it by hand and take it with: cytomoe data fetch {entry.name} --from-dir FOLDER"
                raise RunError(f"{error}; {hand}") from error
            say(f"{file.name}: downloaded and verified")
        for file in missing:
            if file.url is None:
                say(f"{file.name}: can't be downloaded; {entry.by_hand}")
    elif not entry.files:
        raise InputError(f"data set {entry.name} can't be downloaded: it {entry.by_hand}")
    return folder if folder.is_dir() else next(iter(present.values())).parent


def download(file: DataFile, folder: Path) -> Path:
    """Download one file, going on where an earlier attempt broke off, and verify it.

    Raises
    ------
    RunError
        If there is no network, the server refuses, the connection breaks, or the content is not what it must be.
    """
    import requests

    folder.mkdir(parents=True, exist_ok=True)
    part, final = folder / f"{file.name}.part", folder / file.name
    try:
        with _open(file, part) as response:
            _append(response, part)
    except requests.HTTPError as error:
        part.unlink(missing_ok=True)
        status = "an error" if error.response is None else error.response.status_code
        raise RunError(f"{file.url}: the server answers {status}; nothing was kept") from error
    except requests.RequestException as error:
        got = f"; {part.stat().st_size:,} bytes are kept, the same command goes on" if part.exists() else ""
        raise RunError(f"{file.url}: {_reason(error)}{got}") from error
    if file.bytes is not None and part.stat().st_size < file.bytes:
        got = f"{part.stat().st_size:,} of {file.bytes:,} bytes"
        raise RunError(f"{file.url}: the connection broke after {got}; they are kept, the same command goes on")
    problem = wrong_content(part, file)
    if problem:
        part.unlink()
        raise RunError(f"{file.url}: {problem}; the download was removed. Try again, or report it if it stays so")
    part.replace(final)
    return final


def wrong_content(path: Path, file: DataFile) -> str:
    """What is wrong with the content of a file; empty if it is as the registry says, or the registry knows nothing.

    Parameters
    ----------
    path
        The file.
    file
        What it must be.
    """
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        return f"has {size:,} bytes instead of {file.bytes:,}"
    if file.sha256 is not None and _digest(path, "sha256", b"") != file.sha256:
        return "its SHA-256 is not the one on record"
    if file.git_blob is not None and _digest(path, "sha1", f"blob {size}\0".encode()) != file.git_blob:
        return "its git blob id is not the one on record"
    return ""


def _digest(path: Path, algorithm: str, prefix: bytes) -> str:
    digest = hashlib.new(algorithm, prefix)
    with path.open("rb") as content:
        while block := content.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _open(file: DataFile, part: Path) -> requests.Response:
    """Ask for what is missing of a file; where the server can't give a part of it, all of it."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    response = requests.get(str(file.url), headers=headers, stream=True, timeout=_TIMEOUT)
    if response.status_code == requests.codes.requested_range_not_satisfiable:  # all is here, or it was too long
        response.close()
        part.unlink()
        return _open(file, part)
    response.raise_for_status()
    if have and response.status_code != requests.codes.partial_content:
        part.unlink()
    return response


def _append(response: requests.Response, part: Path) -> None:
    with part.open("ab") as growing:
        for block in response.iter_content(_CHUNK):
            growing.write(block)


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.ConnectionError) and "NewConnectionError" in repr(error):
        return "can't be reached; is there a network?"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_TIMEOUT} s"
    return "the connection broke"


def _copy_from(source: Path, missing: list[DataFile], folder: Path, entry: DataSet, say: Say) -> None:
    """Copy the files that a folder holds, each verified before it gets its name."""
    if not source.is_dir():
        raise InputError(f"--from-dir {source}: no such folder")
    found = [(file, path) for file in missing for path in sorted(source.rglob(file.name))[:1]]
    if missing and not found:
        names = ", ".join(file.name for file in missing[:3])
        raise InputError(f"--from-dir {source}: holds no file of {entry.name} that is missing ({names} ...)")
    folder.mkdir(parents=True, exist_ok=True)
    for file, path in found:
        problem = wrong_content(path, file)
        if problem:
            raise InputError(f"{path}: {problem}; it was not taken")
        with atomic_path(folder / file.name) as temporary:
            shutil.copyfile(path, temporary)
        verified = "verified" if file.sha256 or file.git_blob else "not verified: no checksum is on record"
        say(f"{file.name}: copied, {verified}")
