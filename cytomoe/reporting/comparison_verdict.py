"""The verdict on a comparison of conditions: which populations differ, which way, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cytomoe.comparison import FEWEST_EVENTS, LEVEL
from cytomoe.reporting.findings import Finding, Level, by_weight, headline, named
from cytomoe.words import counted, listed

if TYPE_CHECKING:
    import pandas as pd

    from cytomoe.reporting.comparisons import ComparisonSummary

# Populations that differ, of which each has a finding of its own; the others are named in one.
_TOLD = 6
# A condition of fewer samples shows large differences alone (docs/results/comparison.md).
_FEW = 4
# Pairs of conditions, and conditions, that a finding lists.
_PAIRS, _CONDITIONS = 3, 6


def judge_comparison(summary: ComparisonSummary) -> list[Finding]:
    """All findings about a comparison: what speaks against it, then what differs, what moved most first."""
    judges = (_warnings, _differing, _moved, _few_samples, _rare)
    return by_weight([finding for judged in judges for finding in judged(summary)])


def headline_of(summary: ComparisonSummary, findings: list[Finding]) -> tuple[Level, str]:
    """Level and words of the whole."""
    level, _ = headline(findings)
    n_differ, n_all = len(summary.differing), len(summary.table)
    first, *others = summary.groups
    between = (
        f"between {first} and {others[0]}" if len(others) == 1 else f"between the {len(summary.groups)} conditions"
    )
    if n_all == 1:
        words = f"The population {'differs' if n_differ else 'does not differ'} {between}"
    else:
        words = f"{n_differ or 'None'} of {n_all} populations {'differs' if n_differ < 2 else 'differ'} {between}"
    if level == "check":
        words += "; look at the points marked “check” before you rely on it"
    return level, words


def moved_in_words(moved_by: Sequence[str], moved: Sequence[str]) -> str:
    """That populations differ for others alone, and why that is so."""
    return (
        f"not different among the events without {' and '.join(moved_by)}: {'; '.join(moved)} (shares add up to 100 %, "
        "so where one population grows others shrink)"
    )


def pairs_in_words(pairs: pd.DataFrame) -> str:
    """How many pairs of conditions differ."""
    n_differ = int((pairs["p_adjusted"] < LEVEL).sum())
    return f"pairs of conditions that differ with an adjusted p below {LEVEL}: {n_differ} of {len(pairs)}"


def fold(log2: float) -> str:
    """A change as so many times more or less."""
    return f"{2 ** abs(log2):.3g}-fold {'more' if log2 > 0 else 'less'}"


def _warnings(summary: ComparisonSummary) -> list[Finding]:
    return [Finding("check", "The comparison gave a warning:", f"{one.rstrip('.')}.") for one in summary.warnings]


def _differing(summary: ComparisonSummary) -> list[Finding]:
    """A finding for each of those that moved most by themselves, and one for all others."""
    rows = [row for row in summary.rows if row["differs"] and not row["moved_by"]]
    rows.sort(key=lambda row: -max(map(abs, row["log2"])))
    tell = _of_two if len(summary.groups) == 2 else _of_many
    found = [tell(summary, row) for row in rows[:_TOLD]]
    if rows[_TOLD:]:
        rest = f"{len(rows) - _TOLD} more {'differs' if len(rows) == _TOLD + 1 else 'differ'}, by less"
        found.append(Finding("note", rest, f"{'; '.join(row['population'] for row in rows[_TOLD:])}."))
    if not summary.differing:
        detail = f"Every adjusted p is {LEVEL} or more" if summary.tested else "None could be tested"
        found.append(Finding("note", "No population differs", f"{detail}. That does not show that they are alike."))
    return found


def _of_two(summary: ComparisonSummary, row: dict[str, Any]) -> Finding:
    """A population that differs between two conditions."""
    first, other = summary.groups
    absent = [group for group in summary.groups if group in row["absent"]]
    change = f"absent under {absent[0]}" if absent else f"{fold(row['log2'][0])} frequent under {other}"
    within = f"; the change is that within each {' and '.join(summary.adjust)}" if summary.adjust else ""
    shares = f"{_share(row['percent'][0])} under {first}, {_share(row['percent'][1])} under {other}"
    return Finding("note", f"{row['population']}: {change}", f"{shares}; adjusted {_p(row['p_adjusted'])}{within}.")


def _of_many(summary: ComparisonSummary, row: dict[str, Any]) -> Finding:
    """A population that differs between three conditions or more, with the pairs that do."""
    changes = dict(zip(summary.groups, [0.0, *row["log2"]], strict=True))
    most, least = max(changes, key=lambda group: changes[group]), min(changes, key=lambda group: changes[group])
    shares = [f"{_share(share)} under {group}" for group, share in zip(summary.groups, row["percent"], strict=True)]
    assert summary.pairs is not None
    own = summary.pairs[(summary.pairs["population"] == row["population"]) & (summary.pairs["p_adjusted"] < LEVEL)]
    pairs = [f"{pair.condition} over {pair.over} {fold(pair.log2)}, {_p(pair.p_adjusted)}" for pair in own.itertuples()]
    alone = listed(pairs, _PAIRS, by="; ") if pairs else "no two conditions differ by themselves"
    return Finding(
        "note",
        f"{row['population']}: most frequent under {most}, least under {least}",
        f"{listed(shares, _CONDITIONS)}; adjusted {_p(row['p_adjusted'])}. Pairs: {alone}.",
    )


def _share(percentage: float) -> str:
    return f"{percentage:.3g} %"


def _p(value: float) -> str:
    return f"p\u00a0{value:.2g}"


def _moved(summary: ComparisonSummary) -> list[Finding]:
    if not summary.moved:
        return []
    many = len(summary.moved) > 1
    title = f"{counted(len(summary.moved), 'population')} {'differ' if many else 'differs'} only because others do"
    words = moved_in_words(summary.moved_by, summary.moved)
    return [Finding("note", title, f"{words[0].upper()}{words[1:]}.")]


def _few_samples(summary: ComparisonSummary) -> list[Finding]:
    few = {group: n for group, n in summary.sizes.items() if n < _FEW}
    if not few:
        return []
    alike = len(few) == len(summary.sizes) and len(set(few.values())) == 1
    told = [f"{group} has {counted(n, 'sample')}" for group, n in few.items()]
    who = f"Each condition has {counted(min(few.values()), 'sample')}" if alike else named(told)
    detail = f"{who}. Only large differences are found with so few: that a population does not differ here says little."
    return [Finding("note", "Few samples", detail)]


def _rare(summary: ComparisonSummary) -> list[Finding]:
    rare = [row["population"] for row in summary.rows if row["p"] is None]
    if not rare:
        return []
    title = f"{counted(len(rare), 'population')} too rare to test"
    return [Finding("note", title, f"Fewer than {FEWEST_EVENTS} events in every sample: {named(rare, by='; ')}.")]
