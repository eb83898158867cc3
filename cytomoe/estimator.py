"""MoE-Sim-VAE as a scikit-learn estimator on arrays and AnnData: fit, predict, predict_proba, transform, sample.

model = MoESimVAE(seed=0).fit(adata)
clusters = model.predict(other)
model.save("model.cytomoe")
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin

from cytomoe.clusterer import Clusterer
from cytomoe.errors import in_words_of_python
from cytomoe.words import counted


class MoESimVAE(ClusterMixin, TransformerMixin, BaseEstimator, Clusterer):
    """Cluster cells with a Mixture-of-Experts Similarity Variational Autoencoder.

    Parameters
    ----------
    preset
        ``default`` (similarity by valleys) or ``paper`` (the published settings).
    experts
        Upper bound on the number of clusters; None takes the preset's.
    resolution
        Above 1: more, smaller clusters; below 1: fewer. None takes the preset's.
    similarity
        ``valleys``, ``consensus``, ``umap`` or ``knn``; None takes the preset's.
    metric
        ``euclidean``, ``correlation``, ``cosine`` or ``canberra``; None takes the preset's.
    settings
        Complete settings, in place of preset, experts, resolution, similarity and metric.
    subsample
        Fit on at most this many cells, drawn at random; None fits on all. Every cell is mapped either way.
    seed
        Seed of all randomness. The same seed, machine and thread count give the same clusters.
    device
        ``auto`` (a CUDA device if there is one), ``cpu`` or ``cuda``.
    preprocessor
        Fitted preprocessing for AnnData input; None fits one on the input of :meth:`fit`.
    nan
        What is done to cells with values that are NaN or infinite: ``refuse`` them; ``drop``: they train nothing and
        get cluster 0, confidence 0 and a code of NaN, in their own row; ``zero``: such values are taken for 0.
    progress
        Called with a :class:`cytomoe.training.loop.Progress` while training.

    Attributes
    ----------
    n_clusters_
        Clusters found. They are numbered 1 to ``n_clusters_`` by size.
    labels_
        Cluster of each cell given to :meth:`fit`, int32, shape (cells,); 0 where it was dropped.
    summary_
        How codes and markers are spread in each cluster: see :class:`cytomoe.fit_summary.FitSummary`.
    preprocessor_
        Transformation and scaling that every input passes.
    settings_
        Settings of the training that gave the result.
    history_
        Losses over the training.
    known_as_
        Population of the prior that each cluster is, empty where none.
    names_
        What the clusters are called, or None; a run sets it.
    notes_
        What the user should know of the fit, such as a collapse that was recovered from.
    """

    fit = in_words_of_python()(Clusterer.fit)
    predict = in_words_of_python()(Clusterer.predict)
    predict_proba = in_words_of_python()(Clusterer.predict_proba)
    transform = in_words_of_python()(Clusterer.transform)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns that :meth:`transform` gives: ``moesimvae0``, ``moesimvae1``, ..., shape (L,).

        Parameters
        ----------
        input_features
            Ignored: the codes are of all markers together.
        """
        self._check_fitted()
        return np.array([f"moesimvae{i}" for i in range(self.settings_.code_size)], dtype=object)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Of a fitted model what it found, in a line; before the fit the parameters, as scikit-learn prints them."""
        if not hasattr(self, "n_clusters_"):
            return str(super().__repr__(N_CHAR_MAX))
        markers = len(self.preprocessor_.markers)
        return (
            f"<MoESimVAE with seed {self.seed}: {counted(self.n_clusters_, 'cluster')}, {counted(markers, 'marker')}>"
        )
