"""What reading gives: AnnData in the form that every later step relies on, data sets, compressed files."""

from __future__ import annotations

import dataclasses
import gzip
import subprocess
import sys
import zlib

import anndata
import numpy as np
import pandas as pd
import pytest
from fcs_builder import FCSBuilder

from cytomoe.errors import FCSError, InputError
from cytomoe.io import fcs_names, open_fcs, read_fcs, write_h5ad
from cytomoe.io.fcs_layout import Channel
from cytomoe.io.fcs_names import channel_names, event_names

VALUES = np.arange(30, dtype="<f4").reshape(10, 3)
SAMPLE = FCSBuilder(
    [("Nd145Dd", 32, "171"), ("Time", 32, "1000"), ("Eu151Dd", 32, "10.5")],
    VALUES.tobytes(),
    10,
    keywords={"$P1S": " CD4 ", "$P3S": "CD123", "$P3G": "2.5", "$P1E": "4,1", "$CYT": "CyTOF", "$INST": " "},
)


def written(path, builder=SAMPLE):
    path.write_bytes(builder.build())
    return path


def channel(name, antigen=""):
    return Channel(name, antigen, 1024.0, "0,0", 1.0, 32, "F")


def test_anndata_holds_values_channels_and_provenance(tmp_path):
    path = written(tmp_path / "sample.fcs")
    adata = read_fcs(path)
    np.testing.assert_array_equal(adata.X, VALUES)
    assert adata.X.dtype == np.float32
    assert list(adata.obs_names[[0, -1]]) == ["0", "9"]
    expected = pd.DataFrame(
        {
            "channel": ["Nd145Dd", "Time", "Eu151Dd"],
            "antigen": ["CD4", "", "CD123"],
            "range": [171.0, 1000.0, 10.5],
            "log": ["4,1", "0,0", "0,0"],
            "gain": [1.0, 1.0, 2.5],
            "bits": [32, 32, 32],
            "datatype": ["F", "F", "F"],
        },
        index=["CD4", "Time", "CD123"],
    )
    pd.testing.assert_frame_equal(adata.var, expected)
    provenance = adata.uns["fcs"]
    assert provenance["keywords"]["$CYT"] == "CyTOF"
    assert {key: provenance[key] for key in ("path", "version", "data_set", "n_data_sets", "warnings")} == {
        "path": str(path),
        "version": "3.0",
        "data_set": 1,
        "n_data_sets": 1,
        "warnings": [],
    }


def test_opening_reads_no_event(tmp_path, monkeypatch):
    path = written(tmp_path / "sample.fcs")
    monkeypatch.setattr("cytomoe.io.fcs_read.read_values", lambda *_: pytest.fail("DATA was read"))
    data_set = open_fcs(path)
    assert (data_set.n_events, data_set.names) == (10, ["CD4", "Time", "CD123"])


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        ([channel("A", "CD3"), channel("B", "CD4")], ["CD3", "CD4"]),
        ([channel("A", "X"), channel("B", "X"), channel("C", "Y")], ["A", "B", "Y"]),
        ([channel("A"), channel("A")], ["A", "A (2)"]),
        ([channel("CD3"), channel("B", "CD3")], ["CD3", "CD3 (2)"]),
        ([channel("A (2)"), channel("A"), channel("A")], ["A (2)", "A", "A (3)"]),
    ],
)
def test_channel_names_are_unambiguous(channels, names):
    assert channel_names(channels) == names


def test_bits_beyond_the_range_are_reported(tmp_path):
    data = np.array([[0x8001, 1]], dtype="<u2").tobytes()
    builder = FCSBuilder([("A", 16, "1024"), ("B", 16, "1024")], data, 1, datatype="I")
    adata = read_fcs(written(tmp_path / "sample.fcs", builder))
    assert adata.X.tolist() == [[1.0, 1.0]]
    assert adata.uns["fcs"]["warnings"] == [
        "values of A had bits beyond the channel's range ($PnR), left out as the standard asks"
    ]


# Data sets


def chain(*builders, absolute=False):
    """Data sets one after the other, each naming the next by $NEXTDATA."""
    result = b""
    for n, builder in enumerate(builders):
        size = len(dataclasses.replace(builder, keywords={**builder.keywords, "$NEXTDATA": f"{0:08d}"}).build())
        offset = 0 if n == len(builders) - 1 else size + (len(result) if absolute else 0)
        result += dataclasses.replace(builder, keywords={**builder.keywords, "$NEXTDATA": f"{offset:08d}"}).build()
    return result


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_data_sets_are_found_and_announced(tmp_path, number, absolute):
    sets = [dataclasses.replace(SAMPLE, data=(VALUES + 100 * n).tobytes()) for n in range(3)]
    path = tmp_path / "sample.lmd"
    path.write_bytes(chain(*sets, absolute=absolute))
    data_set = open_fcs(path, data_set=number)
    np.testing.assert_array_equal(data_set.values(), VALUES + 100 * (number - 1))
    assert data_set.n_data_sets == 3
    assert f"holds 3 data sets; this is number {number}" in data_set.warnings[0]


def test_missing_data_set_names_those_that_exist(tmp_path):
    path = tmp_path / "sample.lmd"
    path.write_bytes(chain(SAMPLE, SAMPLE))
    with pytest.raises(FCSError, match="no data set 3; expected a data set from 1 to 2"):
        open_fcs(path, data_set=3)


def test_data_sets_count_from_one(tmp_path):
    with pytest.raises(InputError, match="count from 1"):
        open_fcs(written(tmp_path / "sample.fcs"), data_set=0)


@pytest.mark.parametrize("offset", ["1", "-256", "99999999", "x"])
def test_next_data_set_that_is_not_there_is_said(tmp_path, offset):
    builder = dataclasses.replace(SAMPLE, keywords={**SAMPLE.keywords, "$NEXTDATA": offset})
    data_set = open_fcs(written(tmp_path / "sample.fcs", builder))
    np.testing.assert_array_equal(data_set.values(), VALUES)
    assert "where there is none" in data_set.warnings[0]


# Compressed files


@pytest.mark.parametrize("name", ["sample.fcs.gz", "sample.fcs"])
def test_compressed_file_is_known_by_its_bytes(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(SAMPLE.build()))
    np.testing.assert_array_equal(read_fcs(path).X, VALUES)


def test_compressed_file_of_several_members_is_read_whole(tmp_path):
    raw = SAMPLE.build()
    path = tmp_path / "sample.fcs.gz"
    path.write_bytes(gzip.compress(raw[:300]) + gzip.compress(raw[300:]))
    np.testing.assert_array_equal(read_fcs(path).X, VALUES)


@pytest.mark.parametrize("damage", ["cut", "checksum"])
def test_damaged_compressed_file_is_refused(tmp_path, damage):
    packed = bytearray(gzip.compress(SAMPLE.build()))
    if damage == "cut":
        del packed[-20:]
    else:
        packed[-6] ^= 0xFF
    path = tmp_path / "sample.fcs.gz"
    path.write_bytes(packed)
    with pytest.raises(FCSError, match="compressed file is"):
        open_fcs(path)


def test_compressed_file_that_claims_more_than_it_can_hold_is_refused(tmp_path):
    path = tmp_path / "sample.fcs.gz"
    keywords = {"$ENDDATA": "999999999999"}
    path.write_bytes(gzip.compress(dataclasses.replace(SAMPLE, n_events=10**11 // 4, keywords=keywords).build()))
    with pytest.raises(FCSError, match="cut short"):
        open_fcs(path)


def test_compressed_file_that_swells_beyond_its_data_is_refused(tmp_path):
    compressor = zlib.compressobj(1, wbits=31)
    path = tmp_path / "sample.fcs.gz"
    with path.open("wb") as handle:
        handle.write(compressor.compress(SAMPLE.build()))
        for _ in range(80):
            handle.write(compressor.compress(bytes(1 << 20)))
        handle.write(compressor.flush())
    with pytest.raises(FCSError, match="goes on for more than 64 MB"):
        open_fcs(path)


# What is no FCS file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"event,CD3\n0,1.5\n", "is not an FCS file"),
        (b"FCS measurement results", "has FCS version ' me'"),
        (b"FCS1.0    ".ljust(100), "has FCS version '1.0'"),
        (b"FCS3.0    ", "HEADER has 10 bytes"),
        (b"FCS3.0    ".ljust(100), "which can't be"),
    ],
)
def test_what_is_no_fcs_file_is_named(tmp_path, content, reason):
    path = tmp_path / "sample.fcs"
    path.write_bytes(content)
    with pytest.raises(FCSError, match=reason):
        open_fcs(path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_what_can_not_be_opened_is_the_users_error(tmp_path, make):
    path = tmp_path / "sample.fcs"
    make(path)
    with pytest.raises(FCSError, match="can't be opened"):
        open_fcs(path)


def test_file_that_shrinks_after_opening_is_refused(tmp_path):
    path = written(tmp_path / "sample.fcs")
    data_set = open_fcs(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FCSError, match="shorter"):
        data_set.values()


# Many events


@pytest.mark.parametrize("n_events", [0, 1, 10, 11, 999, 1000, 54_321, 200_001])
def test_names_of_many_events_are_the_same_as_those_of_few(monkeypatch, n_events):
    plain = pd.RangeIndex(n_events).astype(str)
    monkeypatch.setattr(fcs_names, "ARROW_NAMES_FROM", 1)
    assert list(event_names(n_events)) == list(plain)


@pytest.fixture
def with_arrow_names(tmp_path, monkeypatch):
    monkeypatch.setattr(fcs_names, "ARROW_NAMES_FROM", 1)
    return read_fcs(written(tmp_path / "sample.fcs"))


def test_arrow_names_survive_subsetting_and_copying(with_arrow_names):
    part = with_arrow_names[[2, 5], ["CD4"]].copy()
    assert list(part.obs_names) == ["2", "5"]
    assert part.X.ravel().tolist() == [VALUES[2, 0], VALUES[5, 0]]


def test_arrow_names_are_found(with_arrow_names):
    np.testing.assert_array_equal(with_arrow_names["7"].X, VALUES[7:8])


def test_arrow_names_are_concatenated(with_arrow_names):
    both = anndata.concat({"a": with_arrow_names, "b": with_arrow_names}, label="file", index_unique=":")
    assert list(both.obs_names[[0, 10]]) == ["0:a", "0:b"]


@pytest.mark.parametrize("view", [False, True])
def test_arrow_names_are_written_as_strings(with_arrow_names, tmp_path, view):
    adata = with_arrow_names[:4] if view else with_arrow_names
    before = adata.obs_names
    write_h5ad(adata, tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert list(read.obs_names) == list(before)
    assert read.uns["fcs"]["keywords"] == adata.uns["fcs"]["keywords"]
    pd.testing.assert_index_equal(adata.obs_names, before, exact=True)


def test_import_stays_light():
    script = "import sys, cytomoe.io; print([m for m in ('torch', 'pandas', 'anndata', 'flowio') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
