"""Which cells are alike: the similarity S that the gating network learns to reproduce."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cytomoe.settings import Settings
from cytomoe.similarity.base import Similarity
from cytomoe.similarity.prior import OTHER, Prior, name_by_types, with_prior

__all__ = ["OTHER", "Prior", "Similarity", "build_similarity", "name_by_types", "with_prior"]


def build_similarity(expression: NDArray[np.float32], settings: Settings, rng: np.random.Generator) -> Similarity:
    """Similarity of cells as the settings ask for it.

    Parameters
    ----------
    expression
        Transformed, unscaled marker values of the training cells, shape (cells, markers).
    settings
        Names the similarity and its parameters.
    rng
        Source of all randomness.
    """
    if settings.similarity == "valleys":
        from cytomoe.similarity.consensus import valley_similarity

        return valley_similarity(expression, settings, rng)
    if settings.similarity == "consensus":
        from cytomoe.similarity.consensus import hierarchy_similarity

        return hierarchy_similarity(expression, settings, rng)
    from cytomoe.similarity.projection import projection_similarity

    return projection_similarity(expression, settings, rng)
