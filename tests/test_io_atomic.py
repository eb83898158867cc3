from __future__ import annotations

import multiprocessing
import os

import pytest

from cytomoe.errors import InputError, RunError
from cytomoe.io.atomic import atomic_directory, atomic_path


def test_file_appears_under_its_name_and_nothing_else(tmp_path):
    with atomic_path(tmp_path / "labels.csv") as temporary:
        temporary.write_text("1")
        assert not (tmp_path / "labels.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_temporary_name_is_hidden_and_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "cells.h5ad") as temporary:
        temporary.touch()
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".h5ad"
        assert temporary.parent == tmp_path


def write_half_a_file(path, exception):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise exception


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_whole(tmp_path, exception):
    path = tmp_path / "labels.csv"
    path.write_text("old")
    with pytest.raises(exception):
        write_half_a_file(path, exception)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.csv"]


def test_missing_folder_is_the_users_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"), atomic_path(tmp_path / "no" / "labels.csv"):
        pass


def test_a_folder_in_place_of_the_file_is_the_users_error(tmp_path):
    with pytest.raises(InputError, match="is a folder"), atomic_path(tmp_path):
        pass


def _die_while_writing(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        os._exit(1)


def test_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("old")
    process = multiprocessing.get_context("spawn").Process(target=_die_while_writing, args=(path,))
    process.start()
    process.join()
    assert path.read_text() == "old"


def test_directory_is_made_with_its_parents(tmp_path):
    with atomic_directory(tmp_path / "runs" / "first") as folder:
        (folder / "run.json").write_text("{}")
    assert (tmp_path / "runs" / "first" / "run.json").read_text() == "{}"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_existing_directory_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="--force"), atomic_directory(tmp_path / "out"):
        pass


def test_replaced_directory_holds_the_new_files_only(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.csv").touch()
    with atomic_directory(out, replace=True) as folder:
        (folder / "new.csv").touch()
        assert (out / "old.csv").exists()
    assert [path.name for path in out.iterdir()] == ["new.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def fill_half_a_directory(path):
    with atomic_directory(path, replace=True) as folder:
        (folder / "new.csv").touch()
        raise ValueError("half way")


def test_failure_keeps_the_old_directory(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.csv").touch()
    with pytest.raises(ValueError, match="half way"):
        fill_half_a_directory(out)
    assert [path.name for path in out.iterdir()] == ["old.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_can_not_become_a_directory(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"), atomic_directory(tmp_path / "out", replace=True):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_old_results_that_stay_are_named(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()

    def refuse(path, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("cytomoe.io.atomic.shutil.rmtree", refuse)
    told = pytest.raises(RunError, match="out: complete, but the results that it replaces can't be removed")
    with told, atomic_directory(tmp_path / "out", replace=True) as folder:
        (folder / "new").touch()
    assert (tmp_path / "out" / "new").exists()
