"""Events that stand in more than one file, found by what they hold, without a word on gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.preprocessing.channels import channel_names
from cytomoe.words import listed, percent

if TYPE_CHECKING:
    from cytomoe.io.raw_events import Raw, RawEvents

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, spreads bits
# Fewer than this share of the events may be alike by chance, where there are few channels of whole numbers.
SHARE = 0.001
# Events hashed at a time, few enough for the processor's cache.
_BLOCK = 4096
# Of the files of a mapping about as many events are compared, drawn by their hash: equal ones are all drawn, or none.
_DRAWN = 1 << 17
# Smallest hashes that tell a sample of a batch from the others, and how many must be shared to be no chance.
_SKETCH, _FEWEST = 256, 5
_SETS = 3  # of files that hold the same events, which a line names
_HEX = 16  # digits of a hash
_NONE = np.zeros(0, dtype=np.uint64)
_TWINS = "stand in more than one file"  # by which a warning is known again


def hash_events(adata: Raw) -> NDArray[np.uint64]:
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
    channels, _ = channel_names(adata.var)
    order = sorted(range(adata.n_vars), key=lambda i: (channels[i], i))
    # Fixed odd multipliers, one for each channel: a multilinear hash.
    drawn = np.random.default_rng(0).integers(0, 2**63, size=adata.n_vars, dtype=np.uint64)
    weights = np.empty_like(drawn)
    weights[order] = drawn * np.uint64(2) + np.uint64(1)
    values, hashes = np.asarray(adata.X), np.empty(adata.n_obs, dtype=np.uint64)
    for start in range(0, len(values), _BLOCK):
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            bits = (values[start : start + _BLOCK].astype(np.float64, order="C") + 0.0).view(np.uint64)  # -0.0: 0.0
        bits ^= bits >> np.uint64(32)  # the low half of what was a float32 is nearly empty
        hashes[start : start + _BLOCK] = bits @ weights
    hashes ^= hashes >> np.uint64(32)
    hashes *= _GOLDEN  # wraps around
    return hashes ^ (hashes >> np.uint64(32))


def without_twins(files: Sequence[RawEvents], samples: Sequence[str]) -> list[RawEvents]:
    """Files without the events that an earlier file of the same sample holds, as those of overlapping gates do.

    Parameters
    ----------
    files
        Events of each file, raw.
    samples
        Name of each file's sample.
    """
    seen: dict[str, NDArray[np.uint64]] = {}
    kept = []
    for raw, sample in zip(files, samples, strict=True):
        hashes = hash_events(raw)
        before = seen.get(sample, hashes[:0])
        new = ~np.isin(hashes, before)
        kept.append(raw if new.all() else raw.take(new))
        seen[sample] = np.concatenate([before, hashes[new]])
    return kept


def warn_of_twins(adatas: Sequence[Raw]) -> list[str]:
    """A line for the user where events stand in more than one of the files and so count more than once.

    Parameters
    ----------
    adatas
        Events of each file, raw.
    """
    shared, events, together = count_shared([np.unique(hash_events(adata)) for adata in adatas])
    if shared <= SHARE * events:
        return []
    paths = [Path(str(adata.uns.get("fcs", {}).get("path", ""))) for adata in adatas]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    where = f" ({_most(together, names)})" if all(names) else ""
    return [
        f"{shared:,} of {events:,} events fitted on {_TWINS}, and count in each{where}; leave out files that repeat "
        "others, or, if they are gates of one sample, add --gate-pattern, which counts each event once (see cytomoe "
        "check)"
    ]


def tells_of_twins(warnings: Iterable[str]) -> bool:
    """Whether one of the warnings of a run is of events that stand in several of its files."""
    return any(_TWINS in warning for warning in warnings)


class SharedEvents:
    """Finds events that stand in more than one file while pieces of the files go by, in little time and memory.

    Parameters
    ----------
    names
        Of the files.
    n_events
        Of all files.
    """

    def __init__(self, names: Sequence[str], n_events: int) -> None:
        self._names = names
        self._bound = np.uint64(min(_DRAWN / max(n_events, 1), 1) * float(2**64 - 2**11))
        self._hashes: list[list[NDArray[np.uint64]]] = [[] for _ in names]

    def look(self, index: int, raw: Raw) -> None:
        """Look at the next piece of a file."""
        hashes = hash_events(raw)
        self._hashes[index].append(hashes[hashes <= self._bound])

    def sketch(self) -> str:
        """What tells whether other samples hold the same events: see :func:`warn_of_shared_samples`."""
        smallest = np.unique(np.concatenate([_NONE, *(part for parts in self._hashes for part in parts)]))[:_SKETCH]
        return "".join(f"{value:0{_HEX}x}" for value in smallest.tolist())

    def warnings(self) -> list[str]:
        """A line that names the files, where there are such events."""
        distinct = [np.unique(np.concatenate(parts)) if parts else _NONE for parts in self._hashes]
        shared, events, together = count_shared(distinct)
        if shared <= SHARE * events:
            return []
        return [
            f"about {percent(shared / events)} of the events {_TWINS} and count in each, so that "
            f"shares of clusters are wrong ({_most(together, self._names)}); leave out the files that repeat others, "
            "or, if the files are gates of one sample, add --gate-pattern, which counts each event once"
        ]


def warn_of_shared_samples(sketches: Mapping[str, str]) -> list[str]:
    """A line for the user where samples of a batch hold the same events, by their sketches.

    Parameters
    ----------
    sketches
        What :meth:`SharedEvents.sketch` gave of each sample, by name.
    """
    hashes = [
        np.array([int(text[i : i + _HEX], 16) for i in range(0, len(text), _HEX)], dtype=np.uint64)
        for text in sketches.values()
    ]
    # Below the least bound of the sketches that are full, every sample's hashes are all there.
    bound = min((own[-1] for own in hashes if len(own) == _SKETCH), default=np.uint64(2**64 - 1))
    shared, events, together = count_shared([own[own <= bound] for own in hashes])
    if shared < _FEWEST or shared <= SHARE * events:
        return []
    return [
        f"about {percent(shared / events)} of the events stand in more than one sample and count in each "
        f"({_most(together, list(sketches))}); leave out the files that repeat others, or, if the files are gates, "
        "make one sample of them with --gate-pattern, which counts each event once"
    ]


def count_shared(distinct: Sequence[NDArray[np.uint64]]) -> tuple[int, int, Counter[tuple[int, ...]]]:
    """Events that stand in more than one file.

    Parameters
    ----------
    distinct
        Distinct hashes of the events of each file.

    Returns
    -------
    shared, events : int
        Distinct events in several files, and of all files.
    together : Counter
        Shared events by the files that hold them, the files by their number from 0.
    """
    together: Counter[tuple[int, ...]] = Counter()
    if not distinct:
        return 0, 0, together
    events, row, count = np.unique(np.concatenate(distinct), return_inverse=True, return_counts=True)
    shared = int(np.count_nonzero(count > 1))
    if shared == 0:
        return 0, len(events), together
    file = np.repeat(np.arange(len(distinct)), [len(hashes) for hashes in distinct])[count[row] > 1]
    event = row[count[row] > 1]
    held = file[np.lexsort((file, event))]
    copies = np.unique(event, return_counts=True)[1]
    for n in np.unique(copies).tolist():  # events in just n files, and the files of each
        sets, counts = np.unique(held[np.repeat(copies == n, copies)].reshape(-1, n), axis=0, return_counts=True)
        together.update(dict(zip(map(tuple, sets.tolist()), counts.tolist(), strict=True)))
    return shared, len(events), together


def _most(together: Counter[tuple[int, ...]], names: Sequence[str]) -> str:
    """Files that hold the same events, those of most first."""
    sets = [listed([names[i] for i in files], by=" and ") for files, _ in together.most_common()]
    return f"most: {'; '.join(sets[:_SETS])}{'; ...' if len(sets) > _SETS else ''}" if len(sets) > 1 else sets[0]
