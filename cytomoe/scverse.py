"""Clustering in place on an AnnData, with the keys that scanpy and its relatives expect."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe import __version__
from cytomoe.annotation import ClusterNames, enrichment, labels
from cytomoe.choices import warn_of_choices
from cytomoe.errors import InputError, in_words_of_python, with_parameters
from cytomoe.estimator import MoESimVAE
from cytomoe.inputs import as_cells, own_channels
from cytomoe.naming import name_clusters, with_known, with_populations
from cytomoe.preprocessing import NanPolicy, Preprocessor, TransformChoice, warn_uncompensated
from cytomoe.preprocessing.compensation import Spillover
from cytomoe.preprocessing.markers import names_in
from cytomoe.preprocessing.spillover_table import compensate_mode
from cytomoe.reference import read_reference
from cytomoe.settings import CHANGES, preset

if TYPE_CHECKING:
    from anndata import AnnData


@in_words_of_python()
def cluster(
    adata: AnnData,
    *,
    markers: Sequence[str] | None = None,
    transform: TransformChoice = "auto",
    cofactor: float | None = None,
    compensate: str | bool | Spillover | pd.DataFrame = "auto",
    prior: str | None = None,
    reference: str | None = None,
    nan: NanPolicy = "refuse",
    seed: int = 0,
    key_added: str = "cytomoe",
    **settings: Any,
) -> MoESimVAE:
    """Cluster the cells of an AnnData and write the result into it.

    Written are ``obs[key_added]`` (cluster, a categorical of "1", "2", ... by size), with ``_confidence``, ``_label``
    (``CD3+ CD4+``) and, given a prior or reference, ``_population`` behind the key; ``obsm["X_moesimvae"]`` (codes) and
    ``uns[key_added]``, which says under ``preprocessing`` what was done to the values. ``X`` stays as it is.

    Parameters
    ----------
    adata
        Raw values, as :func:`cytomoe.read_fcs` gives them, or values that are transformed already; ``layers["raw"]``
        goes before ``X``.
    markers
        Antigens or channels to use, as a list or in one text with commas; None takes every protein.
    transform
        ``arcsinh``, ``logicle`` or ``none``; ``auto``: arcsinh, or none for values that look transformed.
    cofactor
        Of arcsinh; None takes 5 for mass and 150 for fluorescence cytometry.
    compensate
        ``auto``: raw fluorescence values whose file has a spillover matrix are compensated with it, and you are warned
        where the matrix is lost or can't be used; ``yes`` insists, ``no`` takes the values as they are. A spillover
        matrix as a table (rows and columns named by channel), or the CSV file of one, goes before the file's.
    prior
        Column of ``obs`` with the names of known cells; missing or empty: unknown; ``other``: of none that is named.
    reference
        Table of populations to name the clusters after: a file, or ``pbmc`` or ``bone_marrow``.
    nan
        What is done to cells with values that are NaN or infinite: see :class:`MoESimVAE`. Cells that are dropped have
        no cluster (a missing value), label and population, confidence 0 and a code of NaN.
    seed
        Of all randomness.
    key_added
        Name of the results.
    **settings
        ``experts``, ``resolution``, ``similarity``, ``metric``, ``preset``, ``subsample``, ``device`` and ``progress``
        of :class:`MoESimVAE`.

    Returns
    -------
    MoESimVAE
        The fitted model, for mapping, generation and saving.

    Raises
    ------
    InputError
        If a marker or column does not exist, values are not finite, or settings do not fit together.
    """
    if not hasattr(adata, "obs"):
        raise InputError(
            f"cluster writes into an AnnData, and this is {type(adata).__name__}; cytomoe.read_fcs(path) reads a file, "
            "and MoESimVAE().fit takes tables and arrays of transformed values"
        )
    populations = None if reference is None else read_reference(reference)
    known = None if prior is None else _known(adata, prior)
    cells = as_cells(adata)
    names_given = (
        own_channels(adata, cells)
        if markers is None
        else names_in(markers)
        if isinstance(markers, str)
        else list(map(str, markers))
    )
    model = MoESimVAE(seed=seed, nan=nan, **_of_the_model(settings))
    clips = preset(model.preset, **{name: getattr(model, name) for name in CHANGES}).clips_noise
    mode = compensate_mode(compensate)
    if transform == "auto" and markers_are_transformed(cells, names_given):
        transform = "none"
    preprocessor = Preprocessor.fit(
        [cells],
        markers=names_given,
        transform=transform,
        cofactor=cofactor,
        compensate=mode,
        clip=clips,
        nan=nan,
    )
    if mode == "auto":
        warn_uncompensated(cells, preprocessor)
    for line in warn_of_choices(cells, preprocessor):
        warnings.warn(with_parameters(line), stacklevel=3)  # the line that called cluster()
    model.preprocessor = preprocessor
    expression = preprocessor.expression(cells, nan=nan)
    model.fit(expression, prior=known)
    codes, clusters, confidence = model.map_all(expression)
    there = clusters > 0
    used, zeros, glow = preprocessor.markers, preprocessor.zeros, preprocessor.glow
    found = enrichment(expression[there], clusters[there], model.n_clusters_, used, zeros, glow=glow)
    names = ClusterNames(tuple(labels(found)))
    if populations is not None:
        names = with_populations(names, name_clusters(found, populations))
    model.names_ = with_known(names, model.known_as_)
    adata.obsm["X_moesimvae"] = codes
    _write(adata, key_added, model, clusters, confidence)
    return model


def _of_the_model(settings: dict[str, Any]) -> dict[str, Any]:
    """Those settings that are parameters of the model; any other raises TypeError, as a call of Python does."""
    known = (*CHANGES, "preset", "subsample", "device", "progress")
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise TypeError(
            f"cluster() has no parameter {', '.join(unknown)}; besides those in its help it takes {', '.join(known)}"
        )
    return settings


def _write(
    adata: AnnData,
    key: str,
    model: MoESimVAE,
    clusters: NDArray[np.int32],
    confidence: NDArray[np.float32],
) -> None:
    """Write clusters, confidence and names into ``obs``, and where they come from into ``uns``."""
    names = model.names_
    assert names is not None  # set by the caller
    order = [str(k) for k in range(1, model.n_clusters_ + 1)]
    adata.obs[key] = pd.Categorical.from_codes(clusters - 1, order)
    adata.obs[f"{key}_confidence"] = confidence
    for column in ("label", "population"):
        if column in names.columns:
            values = np.array([None, *names.columns[column]], dtype=object)[clusters]
            adata.obs[f"{key}_{column}"] = pd.Categorical(values)
    adata.uns[key] = {
        "version": __version__,
        "seed": model.seed,
        "settings": json.dumps(model.settings_.to_dict()),
        "markers": model.preprocessor_.markers,
        "labels": list(names.labels),
        "preprocessing": model.preprocessor_.describe(),
    }


def markers_are_transformed(adata: AnnData, markers: Sequence[str] | None) -> bool:
    """Whether the values of the markers, or of all channels, look transformed already."""
    from cytomoe.preprocessing import looks_transformed, select_markers

    return looks_transformed(adata, select_markers(adata.var, markers, source="the AnnData")) is not None


def _known(adata: AnnData, column: str) -> pd.Series[Any]:
    if column not in adata.obs:
        raise InputError(f"prior='{column}': obs has no such column; it has {', '.join(map(str, adata.obs.columns))}")
    return adata.obs[column].astype(object)
