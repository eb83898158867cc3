"""The peers: other clustering methods behind one signature, each with the settings its authors recommend.

Every function takes transformed marker values (arcsinh or logicle) as float32 of shape (cells, markers), and gives
int64 labels from 0 of shape (cells,). FlowSOM, PhenoGraph and PARC come from the package index:
``pip install 'cytomoe[baselines]'``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError

Labels = NDArray[np.int64]
Expression = NDArray[np.float32]

# Metaclusters where no number is asked for: the value that FlowSOM's authors use in their examples is 10; 15 and 20 are
# common on blood, and 15 is the number of experts of the paper on the same wells.
FLOWSOM_METACLUSTERS = 15
# Width and height of FlowSOM's grid, and cells per neighbourhood of PhenoGraph and PARC: the packages' own defaults.
FLOWSOM_GRID = 10
# Passes of FlowSOM over the cells: the default of 10 leaves the map of a few thousand cells half trained (H05, 15
# metaclusters: F-measure 0.911 after 10 passes, 0.935 after 100).
FLOWSOM_PASSES = 100
NEIGHBOURS = 30


class Baseline(Protocol):
    """A clustering method; ``n_clusters`` None leaves the number to the method, or to its usual default."""

    def __call__(self, expression: Expression, *, seed: int, n_clusters: int | None = None) -> Labels:
        """Cluster of each cell, from 0."""
        ...


def flowsom(
    expression: Expression, *, seed: int, n_clusters: int | None = None, passes: int = FLOWSOM_PASSES
) -> Labels:
    """FlowSOM (Van Gassen et al. 2015): self-organising map of 10 x 10, then metaclusters; 15 unless said otherwise.

    The authors' Python package merges the map's nodes by average linkage, without the consensus of the R package.
    """
    models = _package("flowsom.models", "FlowSOM")
    with _quiet(), _numpy_state():  # the package seeds numpy's global generator
        np.random.seed(seed)  # noqa: NPY002
        model = models.FlowSOMEstimator(
            models.SOMEstimator,
            models.ConsensusCluster,
            xdim=FLOWSOM_GRID,
            ydim=FLOWSOM_GRID,
            rlen=passes,
            seed=seed,
            n_clusters=n_clusters or FLOWSOM_METACLUSTERS,
        )
        return _from_zero(model.fit_predict(np.asarray(expression, dtype=np.float64)))


def phenograph(expression: Expression, *, seed: int, n_clusters: int | None = None) -> Labels:
    """PhenoGraph (Levine et al. 2015), 30 neighbours; it finds the number of clusters itself.

    Communities are found by Leiden, which can be seeded: the package's other choice, Louvain, can't be, and writes
    files into the working directory. Cells of communities under 10, which the package leaves out, are one cluster.
    """
    package = _package("phenograph", "PhenoGraph")
    with _quiet():
        labels, _, _ = package.cluster(expression, k=NEIGHBOURS, clustering_algo="leiden", seed=seed, n_jobs=1)
    return _from_zero(labels)


def parc(expression: Expression, *, seed: int, n_clusters: int | None = None) -> Labels:
    """PARC (Stassen et al. 2020), 30 neighbours; it finds the number of clusters itself."""
    package = _package("parc", "PARC")
    with _quiet():
        model = package.PARC(expression, knn=NEIGHBOURS, random_seed=seed, num_threads=1)
        model.run_PARC()
    return _from_zero(np.asarray(model.labels))


def k_means(expression: Expression, *, seed: int, n_clusters: int | None = None) -> Labels:
    """k-means, best of 10 starts; 15 clusters unless said otherwise."""
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters or FLOWSOM_METACLUSTERS, n_init=10, random_state=seed)
    return _from_zero(model.fit_predict(expression))


def gaussian_mixture(expression: Expression, *, seed: int, n_clusters: int | None = None) -> Labels:
    """Gaussian mixture with full covariances, fitted by scikit-learn; 15 components unless said otherwise."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(n_clusters or FLOWSOM_METACLUSTERS, random_state=seed)
    return _from_zero(model.fit_predict(np.asarray(expression, dtype=np.float64)))


BASELINES: dict[str, Baseline] = {
    "FlowSOM": flowsom,
    "PhenoGraph": phenograph,
    "PARC": parc,
    "k-means": k_means,
    "GMM": gaussian_mixture,
}


def require(names: list[str]) -> None:
    """Refuse baselines whose packages are not installed, before any work is done.

    Raises
    ------
    InputError
        If a package is missing; says how to install it.
    """
    for name, module in (("FlowSOM", "flowsom.models"), ("PhenoGraph", "phenograph"), ("PARC", "parc")):
        if name in names:
            _package(module, name)


def _package(module: str, name: str) -> ModuleType:
    import importlib

    try:
        with _quiet():
            return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{name} is not installed ({error}); install it with: pip install 'cytomoe[baselines]'"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the packages print away from the user's terminal."""
    import warnings

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _numpy_state() -> Iterator[None]:
    """Leave numpy's global generator as it was."""
    state: Any = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _from_zero(labels: NDArray[Any]) -> Labels:
    """Labels numbered 0, 1, ... in the order of the method's own."""
    return np.unique(labels, return_inverse=True)[1].ravel().astype(np.int64)
