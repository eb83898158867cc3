"""``cells.h5ad``: every event of a run as one AnnData, its matrices written piece by piece.

The tables of the AnnData are written by anndata itself; the matrices are datasets of HDF5 in its format, filled one
piece after the other, so that they never stand in memory as a whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe import __version__
from cytomoe.io.atomic import atomic_path, reserve
from cytomoe.io.fcs_h5ad import hdf5_names
from cytomoe.preprocessing.channels import keyword
from cytomoe.processes import handed, prepare
from cytomoe.runs import sampling
from cytomoe.runs.medians import StateProteins
from cytomoe.runs.outputs import UNASSIGNED

if TYPE_CHECKING:
    import h5py

    from cytomoe.runs.events import Events
    from cytomoe.runs.gating import GatedEvents
    from cytomoe.runs.mapping import MappedEvents
H5adChoice = Literal["auto", "yes", "no"]
# What anndata writes to a path: what is said of each event, of each marker and of all, and the other channels' names.
_Tables = tuple[Path, pd.DataFrame, pd.DataFrame, dict[str, Any], list[str]]


def writes_cells(events: Events, h5ad: H5adChoice) -> bool:
    """Whether ``cells.h5ad`` is written: by default for runs whose events are all kept in memory."""
    return h5ad == "yes" or (h5ad == "auto" and events.n_events <= sampling.KEPT_EVENTS)


def prepare_cells() -> None:
    """Load anndata in a process of its own, while this one trains or maps on one core."""
    if "anndata" not in sys.modules:
        prepare(_writer)


@contextmanager
def cells_written(path: Path, mapped: MappedEvents, gated: GatedEvents | None) -> Iterator[None]:
    """Write all events as one AnnData: the tables perhaps beside what is done within, the matrices after it.

    ``X`` holds the transformed values of the markers that were used; ``layers["raw"]`` the file's values of the same
    channels; ``obsm["channels"]`` the file's values of every other channel that all files share;
    ``obsm["X_moesimvae"]`` the codes; ``obsm["states"]`` the transformed values of the proteins that were not chosen as
    markers, named in ``uns["cytomoe_origin"]["states"]``. ``uns["cytomoe_origin"]`` says of the other channels what
    ``var`` says of the markers, and has the spillover matrix of each file, so that the raw values can be compensated
    again.
    ``obs`` has file, event, sample, cytomoe (the cluster), confidence, label (of
    the cluster) and, where known, population, gate and in_one_gate (whether the event lies in no second gate);
    counted (whether the row is the first of its event) where events stand in several files;
    nearest_cluster and outlyingness where events may be unassigned. Events dropped for values that are not numbers are
    cluster 0 with NaN in ``X`` and in the codes.
    """
    import h5py

    with atomic_path(path) as temporary:
        reserve(temporary, _size(mapped))
        others = _other_channels(mapped)
        obs, (var, uns) = _obs(mapped, gated), _var_and_uns(mapped, others)
        with handed(_writer, (temporary, obs, var, uns, hdf5_names(others))) as written:
            yield
            written()
        with h5py.File(temporary, "a") as file:
            _write_matrices(file, mapped, others)


def _size(mapped: MappedEvents) -> int:
    """Bytes of the file, rather too many: every channel and code, the markers once more, names and tables."""
    n_markers, codes = len(mapped.model.preprocessor_.markers), mapped.model.settings_.code_size
    codes += len(StateProteins(mapped.model.preprocessor_).names)
    columns = 0 if mapped.events.conditions is None else mapped.events.conditions.shape[1]
    return 4_000_000 + sum(
        file.n_events * (4 * (n_markers + codes + file.n_channels + columns) + 200) for file in mapped.events.files
    )


def _writer() -> Callable[[_Tables], None]:
    """What writes the file without its matrices, with an empty table for the other channels."""
    import h5py
    from anndata import AnnData
    from anndata.io import write_elem

    def write(tables: _Tables) -> None:
        path, obs, var, uns, channels = tables
        AnnData(obs=obs.set_axis(obs.index.astype(str), axis=0), var=var, uns=uns).write_h5ad(path)
        empty = pd.DataFrame(np.empty((0, len(channels)), np.float32), columns=channels)
        with h5py.File(path, "a") as file:
            write_elem(file, "obsm/channels", empty.set_axis(empty.index.astype(str)))

    return write


def _other_channels(mapped: MappedEvents) -> list[str]:
    """Channels that all files share and that are no markers."""
    events = mapped.events
    first = next(events.chunks(0))[1]
    tables = [next(events.chunks(i))[1].var for i in range(len(events.files))]
    used = set(mapped.model.preprocessor_.locate(first))
    return [n for n in first.var_names if n not in used and all(n in table.index for table in tables)]


def _var_and_uns(mapped: MappedEvents, others: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What the file says of each marker, and of the run; ``others`` are channels that are no markers."""
    model = mapped.model
    first = next(mapped.events.chunks(0))[1]
    uns = {"version": __version__, "settings": json.dumps(model.settings_.to_dict()), "seed": model.seed}
    # Apart from "cytomoe", which a later clustering of the cells overwrites.
    origin = {
        "channels": first.var.loc[list(others)].set_axis(pd.Index(hdf5_names(others), dtype=object), axis=0),
        "spillover": json.dumps(_matrices(mapped)),
        "cytometer": keyword(first, "$CYT"),
    }
    states = StateProteins(model.preprocessor_).names
    if states:
        origin["states"] = np.array(states, dtype=object)
    var = first.var.loc[model.preprocessor_.locate(first)].set_axis(pd.Index(model.preprocessor_.markers), axis=0)
    return var, {"cytomoe": uns, "cytomoe_origin": origin}


def _obs(mapped: MappedEvents, gated: GatedEvents | None) -> pd.DataFrame:
    """What is known of each event, by its number."""
    events, model = mapped.events, mapped.model
    obs = pd.DataFrame(
        {
            "file": pd.Categorical.from_codes(events.file, events.names),
            "event": events.event,
            "sample": pd.Categorical.from_codes(events.sample, events.samples),
            "cytomoe": _numbers(mapped.clusters, 0 if mapped.leaves_out else 1, model.n_clusters_),
            "confidence": mapped.confidence,
        }
    )
    if mapped.outlyingness is not None:
        obs["nearest_cluster"] = _numbers(mapped.nearest, 0 if model.nan == "drop" else 1, model.n_clusters_)
        obs["outlyingness"] = mapped.outlyingness
    if events.conditions is not None:
        for written, column in zip(hdf5_names(list(events.conditions)), events.conditions, strict=True):
            obs[written] = pd.Categorical(events.conditions[column].to_numpy(dtype=object)[events.sample])
    for column in ("label", "population"):
        if column in mapped.names.columns:
            called = np.array([UNASSIGNED, *mapped.names.columns[column]], dtype=object)
            obs[column] = pd.Categorical(called[mapped.clusters])
    if gated is not None:
        obs["gate"] = gated.gates.to_categorical()
        obs["in_one_gate"] = gated.overlaps.unique
    if mapped.counted is not None:
        obs["counted"] = mapped.counted
    return obs


def _matrices(mapped: MappedEvents) -> dict[str, str]:
    """What compensated each file, as a file's keyword has it; empty for a file that was not compensated."""
    events, preprocessor = mapped.events, mapped.model.preprocessor_
    if not preprocessor.compensate:
        return {}
    found = [preprocessor.spillover_of(next(events.chunks(i))[1]) for i in range(len(events.files))]
    return {
        name: "" if matrix is None else matrix.to_keyword() for name, matrix in zip(events.names, found, strict=True)
    }


def _numbers(clusters: NDArray[np.int32], first: int, last: int) -> pd.Categorical:
    """Numbers of clusters as categories from ``first`` to ``last``."""
    return pd.Categorical.from_codes(clusters - first, [str(k) for k in range(first, last + 1)])


def _write_matrices(file: h5py.File, mapped: MappedEvents, others: Sequence[str]) -> None:
    """Fill ``X``, ``layers["raw"]`` and ``obsm`` from the events, piece by piece."""
    events, model = mapped.events, mapped.model
    n_events, n_markers = events.n_events, len(model.preprocessor_.markers)
    flat, channels = hdf5_names(others), file["obsm/channels"]
    for name in ("_index", *flat):
        attributes = dict(channels[name].attrs)
        del channels[name]
        if name == "_index":
            file.copy("obs/_index", channels, name="_index")
        else:
            channels.create_dataset(name, (n_events,), np.float32)
        channels[name].attrs.update(attributes)
    matrices = {
        name: _matrix(file, name, (n_events, width))
        for name, width in (
            ("X", n_markers),
            ("layers/raw", n_markers),
            ("obsm/X_moesimvae", model.settings_.code_size),
        )
    }
    states = StateProteins(model.preprocessor_)
    if states.names:
        matrices["obsm/states"] = _matrix(file, "obsm/states", (n_events, len(states.names)))
    whole = mapped.whole
    for i in range(len(events.files)):
        for rows, raw in events.chunks(i):
            if whole is None:
                expression = model.preprocessor_.expression(raw, judge_scale=False, nan=model.nan)
                codes = model.transform(expression)
            else:
                expression, codes = whole.expression[rows], whole.codes[rows]
            used = raw.var_names.get_indexer(model.preprocessor_.locate(raw))
            matrices["X"][rows] = expression
            matrices["layers/raw"][rows] = raw.X[:, used]
            matrices["obsm/X_moesimvae"][rows] = codes
            if states.names:
                matrices["obsm/states"][rows] = states.expression(raw)
            for written, name in zip(flat, others, strict=True):
                channels[written][rows] = raw.X[:, raw.var_names.get_loc(name)]


def _matrix(file: h5py.File, name: str, shape: tuple[int, int]) -> Any:
    """A dense matrix as anndata stores it, still empty."""
    if name in file:
        del file[name]
    dataset = file.create_dataset(name, shape, np.float32)
    dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return dataset
