"""Choices of the user that contradict the files: markers that measure no protein, a cofactor for another instrument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cytomoe.io.raw_events import RawEvents
from cytomoe.preprocessing.channels import KIND_LABELS, ChannelKind, Instrument, classify_channels
from cytomoe.preprocessing.transform import COFACTORS, linear_values
from cytomoe.words import listed

if TYPE_CHECKING:
    from cytomoe.io.raw_events import Raw
    from cytomoe.preprocessing import Preprocessor

# Channels that say nothing of the kind of a cell. Scatter does, and a detector without an antigen may.
_NO_MARKERS: frozenset[ChannelKind] = frozenset(
    {"time", "length", "event", "annotation", "position", "bead", "dna", "barcode", "viability", "background"}
)
# Fluorescence on the scale of digital cytometers reaches further; that of analog ones, to 10,000, has little noise.
_DIGITAL = 20_000.0
# Cofactors at or below the first spread the noise of such fluorescence, at or above the second hide dim counts.
_SMALL, _LARGE = 20.0, 75.0
_LOOKED_AT = 20_000  # events
_NAMED = 6  # markers in a message

ADVICE_ON_MARKERS = "leave them out of --markers (in a panel: of the column use), unless that is what you want"


def no_proteins(adata: Raw, names: Sequence[str]) -> str:
    """Say which markers measure no protein and nothing else of the kind of a cell; empty where none is such.

    Parameters
    ----------
    adata
        A file.
    names
        Its channels that are markers.
    """
    kinds = dict(zip(map(str, adata.var_names), classify_channels(adata.var), strict=True))
    found = [f"{name} ({KIND_LABELS[kinds[name]]})" for name in names if kinds[name] in _NO_MARKERS]
    if not found:
        return ""
    return f"markers that measure no protein, and part clusters as those do: {listed(found, _NAMED)}"


def odd_cofactor(adata: Raw, names: Sequence[str], cofactors: Sequence[float | None], instrument: Instrument) -> str:
    """Say which markers have a cofactor that belongs to the other kind of instrument, and what to take; else empty.

    Parameters
    ----------
    adata
        A file.
    names, cofactors
        Its channels that are markers, and their cofactors; None where a marker is not transformed by arcsinh.
    instrument
        Of the file.
    """
    given = [(name, cofactor) for name, cofactor in zip(names, cofactors, strict=True) if cofactor is not None]
    if instrument == "mass":
        odd = [(name, cofactor) for name, cofactor in given if cofactor >= _LARGE]
        why = "on mass cytometry presses dim populations together with the negative cells"
        instead = f"leave it out for {COFACTORS['mass']:g}"
    else:
        odd = [(name, cofactor) for name, cofactor in given if cofactor <= _SMALL]
        highest = _highest(adata, [name for name, _ in odd])
        odd = odd if highest >= _DIGITAL else []
        why = f"on fluorescence that reaches {highest:,.0f} spreads the noise around zero as if it were populations"
        instead = f"take --cofactor {COFACTORS['fluorescence']:g}, the default for it, or --transform logicle"
    if not odd:
        return ""
    which = "" if len(odd) == len(names) else f" (of {listed([name for name, _ in odd], _NAMED)})"
    return f"the cofactor {odd[0][1]:g}{which} {why}; {instead}"


def warn_of_choices(adata: Raw, preprocessor: Preprocessor) -> list[str]:
    """Warnings of markers and cofactors that contradict a file of the fit, which defaults never do.

    Parameters
    ----------
    adata
        The file, or a part of its events.
    preprocessor
        Fitted to it.
    """
    names = preprocessor.locate(adata)
    strange = no_proteins(adata, names)
    arcsinh = [step.transform.cofactor if step.transform.name == "arcsinh" else None for step in preprocessor.steps]
    odd = odd_cofactor(adata, names, arcsinh, preprocessor.instrument)
    return [line for line in (f"{strange}; {ADVICE_ON_MARKERS}" if strange else "", odd) if line]


def _highest(adata: Raw, names: Sequence[str]) -> float:
    """Highest linear value of some channels in the first events of a file; 0 where none is a number."""
    positions = [int(adata.var_names.get_loc(name)) for name in names]
    if not positions:
        return 0.0
    first = RawEvents(np.asarray(adata.X[:_LOOKED_AT]), adata.var, adata.uns)
    values = linear_values(first, positions, "drop")
    return float(values.max(initial=0.0, where=np.isfinite(values)))
