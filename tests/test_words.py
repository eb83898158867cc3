"""What is written for people: shares, hints on markers, warnings told once."""

import pytest

from cytomoe.io.remarks import is_remark, told_once
from cytomoe.preprocessing.markers import hint_of_states
from cytomoe.words import counted, listed, percent


@pytest.mark.parametrize(
    ("share", "written"),
    [(0, "0 %"), (0.0001, "< 0.1 %"), (0.0005, "0.1 %"), (0.123, "12.3 %"), (0.36, "36.0 %"), (1, "100.0 %")],
)
def test_shares_have_one_decimal_and_none_is_rounded_to_nothing(share, written):
    assert percent(share) == written


@pytest.mark.parametrize(
    ("markers", "named"),
    [
        (["CD3", "pStat3", "pp38", "GFP", "PD1"], "pStat3, pp38, GFP"),
        (["CD3", "CD4", "PSGL1", "p75NTR"], ""),
        (["pErk", "p-S6"], ""),  # a panel of nothing else is meant so
    ],
)
def test_proteins_that_tell_states_are_hinted_at(markers, named):
    hint = hint_of_states(markers)
    assert hint.endswith(f"apart: {named}") if named else hint == ""


def test_warnings_that_differ_by_file_and_number_are_told_once():
    remarks = [f"well_{i}.fcs: $P{i}R is no range; the values do not depend on it" for i in (3, 7, 9)]
    assert all(map(is_remark, remarks))
    assert told_once([*remarks, "CD4 is saturated"]) == [
        f"{remarks[0]}. And 2 more like this: see run.json.",
        "CD4 is saturated.",
    ]


def test_numbers_and_lists_are_written_as_people_say_them():
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"], by=" + ") == "a + b + c and 2 more"
