"""Events that stand in more than one file, found by what they hold, without a word on gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.preprocessing.channels import channel_names

if TYPE_CHECKING:
    from anndata import AnnData

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, spreads bits
# Fewer than this share of the events may be alike by chance, where there are few channels of whole numbers.
SHARE = 0.001


def hash_events(adata: AnnData) -> NDArray[np.uint64]:
    """Hash each event over all channels, so that equal events of files with the same channels hash alike.

    Parameters
    ----------
    adata
        A file.

    Returns
    -------
    ndarray
        (events,) 64-bit hashes; they do not depend on the order of the channels.
    """
    hashes = np.zeros(adata.n_obs, dtype=np.uint64)
    channels, _ = channel_names(adata.var)
    for position in sorted(range(adata.n_vars), key=lambda i: (channels[i], i)):
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            values = adata.X[:, position].astype(np.float64) + 0.0  # -0.0 becomes 0.0
        hashes ^= values.view(np.uint64)
        hashes *= _GOLDEN  # wraps around
        hashes ^= hashes >> np.uint64(32)
    return hashes


def without_twins(adatas: Sequence[AnnData], samples: Sequence[str]) -> list[AnnData]:
    """Files without the events that an earlier file of the same sample holds, as those of overlapping gates do.

    Parameters
    ----------
    adatas
        Events of each file, raw.
    samples
        Name of each file's sample.
    """
    seen: dict[str, NDArray[np.uint64]] = {}
    kept = []
    for adata, sample in zip(adatas, samples, strict=True):
        hashes = hash_events(adata)
        before = seen.get(sample, hashes[:0])
        new = ~np.isin(hashes, before)
        kept.append(adata if new.all() else adata[new].copy())
        seen[sample] = np.concatenate([before, hashes[new]])
    return kept


def warn_of_twins(adatas: Sequence[AnnData]) -> list[str]:
    """A line for the user where events stand in more than one of the files and so count more than once.

    Parameters
    ----------
    adatas
        Events of each file, raw.
    """
    distinct = [np.unique(hash_events(adata)) for adata in adatas]
    if len(distinct) < 2:
        return []
    counts = np.unique(np.concatenate(distinct), return_counts=True)[1]
    shared = int(np.count_nonzero(counts > 1))
    if shared <= SHARE * len(counts):
        return []
    return [
        f"{shared:,} of {len(counts):,} events fitted on stand in more than one file, and count in each; if the files "
        "are gates of one sample, add --gate-pattern to cytomoe cluster (see cytomoe check)"
    ]
