"""``cytomoe data``: downloads from a real server that misbehaves, and data that is there already."""

import hashlib
import http.server
import threading

import pytest

from cytomoe.cli.main import run
from cytomoe.datasets import registry as registry_module
from cytomoe.datasets.registry import DataFile, DataSet, data_set, folder_of, registry

CONTENT = bytes(range(256)) * 2000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /file; breaks off in the middle as often as ``breaks`` says."""

    breaks = 0
    ranges: list[str | None] = []  # noqa: RUF012 - shared on purpose

    def do_GET(self):
        if self.path != "/file":
            self.send_error(404)
            return
        Server.ranges.append(self.headers.get("Range"))
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
        rest = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if Server.breaks:
            Server.breaks -= 1
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    Server.breaks, Server.ranges = 0, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no other data."""
    monkeypatch.delenv("CYTOMOE_DATA", raising=False)
    monkeypatch.setattr(registry_module, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("cytomoe.datasets.fetch.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def known(monkeypatch, url, **content):
    """Put one data set of one file into the registry."""
    file = DataFile("cells.bin", url=url, **content)
    entry = DataSet("cells", "Cells", "CC0", "Nobody 2020", "cells", (file,), by_hand="ask for it")
    monkeypatch.setattr(registry_module, "registry", lambda: {"cells": entry})


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_download_is_verified_and_found_afterwards(address, cache, monkeypatch, capsys):
    known(monkeypatch, f"{address}/file", sha256=sha256(CONTENT), bytes=len(CONTENT))
    assert run(["data", "fetch", "cells"]) == 0
    assert (cache / "cells" / "cells.bin").read_bytes() == CONTENT
    assert run(["data", "path", "cells"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(cache / "cells")
    assert run(["data", "fetch", "cells"]) == 0
    assert len(Server.ranges) == 1  # not downloaded again


def test_git_blob_ids_are_verified_too(address, cache, monkeypatch):
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    known(monkeypatch, f"{address}/file", git_blob=blob)
    assert run(["data", "fetch", "cells"]) == 0


def test_a_broken_download_goes_on_where_it_stopped(address, cache, monkeypatch, capsys):
    known(monkeypatch, f"{address}/file", sha256=sha256(CONTENT), bytes=len(CONTENT))
    Server.breaks = 1
    assert run(["data", "fetch", "cells"]) == 1
    message = capsys.readouterr().err
    assert "broke" in message
    assert "goes on" in message
    assert "cytomoe data fetch cells --from-dir FOLDER" in message
    assert [path.name for path in (cache / "cells").iterdir()] == ["cells.bin.part"]
    assert run(["data", "fetch", "cells"]) == 0
    assert int(Server.ranges[1].removeprefix("bytes=").rstrip("-")) > len(CONTENT) // 4
    assert (cache / "cells" / "cells.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [{"sha256": sha256(b"other")}, {"git_blob": "0" * 40}, {"bytes": len(CONTENT) - 1}])
def test_wrong_content_is_removed(address, cache, monkeypatch, capsys, wrong):
    known(monkeypatch, f"{address}/file", **wrong)
    assert run(["data", "fetch", "cells"]) == 1
    assert "removed" in capsys.readouterr().err
    assert list((cache / "cells").iterdir()) == []


def test_a_missing_page_is_one_line_and_leaves_nothing(address, cache, monkeypatch, capsys):
    known(monkeypatch, f"{address}/nowhere", sha256=sha256(CONTENT))
    assert run(["data", "fetch", "cells"]) == 1
    assert "404" in capsys.readouterr().err
    assert list((cache / "cells").iterdir()) == []


def test_without_a_network_the_way_out_is_named(cache, monkeypatch, capsys):
    known(monkeypatch, "http://127.0.0.1:1/file", sha256=sha256(CONTENT))
    assert run(["data", "fetch", "cells"]) == 1
    assert "--from-dir" in capsys.readouterr().err
    assert list((cache / "cells").iterdir()) == []


def test_from_dir_takes_verified_files_only(cache, monkeypatch, tmp_path, capsys):
    known(monkeypatch, None, sha256=sha256(CONTENT))
    source = tmp_path / "stick"
    source.mkdir()
    (source / "cells.bin").write_bytes(b"something else")
    assert run(["data", "fetch", "cells", "--from-dir", str(source)]) == 2
    assert "SHA-256" in capsys.readouterr().err
    assert not (cache / "cells" / "cells.bin").exists()
    (source / "cells.bin").write_bytes(CONTENT)
    assert run(["data", "fetch", "cells", "--from-dir", str(source)]) == 0
    assert (cache / "cells" / "cells.bin").read_bytes() == CONTENT
    assert run(["data", "fetch", "cells", "--from-dir", str(tmp_path / "nowhere")]) == 2


def test_data_that_a_person_must_get_says_how(cache, monkeypatch, capsys):
    known(monkeypatch, None)
    assert run(["data", "fetch", "cells"]) == 2
    assert "ask for it" in capsys.readouterr().err
    assert run(["data", "path", "cells"]) == 2
    assert "ask for it" in capsys.readouterr().err


def test_the_named_folder_goes_before_the_cache(cache, monkeypatch, tmp_path):
    known(monkeypatch, None)
    (tmp_path / "mine" / "cells").mkdir(parents=True)
    (tmp_path / "mine" / "cells" / "cells.bin").write_bytes(CONTENT)
    monkeypatch.setenv("CYTOMOE_DATA", str(tmp_path / "mine"))
    assert folder_of("cells") == tmp_path / "mine" / "cells"


def test_an_unknown_data_set_names_the_nearest(capsys):
    assert run(["data", "fetch", "mnst"]) == 2
    assert "mnist" in capsys.readouterr().err


def test_list_shows_licence_and_citation_of_each(capsys):
    assert run(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for entry in registry().values():
        assert entry.name in shown
        assert entry.citation in shown


def test_local_data_is_what_the_registry_says(data):
    from cytomoe.datasets.fetch import wrong_content
    from cytomoe.datasets.registry import present_files

    for name in ("bodenmiller-staurosporine", "mnist", "weber"):
        entry = data_set(name)
        present = present_files(entry)
        assert present, name
        for file in entry.files:
            if file.name in present:
                assert wrong_content(present[file.name], file) == "", file.name
