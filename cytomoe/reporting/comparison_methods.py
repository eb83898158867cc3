"""The methods paragraph of a comparison of conditions, ready for a paper, with what it cites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cytomoe import __version__
from cytomoe.comparison import FEWEST_EVENTS, LEVEL, MOST_PAIRED
from cytomoe.reporting.methods import Citations, Methods, listing
from cytomoe.words import counted

if TYPE_CHECKING:
    from cytomoe.reporting.comparisons import ComparisonSummary

_SOURCES = {
    "quasi": "McCullagh P, Nelder JA. Generalized Linear Models. 2nd ed. London: Chapman and Hall; 1989. "
    "doi:10.1007/978-1-4899-3242-6",
    "fdr": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful approach to "
    "multiple testing. J R Stat Soc B 1995;57:289-300. doi:10.1111/j.2517-6161.1995.tb02031.x",
    "statsmodels": "Seabold S, Perktold J. statsmodels: econometric and statistical modeling with Python. Proc 9th "
    "Python in Science Conf 2010:92-96. doi:10.25080/Majora-92bf1922-011",
}


def methods_of_comparison(summary: ComparisonSummary) -> Methods:
    """Methods paragraph of a comparison: samples, model, tests, correction."""
    cite = Citations()
    sizes = listing([f"{group} in {counted(n, 'sample')}" for group, n in summary.sizes.items()])
    within = f", accounting for {listing(list(summary.adjust))} as groups" if summary.adjust else ""
    sentences = [
        f"The shares of {counted(len(summary.table), 'population')} in {counted(len(summary.totals), 'sample')} were "
        f"compared between the values of {summary.by} ({sizes}) with cytomoe {__version__}.",
        f"The counts of each population among all events of a sample were modelled by a binomial regression whose "
        f"dispersion is estimated (quasi-binomial){within} {cite('quasi')}, as statsmodels fits it "
        f"{cite('statsmodels')}, and conditions were tested by the quasi-likelihood F test.",
        f"p-values were corrected for the number of populations by the procedure of Benjamini and Hochberg "
        f"{cite('fdr')}; an adjusted p below {LEVEL} counts as a difference.",
        *_pairs(summary),
        _changes(summary),
        f"Populations of fewer than {FEWEST_EVENTS} events in every sample were not tested.",
        *_moved(summary),
    ]
    return Methods(" ".join(sentences), [_SOURCES[name] for name in cite.names])


def _pairs(summary: ComparisonSummary) -> list[str]:
    if summary.pairs is None:
        return []
    many = len(summary.groups) > MOST_PAIRED
    which = f"each condition and {summary.groups[0]}" if many else "each two conditions"
    return [f"In the same model {which} were tested, corrected over all populations and pairs."]


def _changes(summary: ComparisonSummary) -> str:
    means = "that the model expects if all samples were of one condition" if summary.adjust else "over the samples"
    return (
        f"Changes are ratios of the mean shares {means}, over {summary.groups[0]}, with half an event added to each "
        "share."
    )


def _moved(summary: ComparisonSummary) -> list[str]:
    if not summary.moved:
        return []
    return [
        f"As shares add up to 100 %, populations were tested again among the events without "
        f"{listing(summary.moved_by)}; those that differ no longer there are told apart."
    ]
