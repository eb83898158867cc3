"""The clusters of a batch: what each is called, how large it is in all samples, and what its cells are like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cytomoe.fit_summary import STABLE, as_shown
from cytomoe.naming import UNKNOWN, is_known
from cytomoe.plates.matching import markers_of
from cytomoe.runs.medians import free_names

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a reference table says of a cluster's name, in ``clusters.csv`` of a sample.
_OF_NAMES = ("score", "runner_up", "runner_up_score")


def described(clusters: Mapping[str, pd.DataFrame], members: pd.DataFrame, label: str) -> pd.DataFrame:
    """A row per cluster of the batch, as :class:`cytomoe.reporting.plates.BatchSummary` takes them.

    Parameters
    ----------
    clusters
        ``clusters.csv`` of each sample.
    members
        Columns sample, cluster, number (in the batch), events: the clusters of samples that each consists of. It is
        called as the largest of them is.
    label
        What the columns of ``abundance.csv`` are called, before the number.
    """
    largest = members.sort_values("events", kind="stable").drop_duplicates("number", keep="last").set_index("number")
    rows = []
    for number, parts in members.groupby("number")["events"]:
        table = clusters[largest.loc[number, "sample"]].set_index("cluster")
        own = table.loc[largest.loc[number, "cluster"]]
        rows.append(
            {
                "column": f"{label}_{number}",
                "number": number,
                "population": _called(own, number),
                "label": str(own["label"]),
                **{name: own[name] for name in _OF_NAMES if name in own},
                "stability": float(own["stability"]) if label == "cluster" else np.nan,
                "samples": int(np.count_nonzero(parts)),
                "events": int(parts.sum()),
            }
        )
    columns = ["column", "number", "population", "label", "stability", "samples", "events"]
    return pd.DataFrame(rows, columns=None if rows else columns).set_index("column")


def profiles(clusters: Mapping[str, pd.DataFrame], members: pd.DataFrame) -> pd.DataFrame:
    """Medians of each cluster of the batch: the mean of those in its samples, by events; clusters x markers.

    Parameters
    ----------
    clusters
        ``clusters.csv`` of each sample, with the same markers.
    members
        As :func:`described` takes them.
    """
    markers = markers_of(next(iter(clusters.values())))
    medians = pd.concat({name: table.set_index("cluster")[markers] for name, table in clusters.items()})
    parts = members[members["events"] > 0]
    weights = parts["events"] / parts.groupby("number")["events"].transform("sum")
    own = medians.loc[pd.MultiIndex.from_frame(parts[["sample", "cluster"]])]
    numbers = pd.Index(parts["number"], name="number")
    return own.mul(weights.to_numpy(), axis=0).set_axis(numbers).groupby(level=0).sum()


def table_of(clusters: pd.DataFrame, medians: pd.DataFrame, n_events: int) -> pd.DataFrame:
    """``clusters.csv`` of a batch: as that of a run, with the samples that hold some of each.

    Parameters
    ----------
    clusters
        As :func:`described` gives them; without stability where it is known of none.
    medians
        As :func:`profiles` gives them.
    n_events
        Events of all samples.
    """
    known = [name for name in ("population", *_OF_NAMES) if name in clusters and clusters["population"].any()]
    stable = ["stability"] if clusters["stability"].notna().any() else []
    number = clusters.index[0].rsplit("_", 1)[0] if len(clusters) else "cluster"
    table = clusters[["number", "label", *known, *stable, "samples", "events"]].rename(columns={"number": number})
    table["fraction"] = (table["events"] / max(n_events, 1)).round(6)
    medians = medians.set_axis(free_names(list(medians), list(table)), axis=1)
    return table.join(medians.round(4), on=number)


def printed(clusters: pd.DataFrame, n_events: int) -> list[dict[str, Any]]:
    """The clusters of the batch, as the command line prints them."""
    kept = [name for name in _OF_NAMES if name in clusters]
    return [
        {
            "cluster": row["number"],
            **({"population": row["population"]} if row["population"] else {}),
            "label": row["label"],
            **{name: row[name] for name in kept},
            "events": row["events"],
            "fraction": row["events"] / max(n_events, 1),
            "stability": None if np.isnan(row["stability"]) else row["stability"],
        }
        for row in clusters.to_dict("records")
    ]


def less_than_stable(clusters: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Clusters of each sample, and those less than stable with their share of its events, where models are its own.

    A single cluster is not judged: it has no border that could move.

    Parameters
    ----------
    clusters
        ``clusters.csv`` of each sample.

    Returns
    -------
    DataFrame
        A row per sample: clusters whose stability is known, loose, share.
    """
    rows = {}
    for name, table in clusters.items():
        known = table[table["stability"].notna() & (len(table) > 1)]
        loose = as_shown(known["stability"]) < STABLE
        share = known.loc[loose, "events"].sum() / max(int(table["events"].sum()), 1)
        rows[name] = (len(known), int(np.count_nonzero(loose)), float(share))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["clusters", "loose", "share"])


def _called(cluster: pd.Series[Any], number: int) -> str:
    """Name of a cluster of the batch, after its largest part; unknown ones bear the number that they have here."""
    name = str(cluster["population"]) if "population" in cluster and pd.notna(cluster["population"]) else ""
    return name if is_known(name) or not name else f"{UNKNOWN} {number}"
