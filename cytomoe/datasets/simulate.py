"""A simulated plate: wells of blood cells measured by mass cytometry, with the population of every event known.

The cells follow the profiles of :mod:`cytomoe.datasets.pbmc_profiles`. Ion counts are Poisson around log-normal
expectations with an unspecific background, then spread over the count and blurred as background-subtracted files are,
so that negative markers lie around zero with small negative values. Wells differ a little in abundance and intensity,
and the last one is treated. Debris and doublets belong to no population.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cytomoe.datasets.pbmc_profiles import MARKERS, POPULATIONS
from cytomoe.errors import InputError
from cytomoe.io.atomic import atomic_path

if TYPE_CHECKING:
    from anndata import AnnData

MOST_EVENTS = 1_000_000  # of a well
_ROWS, _COLUMNS = "ABCDEFGH", 12  # a 96-well plate
_DEBRIS, _DOUBLETS = 0.025, 0.025  # shares of the events
_SIZE_SPREAD = 0.25  # of the logarithm of cell size, which scales all markers and follows DNA content
_BACKGROUND = (0.6, 1.6)  # shape and scale of the gamma distribution of unspecific counts
_WELL_ABUNDANCE, _WELL_INTENSITY = 0.10, 0.06  # spread of the logarithm of both between wells
_DURATION = 1_000_000  # of a well's acquisition, in milliseconds
_NO_GATE = "ungated"  # how the tables of gates say that an event lies in none
_KEYWORDS = {"$CYT": "CyTOF (simulated)", "$COM": "simulated by cytomoe: no measured cells"}

# $PnN and $PnS of every channel, in the order of the file.
CHANNELS: tuple[tuple[str, str], ...] = (
    ("Time", "Time"),
    ("Cell_length", "Cell_length"),
    *((marker.channel, marker.antigen) for marker in MARKERS),
    ("DNA-1(Ir191)Dd", "DNA-1"),
    ("DNA-2(Ir193)Dd", "DNA-2"),
    ("gate", "gate"),
)


@dataclass(frozen=True, eq=False)
class _Events:
    """What the events of a well are, before they are measured; arrays of one value per event.

    ``population`` and ``partner`` are positions in ``POPULATIONS``; the partner is the second cell of a doublet.
    """

    population: NDArray[np.int64]
    partner: NDArray[np.int64]
    debris: NDArray[np.bool_]
    doublet: NDArray[np.bool_]

    @property
    def gate(self) -> NDArray[np.int64]:
        """(events,) number of the gate, from 1; 0 for debris and doublets."""
        return np.where(self.debris | self.doublet, 0, self.population + 1)


def simulate_plate(seed: int, wells: int = 3, events: int = 5000) -> dict[str, AnnData]:
    """Simulate a plate of blood samples, the last well treated.

    Parameters
    ----------
    seed
        The same seed gives the same values.
    wells
        Wells of the plate, 1 to 96. With one well there is no treated one.
    events
        Events per well, 1 to 1,000,000.

    Returns
    -------
    dict of AnnData by well
        Wells are named ``A01``, ``A02``, ... ``X`` (events, 15) float32 holds Time, Cell_length, 10 surface markers,
        DNA-1, DNA-2 and the channel ``gate`` (number of the population from 1, 0 for none); ``obs["gate"]`` the name of
        the population, missing for debris and doublets.

    Raises
    ------
    InputError
        If the number of wells or events is out of range.
    """
    if not 1 <= wells <= len(_ROWS) * _COLUMNS:
        raise InputError(f"{wells} wells: a plate has 1 to {len(_ROWS) * _COLUMNS}")
    if not 1 <= events <= MOST_EVENTS:
        raise InputError(f"{events:,} events per well: 1 to {MOST_EVENTS:,} are simulated")
    names = [f"{row}{column:02d}" for row in _ROWS for column in range(1, _COLUMNS + 1)][:wells]
    generators = np.random.default_rng(seed).spawn(wells)
    return {
        name: _simulate_well(events, treated=0 < index == wells - 1, rng=rng)
        for index, (name, rng) in enumerate(zip(names, generators, strict=True))
    }


def write_plate(out_dir: str | os.PathLike[str], seed: int, wells: int = 3, events: int = 5000) -> list[Path]:
    """Simulate a plate and write it: per well an FCS file and a table of gates, and one table of the gates' names.

    Parameters
    ----------
    out_dir
        Folder of the files; made when missing. Files of the same names are replaced.
    seed, wells, events
        As for :func:`simulate_plate`. The same seed gives the same bytes.

    Returns
    -------
    list of Path
        ``example_<well>.fcs`` and ``example_<well>_gates.csv`` (header ``gate``, one row per event) of every well, then
        ``gates.csv`` (columns number, gate).

    Raises
    ------
    InputError
        As :func:`simulate_plate` does; if the folder can't be made or written to.
    """
    from cytomoe.io import write_fcs

    plate = simulate_plate(seed, wells, events)
    folder = Path(out_dir)
    _make_folder(folder)
    written: list[Path] = []
    for well, sample in plate.items():
        fcs = folder / f"example_{well}.fcs"
        write_fcs(sample, fcs)
        gates = pd.DataFrame({"gate": sample.obs["gate"].astype(object).fillna(_NO_GATE)})
        written += [fcs, _write_table(gates, folder / f"example_{well}_gates.csv")]
    names = pd.DataFrame({"number": range(1, len(POPULATIONS) + 1), "gate": [p.name for p in POPULATIONS]})
    return [*written, _write_table(names, folder / "gates.csv")]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: can't be written to (no permission); give another folder")


def _simulate_well(events: int, *, treated: bool, rng: np.random.Generator) -> AnnData:
    """Draw the events of a well and measure them, in the order of time."""
    from anndata import AnnData

    drawn = _draw_events(events, treated, rng)
    size = _draw_sizes(drawn, rng)
    length = np.clip(np.exp(rng.normal(np.log(32), 0.30, events)) * np.where(drawn.doublet, 1.5, 1.0), 10, 75)
    columns = [
        np.sort(rng.integers(0, _DURATION, events)),
        np.round(length),
        *_measure(_expected_counts(drawn, size, rng), rng).T,
        *_dna(size * np.where(drawn.doublet, 2, 1), rng).T,
        drawn.gate,
    ]
    # Two decimals: more carry no information, and results no longer hang on the last bit of exp() of a processor.
    values = np.column_stack(columns).round(2).astype(np.float32)
    names = [antigen for _, antigen in CHANNELS]
    var = pd.DataFrame(
        {
            "channel": [channel for channel, _ in CHANNELS],
            "antigen": names,
            "range": np.ceil(np.maximum(values.max(axis=0), 0)).astype(np.float64) + 1,  # one more than the largest
            "log": "0,0",
            "gain": 1.0,
            "bits": 32,
            "datatype": "F",
        },
        index=names,
    )
    gate = pd.Categorical.from_codes(drawn.gate - 1, categories=pd.Index([p.name for p in POPULATIONS], dtype=object))
    obs = pd.DataFrame({"gate": gate}, index=np.arange(events).astype(str))
    return AnnData(X=values, obs=obs, var=var, uns={"fcs": {"keywords": dict(_KEYWORDS)}})


def _draw_events(events: int, treated: bool, rng: np.random.Generator) -> _Events:
    """Draw the population of each event, and which events are debris or doublets."""
    share = np.array([p.percent * (p.treated if treated else 1.0) for p in POPULATIONS])
    share *= np.exp(rng.normal(0.0, _WELL_ABUNDANCE, len(POPULATIONS)))
    share /= share.sum()
    population, partner = rng.choice(len(POPULATIONS), size=(2, events), p=share)
    kind = rng.random(events)
    return _Events(population, partner, debris=kind < _DEBRIS, doublet=kind > 1 - _DOUBLETS)


def _draw_sizes(drawn: _Events, rng: np.random.Generator) -> NDArray[np.float64]:
    """(events,) size relative to an intact single cell."""
    size = np.exp(rng.normal(0.0, _SIZE_SPREAD, len(drawn.population)))
    size[drawn.debris] *= rng.uniform(0.03, 0.20, np.count_nonzero(drawn.debris))
    return size


def _expected_counts(drawn: _Events, size: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(events, markers) specific ion counts to expect of each event; a doublet has those of both its cells."""
    intensity = np.exp(rng.normal(0.0, _WELL_INTENSITY, len(MARKERS)))
    counts = intensity * (
        _cell_counts(drawn.population, rng) + drawn.doublet[:, None] * _cell_counts(drawn.partner, rng)
    )
    return counts * size[:, None]


def _cell_counts(population: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(cells, markers) specific ion counts to expect of cells of average size."""
    level = _profile_matrix("counts")
    gradient = _profile_matrix("gradient")
    spread = np.array([marker.spread for marker in MARKERS])
    along = rng.normal(size=(len(population), 1))  # position of each cell in its population's continuum
    logarithm = gradient[population] * along + spread * rng.normal(size=(len(population), len(MARKERS)))
    return level[population] * np.exp(logarithm)


def _profile_matrix(attribute: str) -> NDArray[np.float64]:
    """Arrange an attribute of the profiles as (populations, markers), 0 where it is not listed."""
    antigens = [marker.antigen for marker in MARKERS]
    return np.array([[getattr(p, attribute).get(antigen, 0.0) for antigen in antigens] for p in POPULATIONS])


def _measure(expected: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(events, markers) values as a file has them: counts with background, spread and blurred."""
    counts = rng.poisson(expected + rng.gamma(*_BACKGROUND, size=expected.shape))
    noise = np.array([marker.noise for marker in MARKERS])
    return counts - rng.random(expected.shape) + rng.laplace(0.0, noise, expected.shape)


def _dna(size: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(events, 2) signal of the two iridium isotopes, which follow each other and the size."""
    first = 570 * size * np.exp(rng.normal(0.0, 0.30, len(size)))
    second = 1.93 * first * np.exp(rng.normal(0.0, 0.10, len(size)))  # 193Ir to 191Ir as measured on intact cells
    return np.column_stack([first, second])


def _write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, with the same line ends on every system."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return path
