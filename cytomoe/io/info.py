"""What is in an FCS file, for ``cytomoe info``: computation only, ready for JSON."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cytomoe.io.fcs_layout import Channel
from cytomoe.io.fcs_read import FCSDataSet, open_fcs

SPILLOVER_KEYWORDS = ("$SPILLOVER", "SPILL", "SPILLOVER", "$SPILL", "$COMP", "COMP")

_GATE_NAME = re.compile(r"label|population|gate|cluster|cell.?type|class", re.IGNORECASE)
# A channel of more whole numbers than this counts something else than populations.
_MOST_GATES = 200


def describe(path: str | os.PathLike[str], *, data_set: int = 1, allow_truncated: bool = False) -> dict[str, Any]:
    """Describe one data set of an FCS file.

    Parameters
    ----------
    path
        The file.
    data_set
        Which of its data sets, from 1.
    allow_truncated
        As :func:`cytomoe.io.open_fcs` takes it.

    Returns
    -------
    dict
        Strings, numbers, lists and None only: ``path``, ``version``, ``data_set``, ``n_data_sets``, ``n_events``,
        ``n_channels``, ``instrument`` ($CYT), ``date`` ($DATE, $BTIM), ``spillover`` (None, or the keyword that holds
        it, whether it is usable and if not why), ``channels`` (name, $PnN, antigen, layout, and minimum, median and
        maximum of the values, None without any), ``gate_channels`` (names of the channels that may hold gates) and
        ``warnings``.

    Raises
    ------
    FCSError
        If the file can't be read without risking wrong numbers, or has no such data set.
    """
    opened = open_fcs(path, data_set=data_set, allow_truncated=allow_truncated)
    values = opened.values()
    channels = [
        _describe_channel(channel, name, values[:, n])
        for n, (channel, name) in enumerate(zip(opened.channels, opened.names, strict=True))
    ]
    return {
        "path": opened.path,
        "version": opened.version,
        "data_set": opened.data_set,
        "n_data_sets": opened.n_data_sets,
        "n_events": opened.n_events,
        "n_channels": len(channels),
        "instrument": opened.keywords.get("$CYT") or None,
        "date": " ".join(opened.keywords[key] for key in ("$DATE", "$BTIM") if opened.keywords.get(key)) or None,
        "spillover": _describe_spillover(opened.keywords, [channel.name for channel in opened.channels]),
        "channels": channels,
        "gate_channels": _gate_channels(opened, values),
        "warnings": list(opened.warnings),
    }


def _describe_channel(channel: Channel, name: str, values: npt.NDArray[np.floating[Any]]) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    return {
        "name": name,
        "channel": channel.name,
        "antigen": channel.antigen,
        "range": channel.range if math.isfinite(channel.range) else None,
        "log": channel.log,
        "gain": channel.gain if math.isfinite(channel.gain) else None,
        "bits": channel.bits,
        "datatype": channel.datatype,
        "min": float(finite.min()) if finite.size else None,
        "median": float(np.median(finite)) if finite.size else None,
        "max": float(finite.max()) if finite.size else None,
    }


def _describe_spillover(keywords: Mapping[str, str], names: Sequence[str]) -> dict[str, Any] | None:
    """Which keyword holds a spillover matrix, and whether its size and channels are right."""
    keyword = next((key for key in SPILLOVER_KEYWORDS if keywords.get(key)), None)
    if keyword is None:
        return None
    fields = [field.strip() for field in re.split(r"[,\s]+" if "COMP" in keyword else ",", keywords[keyword].strip())]
    size = int(fields[0]) if re.fullmatch(r"[0-9]{1,4}", fields[0]) else 0
    named = 0 if "COMP" in keyword else size
    unknown = [name for name in fields[1 : named + 1] if name not in names]
    if size < 1:
        problem = "it does not begin with the number of channels"
    elif len(fields) < 1 + named + size * size:
        problem = (
            f"it has {len(fields) - 1 - named} of {size * size} values" if len(fields) > named + 1 else "no values"
        )
    elif unknown:
        problem = f"it names channels that the file does not have: {', '.join(unknown)}"
    else:
        problem = None
    return {"keyword": keyword, "n_channels": size, "usable": problem is None, "problem": problem}


def _gate_channels(opened: FCSDataSet, values: npt.NDArray[np.floating[Any]]) -> list[str]:
    """Names of the channels that are called like gates and hold few different whole numbers."""
    found = []
    for n, (channel, name) in enumerate(zip(opened.channels, opened.names, strict=True)):
        if not _GATE_NAME.search(f"{channel.name} {channel.antigen}"):
            continue
        numbers = np.unique(values[:, n])
        numbers = numbers[np.isfinite(numbers)]
        if 2 <= len(numbers) <= _MOST_GATES and (numbers == np.floor(numbers)).all():
            found.append(name)
    return found
