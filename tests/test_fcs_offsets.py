"""Where DATA lies when HEADER, TEXT, $TOT and the file's size do not agree."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fcs_builder import HEADER_SIZE, FCSBuilder

from cytomoe.errors import FCSError
from cytomoe.io import open_fcs

VALUES = np.arange(1, 21, dtype="<f4").reshape(10, 2)
GOOD = FCSBuilder([("A", 32, "64"), ("B", 32, "64")], VALUES.tobytes(), 10)
BEGIN = HEADER_SIZE + len(GOOD.text(0))
END = BEGIN + VALUES.nbytes - 1


def opened(tmp_path, **changes):
    path = tmp_path / "sample.fcs"
    path.write_bytes(dataclasses.replace(GOOD, **changes).build())
    return open_fcs(path)


@pytest.mark.parametrize("header", [(BEGIN - 8, END), (BEGIN, END + 400), (99_999_990, END), (BEGIN + 8, END), (5, 9)])
def test_text_is_believed_when_only_it_fits(tmp_path, header):
    data_set = opened(tmp_path, header_data=header)
    np.testing.assert_array_equal(data_set.values(), VALUES)
    assert any("TEXT" in warning and "was used" in warning for warning in data_set.warnings)


def test_header_is_believed_when_only_it_fits(tmp_path):
    data_set = opened(tmp_path, keywords={"$BEGINDATA": "00000007", "$ENDDATA": "00000099"})
    np.testing.assert_array_equal(data_set.values(), VALUES)
    assert any("HEADER" in warning and "was used" in warning for warning in data_set.warnings)


def test_two_claims_that_fit_are_refused(tmp_path):
    with pytest.raises(FCSError, match="both fit"):
        opened(tmp_path, header_data=(BEGIN + 8, END + 8), padding=bytes(8))


@pytest.mark.parametrize("header", [(0, 0), (BEGIN, END)])
def test_agreeing_or_absent_header_offsets_need_no_warning(tmp_path, header):
    assert opened(tmp_path, header_data=header).warnings == []


def test_end_given_as_the_first_byte_after_data_is_common_and_fine(tmp_path):
    changes = {"$BEGINDATA": f"{BEGIN:08d}", "$ENDDATA": f"{END + 1:08d}"}
    data_set = opened(tmp_path, keywords=changes, header_data=(BEGIN, END + 1))
    np.testing.assert_array_equal(data_set.values(), VALUES)
    assert data_set.warnings == []


def test_blank_padding_after_the_events_is_left_out_and_said(tmp_path):
    data_set = opened(tmp_path, data=VALUES.tobytes() + bytes(64))
    np.testing.assert_array_equal(data_set.values(), VALUES)
    assert "64 bytes of padding" in data_set.warnings[0]


@pytest.mark.parametrize("n_events", [0, 9, 11, 10_000])
def test_number_of_events_must_fit_the_size_of_data(tmp_path, n_events):
    with pytest.raises(FCSError, match=r"\$TOT"):
        opened(tmp_path, n_events=n_events)


def test_number_of_events_is_counted_when_it_is_missing(tmp_path):
    data_set = opened(tmp_path, without=["$TOT"])
    np.testing.assert_array_equal(data_set.values(), VALUES)
    assert "$TOT is missing" in data_set.warnings[0]


def test_missing_number_of_events_is_refused_when_the_size_does_not_tell(tmp_path):
    with pytest.raises(FCSError, match=r"lacks \$TOT"):
        opened(tmp_path, without=["$TOT"], header_data=(BEGIN, END - 3))


def test_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "sample.fcs"
    path.write_bytes(GOOD.build()[:-1])
    with pytest.raises(FCSError, match="cut short after 9 events") as caught:
        open_fcs(path)
    assert caught.value.keyword == "$TOT"
    assert caught.value.exit_code == 2


def test_no_events_are_no_error(tmp_path):
    assert opened(tmp_path, data=b"", n_events=0).values().shape == (0, 2)


def test_header_only_offsets_serve_a_2_0_file(tmp_path):
    without = ["$BEGINDATA", "$ENDDATA"]
    begin = HEADER_SIZE + len(dataclasses.replace(GOOD, without=without).text(0))
    header = (begin, begin + VALUES.nbytes - 1)
    data_set = opened(tmp_path, without=without, version="2.0", header_data=header)
    np.testing.assert_array_equal(data_set.values(), VALUES)
