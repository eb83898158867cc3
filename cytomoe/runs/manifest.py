"""``run.json``: what a run computed, from what, with what."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cytomoe import __version__
from cytomoe.io.run_folder import MANIFEST
from cytomoe.io.written import write_json
from cytomoe.outlyingness import BEYOND
from cytomoe.runs.gating import GatedEvents
from cytomoe.runs.inputs import Checksum
from cytomoe.runs.mapping import MappedEvents
from cytomoe.runs.orders import RunJob


def write_manifest(
    folder: Path,
    job: RunJob,
    mapped: MappedEvents,
    gated: GatedEvents | None,
    *,
    warnings: Sequence[str],
    seconds: Mapping[str, float],
    further: Mapping[str, Any],
) -> None:
    """Write the manifest, the last file of a run; ``further`` is what only such a run says.

    Raises
    ------
    InputError
        If a file that was read is not the one any more that it was.
    """
    import torch

    events, model = mapped.events, mapped.model
    sums = [Checksum.of(file.stamp, job.known).sha256 for file in events.files]
    samples = [events.samples[i] for i in events.file_sample.tolist()]
    content = {
        "version": __version__,
        "command": shlex.join(job.command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": [
            {"file": name, "path": str(path.resolve()), "sample": sample, "events": size, "sha256": checksum}
            for name, path, sample, size, checksum in zip(
                events.names, events.paths, samples, events.sizes, sums, strict=True
            )
        ],
        "samples": events.samples,
        "events": events.n_events,
        "clusters": model.n_clusters_,
        "stability": [None if np.isnan(s) else round(float(s), 4) for s in model.summary_.stability],
        "seed": model.seed,
        "settings": model.settings_.to_dict(),
        "preprocessing": model.preprocessor_.to_dict(),
        "software": software(),
        "threads": torch.get_num_threads(),
        "device": str(next(model.network_.parameters()).device),
        "seconds": dict(seconds),
        "warnings": list(warnings),
        "key": job.key,
        "outputs": outputs_in(folder),
        "unassigned": _unassigned(mapped),
        "not_numbers": _not_numbers(mapped),
        "overlaps": _overlaps(mapped, gated),
        **further,
    }
    write_json(folder / MANIFEST, content)


def outputs_in(folder: Path) -> dict[str, int]:
    """Bytes of every file in a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def software() -> dict[str, str]:
    """Versions of what computes the result."""
    import torch

    return {
        "cytomoe": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{sys.platform} {platform.machine()}",
    }


def _not_numbers(mapped: MappedEvents) -> dict[str, Any] | None:
    """What was done to values that are not numbers; None where they are refused."""
    if mapped.model.nan == "refuse":
        return None
    channels = {
        name: {channel: {"nan": nan, "infinite": infinite} for channel, (nan, infinite) in counts.items()}
        for name, counts in mapped.not_numbers.items()
    }
    return {"policy": mapped.model.nan, "events_dropped": mapped.n_dropped, "channels": channels}


def _overlaps(mapped: MappedEvents, gated: GatedEvents | None) -> dict[str, Any] | None:
    """Events that stand in several files; None where no row repeats another's event."""
    if gated is None or mapped.counted is None:
        return None
    return {"distinct_events": gated.overlaps.n_events, "in_several_gates": gated.overlaps.n_shared}


def _unassigned(mapped: MappedEvents) -> dict[str, Any] | None:
    """Unassigned events of the run and of each sample; None where none are looked for."""
    if mapped.outlyingness is None:
        return None
    outlying = mapped.events.sample[(mapped.clusters == 0) & (mapped.nearest > 0)]
    found = np.bincount(outlying, minlength=len(mapped.events.samples))
    return {
        "events": int(found.sum()),
        "expected": round(BEYOND * mapped.events.n_events),
        "samples": dict(zip(mapped.events.samples, found.tolist(), strict=True)),
    }
