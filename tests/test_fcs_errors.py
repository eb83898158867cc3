"""Every refusal names the file, the byte, the keyword where there is one, and what was expected there."""

from __future__ import annotations

import dataclasses
import gzip
import os
import pickle

import numpy as np
import pytest
from fcs_builder import FCSBuilder

from cytomoe.errors import FCSError
from cytomoe.io import open_fcs

VALUES = np.arange(1, 21, dtype="<f4").reshape(10, 2)
FLOATS = FCSBuilder([("A", 32, "64"), ("B", 32, "64")], VALUES.tobytes(), 10)
INTEGERS = FCSBuilder([("A", 16, "1024"), ("B", 16, "1024")], bytes(40), 10, datatype="I")
WHOLE = FLOATS.build()
HEADER = b"FCS3.0    "


def floats(**keywords):
    return dataclasses.replace(FLOATS, keywords={f"${name}": value for name, value in keywords.items()}).build()


def integers(**keywords):
    return dataclasses.replace(INTEGERS, keywords={f"${name}": value for name, value in keywords.items()}).build()


def without(*names):
    return dataclasses.replace(FLOATS, without=[f"${name}" for name in names]).build()


def header(*offsets):
    return HEADER + b"".join(b"%8d" % offset for offset in offsets) + WHOLE[10 + 8 * len(offsets) :]


def chain():
    """Three data sets whose TEXT segments all reach to the end of the file."""
    keywords = b"/$NEXTDATA/%08d/"
    size = TEXT + len(keywords % 0)
    starts = range(0, 3 * size, size)
    return b"".join(HEADER + b"%8d" * 6 % (TEXT, 3 * size - 1 - n, 0, 0, 0, 0) + keywords % size for n in starts)


TEXT = 58  # where TEXT begins
PACKED = gzip.compress(WHOLE)

# Content, keyword, and where: a number, the keyword (the byte at which it stands), or None.
REFUSED = {
    "empty": (b"", None, 0),
    "no FCS file": (b"PK\x03\x04" * 40, None, 0),
    "version": (b"FCS9.9" + WHOLE[6:], None, 3),
    "HEADER cut short": (WHOLE[:50], None, 50),
    "TEXT offsets no numbers": (HEADER + b"      xx" + WHOLE[18:], None, 10),
    "TEXT offsets impossible": (header(3, 400), None, 10),
    "TEXT beyond the end": (header(58, 99_999_999), None, 18),
    "no delimiter": (WHOLE[:58] + b"a" + WHOLE[59:], None, TEXT),
    "TEXTs overlap": (chain(), None, len(chain()) // 3),
    "histogram": (floats(MODE="C"), "$MODE", "keyword"),
    "no $PAR": (without("PAR"), "$PAR", TEXT),
    "no channels": (floats(PAR="0"), "$PAR", "keyword"),
    "$PAR too small": (floats(PAR="1"), "$PAR", "keyword"),
    "$PAR too large": (floats(PAR="3"), "$P3B", TEXT),
    "$TOT no number": (floats(TOT="ten"), "$TOT", "keyword"),
    "no $DATATYPE": (without("DATATYPE"), "$DATATYPE", TEXT),
    "text values": (floats(DATATYPE="A"), "$DATATYPE", "keyword"),
    "a channel's datatype": (floats(P2DATATYPE="Q"), "$P2DATATYPE", "keyword"),
    "bits of a float": (floats(P2B="16"), "$P2B", "keyword"),
    "bits of an integer": (integers(P2B="65"), "$P2B", "keyword"),
    "no range": (integers(P1R="many"), "$P1R", "keyword"),
    "no byte order": (without("BYTEORD"), "$BYTEORD", TEXT),
    "byte order": (floats(BYTEORD="3,4,1,2"), "$BYTEORD", "keyword"),
    "packed little-endian": (integers(P1B="10"), "$BYTEORD", "keyword"),
    "$TOT of 0": (floats(TOT="0"), "$TOT", "keyword"),
    "no $TOT": (
        dataclasses.replace(FLOATS, without=["$TOT"], header_data=(300, 400)).build(),
        "$TOT",
        TEXT,
    ),
    "cut short": (WHOLE[:-4], "$TOT", len(WHOLE) - VALUES.itemsize * VALUES.shape[1]),
    "nothing says where": (
        dataclasses.replace(FLOATS, without=["$BEGINDATA"], header_data=(0, 0)).build(),
        "$TOT",
        "keyword",
    ),
    "two places": (
        dataclasses.replace(FLOATS, padding=bytes(80), header_data=(len(WHOLE), len(WHOLE) + 79)).build(),
        "$BEGINDATA",
        "keyword",
    ),
    "gzip cut short": (PACKED[:-20], None, len(PACKED) - 20),
    "gzip damaged": (PACKED[:60] + b"\xff" * 40 + PACKED[100:], None, "somewhere"),
    "gzip without end": (gzip.compress(WHOLE + bytes(80 << 20), 1), None, "somewhere"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_file_byte_keyword_and_what_was_expected(name, tmp_path):
    content, keyword, where = REFUSED[name]
    path = tmp_path / "sample.fcs"
    path.write_bytes(content)
    with pytest.raises(FCSError) as caught:
        open_fcs(path)
    error = caught.value
    assert (error.path, error.keyword) == (str(path), keyword)
    assert error.expected
    assert str(error).startswith(f"{path}: {error.problem} (at byte {error.offset}); expected {error.expected}")
    assert "\n" not in str(error)
    if where == "keyword":
        assert content[error.offset :].startswith(keyword.encode() + b"/")
    elif where == "somewhere":
        assert 0 <= error.offset <= len(content)
    else:
        assert error.offset == where


def test_keyword_of_a_later_data_set_is_located_in_the_file(tmp_path):
    first = floats(NEXTDATA="00000000")
    first = first.replace(b"/$NEXTDATA/00000000/", b"/$NEXTDATA/%08d/" % len(first))
    path = tmp_path / "sample.fcs"
    path.write_bytes(first + floats(BYTEORD="3,4,1,2"))
    with pytest.raises(FCSError) as caught:
        open_fcs(path, data_set=2)
    assert path.read_bytes()[caught.value.offset :].startswith(b"$BYTEORD/3,4,1,2/")
    assert caught.value.offset > len(first)


def test_file_that_is_cut_while_it_is_open_is_refused_where_it_ends_now(tmp_path):
    path = tmp_path / "sample.fcs"
    path.write_bytes(WHOLE)
    opened = open_fcs(path)
    os.truncate(path, len(WHOLE) - 10)
    with pytest.raises(FCSError) as caught:
        opened.values()
    assert (caught.value.offset, caught.value.expected) == (len(WHOLE) - 10, "10 more bytes")


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), os.mkfifo], ids=["missing", "folder", "pipe"]
)
def test_what_can_not_be_opened_is_the_same_exception(tmp_path, make):
    path = tmp_path / "sample.fcs"
    make(path)
    with pytest.raises(FCSError, match="can't be opened") as caught:
        open_fcs(path)
    assert (caught.value.path, caught.value.offset) == (str(path), None)


def test_missing_data_set_says_which_there_are(tmp_path):
    path = tmp_path / "sample.fcs"
    path.write_bytes(WHOLE)
    with pytest.raises(FCSError) as caught:
        open_fcs(path, data_set=3)
    assert caught.value.expected == "a data set from 1 to 1"


def test_refusal_survives_the_way_back_from_a_worker(tmp_path):
    error = FCSError(tmp_path / "x.fcs", "is wrong", keyword="$TOT", offset=7, expected="10").located(9)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.keyword, again.offset, again.expected) == (str(error), "$TOT", 9, "10")
