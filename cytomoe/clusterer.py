"""A mixture-of-experts model of cells, from fit to saved file: what :class:`cytomoe.MoESimVAE` is without scikit-learn.

Runs use it as it is: scikit-learn's base classes bring scipy.stats, whose import takes a third of a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cytomoe.annotation import ClusterNames
from cytomoe.cores import on_threads
from cytomoe.errors import InputError
from cytomoe.fit_summary import misfit, summarise
from cytomoe.generation import Spread, as_file, draw_own, draw_unit, refuse_many, share_out
from cytomoe.inputs import Cells, as_cells, named_columns, own_channels, refuse_raw_array
from cytomoe.model.inference import CHUNK, codes_and_experts, decode, map_all_cells
from cytomoe.outlyingness import outlyingness
from cytomoe.preparation import Prepared, as_expression, as_prior, complete, fit_preprocessor, prepare
from cytomoe.preprocessing import NanPolicy, Preprocessor
from cytomoe.saved_model import SavedModel
from cytomoe.settings import CHANGES, LARGEST_SEED, Settings, preset
from cytomoe.similarity import Prior, name_by_types
from cytomoe.training.loop import History, Progress, single_thread
from cytomoe.training.recovery import Trained, train_safely

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.similarity import Similarity


class Clusterer:
    """Cluster cells; parameters, attributes and methods are those of :class:`cytomoe.MoESimVAE`."""

    def __init__(
        self,
        *,
        preset: str = "default",
        experts: int | None = None,
        resolution: float | None = None,
        similarity: str | None = None,
        metric: str | None = None,
        settings: Settings | None = None,
        subsample: int | None = None,
        seed: int = 0,
        device: str = "auto",
        preprocessor: Preprocessor | None = None,
        nan: NanPolicy = "refuse",
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.preset = preset
        self.experts = experts
        self.resolution = resolution
        self.similarity = similarity
        self.metric = metric
        self.settings = settings
        self.subsample = subsample
        self.seed = seed
        self.device = device
        self.preprocessor = preprocessor
        self.nan = nan
        self.progress = progress

    # ---------------------------------------------------------------- fitting

    labels_: NDArray[np.int32]

    def fit(self, X: Cells, y: None = None, *, prior: Prior | ArrayLike | None = None) -> Self:
        """Learn the clusters of cells.

        Parameters
        ----------
        X
            Either an AnnData of raw values as :func:`cytomoe.read_fcs` returns it (``layers["raw"]`` goes before its
            ``X``), or an array or table of transformed marker values (arcsinh or logicle), shape (cells, markers). The
            columns of a table name the markers, and are found by these names in other tables.
        y
            Ignored: clustering sees no labels.
        prior
            Cells that are known: the name of each cell's population, or an empty name (None, NaN) where it is unknown,
            shape (cells,). Cells of one population are similar, of two dissimilar; the data decides the rest. Those
            called ``other`` are of none of the named populations.

        Raises
        ------
        InputError
            If values are missing or not finite, or settings do not fit together.
        RunError
            If the training collapses into one cluster whatever is tried.
        """
        if not isinstance(self.seed, int | np.integer) or not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"the seed is a whole number from 0 to {LARGEST_SEED}, not {self.seed!r}")
        twice = [name for name in CHANGES if self.settings is not None and getattr(self, name) is not None]
        if twice:
            raise InputError(
                f"{', '.join(twice)} would change the settings that are given whole; change those, or set settings=None"
            )
        chosen = self.settings or preset(self.preset, **{name: getattr(self, name) for name in CHANGES})
        if self.nan not in get_args(NanPolicy):
            raise InputError(f"unknown nan={self.nan!r}; use {', '.join(get_args(NanPolicy))}")
        find_device(self.device)
        cells = as_cells(X)
        self.preprocessor_ = self.preprocessor or fit_preprocessor(cells, chosen, self.nan, own_channels(X, cells))
        expression, known = self._expression(cells), None
        there = complete(expression)
        if prior is not None:
            known = as_prior(prior, len(expression)).take(there)
        prepared = prepare(
            expression[there], self.preprocessor_, chosen, seed=self.seed, subsample=self.subsample, prior=known
        )
        self.fit_prepared(prepared)
        if not there.all():
            labels = np.zeros(len(expression), dtype=np.int32)
            labels[there] = self.labels_
            self.labels_ = labels
        return self

    def fit_prepared(self, prepared: Prepared) -> Self:
        """Learn the clusters of cells whose similarity has been worked out; see :meth:`fit`."""
        trained = train_safely(
            prepared.preprocessor.scale(prepared.training),
            prepared.similarity,
            prepared.settings,
            prepared.rng,
            device=find_device(self.device),
            report=self.progress,
        )
        return self.adopt(prepared, trained)

    def adopt(self, prepared: Prepared, trained: Trained) -> Self:
        """Become the model of a network that was trained on prepared cells."""
        self.preprocessor_, similarity = prepared.preprocessor, prepared.similarity
        self.network_, self.history_ = trained.network, trained.history
        self.settings_, self.notes_ = trained.settings, trained.notes
        self.names_: ClusterNames | None = None
        training = prepared.training
        with single_thread():
            experts = self._keep_used_experts(training, self.preprocessor_.scale(training), similarity)
        self.known_as_ = [""] * self.n_clusters_
        if prepared.known is not None and prepared.types is not None:
            types = prepared.types
            decided = np.flatnonzero(types >= 0) if similarity.partition is None else np.arange(len(types))
            self.known_as_ = name_by_types(experts[decided], types[decided], prepared.known.names, self.n_clusters_)
        clusters = (experts + 1).astype(np.int32) if prepared.rows is None else self.map_all(prepared.expression)[1]
        self.labels_ = self.number_by_size(clusters)
        return self

    def _keep_used_experts(
        self, training: NDArray[np.float32], scaled: NDArray[np.float32], similarity: Similarity
    ) -> NDArray[np.int64]:
        """Drop experts that no cell of the fit goes to, and keep what the cells of the others are like (eq. 6).

        Returns the expert of each cell of the fit, from 0.
        """
        codes, experts = codes_and_experts(self.network_, scaled)
        used, experts = np.unique(experts, return_inverse=True)
        self.network_.keep_experts(used.tolist())
        self.n_clusters_ = len(used)
        experts = experts.astype(np.int64)
        reconstructed = decode(self.network_, codes, experts)
        self.summary_ = summarise(codes, experts, scaled, reconstructed, training, similarity.stability(experts))
        return experts

    @property
    def on_cpu(self) -> bool:
        """Whether the network is on no device of its own."""
        return next(self.network_.parameters()).device.type == "cpu"

    @property
    def centres_(self) -> NDArray[np.float32]:
        """Mean code of each cluster over the cells of the fit (eq. 6), shape (clusters, L)."""
        return self.summary_.centres

    def number_by_size(
        self, clusters: NDArray[np.int32], counted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        """Number the clusters anew, the largest first.

        Parameters
        ----------
        clusters
            Labels of the present numbering whose counts decide, shape (cells,).
        counted
            Which of the cells count, shape (cells,); None for all.

        Returns
        -------
        ndarray
            The same labels in the new numbering.
        """
        counts = np.bincount(clusters if counted is None else clusters[counted], minlength=self.n_clusters_ + 1)[1:]
        order = np.argsort(-counts, kind="stable")
        self.network_.keep_experts(order.tolist())
        self.summary_ = self.summary_.reorder(order)
        self.known_as_ = [self.known_as_[k] for k in order]
        numbers = np.zeros(self.n_clusters_ + 1, dtype=np.int32)
        numbers[order + 1] = np.arange(1, self.n_clusters_ + 1)
        return numbers[clusters]

    # ---------------------------------------------------------------- mapping

    def predict(self, X: Cells) -> NDArray[np.int32]:
        """Cluster of each cell, from 1, 0 where it was dropped; int32, shape (cells,)."""
        return self.map_all(X)[1]

    def predict_proba(self, X: Cells) -> NDArray[np.float32]:
        """Probability of each cluster for each cell; shape (cells, clusters), column k - 1 for cluster k."""
        expression = self._expression(X)
        found = np.full((len(expression), self.n_clusters_), np.nan, dtype=np.float32)

        def place(rows: NDArray[np.int64], part: NDArray[np.float32]) -> None:
            found[rows] = map_all_cells(self.network_, self.preprocessor_.scale(part))[1]

        self._on_parts(place, expression)
        return found

    def transform(self, X: Cells) -> NDArray[np.float32]:
        """Code means of cells, shape (cells, L)."""
        return self.map_all(X)[0]

    def map_all(
        self, X: Cells, *, threads: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        """Codes, clusters and confidence in one pass.

        Parameters
        ----------
        X
            As in :meth:`predict`.
        threads
            Pieces that are mapped side by side; None for as many as there are cores. The result does not depend on it.

        Returns
        -------
        codes, clusters, confidence
            Shapes (cells, L), (cells,) and (cells,).
        """
        expression = self._expression(X)
        codes = np.full((len(expression), self.settings_.code_size), np.nan, dtype=np.float32)
        clusters = np.zeros(len(expression), dtype=np.int32)
        confidence = np.zeros(len(expression), dtype=np.float32)

        def place(rows: NDArray[np.int64], part: NDArray[np.float32]) -> None:
            own_codes, probabilities = map_all_cells(self.network_, self.preprocessor_.scale(part))
            codes[rows], clusters[rows] = own_codes, probabilities.argmax(1) + 1
            confidence[rows] = probabilities.max(1)

        self._on_parts(place, expression, threads)
        return codes, clusters, confidence

    def _on_parts(
        self,
        work: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
        expression: NDArray[np.float32],
        threads: int | None = None,
    ) -> None:
        """Do some work on the rows that are not dropped, chunks of them side by side where no device does it."""
        with single_thread():
            on_threads(lambda part: work(*part), self._parts(expression), threads if self.on_cpu else 1)

    def _parts(self, expression: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows that are not dropped and their markers, a chunk at a time."""
        for start in range(0, len(expression), CHUNK):
            part = expression[start : start + CHUNK]
            rows = np.flatnonzero(complete(part))
            if len(rows):
                yield rows + start, part if len(rows) == len(part) else part[rows]

    def _expression(self, X: Cells) -> NDArray[np.float32]:
        """Transformed marker values: from raw ones in an AnnData, or those of the array or table, checked."""
        if not hasattr(self, "preprocessor_"):
            raise _not_fitted()
        preprocessor = self.preprocessor_
        cells = X if isinstance(X, np.ndarray) else as_cells(X, raw=not preprocessor.pretransformed)
        if not isinstance(cells, np.ndarray) and hasattr(cells, "obs"):
            return preprocessor.expression(cells, nan=self.nan)
        values = cells if isinstance(cells, np.ndarray) else named_columns(cells, preprocessor.markers)
        expression = as_expression(values, self.nan)
        n_markers = len(preprocessor.markers)
        if expression.shape[1] != n_markers:
            raise InputError(f"{expression.shape[1]} columns given, but the model has {n_markers} markers")
        refuse_raw_array(expression, preprocessor)
        return expression

    # ---------------------------------------------------------------- generation

    def sample(
        self, cluster: int, n: int = 1000, *, seed: int | None = None, spread: Spread = "own"
    ) -> NDArray[np.float32]:
        """Generate cells of one cluster.

        Parameters
        ----------
        cluster
            Number of the cluster, from 1.
        n
            Cells to generate.
        seed
            Seed of the draw; None takes the model's.
        spread
            ``unit``: codes from N(centre, I), decoded by the cluster's expert, as in the paper. ``own``: codes with the
            cluster's own covariance, decoded, plus what its decoder leaves unexplained of each marker; cells that the
            model would assign to another cluster are drawn again. Cells are then as varied as real ones.

        Returns
        -------
        ndarray
            Marker values in the units that :meth:`fit` was given, shape (n, markers): of a fit on raw values raw ones,
            which :meth:`predict` takes as an AnnData alone, as :meth:`generate` gives them.

        Raises
        ------
        InputError
            If there is no such cluster, or of more than 10,000,000 cells.
        """
        self._check_fitted()
        self._check_clusters([cluster])
        refuse_many(n)
        rng = np.random.default_rng([self.seed if seed is None else seed, cluster])
        with single_thread():
            if spread == "unit":
                scaled = draw_unit(self.network_, self.summary_, cluster - 1, n, rng)
            else:
                lowest = 0.0 if self.preprocessor_.clip else -np.inf
                scaled = draw_own(self.network_, self.summary_, cluster - 1, n, rng, lowest=lowest)
        return self.preprocessor_.inverse_expression(self.preprocessor_.inverse_scale(scaled))

    def generate(
        self,
        n: int = 1000,
        *,
        clusters: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        seed: int | None = None,
    ) -> AnnData:
        """Generate cells of several clusters, in a form that :meth:`predict` and ``write_fcs`` take.

        Parameters
        ----------
        n
            Cells to generate.
        clusters
            Numbers of the clusters, from 1, each once; None takes all.
        weights
            What the cells are shared out by, one for each of the clusters; None takes their sizes in the fit.
        seed
            Seed of the draw; None takes the model's.

        Returns
        -------
        AnnData
            Marker values as :meth:`sample` gives them, in random order, and in ``obs["cluster"]`` of which cluster each
            cell is. A record in ``uns["fcs"]`` says that they are compensated: neither this model nor another one does
            it again.

        Raises
        ------
        InputError
            If there is no such cluster, nothing to share the cells out by, or of more than 10,000,000 cells.
        """
        self._check_fitted()
        seed = self.seed if seed is None else seed
        chosen = list(range(1, self.n_clusters_ + 1)) if clusters is None else list(clusters)
        self._check_clusters(chosen)
        counts = share_out(n, [float(self.summary_.sizes[k - 1]) for k in chosen] if weights is None else weights)
        if len(counts) != len(chosen):
            raise InputError(f"{len(chosen)} clusters need as many weights, not {len(counts)}")
        cells = np.concatenate([self.sample(k, count, seed=seed) for k, count in zip(chosen, counts, strict=True)])
        order = np.random.default_rng([seed, 0]).permutation(len(cells))
        return as_file(cells[order], np.repeat(np.array(chosen, np.int32), counts)[order], self.preprocessor_, seed)

    def _check_clusters(self, clusters: Sequence[int]) -> None:
        for cluster in clusters:
            if not 1 <= cluster <= self.n_clusters_:
                raise InputError(f"no cluster {cluster}; the model has clusters 1 to {self.n_clusters_}")

    def misfit(self, X: Cells) -> NDArray[np.float64]:
        """How far each cell is from what its cluster held in the fit, shape (cells,); about 1 for a typical cell.

        See :func:`cytomoe.fit_summary.misfit`. Above ``summary_.limit``, which 0.5 % of the cells of the fit exceed, a
        cell fits no expert.
        """
        expression = self._expression(X)
        found = np.full(len(expression), np.nan)

        def place(rows: NDArray[np.int64], part: NDArray[np.float32]) -> None:
            scaled = self.preprocessor_.scale(part)
            codes, experts = codes_and_experts(self.network_, scaled)
            residuals = scaled - decode(self.network_, codes, experts)
            found[rows] = misfit(self.summary_, codes, experts, residuals)

        self._on_parts(place, expression)
        return found

    def outlyingness(self, X: Cells, *, threads: int | None = None) -> NDArray[np.float32]:
        """How far the markers of each cell lie outside its cluster's ranges, shape (cells,); above 1: unassigned.

        The largest distance from a median of the cluster over the markers (see :mod:`cytomoe.outlyingness`), over the
        limit that 4 % of cells like those of the fit exceed, and most of a population that the fit never saw.
        ``threads`` as in :meth:`map_all`.

        Raises
        ------
        InputError
            If the model was written by a version that kept no ranges.
        """
        limit = self.summary_.outlyingness_limit[0]
        if np.isnan(limit):
            raise InputError(
                "the model was written before cytomoe could tell cells that fit no cluster; fit it again, or leave "
                "--unassigned out"
            )
        expression = self._expression(X)
        found = np.zeros(len(expression), dtype=np.float32)

        def place(rows: NDArray[np.int64], part: NDArray[np.float32]) -> None:
            _, experts = codes_and_experts(self.network_, self.preprocessor_.scale(part))
            found[rows] = outlyingness(self.summary_.ranges, part, experts)

        self._on_parts(place, expression, threads)
        return found / max(limit, np.float32(1e-6))

    # ---------------------------------------------------------------- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model with its preprocessing to one file, which holds no cells."""
        self._check_fitted()
        SavedModel(
            settings=self.settings_,
            seed=int(self.seed),
            preprocessor=self.preprocessor_,
            names=self.names_,
            notes=self.notes_,
            history=self.history_.records,
            summary=self.summary_,
            network=self.network_,
        ).write(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto", nan: NanPolicy = "refuse") -> Self:
        """Read a model written by :meth:`save`, or that in the folder of a run; ``device`` and ``nan`` as in the class.

        Raises
        ------
        InputError
            If the file is no model, is damaged, or needs another version of cytomoe.
        """
        saved = SavedModel.read(Path(path, "model.cytomoe") if Path(path).is_dir() else path)
        model = cls(settings=saved.settings, seed=saved.seed, device=device, preprocessor=saved.preprocessor, nan=nan)
        model.settings_, model.preprocessor_, model.summary_ = saved.settings, saved.preprocessor, saved.summary
        model.names_, model.notes_, model.history_ = saved.names, saved.notes, History(records=saved.history)
        model.network_ = saved.network.to(find_device(device)).eval()
        model.n_clusters_ = saved.network.n_experts
        model.known_as_ = [""] * model.n_clusters_
        return model

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise _not_fitted()


def _not_fitted() -> ValueError:
    """The error of scikit-learn for what is asked of a model before its fit."""
    from sklearn.exceptions import NotFittedError

    return NotFittedError("this MoESimVAE is not fitted yet; call fit first, or MoESimVAE.load(path)")


def find_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` means here.

    Raises
    ------
    InputError
        If there is no such device.
    """
    available = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {name}; use auto, cpu or cuda")
    if name == "cuda" and not available:
        raise InputError("no CUDA device was found; use --device cpu, or --device auto to take what there is")
    return torch.device("cuda" if name != "cpu" and available else "cpu")
