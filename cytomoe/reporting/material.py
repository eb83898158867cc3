"""What the page and the figures of a report are made of, computed once from the files of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cytomoe.reporting.embedding import Embedding, embedded
from cytomoe.reporting.generated import Generated, generate
from cytomoe.reporting.histograms import Histograms, marker_histograms
from cytomoe.reporting.profiles import Profiles, cluster_records, profiles_of
from cytomoe.reporting.run_files import RunFiles


@dataclass(frozen=True, eq=False)
class Material:
    """A run with all that is drawn of it.

    Attributes
    ----------
    run
        Its files.
    clusters
        From :func:`cytomoe.reporting.profiles.cluster_records`.
    histograms, profiles, embedding
        Of the run.
    generated
        Cells that the run's model generates; None where its folder holds no model.
    """

    run: RunFiles
    clusters: list[dict[str, Any]]
    histograms: Histograms
    profiles: Profiles
    embedding: Embedding
    generated: Generated | None


def gather(run: RunFiles) -> Material:
    """Compute what a report draws."""
    with embedded(run) as embedding:  # takes the longest
        histograms = marker_histograms(run)
        profiles, generated = profiles_of(run, histograms), generate(run, histograms)
        return Material(run, cluster_records(run), histograms, profiles, embedding(), generated)
