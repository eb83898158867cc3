"""What each channel of a file measures, and on which kind of instrument the file was taken.

The rules are tables: ``RULES`` for names, ``ISOTOPE_KINDS`` for metal channels that nobody named, ``EMPTY_NAMES`` for
antigens that mean "nothing". To teach cytomoe a new name, add it there. A channel no rule speaks of carries a protein.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from cytomoe.io.raw_events import Raw

ChannelKind = Literal[
    "protein",
    "time",
    "length",
    "event",
    "scatter",
    "annotation",
    "position",
    "bead",
    "dna",
    "barcode",
    "viability",
    "background",
    "empty",
    "pulse",
]
Instrument = Literal["mass", "fluorescence"]
Where = Literal["channel", "either", "name"]

KIND_LABELS: dict[ChannelKind, str] = {
    "protein": "protein",
    "time": "time",
    "length": "length",
    "event": "event shape",
    "scatter": "scatter",
    "annotation": "label",
    "position": "position or shape",
    "bead": "beads",
    "dna": "DNA",
    "barcode": "barcode",
    "viability": "viability",
    "background": "background",
    "empty": "no antigen",
    "pulse": "second pulse measure",
}


class Rule(NamedTuple):
    """A name that gives a channel its kind.

    ``where`` is "channel" for names that instruments give ($PnN), "either" for those that stand in $PnS as well, and
    "name" for names that people give: there an antigen goes before the detector it is measured on, so CD3 on the
    detector DAPI-A is CD3. ``pattern`` must match the whole name, in any case.
    """

    kind: ChannelKind
    where: Where
    pattern: re.Pattern[str]


def _rule(kind: ChannelKind, where: Where, *patterns: str) -> Rule:
    return Rule(kind, where, re.compile("|".join(f"(?:{p})" for p in patterns), re.IGNORECASE))


_SCATTER = r"(?:v|b|y|r|ir|uv)?(?:fsc|ssc|bsc)"
_PULSE = r"(?:int|peak|tof|lin|log|area|height|width|[ahw])"
RULES: tuple[Rule, ...] = (
    _rule("time", "either", r"(?:hdr-t|time)(?: ?\(.*\)|[-_ ]?(?:msw|lsw|\d))?"),
    _rule("length", "either", r"(?:cell|event)[-_ ]?length"),
    # The Gaussian parameters of Fluidigm instruments, MACSQuant's headers, sorters' widths and flags.
    _rule("event", "channel", r"center|offset|width|residual|amplitude|bead[-_ ]?dist(?:ance)?|hdr-.*|doublets?"),
    _rule(
        "scatter",
        "either",
        rf"{_SCATTER}(?:[-_ ].*|\d)?",
        rf".*\b\d{{3}}{_SCATTER}(?:[-_ ].*)?",  # 405nm 405SSC (405/10) LogH
        r"(?:forward|side|back|light)[-_ ]?scatter.*",
        rf"(?:fs|ss|als|lals|rals)(?:[-_ ]{_PULSE}){{0,2}}",  # Beckman Coulter: FS INT LIN
        r"tof",
    ),
    _rule(
        "annotation",
        "either",
        r"labels?|populations?|individual|batch|patient|index|r?id|confidence|cytomoe.*",
        r"(?:meta[-_ ]?)?clusters?(?:[-_ ]?(?:ids?|number|no|labels?|\d+))?|flowsom.*|phenograph.*",
        r"gates?(?:[-_ ]?(?:ids?|number|no|labels?|\d+))?",
        r"file|event|sample|subject|donor",
        r"(?:file|event|sample|cell|subject|donor)[-_ ]?(?:number|no|id|name|label|index)",
        r"(?:opt|vi|open)?[-_ ]?(?:t-?sne|sne|umap|trimap|phate)[-_ ]?(?:\d|x|y)?",
        r"(?:bc[-_ ])?separation[-_ ]?dist|bc[-_ ]separation.*|mahalanobis[-_ ]?dist",
    ),
    _rule(
        "position",
        "channel",
        r"[xyz]|r[xy]|(?:x|y|z)[-_ ]?(?:position|centroid|coord(?:inate)?s?)|(?:centroid|position|location)[-_ ]?[xyz]",
        r"(?:tile|region)(?:index|[xyz]|[-_ ]?id)",
        r"(?:cell|nucleus|nuclear)[-_ ]?(?:size|area|diameter|perimeter|solidity|eccentricity)",
    ),
    _rule("bead", "name", r"(?:.*[-_ ])?(?:eq[-_ ]?\d?[-_ ]?)?beads?\d?(?:[-_ ].*)?|eq[-_ ]?\d?|.*eqbeads?"),
    _rule(
        "dna",
        "name",
        r"(?:ir[-_ ]?)?dna[-_ ]?\d*|(?:ir|iridium|dna)[-_ ]?intercalator.*|intercalator.*|iridium",
        r"nuc(?:leic)?[-_ ]?acid.*|hoechst.*|draq[-_ ]?[57].*|vybrant.*|ci-?dapi",
    ),
    _rule("barcode", "name", r"bc[-_ ]?\d{0,2}|(?:bc[-_ ]?pd|pd[-_ ]?bc)[-_ ]?\d{0,3}|(?:.*[-_ ])?bar[-_ ]?cod.*"),
    _rule(
        "viability",
        "name",
        r"l[-/_ ]?d(?:[-_ ].*)?|(?:.*[-_ ])?live[-/_ ]*(?:and[-_ ]*)?dead.*|(?:.*[-_ ])?viab(?:ility|le)?(?:[-_ ].*)?",
        r"dead(?:[-_ ]?cells?)?|via[-_ ]?dye|zombie.*|ghost.*|fixable.*|fv[ds](?:[-_ ]?\d+)?(?:[-_ ].*)?",
        r"(?:pi|propidium[-_ ]?iodide|7[-_ ]?a[-_ ]?a[-_ ]?d|dapi|sytox.*|cis[-_ ]?(?:platin|pt).*)(?:[-_ ][ahw])?",
    ),
    _rule("background", "name", r"\d*(?:bckg|arar)\d*(?:di|dd)?|background|environ.*|xenon|lead|iodine|barium"),
    _rule("background", "name", r"(?:auto[-_ ]?fluorescence|af)(?:[-_ ][ahw])?"),
)

EMPTY_NAMES = frozenset({"empty", "blank", "none", "na", "nan", "null", "unused", "notused", "unlabeled", "unstained"})

# Metal channels that nobody named. Iridium is always the DNA intercalator; on the others an antigen goes first.
ISOTOPE_KINDS: dict[str, ChannelKind] = {
    "Ir191": "dna",
    "Ir193": "dna",
    "Ce140": "bead",
    "Rh103": "viability",
    "Pt194": "viability",
    "Pt195": "viability",
    "Pt196": "viability",
    "Pt198": "viability",
    "Pd102": "barcode",
    "Pd104": "barcode",
    "Pd105": "barcode",
    "Pd106": "barcode",
    "Pd108": "barcode",
    "Pd110": "barcode",
    "Ar80": "background",
    "Sn120": "background",
    "I127": "background",
    "Xe131": "background",
    "Cs133": "background",
    "Xe134": "background",
    "Ba138": "background",
    "Os190": "background",
    "Pb208": "background",
}

_ELEMENT = (
    "(?:Ar|Y|Rh|Pd|Ag|Cd|In|Sn|Te|I|Xe|Cs|Ba|La|Ce|Pr|Nd|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|Hf|Ta|W|Re|Os|Ir|Pt|Au|Hg|Pb|Bi)"
)
_MASS = r"(?:7[5-9]|[89]\d|1\d\d|20\d)"
_ISOTOPE = rf"(?:{_ELEMENT}{_MASS}|{_MASS}{_ELEMENT})"
_QDOT = r"\d{2,3}:\d{2,3}"  # several cadmium isotopes of one quantum dot: (110:114)
_FIND_ISOTOPE = re.compile(rf"(?<![A-Za-z0-9]){_ISOTOPE}(?=D[di]?(?![A-Za-z])|(?![A-Za-z0-9]))")
_FIND_METAL = re.compile(rf"{_FIND_ISOTOPE.pattern}|\({_QDOT}\)D[di]")
_STRIP_METAL = re.compile(
    rf"[-_ ]?\((?:{_ISOTOPE}|{_QDOT})\)(?:D[di]?)?$"  # CD4(Nd145)Dd
    rf"|^{_ISOTOPE}(?:D[di]?)?(?:[-_ ]+|$)"  # 145Nd_CD4, Nd145Di
    rf"|[-_ ]+{_ISOTOPE}(?:D[di]?)?$"  # CD4_Nd145
)

_MASS_CYTOMETERS = re.compile(r"cytof|helios|dvs|fluidigm|standard ?bio|hyperion", re.IGNORECASE)
_PULSE_SUFFIX = re.compile(r"(?P<detector>.+?)[-_ ](?:lin|log)?(?P<measure>[AHW])", re.IGNORECASE)
# The widest scale of a mass cytometer's counts is below this, that of a digital flow cytometer at or above it.
_FLUORESCENCE_RANGE = 2.0**16
# Counts lie little below zero, whatever noise is added to them; fluorescence less its baseline lies far below.
_LOWEST_COUNT = -20.0


def fold(name: str) -> str:
    """Spell a name without case and punctuation, so that ``HLADR`` and ``HLA-DR`` are one.

    A name made of punctuation alone stays as it is.
    """
    return "".join(c for c in name.casefold() if c.isalnum()) or name.casefold()


def without_metal(name: str) -> str:
    """Spell a name without the metal it is measured on.

    ``145Nd_CD4`` and ``CD4(Nd145)Dd`` become ``CD4``, and ``145Nd`` becomes empty. Elements are matched in their own
    case, so that CD110 (the antigen) is not Cd110 (cadmium).
    """
    return _STRIP_METAL.sub("", name.strip()).strip()


def isotope(name: str) -> str | None:
    """Find the metal isotope in a name as element and mass: ``Nd145`` in ``145Nd_CD4``; None when there is none."""
    found = _FIND_ISOTOPE.search(name)
    if found is None:
        return None
    text = found.group()
    digits = "".join(c for c in text if c.isdigit())
    return text.replace(digits, "") + digits


def given_name(channel: str, antigen: str) -> str:
    """Name that people gave to a channel, without its metal; empty when nobody did.

    Parameters
    ----------
    channel
        $PnN.
    antigen
        $PnS; empty when absent. One that repeats the channel's name does not count.
    """
    if fold(antigen) != fold(channel) and without_metal(antigen):
        return without_metal(antigen)
    return without_metal(channel) if _FIND_METAL.search(channel) else ""


def classify_channels(var: pd.DataFrame) -> list[ChannelKind]:
    """Say of every channel what it measures.

    Parameters
    ----------
    var
        The channels of a file, as ``cytomoe.io.read_fcs`` gives them (columns ``channel``, ``antigen``, ``log``).

    Returns
    -------
    list of ChannelKind
        One for each row of ``var``. When any detector has an antigen, those without are "empty" (unstained); in a file
        without any antigen every detector counts as a protein.
    """
    channels, antigens = channel_names(var)
    names = [given_name(c, a) for c, a in zip(channels, antigens, strict=True)]
    kinds = [_kind(c, a, n) for c, a, n in zip(channels, antigens, names, strict=True)]
    if any(kind == "protein" and name for kind, name in zip(kinds, names, strict=True)):
        kinds = ["empty" if kind == "protein" and not name else kind for kind, name in zip(kinds, names, strict=True)]
    elif not any(kind == "protein" for kind in kinds):
        metals = [bool(isotope(c)) and fold(a) not in EMPTY_NAMES for c, a in zip(channels, antigens, strict=True)]
        kinds = ["protein" if kind == "empty" and metal else kind for kind, metal in zip(kinds, metals, strict=True)]
    return _one_pulse_measure(kinds, channels, names, [str(log) for log in column(var, "log", "0,0")])


def _kind(channel: str, antigen: str, name: str) -> ChannelKind:
    """Kind of one channel from the tables; "protein" when no rule speaks of it."""
    metal = isotope(channel) or isotope(antigen)
    if metal is not None and ISOTOPE_KINDS.get(metal) == "dna":
        return "dna"
    candidates = {"channel": (channel,), "either": (channel, antigen), "name": (name or channel,)}
    for rule in RULES:
        if any(rule.pattern.fullmatch(candidate) for candidate in candidates[rule.where]):
            return rule.kind
    if fold(antigen) in EMPTY_NAMES or not (channel or antigen):
        return "empty"
    if not name and metal is not None:
        return ISOTOPE_KINDS.get(metal, "empty")
    return "protein"


def _one_pulse_measure(
    kinds: list[ChannelKind], channels: list[str], names: list[str], logs: list[str]
) -> list[ChannelKind]:
    """Keep one of the area, height and width that a detector recorded; the rest become "pulse".

    The one with an antigen is kept, then the logarithmically amplified one (on analog instruments the other is only
    there to tell doublets), then area before height before width.
    """
    detectors: dict[str, list[tuple[tuple[bool, bool, str], int]]] = {}
    for i, channel in enumerate(channels):
        parts = _PULSE_SUFFIX.fullmatch(channel)
        if kinds[i] == "protein" and parts:
            rank = (not names[i], logs[i].split(",")[0].strip() in {"0", "0.0", ""}, parts["measure"].upper())
            detectors.setdefault(fold(parts["detector"]), []).append((rank, i))
    kept = list(kinds)
    for measures in detectors.values():
        for _, i in sorted(measures)[1:]:
            kept[i] = "pulse"
    return kept


def instrument_kind(adata: Raw) -> Instrument:
    """Kind of instrument a file was taken on; see `instrument_evidence`."""
    return instrument_evidence(adata)[0]


def instrument_evidence(adata: Raw) -> tuple[Instrument, str]:
    """Decide whether a file is mass or fluorescence cytometry, and say why.

    Parameters
    ----------
    adata
        A file as ``cytomoe.io.read_fcs`` gives it. Without keywords, the channels' names alone decide.

    Returns
    -------
    tuple of Instrument and str
        The kind, and the reason in words fit for printing. From the strongest evidence to the weakest: $CYT names a
        mass cytometer; scatter channels; channels named after metals; Cell_length; any other $CYT; the widest range,
        and where no range is known the values.
    """
    cytometer = keyword(adata, "$CYT").strip()
    if _MASS_CYTOMETERS.search(cytometer):
        return "mass", f"$CYT is {cytometer}"
    kinds = classify_channels(adata.var)
    channels, _ = channel_names(adata.var)
    scatter = _first(channels, (kind == "scatter" for kind in kinds))
    if scatter:
        return "fluorescence", f"scatter channel {scatter}"
    metal = _first(channels, (bool(_FIND_METAL.search(channel)) for channel in channels))
    if metal:
        return "mass", f"channels are named after metals, such as {metal}"
    length = _first(channels, (kind == "length" for kind in kinds))
    if length:
        return "mass", f"channel {length}"
    if cytometer:
        return "fluorescence", f"$CYT is {cytometer}"
    ranges = column(adata.var, "range", 0.0)
    widest = max((float(r) for r, kind in zip(ranges, kinds, strict=True) if kind == "protein"), default=0.0)
    if widest >= _FLUORESCENCE_RANGE:
        return "fluorescence", f"no instrument is named; ranges reach {widest:g}"
    if not widest and any(kind == "protein" for kind in kinds):
        return _instrument_of_values(adata.X[:, [kind == "protein" for kind in kinds]])
    return "mass", f"no instrument is named and there is no scatter channel; ranges reach {widest:g}"


def _instrument_of_values(values: NDArray[np.floating[Any]]) -> tuple[Instrument, str]:
    """Kind of instrument by the values of its proteins, for data that came without the ranges of its channels."""
    numbers = values[np.isfinite(values)]
    lowest, highest = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)
    if highest >= _FLUORESCENCE_RANGE or lowest <= _LOWEST_COUNT:
        return "fluorescence", f"no instrument is named; values from {lowest:,.0f} to {highest:,.0f}"
    return (
        "mass",
        f"no instrument is named and there is no scatter channel; values from {lowest:,.0f} to {highest:,.0f}",
    )


def channel_names(var: pd.DataFrame) -> tuple[list[str], list[str]]:
    """$PnN and $PnS of all channels; for data that came another way the names of ``var``, and empty antigens."""
    channels = column(var, "channel", None)
    antigens = column(var, "antigen", "")
    return [str(c).strip() for c in channels], [str(a).strip() for a in antigens]


def column(var: pd.DataFrame, name: str, default: Any) -> list[Any]:
    """Column of ``var``, or the default for every channel (None: the channel's name) where it is missing."""
    if name in var:
        return list(var[name])
    return [str(i) for i in var.index] if default is None else [default] * len(var)


def keyword(adata: Raw, name: str) -> str:
    """Value of an FCS keyword (upper case) of a file; empty when it has none."""
    return str(fcs_record(adata).get("keywords", {}).get(name, ""))


def source_name(adata: Raw) -> str:
    """Name of the file that data came from, for messages."""
    return str(fcs_record(adata).get("path") or "the data")


def fcs_record(adata: Raw) -> dict[str, Any]:
    """Record that the reader left of a file in ``uns["fcs"]``; empty for data that came another way."""
    return cast("dict[str, Any]", adata.uns.get("fcs", {}))


def _first(values: Iterable[object], chosen: Iterable[bool]) -> str:
    return next((str(value) for value, yes in zip(values, chosen, strict=True) if yes), "")
