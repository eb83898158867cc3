"""Keywords: two parsers that must agree, and what only one of them can read."""

from __future__ import annotations

import pytest
from fcs_builder import FCSBuilder
from fcsparser.api import FCSParser
from hypothesis import given, settings
from hypothesis import strategies as st

from cytomoe.errors import FCSError
from cytomoe.io import open_fcs
from cytomoe.io.fcs_text import tokenize

SAMPLE = FCSBuilder([("A", 32, "64")], bytes(8), 2)

pieces = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1)


def keywords_of(tmp_path, builder):
    path = tmp_path / "sample.fcs"
    path.write_bytes(builder.build())
    return open_fcs(path).keywords


@given(st.dictionaries(pieces.map(str.upper).filter(lambda key: key == key.upper()), pieces))
def test_plain_pairs_are_split(pairs):
    text = "/" + "".join(f"{key}/{value}/" for key, value in pairs.items())
    assert tokenize(text, []) == pairs


@settings(max_examples=200)
@given(st.lists(st.text("ab/", min_size=1).filter(lambda value: value[0] != "/" and value[-1] != "/")))
def test_escaped_delimiters_within_values_are_kept(values):
    text = "/" + "".join(f"K{n}/{value.replace('/', '//')}/" for n, value in enumerate(values))
    assert tokenize(text, []) == {f"K{n}": value for n, value in enumerate(values)}


def test_empty_values_do_not_swallow_the_next_keyword():
    assert tokenize(r"\$P3S\\$P4S\\$P6N\FL1-A" + "\\", []) == {"$P3S": "", "$P4S": "", "$P6N": "FL1-A"}


def test_value_of_one_delimiter_is_told_from_an_empty_one():
    assert tokenize("/A////B//C/c/", []) == {"A": "/", "B": "", "C": "c"}


def test_cut_off_keyword_is_left_out_and_said():
    notes: list[str] = []
    assert tokenize("/A/1/B/2", notes) == {"A": "1"}
    assert "last keyword" in notes[0]


def test_padding_after_the_last_delimiter_is_no_keyword():
    notes: list[str] = []
    assert tokenize("/A/1/    ", notes) == {"A": "1"}
    assert notes == []


def numbers_normalised(keywords):
    return {key: str(int(value)) if value.isdecimal() else value for key, value in keywords.items()}


def test_both_parsers_agree_on_every_plain_text(data, monkeypatch):
    paths = [*(data / "bodenmiller").glob("*_H01.fcs"), *(data / "fcs_zoo").iterdir(), *(data / "flow").glob("*.fcs")]
    paths = [path for path in paths if path.suffix != ".json"]
    calls = []
    load = FCSParser.load_file
    monkeypatch.setattr(FCSParser, "load_file", lambda *args, **named: calls.append(1) or load(*args, **named))
    by_fcsparser = [numbers_normalised(open_fcs(path).keywords) for path in paths]

    def refuse(*_, **__):
        raise ValueError("as if it could read none")

    monkeypatch.setattr(FCSParser, "load_file", refuse)
    assert [numbers_normalised(open_fcs(path).keywords) for path in paths] == by_fcsparser
    assert len(calls) > len(paths) / 2


def test_latin_1_names_are_read(tmp_path):
    builder = FCSBuilder([("Zähler µ", 32, "64")], bytes(8), 2, encoding="latin-1")
    assert keywords_of(tmp_path, builder)["$P1N"] == "Zähler µ"


def test_lower_case_keywords_are_the_same_keywords(tmp_path):
    builder = FCSBuilder([("A", 32, "64")], bytes(8), 2, keywords={"$mode": "L", "$cyt": "Aurora"}, without=["$MODE"])
    assert keywords_of(tmp_path, builder)["$CYT"] == "Aurora"


@pytest.mark.parametrize("delimiter", ["|", "\\", "\x0c", "!", "*", "^", "\t", "\x1e"])
def test_any_delimiter_separates(tmp_path, delimiter):
    builder = FCSBuilder([("A", 32, "64")], bytes(8), 2, delimiter=delimiter, keywords={"$CYT": "Aurora"})
    assert keywords_of(tmp_path, builder)["$CYT"] == "Aurora"


@pytest.mark.parametrize("delimiter", ["A", "7", "\x00"])
def test_text_without_a_delimiter_is_refused(tmp_path, delimiter):
    raw = bytearray(SAMPLE.build())
    raw[58] = ord(delimiter)
    path = tmp_path / "sample.fcs"
    path.write_bytes(raw)
    with pytest.raises(FCSError, match="no delimiter"):
        open_fcs(path)


def test_huge_channel_count_is_refused_at_once(tmp_path):
    with pytest.raises(FCSError, match=r"lacks \$P2B"):
        keywords_of(tmp_path, FCSBuilder([("A", 32, "64")], bytes(8), 2, keywords={"$PAR": "999999999"}))


def test_supplemental_text_that_is_none_is_ignored_and_said(tmp_path):
    builder = FCSBuilder(
        [("A", 32, "64")], bytes(8), 2, keywords={"$BEGINSTEXT": "58", "$ENDSTEXT": "99999999"}, padding=b"zip"
    )
    path = tmp_path / "sample.fcs"
    path.write_bytes(builder.build().replace(b"$BEGINSTEXT/58/", b"$BEGINSTEXT/59/"))
    assert "no supplemental TEXT" in open_fcs(path).warnings[0]
