"""Small FCS files made byte by byte, independent of the code under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HEADER_SIZE = 58


@dataclass
class FCSBuilder:
    """An FCS data set: channels as (name, bits, range), DATA as bytes, and what shall differ from a right file."""

    channels: Sequence[tuple[str, int, str]]
    data: bytes
    n_events: int
    datatype: str = "F"
    byte_order: str = "1,2,3,4"
    version: str = "3.0"
    delimiter: str = "/"
    keywords: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[str] = ()
    header_data: tuple[int, int] | None = None
    padding: bytes = b""
    encoding: str = "utf-8"

    def text(self, begin: int) -> bytes:
        pairs = {
            "$BEGINDATA": f"{begin:08d}",
            "$ENDDATA": f"{begin + len(self.data) - 1:08d}",
            "$MODE": "L",
            "$DATATYPE": self.datatype,
            "$BYTEORD": self.byte_order,
            "$NEXTDATA": "0",
            "$PAR": str(len(self.channels)),
            "$TOT": str(self.n_events),
        }
        for n, (name, bits, limit) in enumerate(self.channels, start=1):
            pairs |= {f"$P{n}N": name, f"$P{n}B": str(bits), f"$P{n}R": limit, f"$P{n}E": "0,0"}
        pairs |= self.keywords
        kept = [(key, value) for key, value in pairs.items() if key not in self.without]
        d = self.delimiter
        return (d + "".join(f"{key}{d}{value}{d}" for key, value in kept)).encode(self.encoding)

    def build(self) -> bytes:
        text = self.text(HEADER_SIZE + len(self.text(0)))
        begin = HEADER_SIZE + len(text)
        data = self.header_data or (begin, begin + len(self.data) - 1)
        offsets = [HEADER_SIZE, begin - 1, *data, 0, 0]
        header = f"FCS{self.version}    " + "".join(f"{offset:8d}" for offset in offsets)
        return header.encode() + text + self.data + self.padding
