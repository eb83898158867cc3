"""Manifest and tables of a run, read again: what is damaged, cut short or of another run is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytomoe.errors import InputError
from cytomoe.io.tables import read_safe_table

if TYPE_CHECKING:
    import pandas as pd

# The last file of a run: where it stands, the run is complete.
MANIFEST = "run.json"
# What every manifest says, and of which type it is in JSON.
_NEEDED: dict[str, type] = {
    **dict.fromkeys(("version", "command", "finished", "device"), str),
    **dict.fromkeys(("events", "clusters", "seed"), int),
    **dict.fromkeys(("inputs", "samples", "warnings"), list),
    **dict.fromkeys(("settings", "preprocessing", "software", "seconds"), dict),
}
# What it says of each file.
_OF_INPUT: dict[str, type] = {**dict.fromkeys(("file", "path", "sample", "sha256"), str), "events": int}
# Texts of clusters.csv and medians.csv; a population may be called NA, so that only an empty cell is none.
_NAMES = ("sample", "label", "population", "runner_up")
_CELLS: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "dtype": dict.fromkeys(_NAMES, str)}
_AGAIN = "make the run again, or take the folder from a copy"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a run wrote.

    Raises
    ------
    InputError
        If the file can't be read or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error}); {_AGAIN}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged (no JSON object); {_AGAIN}")
    return content


def read_manifest(run: Path) -> dict[str, Any]:
    """``run.json`` of a run.

    Raises
    ------
    InputError
        If the folder is not that of a finished run, or the file is damaged.
    """
    path = run / MANIFEST
    if not run.is_dir():
        what = "is a file" if run.exists() else "no such folder"
        raise InputError(f"{run}: {what}; give the folder that cytomoe cluster or predict wrote")
    if not path.is_file():
        raise InputError(
            f"{run} has no {MANIFEST}, so it is not the folder of a finished run; give the folder that cytomoe cluster "
            "or predict wrote"
        )
    manifest = read_json(path)
    if _of_batch(run, manifest):
        raise InputError(f"{run} is the folder of a batch; give that of one of its samples, in {run / 'wells'}")
    if "model_of" in manifest:
        raise InputError(f"{run} holds the model of a batch under names, and no events; map samples with it (--model)")
    fitted = {} if "model" in manifest else {"events_fitted": int}  # where no model of an earlier run was taken
    for name, kind in (_NEEDED | fitted).items():
        if not isinstance(manifest.get(name), kind):
            raise InputError(f"{path}: damaged ({name} is missing or of another kind); {_AGAIN}")
    return manifest


def is_batch(run: Path) -> bool:
    """Whether a folder is that of a batch; raises InputError where its manifest is damaged."""
    return (run / MANIFEST).is_file() and _of_batch(run, read_json(run / MANIFEST))


def _of_batch(run: Path, manifest: dict[str, Any]) -> bool:
    return "mode" in manifest and (run / "wells").is_dir()


def read_batch(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clusters and abundance of a batch whose samples were mapped with one model.

    Returns
    -------
    clusters
        A row per cluster: number and names, which are those of the model.
    abundance
        A row per sample that did not fail; its texts are kept as they are.

    Raises
    ------
    InputError
        If each sample has a model of its own, no sample is left, or a table is damaged.
    """
    if read_json(run / MANIFEST).get("mode") == "per-sample":
        raise InputError(
            f"{run}: each of its samples has clusters of its own, which can't be counted together; make the batch "
            "without --per-sample"
        )
    abundance = _read_counts(run / "abundance.csv")
    if abundance.empty:
        raise InputError(f"{run}: none of its samples could be used; failed.csv says why")
    first = run / "wells" / abundance["sample"][0]
    clusters = read_clusters(first, read_manifest(first))
    _need_columns(run / "abundance.csv", abundance, tuple(f"cluster_{k}" for k in clusters["cluster"]))
    return clusters, abundance


def distinct_events(manifest: dict[str, Any]) -> int:
    """Events of a run, each counted once though the files of several gates may hold it."""
    overlaps = manifest.get("overlaps")
    return int(overlaps["distinct_events"] if isinstance(overlaps, dict) else manifest["events"])


def read_inputs(run: Path) -> list[dict[str, Any]]:
    """The FCS files that ``run.json`` names, each with name, path, sample, events and SHA-256.

    Raises
    ------
    InputError
        If the folder is not that of a finished run, or the file is damaged.
    """
    inputs = read_manifest(run)["inputs"]
    for entry in inputs:
        for name, kind in _OF_INPUT.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
                raise InputError(f"{run / MANIFEST}: damaged (an input has no {name}); {_AGAIN}")
    return list(inputs)


def read_evaluation(run: Path) -> dict[str, Any]:
    """``evaluation.json`` of a run; raises InputError where it is damaged."""
    path = run / "evaluation.json"
    evaluation = read_json(path)
    for name in ("all", "unique"):
        if not isinstance(evaluation.get(name), dict):
            raise InputError(f"{path}: damaged ({name} is missing or of another kind); {_AGAIN}")
    return evaluation


def read_drift(run: Path) -> pd.DataFrame:
    """``drift.csv`` of a run: a row per sample and marker; raises InputError where it is damaged."""
    path = run / "drift.csv"
    table = _read(path, {"dtype": {"sample": str, "marker": str}, "keep_default_na": False})
    _need_columns(path, table, ("sample", "marker", "outside", "distance", "left_range"))
    return table


def read_clusters(run: Path, manifest: dict[str, Any]) -> pd.DataFrame:
    """``clusters.csv`` of a run: a row per cluster, in order, the medians of its markers in the last columns.

    Raises
    ------
    InputError
        If the table is damaged or of another run.
    """
    path = run / "clusters.csv"
    table = _read(path, _CELLS)
    _need_columns(path, table, ("cluster", "label", "events", "fraction"))
    _need_counts(path, table[["cluster", "events"]])
    if table["cluster"].tolist() != list(range(1, manifest["clusters"] + 1)):
        raise InputError(f"{path}: damaged: it should list clusters 1 to {manifest['clusters']}; {_AGAIN}")
    medians = table.iloc[:, table.columns.get_loc("fraction") :]
    for name, kind in medians.dtypes.items():
        if kind.kind not in "fi":
            raise InputError(f"{path}: damaged: the column {name} holds something else than numbers; {_AGAIN}")
    return table


def read_levels(run: Path, clusters: pd.DataFrame) -> pd.DataFrame | None:
    """Level of each marker in each cluster, in words, from ``enrichment.csv``; None where the run has none.

    Returns
    -------
    DataFrame
        Index: clusters from 1; columns: markers. Empty texts where a level is not known.

    Raises
    ------
    InputError
        If the table is damaged or of another run.
    """
    path = run / "enrichment.csv"
    if not path.is_file():
        return None
    table = _read(path, {"keep_default_na": False, "dtype": {"marker": str, "level": str}})
    _need_columns(path, table, ("cluster", "marker", "level"))
    numbers = clusters["cluster"].tolist()
    if table.duplicated(["cluster", "marker"]).any() or list(dict.fromkeys(table["cluster"])) != numbers:
        raise InputError(f"{path}: damaged: it should list the markers of clusters 1 to {len(numbers)}; {_AGAIN}")
    markers = list(dict.fromkeys(table["marker"]))
    return table.pivot(index="cluster", columns="marker", values="level")[markers].fillna("")


def read_abundance(run: Path, manifest: dict[str, Any], clusters: pd.DataFrame) -> pd.DataFrame:
    """``abundance.csv`` of a run: a row per sample; its texts are kept as they are.

    Raises
    ------
    InputError
        If the table is damaged or of another run: its counts must be those of manifest and clusters.
    """
    path = run / "abundance.csv"
    table = _read_counts(path)
    counted = [f"cluster_{k}" for k in clusters["cluster"]]
    _need_columns(path, table, tuple(counted))
    if table["sample"].tolist() != manifest["samples"]:
        raise InputError(f"{path}: damaged: it should list the samples that {MANIFEST} names; {_AGAIN}")
    same_events = int(table["events"].sum()) == distinct_events(manifest)
    if not same_events or table[counted].sum().tolist() != clusters["events"].tolist():
        raise InputError(f"{path}: damaged: its counts are not those of {MANIFEST} and clusters.csv; {_AGAIN}")
    return table


def read_medians(run: Path, clusters: pd.DataFrame, name: str = "medians.csv") -> pd.DataFrame:
    """``medians.csv`` of a run, or ``states.csv``: a row per sample and cluster.

    Raises
    ------
    InputError
        If the table is damaged or of another run.
    """
    path = run / name
    table = _read(path, _CELLS)
    _need_columns(path, table, ("cluster", "events"))
    _need_counts(path, table[["cluster", "events"]])
    found = table.groupby("cluster")["events"].sum()
    sizes = clusters.set_index("cluster")["events"]
    if not found.index.isin(sizes.index).all() or (found.reindex(sizes.index, fill_value=0) != sizes).any():
        raise InputError(f"{path}: damaged: its counts are not those of clusters.csv; {_AGAIN}")
    return table


def read_states(run: Path) -> pd.DataFrame | None:
    """``states.csv`` of a run; None where it has none: earlier versions, and runs that use every protein.

    Raises
    ------
    InputError
        If the table is damaged.
    """
    path = run / "states.csv"
    if not path.is_file():
        return None
    table = _read(path, _CELLS)
    _need_columns(path, table, ("sample", "cluster", "events"))
    return table


def read_labels(run: Path, manifest: dict[str, Any], clusters: pd.DataFrame) -> pd.DataFrame:
    """``labels.parquet`` of a run: a row per event.

    Raises
    ------
    InputError
        If the table is damaged or of another run.
    """
    import pandas as pd

    path = run / "labels.parquet"
    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: can't be read ({reason}); {_AGAIN}") from error
    _need_columns(path, table, ("file", "event", "cluster"))
    if len(table) != manifest["events"] or not table["cluster"].isin([0, *clusters["cluster"]]).all():
        raise InputError(f"{path}: damaged: its events are not those of {MANIFEST}; {_AGAIN}")
    return table


def _read_counts(path: Path) -> pd.DataFrame:
    """A table of a row per sample: its counts as numbers, all else as the text that it is."""
    table = _read(path, {"dtype": str, "keep_default_na": False})
    _need_columns(path, table, ("sample", "events"))
    for name in table:
        if name in ("events", "unassigned") or name.startswith(("cluster_", "plate_cluster_")):
            if not table[name].str.fullmatch(r"[0-9]{1,18}").all():
                raise InputError(f"{path}: damaged: the column {name} holds something else than counts; {_AGAIN}")
            table[name] = table[name].astype("int64")
    return table


def _read(path: Path, options: dict[str, Any]) -> pd.DataFrame:
    try:
        return read_safe_table(path, **options)
    except FileNotFoundError:
        raise InputError(f"{path.parent} has no {path.name}; {_AGAIN}") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from error
    except ValueError as error:  # of pandas' parser, or no UTF-8
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged ({reason}); {_AGAIN}") from error


def _need_columns(path: Path, table: pd.DataFrame, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in table:
            raise InputError(f"{path}: damaged: it has no column {name}; {_AGAIN}")


def _need_counts(path: Path, table: pd.DataFrame) -> None:
    for name in table:
        if len(table) and (table[name].dtype.kind != "i" or (table[name] < 0).any()):
            raise InputError(f"{path}: damaged: the column {name} holds something else than counts; {_AGAIN}")
