"""What a run is asked for: to cluster the events of files, or to map them with a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cytomoe.runs.gating import GateSource, PriorSource
from cytomoe.settings import Settings

if TYPE_CHECKING:
    from cytomoe.preprocessing import CompensateMode, NanPolicy, TransformChoice
    from cytomoe.runs.cells import H5adChoice
    from cytomoe.runs.inputs import Checksum


@dataclass(frozen=True)
class RunJob:
    """What every run is asked for.

    Attributes
    ----------
    files
        FCS files, one sample each unless the gate pattern says otherwise.
    out
        Folder of the results.
    device
        ``auto``, ``cpu`` or ``cuda``.
    gates
        Where manual gates stand, to measure against.
    samples
        Table of the samples: file, sample, and conditions to carry through.
    sample
        Name of the one sample that all files belong to, where there is no such table.
    min_population
        Smaller gates are left out of the measures.
    data_set
        Which data set of files that hold several.
    allow_truncated
        Whether files that break off are read as far as whole events go.
    h5ad
        Whether ``cells.h5ad`` is written: ``yes``, ``no``, or ``auto`` for runs of moderate size.
    unassigned
        Whether events that fit no cluster are left out of all: see :mod:`cytomoe.outlyingness`.
    nan
        What is done to events with values that are not numbers: ``refuse``, ``drop`` or ``zero``.
    force
        Whether an earlier run in ``out`` is replaced.
    report
        Whether ``report.html`` is made, after everything else is written.
    command
        What the user typed, for the manifest.
    key
        Checksum of all that the result depends on, for the manifest; None where nobody asks.
    known
        Checksums of files that the caller worked out; files that have changed since get new ones.
    """

    files: Sequence[Path]
    out: Path
    device: str = "auto"
    gates: GateSource = field(default_factory=GateSource)
    samples: Path | None = None
    sample: str | None = None
    min_population: int = 30
    data_set: int = 1
    allow_truncated: bool = False
    h5ad: H5adChoice = "auto"
    unassigned: bool = False
    nan: NanPolicy = "refuse"
    force: bool = False
    report: bool = True
    command: Sequence[str] = ()
    key: str | None = None
    known: Sequence[Checksum] = ()

    @property
    def reads(self) -> list[Path]:
        """Files and tables that are read, as far as they are named by themselves."""
        return [*self.files, *(path for path in (self.samples, self.gates.names) if path is not None)]


@dataclass(frozen=True)
class PreprocessingChoice:
    """What the user asks of preprocessing; see :meth:`cytomoe.preprocessing.Preprocessor.fit`."""

    markers: Sequence[str] | None = None
    panel: Path | None = None
    transform: TransformChoice = "auto"
    cofactor: float | None = None
    compensate: CompensateMode = "auto"


@dataclass(frozen=True)
class ClusterJob(RunJob):
    """A clustering to do. The fit never sees the gates.

    Attributes
    ----------
    preprocessing
        Markers, transform, compensation.
    settings
        Of similarity, model and training.
    seed
        Of all randomness.
    subsample
        Fit on at most this many events; None for :data:`cytomoe.runs.sampling.FITTED_EVENTS`.
    prior
        Where known cells stand, if some are: they guide the fit, and gates are then measured on the others.
    reference
        Table of populations to name the clusters after: a file, or one that ships with cytomoe.
    holdout
        Share of the events kept out of the fit; the measures are taken on them alone.
    """

    preprocessing: PreprocessingChoice = field(default_factory=PreprocessingChoice)
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    subsample: int | None = None
    prior: PriorSource = field(default_factory=PriorSource)
    reference: str | None = None
    holdout: float = 0.0

    @property
    def reads(self) -> list[Path]:
        """Files and tables that are read, as far as they are named by themselves."""
        return super().reads + [path for path in (self.preprocessing.panel, self.prior.names) if path is not None]


@dataclass(frozen=True, kw_only=True)
class PredictJob(RunJob):
    """A mapping to do.

    Attributes
    ----------
    model
        Model file of an earlier run, or the folder of the run.
    """

    model: Path

    @property
    def reads(self) -> list[Path]:
        """Files and tables that are read, as far as they are named by themselves."""
        return [*super().reads, self.model]
