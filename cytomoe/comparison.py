"""Differential abundance: whether populations are more frequent under one condition than under another.

Counts of each population in each sample are modelled by a binomial regression whose dispersion is estimated
(quasi-binomial, McCullagh & Nelder 1989): samples differ by more than counting noise. Conditions are tested by the
quasi-likelihood F test, which also holds where a population is absent under one of them; p-values of all populations
are corrected by Benjamini and Hochberg's procedure. statsmodels does both.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.words import counted

# Populations with fewer events than this in every sample can't be compared.
FEWEST_EVENTS = 3
# Adjusted p below which populations are said to differ.
LEVEL = 0.05
# Populations whose changes may move the shares of others: at most so many, each the best of the so many surest, and
# at least this share of the events of each sample beside them.
_MOST_MOVERS, _TRIED, _LEAST_LEFT = 4, 4, 0.2
# Of so many conditions each is held against each; of more, such as doses, each against the baseline.
MOST_PAIRED = 12


def compare_abundance(
    counts: pd.DataFrame,
    totals: pd.Series[int],
    conditions: pd.DataFrame,
    by: str,
    adjust: Sequence[str] = (),
    baseline: str | None = None,
) -> pd.DataFrame:
    """Test every population for a difference between conditions.

    Parameters
    ----------
    counts
        Events of each population in each sample; samples in the index, populations in the columns.
    totals
        Events of each sample.
    conditions
        One row per sample.
    by
        Column of ``conditions`` whose values are compared; with numbers only, still as groups.
    adjust
        Further columns that the model accounts for, such as batch or patient.
    baseline
        Condition over which the changes of the others are given; by default that of the first sample.

    Returns
    -------
    DataFrame
        One row per population: population, a mean percentage per condition, the logarithm of each condition's mean over
        the baseline's (``log2_b_over_a``: above 0, more frequent under b; half an event of a mean sample is added to
        either side, so that it is finite, and does not follow exactly from the percentages), dispersion, F, p,
        p_adjusted; the surest first. With ``adjust`` the logarithm is of the means that the model expects if all
        samples were of the one condition, or of the other: as p, it leaves out what the columns of ``adjust`` explain.
        Populations too rare to be tested have no p.

    Raises
    ------
    InputError
        If there is one condition only, the baseline is none of them, or samples are too few to tell conditions from
        other differences.
    """
    groups = conditions_of(conditions[by], baseline)
    if len(groups) < 2:
        raise InputError(f"all samples have {by} {groups[0]}; two conditions are needed to compare")
    reduced = _design(conditions, adjust)
    full = np.column_stack([reduced, _dummies(conditions[by])])
    rank = int(np.linalg.matrix_rank(full))
    if rank - int(np.linalg.matrix_rank(reduced)) < len(groups) - 1:
        raise InputError(_not_told_apart(conditions, by, adjust))
    if len(counts) <= rank:
        raise InputError(
            f"{counted(len(counts), 'sample')} {'is' if len(counts) == 1 else 'are'} too few to compare "
            f"{len(groups)} conditions; each needs two samples or more"
        )
    shares = counts.div(totals, axis=0)
    rows = []
    for population in counts.columns:
        means = [float(100 * shares[population][conditions[by] == group].mean()) for group in groups]
        row = {"population": population, **{f"percent_{g}": round(m, 4) for g, m in zip(groups, means, strict=True)}}
        test = None
        if counts[population].max() >= FEWEST_EVENTS:
            larger = _fit(counts[population], totals, full)
            test = _test(larger, _fit(counts[population], totals, reduced))
            if adjust:
                means = _expected(larger.params, reduced, conditions[by], groups)
        for group, mean in zip(groups[1:], means[1:], strict=True):
            row[f"log2_{group}_over_{groups[0]}"] = _change(mean, means[0], totals)
        found = (np.nan,) * 3 if test is None else (test.dispersion, test.ratio, test.p)
        rows.append({**row, **dict(zip(("dispersion", "F", "p"), found, strict=True))})
    table = pd.DataFrame(rows)
    table["p_adjusted"] = _corrected(table["p"].to_numpy(dtype=np.float64))
    return table.sort_values("p", kind="stable", ignore_index=True)


def compare_pairs(
    counts: pd.DataFrame,
    totals: pd.Series[int],
    conditions: pd.DataFrame,
    by: str,
    adjust: Sequence[str] = (),
    baseline: str | None = None,
) -> pd.DataFrame:
    """Test every population for a difference between each two of several conditions.

    In the model of all samples, which says how much samples of one condition differ, two conditions are taken for one,
    and the quasi-likelihood F test says what that costs; p-values are corrected over all populations and pairs.

    Parameters
    ----------
    counts, totals, conditions, by, adjust, baseline
        As in :func:`compare_abundance`, which refuses what can't be compared.

    Returns
    -------
    DataFrame
        One row per population and pair: population, condition, over (the other condition), log2 (the logarithm of the
        mean of ``condition`` over that of ``over``, as in :func:`compare_abundance`), F, p, p_adjusted; the surest
        first. Of more than ``MOST_PAIRED`` conditions, pairs with the baseline alone. A population too rare to be
        tested has no row.
    """
    groups = conditions_of(conditions[by], baseline)
    pairs = list(combinations(groups, 2))
    if len(groups) > MOST_PAIRED:
        pairs = [pair for pair in pairs if pair[0] == groups[0]]
    reduced = _design(conditions, adjust)
    full = np.column_stack([reduced, _dummies(conditions[by])])
    joined = {pair: np.column_stack([reduced, _dummies(conditions[by].replace(pair[1], pair[0]))]) for pair in pairs}
    shares = counts.div(totals, axis=0)
    rows = list[dict[str, Any]]()
    for population in counts.columns:
        if counts[population].max() < FEWEST_EVENTS:
            continue
        larger = _fit(counts[population], totals, full)
        means = dict(zip(groups, _expected(larger.params, reduced, conditions[by], groups), strict=True))
        if not adjust:
            means = {group: float(100 * shares[population][conditions[by] == group].mean()) for group in groups}
        for over, condition in pairs:
            test = _test(larger, _fit(counts[population], totals, joined[over, condition]))
            change = _change(means[condition], means[over], totals)
            pair = {"population": population, "condition": condition, "over": over, "log2": change}
            rows.append({**pair, "F": test.ratio, "p": test.p})
    table = pd.DataFrame(rows, columns=["population", "condition", "over", "log2", "F", "p"])
    table["p_adjusted"] = _corrected(table["p"].to_numpy(dtype=np.float64))
    return table.sort_values("p", kind="stable", ignore_index=True)


def moved_by_others(
    table: pd.DataFrame,
    counts: pd.DataFrame,
    totals: pd.Series[int],
    conditions: pd.DataFrame,
    by: str,
    adjust: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """Populations that differ only while others are counted: as shares add up, some shrink where others grow.

    Those without whose events the fewest differ are left out one after the other, until none differs.

    Parameters
    ----------
    table
        What :func:`compare_abundance` found.
    counts, totals, conditions, by, adjust
        Of which it did.

    Returns
    -------
    movers : list of str
        Populations that were left out; empty where no other stopped to differ.
    moved : list of str
        Of those found, the ones that no longer differ then.
    """

    def differing(left_out: list[str]) -> list[str] | None:
        """Populations that differ among the other events, the surest first; None where too few are left."""
        rest = totals - counts[left_out].sum(axis=1)
        if (rest < _LEAST_LEFT * totals).any():
            return None
        found = compare_abundance(counts.drop(columns=left_out), rest, conditions, by, adjust)
        return found.loc[found["p_adjusted"] < LEVEL, "population"].tolist()

    first = table.loc[table["p_adjusted"] < LEVEL, "population"].tolist()
    if len(first) < 2:
        return [], []
    movers, still = list[str](), first
    while still and len(movers) < _MOST_MOVERS:
        tried = {other: differing([*movers, other]) for other in still[:_TRIED]}
        known = {other: left for other, left in tried.items() if left is not None}
        if not known:
            break
        best = min(known, key=lambda other: len(known[other]))
        movers, still = [*movers, best], known[best]
    moved = [population for population in first if population not in (*movers, *still)]
    for mover in movers[::-1]:  # those without which the same would stop to differ
        fewer = [other for other in movers if other != mover]
        left = differing(fewer) if fewer else first
        if left is not None and not set(moved) & set(left):
            movers = fewer
    return (movers, moved) if moved else ([], [])


def conditions_of(values: pd.Series[str], baseline: str | None = None) -> list[str]:
    """Conditions in the order of the samples, the baseline first.

    Raises
    ------
    InputError
        If the baseline is none of them.
    """
    groups = list(dict.fromkeys(values))
    if baseline is None:
        return groups
    if baseline not in groups:
        raise InputError(f"--baseline {baseline}: no sample has it; there are {', '.join(groups)}")
    return [baseline, *(group for group in groups if group != baseline)]


def _not_told_apart(conditions: pd.DataFrame, by: str, adjust: Sequence[str]) -> str:
    """Why conditions can't be compared within the groups of the samples."""
    own = [name for name in adjust if conditions[name].is_unique]
    if own:
        return (
            f"every sample has its own {own[0]}, so nothing is left to compare; --adjust takes each value for a "
            f"group, numbers too: put {own[0]} into a few groups, or leave it out"
        )
    return f"{by} can't be told from {', '.join(adjust)}: they go together in these samples"


def _dummies(values: pd.Series[str]) -> NDArray[np.float64]:
    """Indicator columns of all values but the first."""
    return pd.get_dummies(values, drop_first=True).to_numpy(dtype=np.float64)


def _design(conditions: pd.DataFrame, adjust: Sequence[str]) -> NDArray[np.float64]:
    """Columns of the model without the conditions, none of which follows from those before it.

    The batch follows from the patient where all samples of each stand in one. The fit of such a model need not converge
    where a population is absent in the samples of a patient, and its deviance may be anything then.
    """
    design = np.ones((len(conditions), 1))
    for name in adjust:
        for column in _dummies(conditions[name]).T:
            wider = np.column_stack([design, column])
            if np.linalg.matrix_rank(wider) > design.shape[1]:
                design = wider
    return design


@dataclass(frozen=True)
class _Test:
    """What the test of one population found."""

    dispersion: float
    ratio: float
    p: float


def _fit(counts: pd.Series[int], totals: pd.Series[int], design: NDArray[np.float64]) -> Any:
    """Binomial regression of one population's counts, as statsmodels gives it."""
    import statsmodels.api as sm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a population absent under one condition fits perfectly there, as it should
        return sm.GLM(np.column_stack([counts, totals - counts]), design, family=sm.families.Binomial()).fit()


def _test(larger: Any, smaller: Any) -> _Test:
    """Test what a model explains beyond a smaller one."""
    from scipy.stats import f as f_distribution

    ranks = [int(np.linalg.matrix_rank(fit.model.exog)) for fit in (larger, smaller)]
    freedom, gained = len(larger.model.exog) - ranks[0], ranks[0] - ranks[1]
    # Below 1 the samples would vary less than counting alone makes them.
    dispersion = max(1.0, float(larger.pearson_chi2) / freedom)
    ratio = max(0.0, float(smaller.deviance - larger.deviance)) / gained / dispersion
    return _Test(round(dispersion, 4), round(ratio, 4), float(f_distribution.sf(ratio, gained, freedom)))


def _change(mean: float, over: float, totals: pd.Series[int]) -> float:
    """Logarithm of a mean percentage over another; half an event is added, so that it is finite where one is 0."""
    smallest = 50 / float(totals.mean())
    return round(float(np.log2((mean + smallest) / (over + smallest))), 4)


def _expected(
    effects: NDArray[np.float64], reduced: NDArray[np.float64], by: pd.Series[str], groups: Sequence[str]
) -> list[float]:
    """Mean percentage over the samples that the model expects if all of them were of one condition, for each."""
    from scipy.special import expit

    means = []
    for group in groups:
        indicators = _dummies(pd.concat([by, pd.Series([group] * len(by))], ignore_index=True))[len(by) :]
        means.append(float(100 * expit(np.column_stack([reduced, indicators]) @ effects).mean()))
    return means


def _corrected(p: NDArray[np.float64]) -> NDArray[np.float64]:
    from statsmodels.stats.multitest import multipletests

    adjusted = np.full(len(p), np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = multipletests(p[tested], method="fdr_bh")[1]
    return adjusted
