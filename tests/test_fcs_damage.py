"""One damaged byte in HEADER or TEXT gives the right data or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
from fcs_builder import FCSBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from cytomoe.errors import FCSError
from cytomoe.io import open_fcs, read_fcs

VALUES = np.arange(1, 41, dtype="<f4").reshape(20, 2) / 7
FLOATS = FCSBuilder([("A", 32, "64"), ("B", 32, "64")], VALUES.tobytes(), 20).build()
INTEGERS = FCSBuilder(
    [("A", 16, "1024"), ("B", 16, "1024")], np.arange(1000, 1020, dtype="<u2").tobytes(), 10, datatype="I"
).build()
TEXT_END = FLOATS.rindex(b"/", 0, len(FLOATS) - VALUES.nbytes) + 1
# The one damage to a float file that leaves a legal file behind: 32-bit integers instead of floats.
DATATYPE = FLOATS.index(b"$DATATYPE/F") + len("$DATATYPE/")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("change", [0x00, 0xFF, ord(" "), ord("/"), ord("0"), ord("9"), ord("-"), 0x01, 0x10, 0x80])
def test_any_damaged_byte_of_a_float_file_gives_the_right_values_or_a_refusal(folder, change):
    """Every byte of HEADER and TEXT: replaced by a byte that means something, or (the last three) with a bit turned."""
    path = folder / "floats.fcs"
    for position in range(TEXT_END):
        damaged = bytearray(FLOATS)
        damaged[position] = damaged[position] ^ change if change in (0x01, 0x10, 0x80) else change
        path.write_bytes(damaged)
        try:
            values = open_fcs(path).values()
        except FCSError:
            continue
        if not (position == DATATYPE and damaged[position] in b"Ii"):
            np.testing.assert_array_equal(values, VALUES)


@settings(max_examples=300)
@given(position=st.integers(0, TEXT_END - 1), byte=st.integers(0, 255))
def test_one_damaged_byte_of_a_float_file_never_gives_wrong_values(folder, position, byte):
    damaged = bytearray(FLOATS)
    damaged[position] = byte
    path = folder / "floats.fcs"
    path.write_bytes(damaged)
    try:
        values = open_fcs(path).values()
    except FCSError:
        return
    if not (position == DATATYPE and byte in b"Ii"):
        np.testing.assert_array_equal(values, VALUES)


@settings(max_examples=100)
@given(data=st.data(), byte=st.integers(0, 255))
def test_damaged_range_of_an_integer_is_refused_harmless_or_said(folder, data, byte):
    channel = data.draw(st.sampled_from([1, 2]))
    begin = INTEGERS.index(f"$P{channel}R/".encode()) + len("$P1R/")
    damaged = bytearray(INTEGERS)
    damaged[data.draw(st.integers(begin, begin + 3))] = byte
    path = folder / "integers.fcs"
    path.write_bytes(damaged)
    try:
        adata = read_fcs(path)
    except FCSError:
        return
    if adata.X.ravel().tolist() != list(range(1000, 1020)):
        assert any("$P" in warning for warning in adata.uns["fcs"]["warnings"])


@settings(max_examples=100)
@given(size=st.integers(0, len(FLOATS) - 1))
def test_cut_file_is_always_refused(folder, size):
    path = folder / "cut.fcs"
    path.write_bytes(FLOATS[:size])
    with pytest.raises(FCSError):
        open_fcs(path)
