"""Warnings as people want to read them: a sentence for each kind, and remarks on files apart from what matters."""

from __future__ import annotations

import re
from collections.abc import Sequence

# How a reader ends a remark on a file whose values are not in doubt.
_HARMLESS = "the values do not depend on it"


def is_remark(warning: str) -> bool:
    """Whether a warning of the FCS reader leaves the values out of doubt."""
    return warning.endswith(_HARMLESS)


def told_once(warnings: Sequence[str]) -> list[str]:
    """Sentences; of warnings that differ by numbers or the name of a file alone, the first, with their count."""
    alike: dict[str, list[str]] = {}
    for warning in warnings:
        alike.setdefault(re.sub(r"\d+", "0", re.sub(r"^.*?\.fcs: ", "", warning)), []).append(warning)
    sentences = []
    for first, *others in alike.values():
        more = f" And {len(others)} more like this: see run.json." if others else ""
        sentences.append(f"{first}{'' if first.endswith(('.', '?', '!')) else '.'}{more}")
    return sentences
