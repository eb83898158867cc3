"""The description of a file behind ``cytomoe info``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fcs_builder import FCSBuilder

from cytomoe.io.info import describe

VALUES = np.array([[1.0, np.nan, 0], [3.0, np.nan, 2], [2.0, np.inf, 2], [9.0, np.nan, 1]], dtype="<f4")


def described(tmp_path, **keywords):
    channels = [("FL1-A", 32, "1024"), ("FL2-A", 32, "1024"), ("label", 32, "3")]
    path = tmp_path / "sample.fcs"
    path.write_bytes(FCSBuilder(channels, VALUES.tobytes(), 4, keywords={"$P1S": "CD3", **keywords}).build())
    return describe(path)


def test_channels_come_with_the_range_of_their_finite_values(tmp_path):
    first, second, _ = described(tmp_path)["channels"]
    assert (first["name"], first["channel"], first["antigen"]) == ("CD3", "FL1-A", "CD3")
    assert (first["min"], first["median"], first["max"]) == (1.0, 2.5, 9.0)
    assert (second["min"], second["median"], second["max"]) == (None, None, None)


def test_description_is_strict_json(tmp_path):
    json.dumps(described(tmp_path), allow_nan=False)


def test_instrument_and_date_are_those_of_the_file(tmp_path):
    description = described(tmp_path, **{"$CYT": "Aurora", "$DATE": "22-Jul-2020", "$BTIM": "18:39:40"})
    assert (description["instrument"], description["date"]) == ("Aurora", "22-Jul-2020 18:39:40")


def test_channel_of_labels_may_hold_gates(tmp_path):
    assert described(tmp_path)["gate_channels"] == ["label"]


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("$SPILLOVER", "2,FL1-A,FL2-A,1,0.1,0.2,1", None),
        ("SPILL", "2,FL1-A,FL2-A,1,0.1,0.2,1", None),
        ("$COMP", "2 1 0.1 0.2 1", None),
        ("$SPILLOVER", "2,FL1-A,FL2-A", "no values"),
        ("$SPILLOVER", "2,FL1-A,FL2-A,1,0.1", "2 of 4 values"),
        ("$SPILLOVER", "2,FL1-A,FL9-A,1,0.1,0.2,1", "does not have: FL9-A"),
        ("$SPILLOVER", "none", "does not begin with"),
    ],
)
def test_spillover_is_reported_with_what_is_wrong(tmp_path, keyword, value, problem):
    spillover = described(tmp_path, **{keyword: value})["spillover"]
    assert spillover["keyword"] == keyword
    assert spillover["usable"] == (problem is None)
    if problem is not None:
        assert problem in spillover["problem"]


def test_missing_spillover_is_none(tmp_path):
    assert described(tmp_path)["spillover"] is None
