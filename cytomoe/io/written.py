"""Tables and JSON as they are written: whole or not at all, no cell a formula, no name lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytomoe.io.atomic import atomic_path
from cytomoe.io.tables import safe_table

if TYPE_CHECKING:
    import pandas as pd


def write_json(path: Path, content: Any) -> None:
    """Write JSON."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        # A file name may hold bytes of no encoding, which JSON can only escape.
        temporary.write_bytes(text.encode("utf-8", errors="backslashreplace"))


def write_csv(path: Path, table: pd.DataFrame, *, decimals: str | None = None) -> None:
    """Write a table without its index; ``decimals`` is the format of its floats, such as ``%.6g``."""
    with atomic_path(path) as temporary:
        safe_table(table).to_csv(temporary, index=False, float_format=decimals)
