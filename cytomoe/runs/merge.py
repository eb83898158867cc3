"""Clusters of a run under names, those of one name merged, without training again: by a table, or a tree of them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from cytomoe.errors import InputError
from cytomoe.io.atomic import atomic_directory
from cytomoe.io.fcs_h5ad import write_h5ad
from cytomoe.io.given_tables import read_table
from cytomoe.io.run_folder import (
    distinct_events,
    read_abundance,
    read_clusters,
    read_evaluation,
    read_labels,
    read_levels,
    read_manifest,
    read_medians,
)
from cytomoe.io.tables import plain_cell
from cytomoe.naming import number_populations
from cytomoe.runs import outputs
from cytomoe.runs.inputs import sha256
from cytomoe.runs.job import Listener
from cytomoe.runs.joins import (
    called,
    differences,
    keep_unknown_apart,
    warn_of_differences,
    warn_of_lost_gates,
    without_parted,
)
from cytomoe.runs.medians import population_table
from cytomoe.runs.report import report_of_run

# Names of the table's two columns, the second as CATALYST calls them.
_CLUSTER = ("cluster", "old_cluster")
_NAME = ("name", "new_cluster", "population")
# Files of a run that are of other names, or can't be made again, where it is named anew.
_NOT_COPIED = ("report.html", "figures", "population_medians.csv")


class Naming(Protocol):
    """Where the names of clusters come from."""

    def names(self, clusters: pd.DataFrame, apart: pd.Series[str]) -> tuple[pd.Series[str], dict[str, Any]]:
        """Name of each cluster of a run, by its number from 1, and whence it comes, for the manifest.

        Parameters
        ----------
        clusters
            Of the run.
        apart
            What each cluster is called by itself, whatever it was joined with.

        Raises
        ------
        InputError
            If the clusters can't be named so.
        """


@dataclass(frozen=True)
class NamingTable:
    """Names from a CSV with the columns cluster and name (CATALYST's old_cluster and new_cluster are read too)."""

    path: Path

    def names(self, clusters: pd.DataFrame, apart: pd.Series[str]) -> tuple[pd.Series[str], dict[str, Any]]:
        """See :class:`Naming`; clusters that the table leaves out keep their names, unknown ones stay apart.

        Of a joined population that the table takes clusters from, the others are named by what they are apart.
        """
        given = read_map(self.path, len(clusters))
        before = called(clusters)
        given = keep_unknown_apart(given.where(given != "", before))
        before = keep_unknown_apart(before)
        names = without_parted(clusters["events"].to_numpy(dtype=np.int64), before, given, apart)
        by_itself = apart.where(given == before, given).tolist()
        return names, {"map": str(self.path.resolve()), "sha256": sha256(self.path), "called": by_itself}


class Population(NamedTuple):
    """A population of a merged run: its name, its number of events and the clusters that it holds, from 1."""

    name: str
    events: int
    clusters: tuple[int, ...]


@dataclass(frozen=True)
class MergeJob:
    """A merge to do.

    Attributes
    ----------
    run
        Folder of a run.
    naming
        Where the names come from; clusters of one name become one population.
    out
        Folder of the result.
    force
        Whether an earlier run in ``out`` is replaced.
    report
        Whether a report is made.
    command
        What the user typed, for the manifest.
    """

    run: Path
    naming: Naming
    out: Path
    force: bool = False
    report: bool = True
    command: Sequence[str] = ()


@dataclass(frozen=True)
class MergeResult:
    """What a merge came to.

    Attributes
    ----------
    populations
        The largest first; their numbers count through them.
    n_events
        Events of the run, each once; those that fit no population among them.
    evaluation
        Measures of the populations against the gates of the run; None where they can't be made.
    report
        The report, if one was made.
    tree
        How clusters were joined, where a tree of them was cut: as :func:`cytomoe.runs.recut.merge_tree` has it.
    warnings
        What the user was warned of.
    """

    populations: list[Population]
    n_events: int
    evaluation: dict[str, Any] | None
    report: Path | None
    tree: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def run_merge(job: MergeJob, listener: Listener | None = None) -> MergeResult:
    """Copy a run with its clusters named and those of one name merged, measured anew and with a report of its own.

    Raises
    ------
    InputError
        If the run can't be read, or its clusters can't be named so.
    """
    with outputs.output_folder(job.out, job.force):
        manifest = read_manifest(job.run)
        clusters = read_clusters(job.run, manifest)
        called_apart = _called_apart(manifest, clusters)
        names, provenance = job.naming.names(clusters, called_apart)
        listener = listener or Listener()
        apart = _joined_though_apart(job.run, clusters, names, called_apart)
        manifest.pop("outputs", None)  # of the run: the copy has files of other sizes
        manifest["merged"] = {"command": shlex.join(job.command), **provenance, "apart": apart}
        measured = (job.run / "evaluation.json").is_file()
        before = read_evaluation(job.run) if measured else None
        populations, evaluation = write_named(job.run, job.out, manifest, clusters, names, listener)
        warnings = [*warn_of_differences(apart), *warn_of_lost_gates(before, evaluation)]
        for warning in warnings:
            listener.warn(warning)
        drawn = job.report and (job.out / "cells.h5ad").is_file()
        report = report_of_run(job.out, listener) if drawn else None
        n_events = distinct_events(manifest)
        return MergeResult(populations, n_events, evaluation, report, provenance.get("tree", []), warnings)


def _called_apart(manifest: dict[str, Any], clusters: pd.DataFrame) -> pd.Series[str]:
    """What each cluster of a run is called by itself: where it was joined before, as it was called then."""
    merged = manifest.get("merged")
    known = merged.get("called") if isinstance(merged, dict) else None
    if isinstance(known, list) and len(known) == len(clusters) and all(isinstance(name, str) for name in known):
        return pd.Series(known, index=range(1, len(clusters) + 1), dtype=object)
    return keep_unknown_apart(called(clusters))


def _joined_though_apart(
    run: Path, clusters: pd.DataFrame, names: pd.Series[str], called_apart: pd.Series[str]
) -> list[str]:
    """Joined clusters that a marker parts, in words."""
    levels = read_levels(run, clusters)
    if levels is None:
        return []
    found = differences(names, clusters["events"].to_numpy(dtype=np.int64), levels, called_apart)
    return [each.in_words(called_apart) for each in found]


def write_named(
    run: Path,
    out: Path,
    manifest: dict[str, Any],
    clusters: pd.DataFrame,
    names: pd.Series[str],
    listener: Listener,
) -> tuple[list[Population], dict[str, Any] | None]:
    """Copy a run with its clusters named.

    Parameters
    ----------
    run, out
        Folders of the run and of its copy, which is replaced if it exists.
    manifest
        Of the copy.
    clusters
        The run's, as :func:`cytomoe.io.run_folder.read_clusters` gives them.
    names
        Name of each cluster, by its number from 1; clusters of one name are one population.
    listener
        Told where measures can't be made again.

    Returns
    -------
    list of Population
        The largest first.
    dict or None
        Measures of the populations against the run's gates.
    """
    numbers = pd.Series(number_populations(list(names), clusters["events"].to_numpy()), index=names.index)
    with atomic_directory(out, replace=out.exists()) as folder:
        shutil.copytree(run, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        _rename_tables(run, folder, manifest, clusters, names, numbers)
        _rename_cells(run, folder, _samples_of(read_abundance(run, manifest, clusters)), names, numbers)
        _rename_model(run, folder, names)
        _rename_fcs(run, folder, names, numbers)
        evaluation = _measure_again(folder, manifest, numbers, listener)
        outputs.write_json(folder / outputs.MANIFEST, manifest)
    return populations_of(clusters, names, numbers), evaluation


def populations_of(clusters: pd.DataFrame, names: pd.Series[str], numbers: pd.Series[int]) -> list[Population]:
    """Populations of the clusters of a run, in the order of their numbers.

    Parameters
    ----------
    clusters
        With their numbers and events.
    names, numbers
        Name of each cluster's population and its number, by the cluster's number from 1.
    """
    members = clusters.set_index("cluster")["events"].groupby(names.to_numpy(), sort=False)
    populations = [
        Population(str(name), int(events.sum()), tuple(int(k) for k in events.index)) for name, events in members
    ]
    return sorted(populations, key=lambda each: numbers[each.clusters[0]])


def read_map(path: Path, n_clusters: int) -> pd.Series[str]:
    """Name of each cluster, by its number from 1; empty where the table has none.

    Raises
    ------
    InputError
        If the table can't be read, lacks a column, names a cluster twice, or one that the run does not have.
    """
    table = read_table(path, f"--map {path}")
    columns = {column.casefold(): column for column in table.columns}
    cluster = next((columns[name] for name in _CLUSTER if name in columns), None)
    name = next((columns[n] for n in _NAME if n in columns), None)
    if cluster is None or name is None:
        raise InputError(f"--map {path}: needs the columns cluster and name; it has {', '.join(table.columns)}")
    given = {number: plain_cell(text) for number, text in zip(table[cluster], table[name], strict=True)}
    if len(given) < len(table):
        raise InputError(f"--map {path}: cluster {table[cluster][table[cluster].duplicated()].iloc[0]} is named twice")
    wanted = [str(k) for k in range(1, n_clusters + 1)]
    unknown = [k for k in given if k not in wanted]
    if unknown:
        numbered = f"cluster{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}"
        raise InputError(f"--map {path}: the run has no {numbered}; it has clusters 1 to {n_clusters}")
    return pd.Series([given.get(k, "") for k in wanted], index=range(1, n_clusters + 1))


def _rename_tables(
    run: Path,
    folder: Path,
    manifest: dict[str, Any],
    clusters: pd.DataFrame,
    names: pd.Series[str],
    numbers: pd.Series[int],
) -> None:
    medians = read_medians(run, clusters).drop(columns="population", errors="ignore")
    labels = read_labels(run, manifest, clusters)
    abundance = read_abundance(run, manifest, clusters)
    clusters = clusters.drop(columns=["population", "score", "runner_up", "runner_up_score"], errors="ignore")
    clusters.insert(2, "population", names.to_numpy())
    outputs.write_csv(folder / "clusters.csv", clusters)
    medians.insert(medians.columns.get_loc("cluster") + 1, "population", names.loc[medians["cluster"]].to_numpy())
    outputs.write_csv(folder / "medians.csv", medians)
    if (run / "states.csv").is_file():
        states = read_medians(run, clusters, "states.csv").drop(columns="population", errors="ignore")
        states.insert(states.columns.get_loc("cluster") + 1, "population", names.loc[states["cluster"]].to_numpy())
        outputs.write_csv(folder / "states.csv", states)
    _name_events(labels, labels["cluster"], names, numbers)
    (folder / "labels.parquet").write_bytes(labels.to_parquet(index=False))  # Arrow knows only paths that are text
    outputs.write_csv(folder / "labels.csv", labels.round({"confidence": 4, "outlyingness": 4}))
    outputs.write_csv(folder / "populations.csv", population_abundance(abundance, names))


def _name_events(table: pd.DataFrame, clusters: pd.Series[int], names: pd.Series[str], numbers: pd.Series[int]) -> None:
    """Give a table of events the name and number of their populations; 0 are those of events that fit none."""
    names = pd.concat([pd.Series([outputs.UNASSIGNED], index=[0]), names])
    table["population"] = pd.Categorical(names.loc[clusters].to_numpy())
    table["population_number"] = _with_zero(numbers).loc[clusters].to_numpy()


def _with_zero(numbers: pd.Series[int]) -> pd.Series[int]:
    """Number of the population by that of the cluster; 0, unassigned, is of none."""
    return pd.concat([pd.Series([0], index=[0]), numbers])


def population_abundance(abundance: pd.DataFrame, names: pd.Series[str]) -> pd.DataFrame:
    """Events of each population in each sample, from those of its clusters; the samples' columns as they were."""
    counted = [f"cluster_{k}" for k in names.index]
    taken = next((name for name in names if name in abundance.columns.drop(counted)), None)
    if taken is not None:
        raise InputError(f"a population can't be called {taken}: the tables have a column of that name")
    merged = abundance[counted].T.groupby(names.to_numpy(), sort=False).sum().T
    return pd.concat([abundance.drop(columns=counted), merged], axis=1)


def _samples_of(abundance: pd.DataFrame) -> pd.DataFrame:
    """The samples with what the user says of them, without the counts."""
    counts = [name for name in abundance if name in ("events", "unassigned") or name.startswith("cluster_")]
    return abundance.drop(columns=counts)


def _rename_cells(
    run: Path, folder: Path, samples: pd.DataFrame, names: pd.Series[str], numbers: pd.Series[int]
) -> None:
    """Name the cells, and write the medians of the populations, for which the cells are needed."""
    path = run / "cells.h5ad"
    if not path.is_file():
        return
    from anndata import read_h5ad

    try:
        cells = read_h5ad(path)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({' '.join(str(error).split())})") from error
    _name_events(cells.obs, cells.obs["cytomoe"].astype(int), names, numbers)
    write_h5ad(cells, folder / path.name)
    outputs.write_csv(folder / "population_medians.csv", population_table(cells, samples, names))


def _rename_model(run: Path, folder: Path, names: pd.Series[str]) -> None:
    path = run / "model.cytomoe"
    if not path.is_file():  # of a run of predict
        return
    from cytomoe.annotation import ClusterNames
    from cytomoe.clusterer import Clusterer

    model = Clusterer.load(path, device="cpu")
    labels = model.names_.labels if model.names_ is not None else ("",) * len(names)
    model.names_ = ClusterNames(labels, tuple(names), "merge")
    model.save(folder / path.name)


def _measure_again(
    folder: Path, manifest: dict[str, Any], numbers: pd.Series[int], listener: Listener
) -> dict[str, Any] | None:
    """Measures of the populations in place of those of the clusters, from the gates in ``cells.h5ad``."""
    if not (folder / "evaluation.json").is_file():
        return None
    before = read_evaluation(folder)
    for name in ("evaluation.json", "evaluation.csv"):
        (folder / name).unlink(missing_ok=True)
    # Which events were held out or known is not kept, nor are the gates where there is no cells.h5ad.
    if manifest.get("holdout") or manifest.get("prior") or not (folder / "cells.h5ad").is_file():
        listener.warn("the measures of the run were of its clusters and are left out; cytomoe evaluate makes new ones")
        return None
    from anndata import read_h5ad

    from cytomoe.evaluation import evaluate
    from cytomoe.io.gates import Gates

    cells = read_h5ad(folder / "cells.h5ad", backed="r").obs
    cluster = cells["nearest_cluster" if "nearest_cluster" in cells else "cytomoe"].astype(int).to_numpy()
    there = cluster > 0
    evaluation = evaluate(
        numbers.to_numpy()[cluster[there] - 1],
        Gates.from_labels(cells["gate"].to_numpy(dtype=object)[there]),
        unique=cells["in_one_gate"].to_numpy()[there],
        sample=cells["sample"].to_numpy(dtype=object)[there],
        min_population=before.get("min_population", 30),
    )
    outputs.write_evaluation(folder, evaluation)
    return evaluation


def _rename_fcs(run: Path, folder: Path, names: pd.Series[str], numbers: pd.Series[int]) -> None:
    from cytomoe.io import read_fcs, write_fcs

    keywords: dict[str, Any] = {f"CYTOMOE_CLUSTER_{k}": name for k, name in names.items()}
    keywords |= {f"CYTOMOE_POPULATION_{number}": name for number, name in zip(numbers, names, strict=True)}
    numbers = _with_zero(numbers)
    for path in sorted((run / "fcs").glob("*.fcs")):
        sample = read_fcs(path)
        clusters = np.asarray(sample[:, "cluster"].X).ravel().astype(int)
        kept = sample[:, sample.var_names != "population"]
        write_fcs(
            kept, folder / "fcs" / path.name, extra={"population": numbers.loc[clusters].to_numpy()}, keywords=keywords
        )
