"""Fuzz the FCS reader: whatever the bytes, it gives a data set or an FCSError, quickly and in bounded memory.

Run with ``python benchmarks/fuzz_fcs.py [--engine atheris|mutate] [--runs N] [--seed N] [--corpus DIR]``. Engine
``atheris`` is guided by coverage (``pip install atheris``); ``mutate`` needs nothing but the reader and changes seeds
with knowledge of the format: it edits keywords and lays HEADER and TEXT out anew, so that the damage reaches the deeper
checks. Every input that breaks a promise is written to ``--findings`` and ends the run with exit code 1. The seeds are
the small files in ``tests/fuzz_corpus``.
"""

from __future__ import annotations

import gzip
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

from fuzz_engines import BrokenPromiseError, Fuzzer, Target, drive

CORPUS = Path(__file__).parent.parent / "tests" / "fuzz_corpus"
MAX_SIZE = 8192  # bytes of an input; all that the reader does is linear, so larger ones reach nothing new
SLOW = 2.0  # seconds of processor time for such an input, a thousand times the usual
# Packed integers of one bit become floats of 32 and doubles of 64; nothing else of a file grows when read.
MAX_GROWTH = 64


class Reader(Target):
    """Feeds bytes to the reader."""

    def __init__(self) -> None:
        super().__init__("input.fcs", SLOW)

    def take(self, content: bytes) -> str:
        """Read the input in one of the ways in which it can be read."""
        from cytomoe.errors import FCSError
        from cytomoe.io import open_fcs, read_fcs

        options = {"data_set": 1 + len(content) % 2, "allow_truncated": len(content) % 3 == 0}
        try:
            if len(content) % 16:
                data_set = open_fcs(self.path, **options)
                values = data_set.values()
                shape = data_set.n_events, len(data_set.channels)
                names = data_set.names
            else:
                adata = read_fcs(self.path, **options)
                values, shape, names = adata.X, adata.shape, list(adata.var_names)
        except FCSError as error:
            if "\n" in str(error) or not str(error).startswith(str(self.path)):
                raise BrokenPromiseError(f"not one line that begins with the file: {error}") from error
            if not error.expected or (error.offset is None and "has no data set" not in error.problem):
                raise BrokenPromiseError(f"does not say where, or what was expected: {error}") from error
            return "refused"
        unpacked = max(len(content), len(content) * 1032 * content.startswith(b"\x1f\x8b"))
        if values.shape != shape or len(set(names)) != shape[1]:
            raise BrokenPromiseError(f"{values.shape} values for {shape[0]} events and names {names}")
        if values.nbytes > MAX_GROWTH * unpacked:
            raise BrokenPromiseError(f"{len(content)} bytes became {values.nbytes}")
        return "read"


# ------------------------------------------------------------------ engine: mutations that know the format

NUMBERS = (
    *(b"0 1 2 3 7 8 9 10 16 17 24 31 32 33 53 63 64 65 128 255 256 1023 1024 65535 65536 262144".split()),
    *(b"2147483647 2147483648 4294967295 4294967296 99999999 100000000 999999999999999 18446744073709551616".split()),
    *(b"-1 -2147483648 1e3 1e308 1e999 nan inf 0x10 1_0 +5 0.5 1,2 1,2,3,4 4,3,2,1 2,1 3,4,1,2 4,0 0,0".split()),
    *("٣ ２ ²".encode().split()),
    b"",
    b" ",
    b"\x00",
)
VALUES = (*NUMBERS, *b"L C U I F D A i f d Aurora CD4 CD4/CD8 \xff \xc3\x28 \n \r\n".split(b" "), b"x" * 300)
KEYWORDS = (
    *b"$BEGINDATA $ENDDATA $BEGINSTEXT $ENDSTEXT $BEGINANALYSIS $ENDANALYSIS $NEXTDATA $PAR $TOT $MODE".split(),
    *b"$DATATYPE $BYTEORD $P1B $P1R $P1E $P1N $P1S $P1G $P1DATATYPE $P2B $P2R $P2N $P2S $P3B $P3N".split(),
    *b"$P999999B $P0B $SPILLOVER SPILL $CYT $UNICODE #X".split(),
)
_KEY_VALUE = re.compile(rb"(\$?[A-Za-z0-9#_$ ]{2,20})([/|\\\x0c!])([^/|\\\x0c!]*)\2")


class Mutator:
    """Makes new inputs from the seeds."""

    def __init__(self, seeds: list[bytes], rng: random.Random) -> None:
        self.seeds, self.rng = seeds, rng

    def __call__(self) -> bytes:
        content = bytearray(self.rng.choice(self.seeds))
        packed = content.startswith(b"\x1f\x8b") and self.rng.random() < 0.8
        if packed:
            content = bytearray(gzip.decompress(content))
        for _ in range(1 + int(self.rng.expovariate(0.7))):
            self.rng.choice(self._changes())(content)
        if self.rng.random() < 0.3:
            self._lay_out(content)
        made = bytes(content[:MAX_SIZE])
        return gzip.compress(made, 1) if packed else made

    def _changes(self) -> tuple[Callable[[bytearray], None], ...]:
        keyword, header, byte = self._keyword, self._header, self._byte
        return (
            keyword,
            keyword,
            keyword,
            header,
            byte,
            byte,
            self._bit,
            self._cut,
            self._repeat,
            self._splice,
            self._add,
        )

    def _keyword(self, content: bytearray) -> None:
        """Give a keyword another value, or a value another keyword."""
        pairs = list(_KEY_VALUE.finditer(content, 58))
        if not pairs:
            return
        pair = self.rng.choice(pairs)
        group, new = (3, self.rng.choice(VALUES)) if self.rng.random() < 0.9 else (1, self.rng.choice(KEYWORDS))
        content[pair.start(group) : pair.end(group)] = new

    def _header(self, content: bytearray) -> None:
        """Change an offset or the version."""
        if self.rng.random() < 0.2:
            content[3:6] = self.rng.choice([b"1.0", b"2.0", b"3.0", b"3.1", b"3.2", b"4.0"])
            return
        field = 10 + 8 * self.rng.randrange(6)
        number = self.rng.choice([self.rng.randrange(len(content) + 2), *(int(n) for n in NUMBERS[:26])])
        content[field : field + 8] = b"%8d" % (number % 10**8)

    def _byte(self, content: bytearray) -> None:
        if content:
            content[self.rng.randrange(len(content))] = self.rng.randrange(256)

    def _bit(self, content: bytearray) -> None:
        if content:
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)

    def _cut(self, content: bytearray) -> None:
        del content[self.rng.randrange(len(content) + 1) :]

    def _repeat(self, content: bytearray) -> None:
        start, stop = self._range(content)
        content[stop:stop] = content[start:stop] * self.rng.choice([1, 1, 2, 30])

    def _splice(self, content: bytearray) -> None:
        """Put a stretch of another seed in the place of one."""
        other = self.rng.choice(self.seeds)
        start, stop = self._range(other)
        here, there = self._range(content)
        content[here:there] = other[start:stop]

    def _add(self, content: bytearray) -> None:
        """Put a keyword at the start of TEXT, with the delimiter that stands there."""
        delimiter = bytes(content[58:59])
        content[59:59] = self.rng.choice(KEYWORDS) + delimiter + self.rng.choice(VALUES) + delimiter

    def _lay_out(self, content: bytearray) -> None:
        """Make the end of TEXT and the place of DATA in HEADER right again, for a file of one data set."""
        end = content.rfind(bytes(content[58:59]), 58) if len(content) > 59 else -1
        if end > 58:
            content[10:26] = b"%8d%8d" % (58, end)
            if self.rng.random() < 0.5:
                content[26:42] = b"%8d%8d" % (end + 1, len(content) - 1)

    def _range(self, content: bytes | bytearray) -> tuple[int, int]:
        start = self.rng.randrange(len(content) + 1)
        return start, min(len(content), start + int(self.rng.expovariate(0.05)))


# ------------------------------------------------------------------ engine: coverage


def inside_atheris(report: Path, options: list[str]) -> None:
    """Let libFuzzer drive the reader."""
    import atheris

    with atheris.instrument_imports(include=["cytomoe.io", "fcsparser"]):
        import fcsparser.api  # noqa: F401

        import cytomoe.io  # noqa: F401
    drive(report, options, Reader())


FUZZER = Fuzzer(
    script=__file__,
    about=__doc__.splitlines()[0],
    seeds=CORPUS,
    suffix=".fcs",
    target=Reader,
    mutator=Mutator,
    inside=inside_atheris,
    runs=100_000,
    corpus=Path("build/fuzz_corpus"),
    memory=3 << 30,
    memory_mb=1500,
    max_size=MAX_SIZE,
    words=[*KEYWORDS, *VALUES],
)

if __name__ == "__main__":
    sys.exit(FUZZER.main())
