"""The TEXT segment: keywords and their values.

fcsparser parses every TEXT that it reads rightly: valid UTF-8, closed by its delimiter, no doubled delimiter, a sane
$PAR (it would allocate for any). A doubled delimiter means an escaped one or an empty value, which fcsparser mixes up,
and it ignores supplemental TEXT, so those, like Latin-1 and keywords in lower case, go to the tokenizer below; a test
holds both to the same result wherever both apply.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping

from cytomoe.errors import FCSError
from cytomoe.io.fcs_header import Header
from cytomoe.io.fcs_source import FCSSource


def read_text(source: FCSSource, header: Header, notes: list[str], *, supplemental: bool = True) -> dict[str, str]:
    """Read the keywords of a data set.

    Parameters
    ----------
    source
        The file.
    header
        The data set's HEADER.
    notes
        Receives warnings.
    supplemental
        Whether supplemental TEXT is read as well; the standards put no required keyword there.

    Returns
    -------
    dict
        Values by upper-case keyword, both without surrounding white space. An empty value stays, as "".

    Raises
    ------
    FCSError
        If TEXT does not begin with a delimiter.
    """
    head = source.read(header.start, header.text.end + 1)
    raw = head[header.text.begin :]
    if header.data is not None and header.data.begin == header.text.end:
        raw = raw[:-1]  # the byte belongs to DATA; fcsparser leaves it out too
    delimiter = raw[:1]
    if not delimiter.isascii() or delimiter == b"\x00" or delimiter.isalnum():
        raise FCSError(
            source.path,
            f"TEXT begins with {delimiter!r}, which is no delimiter; the file is damaged",
            offset=header.start + header.text.begin,
            expected="a character that separates keywords and values, such as /",
        )
    keywords = _parse_with_fcsparser(head) if _is_plain(raw) else None
    if keywords is None:
        keywords = tokenize(_decode(raw), notes)
    if not supplemental:
        return keywords
    supplement = _supplemental(source, header, keywords, delimiter, notes)
    return {**supplement, **keywords}


def keyword_offset(source: FCSSource, header: Header, keyword: str) -> int:
    """Where a keyword stands in the file, for error messages; where TEXT begins when it is not there."""
    begin = header.start + header.text.begin
    raw = source.read(begin, header.text.size)
    delimiter = re.escape(raw[:1])
    found = re.search(delimiter + rb"\s*(" + re.escape(keyword.encode()) + rb")\s*" + delimiter, raw, re.IGNORECASE)
    return begin if found is None else begin + found.start(1)


def tokenize(text: str, notes: list[str]) -> dict[str, str]:
    """Split TEXT into keywords and values, whose doubled delimiters are told apart by where they stand.

    After a keyword a doubled delimiter is an empty value (illegal but common); within a value it is an escaped one.

    Parameters
    ----------
    text
        The segment; its first character is the delimiter.
    notes
        Receives a warning when the segment ends amid a keyword or value, which is then left out.
    """
    delimiter = text[0]
    pieces = re.split(f"({re.escape(delimiter)}+)", text)
    keywords: dict[str, str] = {}
    keyword: str | None = None
    value = ""
    for piece, run in zip(pieces[2::2], [*pieces[3::2], ""], strict=True):
        if not run:
            if piece.strip(" \x00\r\n") or (keyword is not None and not piece):
                notes.append("TEXT does not end with its delimiter; its last keyword was left out")
            break
        # In a run of n delimiters, pairs stand for literal ones; what is left over separates.
        pairs, separates = divmod(len(run), 2)
        if keyword is None and separates:
            keyword, value = piece, delimiter * pairs
        elif keyword is None:
            _store(keywords, piece, delimiter * (pairs - 1))
        else:
            value += piece + delimiter * pairs
            if separates:
                _store(keywords, keyword, value)
                keyword = None
    return keywords


def _store(keywords: dict[str, str], keyword: str, value: str) -> None:
    keywords[keyword.strip().upper()] = value.strip()


def _is_plain(raw: bytes) -> bool:
    """Whether fcsparser reads this TEXT rightly and at bounded cost."""
    delimiter = raw[:1]
    if delimiter * 2 in raw or not raw.rstrip(b" ").endswith(delimiter):
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    pieces = raw.split(delimiter)
    counts = [value for key, value in zip(pieces[1::2], pieces[2::2], strict=False) if key.strip().upper() == b"$PAR"]
    return len(counts) == 1 and bool(re.fullmatch(rb" *\d{1,6} *", counts[0])) and int(counts[0]) < len(pieces)


def _parse_with_fcsparser(head: bytes) -> dict[str, str] | None:
    """Keywords as fcsparser reads them from HEADER and TEXT; None where it can't."""
    from fcsparser.api import FCSParser

    parser = FCSParser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of ANALYSIS segments, which nobody asked for
        try:
            parser.load_file(io.BytesIO(head), read_data=False)
        except (KeyError, ValueError, IndexError, OverflowError):
            return None
    keywords: dict[str, str] = {}
    for keyword, value in parser.annotation.items():
        if keyword != "__header__":
            _store(keywords, keyword, str(value))
    return keywords


def _decode(raw: bytes) -> str:
    """Decode as UTF-8, as the newer standards ask, or as Latin-1, which older instruments write."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _supplemental(
    source: FCSSource, header: Header, keywords: Mapping[str, str], delimiter: bytes, notes: list[str]
) -> dict[str, str]:
    """Keywords of the supplemental TEXT segment; none, with a warning, when there is no such text where it is said."""
    begin, end = (re.fullmatch(r"\d{1,15}", keywords.get(name, "")) for name in ("$BEGINSTEXT", "$ENDSTEXT"))
    if begin is None or end is None or int(end[0]) <= int(begin[0]) or int(begin[0]) == header.text.begin:
        return {}
    first, last = int(begin[0]), int(end[0])
    if first > 0 and source.reaches(header.start + last + 1):
        raw = source.read(header.start + first, last - first + 1)
        if raw.startswith(delimiter):
            return tokenize(_decode(raw), notes)
    notes.append(f"no supplemental TEXT was found at bytes {first} to {last}, where $BEGINSTEXT and $ENDSTEXT put it")
    return {}
