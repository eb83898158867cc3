"""Decoding of DATA: every width, byte order and mask against integers packed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fcs_builder import FCSBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from cytomoe.errors import FCSError
from cytomoe.io import fcs_data, open_fcs

ORDERS = {"1,2,3,4": "little", "4,3,2,1": "big"}


def written(tmp_path, builder):
    path = tmp_path / "sample.fcs"
    path.write_bytes(builder.build())
    return path


def integer_file(rows, widths, byte_order, ranges=None):
    data = b"".join(
        value.to_bytes(width // 8, ORDERS[byte_order]) for row in rows for value, width in zip(row, widths, strict=True)
    )
    ranges = ranges or [str(1 << width) for width in widths]
    channels = [(f"C{n}", width, limit) for n, (width, limit) in enumerate(zip(widths, ranges, strict=True))]
    return FCSBuilder(channels, data, len(rows), datatype="I", byte_order=byte_order)


@settings(max_examples=60)
@given(data=st.data(), byte_order=st.sampled_from(sorted(ORDERS)))
def test_integers_of_whole_bytes_are_exact(tmp_path_factory, data, byte_order):
    widths = data.draw(st.lists(st.sampled_from([8, 16, 24, 32, 40, 48]), min_size=1, max_size=5))
    row = st.tuples(*(st.integers(0, (1 << width) - 1) for width in widths))
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    path = written(tmp_path_factory.mktemp("fcs"), integer_file(rows, widths, byte_order))
    assert open_fcs(path).values().tolist() == [[float(value) for value in row] for row in rows]


@settings(max_examples=40)
@given(data=st.data())
def test_packed_integers_are_exact_from_any_event(tmp_path_factory, data):
    widths = [*data.draw(st.lists(st.integers(1, 33), min_size=0, max_size=4)), 10]
    row = st.tuples(*(st.integers(0, (1 << width) - 1) for width in widths))
    rows = data.draw(st.lists(row, min_size=1, max_size=9))
    bits = "".join(f"{value:0{width}b}" for row in rows for value, width in zip(row, widths, strict=True))
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    channels = [(f"C{n}", width, str(1 << width)) for n, width in enumerate(widths)]
    builder = FCSBuilder(channels, packed, len(rows), datatype="I", byte_order="4,3,2,1")
    path = written(tmp_path_factory.mktemp("fcs"), builder)
    start = data.draw(st.integers(0, len(rows)))
    assert open_fcs(path).values(start).tolist() == [[float(value) for value in row] for row in rows[start:]]


@pytest.mark.parametrize(
    ("limit", "kept"), [("1024", 0x3FF), ("1000", 0x3FF), ("1025", 0x7FF), ("65536", 0xFFFF), ("99999", 0xFFFF)]
)
def test_mask_keeps_the_bits_that_the_range_needs(tmp_path, limit, kept):
    path = written(tmp_path, integer_file([(0xFFFF,), (0xABCD,)], [16], "1,2,3,4", [limit]))
    assert open_fcs(path).values().ravel().tolist() == [0xFFFF & kept, 0xABCD & kept]


def test_range_of_zero_keeps_all_bits_and_says_so(tmp_path):
    data_set = open_fcs(written(tmp_path, integer_file([(0xFFFF,)], [16], "1,2,3,4", ["0"])))
    assert data_set.values()[0, 0] == 0xFFFF
    assert "$P1R" in data_set.warnings[0]


@pytest.mark.parametrize(("limit", "dtype"), [("16777216", np.float32), ("16777217", np.float64)])
def test_integers_of_more_than_24_bits_are_not_rounded(tmp_path, limit, dtype):
    values = open_fcs(written(tmp_path, integer_file([(0xFFFFFF,)], [32], "1,2,3,4", [limit]))).values()
    assert values.dtype == dtype
    assert values[0, 0] == 0xFFFFFF


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize(("datatype", "bits"), [("F", 32), ("D", 64)])
def test_floats_are_bit_exact(tmp_path, order, datatype, bits):
    values = np.array([[0.1, np.nan], [-np.inf, 1e-40], [-0.0, 3.5]], dtype=f"f{bits // 8}")
    raw = values.astype(values.dtype.newbyteorder("<" if ORDERS[order] == "little" else ">")).tobytes()
    builder = FCSBuilder([("A", bits, "1"), ("B", bits, "1")], raw, 3, datatype=datatype, byte_order=order)
    read = open_fcs(written(tmp_path, builder)).values()
    assert read.dtype == values.dtype
    assert read.tobytes() == values.tobytes()


def test_channels_of_different_datatypes_stand_side_by_side(tmp_path):
    record = np.array([(1.5, 700, 2.25)], dtype="<f4,<u2,<f8")
    keywords = {"$P2DATATYPE": "I", "$P3DATATYPE": "D"}
    channels = [("A", 32, "1"), ("B", 16, "1024"), ("C", 64, "1")]
    builder = FCSBuilder(channels, record.tobytes(), 1, version="3.2", keywords=keywords)
    assert open_fcs(written(tmp_path, builder)).values().tolist() == [[1.5, 700.0, 2.25]]


def test_slices_are_parts_of_the_whole_across_decoding_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(fcs_data, "_SLICE_BYTES", 64)
    values = np.random.default_rng(0).random((1000, 3), dtype=np.float32)
    builder = FCSBuilder([(name, 32, "1") for name in "ABC"], values.tobytes(), 1000)
    data_set = open_fcs(written(tmp_path, builder))
    np.testing.assert_array_equal(data_set.values(), values)
    np.testing.assert_array_equal(data_set.values(17, 401), values[17:401])
    np.testing.assert_array_equal(data_set.values(990, 5000), values[990:])
    assert data_set.values(5, 2).shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"byte_order": "3,4,1,2"}, "byte order"),
        ({"datatype": "A"}, "ASCII"),
        ({"keywords": {"$MODE": "U"}}, "histogram"),
        ({"channels": [("A", 10, "1024"), ("B", 54, "1")]}, "do not fill whole bytes"),
        ({"channels": [("A", 65, "1024"), ("B", 63, "1")]}, r"\$P1B is 65"),
        ({"without": ["$BYTEORD"]}, r"lacks \$BYTEORD"),
        ({"channels": [("A", 32, "x"), ("B", 32, "1024")]}, r"\$P1R is 'x'"),
    ],
)
def test_layouts_that_are_not_read_are_refused_by_name(tmp_path, changes, reason):
    parts = {"channels": [("A", 32, "1024"), ("B", 32, "1024")], "data": bytes(8), "n_events": 1, "datatype": "I"}
    with pytest.raises(FCSError, match=reason):
        open_fcs(written(tmp_path, FCSBuilder(**{**parts, **changes})))


@pytest.mark.parametrize("keyword", ["$MODE", "$DATATYPE", "$BYTEORD", "$PAR", "$TOT", "$P1B", "$P1R", "$P1DATATYPE"])
def test_refusal_stays_one_line_whatever_the_value(tmp_path, keyword):
    parts = {"channels": [("A", 32, "1024")], "data": bytes(4), "n_events": 1, "datatype": "I"}
    path = written(tmp_path, FCSBuilder(**parts, keywords={keyword: "L\nX" + "y" * 500}))
    with pytest.raises(FCSError) as caught:
        open_fcs(path)
    message = str(caught.value).removeprefix(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 200
