"""Files that are cut short, or made to keep the reader busy."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fcs_builder import FCSBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from cytomoe.cli.main import run
from cytomoe.errors import FCSError
from cytomoe.io import open_fcs, read_fcs

ROOT = Path(__file__).parent.parent
VALUES = np.arange(1, 61, dtype="<f4").reshape(20, 3) / 7
CHANNELS = [("A", 32, "64"), ("B", 32, "64"), ("C", 32, "64")]
WHOLE = FCSBuilder(CHANNELS, VALUES.tobytes(), 20).build()
DATA_BEGIN = len(WHOLE) - VALUES.nbytes


# ------------------------------------------------------------------ cut short


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cut")


@given(missing=st.integers(1, VALUES.nbytes - 12), packed=st.booleans())
def test_whole_events_before_the_cut_are_read_when_allowed(folder, missing, packed):
    path = folder / "cut.fcs"
    content = WHOLE[: len(WHOLE) - missing]
    path.write_bytes(gzip.compress(content) if packed else content)
    adata = read_fcs(path, allow_truncated=True)
    whole = (VALUES.nbytes - missing) // 12
    np.testing.assert_array_equal(adata.X, VALUES[:whole])
    assert [f"{20 - whole} of 20 events are missing" in warning for warning in adata.uns["fcs"]["warnings"]] == [True]


@pytest.mark.parametrize("cut", [4, 100])
def test_compressed_file_that_breaks_off_is_read_when_allowed(tmp_path, cut):
    noise = np.random.default_rng(0).random((20, 3), dtype=np.float32)  # which gzip can't shrink
    content = gzip.compress(FCSBuilder(CHANNELS, noise.tobytes(), 20).build())
    path = tmp_path / "cut.fcs.gz"
    path.write_bytes(content[:-cut])
    with pytest.raises(FCSError, match="cut short"):
        read_fcs(path)
    adata = read_fcs(path, allow_truncated=True)
    assert 0 < adata.n_obs <= 20
    np.testing.assert_array_equal(adata.X, noise[: adata.n_obs])


@given(size=st.integers(0, DATA_BEGIN + 11))
@settings(max_examples=50)
def test_file_without_one_whole_event_is_refused_even_so(folder, size):
    path = folder / "short.fcs"
    path.write_bytes(WHOLE[:size])
    with pytest.raises(FCSError):
        open_fcs(path, allow_truncated=True)


def test_allowing_cut_files_changes_nothing_for_whole_ones(tmp_path):
    path = tmp_path / "whole.fcs"
    path.write_bytes(WHOLE)
    opened = open_fcs(path, allow_truncated=True)
    assert opened.warnings == []
    np.testing.assert_array_equal(opened.values(), VALUES)


def test_cut_file_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "cut.fcs"
    path.write_bytes(WHOLE[:-30])
    assert run(["info", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"Error: {path}: the file is cut short after 17 events; copy or export it again, or add --allow-truncated "
        f"(at byte {len(WHOLE) - 36}); expected the 20 events of $TOT\n"
    )
    assert run(["info", str(path), "--allow-truncated"]) == 0
    assert "3 of 20 events are missing" in capsys.readouterr().out


# ------------------------------------------------------------------ made to keep the reader busy


def test_thousands_of_channels_of_one_name_take_no_time(tmp_path):
    n = 20_000
    path = tmp_path / "same.fcs"
    path.write_bytes(FCSBuilder([("A", 8, "256")] * n, bytes(n), 1, datatype="I").build())
    started = time.process_time()
    names = open_fcs(path).names
    assert time.process_time() - started < 5  # minutes when each name counts from 2
    assert len(set(names)) == n


def test_data_sets_whose_texts_overlap_are_refused(tmp_path):
    """A small file whose many HEADERs all claim the same long TEXT would be read for hours."""
    header = b"FCS3.0    %8d%8d%8d%8d%8d%8d"
    keywords, n = b"/$NEXTDATA/%08d/", 2000
    size = 58 + len(keywords % 0)
    end = n * size
    parts = [header % (58, end - 1 - i * size, 0, 0, 0, 0) + keywords % size for i in range(n)]
    path = tmp_path / "chain.fcs"
    path.write_bytes(b"".join(parts))
    started = time.process_time()
    with pytest.raises(FCSError, match="overlap"):
        open_fcs(path)
    assert time.process_time() - started < 2


def test_time_is_linear_in_the_number_of_data_sets(tmp_path):
    """Supplemental TEXT of data sets that nobody asked for is not read: each may claim the whole file."""
    n = 1000
    one = FCSBuilder(CHANNELS, b"", 0, header_data=(0, 0), keywords={"$NEXTDATA": "00000000"}).build()
    one = one.replace(b"/$NEXTDATA/00000000/", b"/$NEXTDATA/%08d/$BEGINSTEXT/1/$ENDSTEXT/99999/" % 0)
    path = tmp_path / "many.fcs"
    text_end = len(one) - 1
    one = one[:10] + b"%8d%8d" % (58, text_end) + one[26:]
    path.write_bytes(one.replace(b"/$NEXTDATA/00000000/", b"/$NEXTDATA/%08d/" % len(one)) * n)
    started = time.process_time()
    assert open_fcs(path).n_data_sets == n
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("engine", "script", "runs"),
    [("mutate", "fuzz_fcs.py", 4000), ("atheris", "fuzz_fcs.py", 5000), ("atheris", "fuzz_model.py", 500)],
)
def test_a_short_fuzzing_breaks_no_promise(engine, script, runs, tmp_path):
    """The long runs of the fuzzers, in small; of the model file without guidance, see test_model_file.py."""
    if engine == "atheris":
        pytest.importorskip("atheris", reason="atheris has no wheels for this machine; the other engine has run")
    arguments = ["--engine", engine, "--runs", str(runs), "--findings", tmp_path / "findings"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["engine"], result["runs"], result["findings"]) == (engine, runs, [])
    assert result["refused"] > 0
    assert result["refused"] + result.get("read", 0) + result.get("loaded", 0) == runs


def test_number_of_channels_that_is_given_twice_allocates_nothing():
    """Found by fuzzing: the guard looked at one $PAR and the parser behind it counted up to the other, 2147483648."""
    started = time.process_time()
    with pytest.raises(FCSError):
        open_fcs(ROOT / "tests" / "fuzz_corpus" / "channels_counted_twice.fcs")
    assert time.process_time() - started < 2
