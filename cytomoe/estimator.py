"""MoE-Sim-VAE as a scikit-learn estimator on arrays and AnnData: fit, predict, predict_proba, transform, sample.

model = MoESimVAE(seed=0).fit(adata)
clusters = model.predict(other)
model.save("model.cytomoe")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from cytomoe import __version__
from cytomoe.annotation import ClusterNames
from cytomoe.errors import InputError
from cytomoe.fit_summary import FitSummary, misfit, summarise
from cytomoe.generation import Spread, draw_own, draw_unit
from cytomoe.model.inference import CHUNK, codes_and_experts, decode, map_cells
from cytomoe.model_file import check_tensor, load_network, one_line, read_model, write_model
from cytomoe.outlyingness import outlyingness
from cytomoe.preparation import Prepared, as_prior, prepare
from cytomoe.preprocessing import NanPolicy, Preprocessor
from cytomoe.settings import CHANGES, Settings, preset
from cytomoe.similarity import Prior, name_by_types
from cytomoe.training.loop import History, Progress, build_network
from cytomoe.training.recovery import Trained, train_safely

if TYPE_CHECKING:
    from anndata import AnnData

    from cytomoe.similarity import Similarity


class MoESimVAE(ClusterMixin, TransformerMixin, BaseEstimator):
    """Cluster cells with a Mixture-of-Experts Similarity Variational Autoencoder.

    Parameters
    ----------
    preset
        ``default`` (similarity by valleys) or ``paper`` (the published settings).
    experts
        Upper bound on the number of clusters; None takes the preset's.
    resolution
        Above 1: more, smaller clusters; below 1: fewer. None takes the preset's.
    similarity
        ``valleys``, ``consensus``, ``umap`` or ``knn``; None takes the preset's.
    metric
        ``euclidean``, ``correlation``, ``cosine`` or ``canberra``; None takes the preset's.
    settings
        Complete settings, in place of preset, experts, resolution, similarity and metric.
    subsample
        Fit on at most this many cells, drawn at random; None fits on all. Every cell is mapped either way.
    seed
        Seed of all randomness. The same seed, machine and thread count give the same clusters.
    device
        ``auto`` (a CUDA device if there is one), ``cpu`` or ``cuda``.
    preprocessor
        Fitted preprocessing for AnnData input; None fits one on the input of :meth:`fit`.
    nan
        What is done to cells with values that are NaN or infinite: ``refuse`` them; ``drop``: they train nothing and
        get cluster 0, confidence 0 and a code of NaN, in their own row; ``zero``: such values are taken for 0.
    progress
        Called with a :class:`cytomoe.training.loop.Progress` while training.

    Attributes
    ----------
    n_clusters_
        Clusters found. They are numbered 1 to ``n_clusters_`` by size.
    labels_
        Cluster of each cell given to :meth:`fit`, int32, shape (cells,); 0 where it was dropped.
    summary_
        How codes and markers are spread in each cluster: see :class:`cytomoe.fit_summary.FitSummary`.
    preprocessor_
        Transformation and scaling that every input passes.
    settings_
        Settings of the training that gave the result.
    history_
        Losses over the training.
    known_as_
        Population of the prior that each cluster is, empty where none.
    names_
        What the clusters are called, or None; a run sets it.
    notes_
        What the user should know of the fit, such as a collapse that was recovered from.
    """

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

    def fit(
        self, X: NDArray[np.floating[Any]] | AnnData, y: None = None, *, prior: Prior | ArrayLike | None = None
    ) -> Self:
        """Learn the clusters of cells.

        Parameters
        ----------
        X
            Either an AnnData of raw values as :func:`cytomoe.read_fcs` returns it, or an array of transformed marker
            values (arcsinh or logicle), shape (cells, markers).
        y
            Ignored: clustering sees no labels.
        prior
            Cells that are known: the name of each cell's population, or an empty name (None, NaN) where it is unknown,
            shape (cells,). Cells of one population are similar, of two dissimilar; the data decides the rest.

        Raises
        ------
        InputError
            If values are missing or not finite, or settings do not fit together.
        RunError
            If the training collapses into one cluster whatever is tried.
        """
        chosen = self.settings or preset(self.preset, **{name: getattr(self, name) for name in CHANGES})
        if self.nan not in get_args(NanPolicy):
            raise InputError(f"unknown nan={self.nan!r}; use {', '.join(get_args(NanPolicy))}")
        find_device(self.device)
        self.preprocessor_ = self.preprocessor or _fit_preprocessor(X, chosen, self.nan)
        expression, known = self._expression(X), None
        there = _there(expression)
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
        experts = self._keep_used_experts(training, self.preprocessor_.scale(training), similarity)
        self.known_as_ = [""] * self.n_clusters_
        if prepared.known is not None and prepared.types is not None:
            types = prepared.types
            decided = np.flatnonzero(types >= 0) if similarity.partition is None else np.arange(len(types))
            self.known_as_ = name_by_types(experts[decided], types[decided], prepared.known.names, self.n_clusters_)
        self.labels_ = self.number_by_size(self.map_all(prepared.expression)[1])
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

    def predict(self, X: NDArray[np.floating[Any]] | AnnData) -> NDArray[np.int32]:
        """Cluster of each cell, from 1, 0 where it was dropped; int32, shape (cells,)."""
        return self.map_all(X)[1]

    def predict_proba(self, X: NDArray[np.floating[Any]] | AnnData) -> NDArray[np.float32]:
        """Probability of each cluster for each cell; shape (cells, clusters), column k - 1 for cluster k."""
        expression = self._expression(X)
        found = np.full((len(expression), self.n_clusters_), np.nan, dtype=np.float32)
        for rows, _, probabilities in self._map_expression(expression):
            found[rows] = probabilities
        return found

    def transform(self, X: NDArray[np.floating[Any]] | AnnData) -> NDArray[np.float32]:
        """Code means of cells, shape (cells, L)."""
        return self.map_all(X)[0]

    def map_all(
        self, X: NDArray[np.floating[Any]] | AnnData
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        """Codes, clusters and confidence in one pass.

        Returns
        -------
        codes, clusters, confidence
            Shapes (cells, L), (cells,) and (cells,).
        """
        expression = self._expression(X)
        codes = np.full((len(expression), self.settings_.code_size), np.nan, dtype=np.float32)
        clusters = np.zeros(len(expression), dtype=np.int32)
        confidence = np.zeros(len(expression), dtype=np.float32)
        for rows, chunk, probabilities in self._map_expression(expression):
            codes[rows], clusters[rows], confidence[rows] = chunk, probabilities.argmax(1) + 1, probabilities.max(1)
        return codes, clusters, confidence

    def _map_expression(
        self, expression: NDArray[np.float32]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]]:
        """Rows that are not dropped, a chunk at a time, with their codes and probabilities."""
        for rows, part in self._parts(expression):
            start = 0
            for codes, probabilities in map_cells(self.network_, self.preprocessor_.scale(part)):
                yield rows[start : start + len(codes)], codes, probabilities
                start += len(codes)

    def _parts(self, expression: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows that are not dropped and their markers, a chunk at a time."""
        for start in range(0, len(expression), CHUNK):
            part = expression[start : start + CHUNK]
            rows = np.flatnonzero(_there(part))
            yield rows + start, part if len(rows) == len(part) else part[rows]

    def _expression(self, X: NDArray[np.floating[Any]] | AnnData) -> NDArray[np.float32]:
        """Transformed marker values: from raw ones in an AnnData, or the array itself, checked."""
        if not hasattr(self, "preprocessor_"):
            raise NotFittedError("this MoESimVAE is not fitted yet; call fit first, or MoESimVAE.load(path)")
        if not isinstance(X, np.ndarray):
            return self.preprocessor_.expression(X, nan=self.nan)
        expression = _as_expression(X, self.nan)
        n_markers = len(self.preprocessor_.markers)
        if expression.shape[1] != n_markers:
            raise InputError(f"{expression.shape[1]} columns given, but the model has {n_markers} markers")
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
            Marker values in the units that :meth:`fit` was given, shape (n, markers).

        Raises
        ------
        InputError
            If there is no such cluster.
        """
        self._check_fitted()
        if not 1 <= cluster <= self.n_clusters_:
            raise InputError(f"no cluster {cluster}; the model has clusters 1 to {self.n_clusters_}")
        rng = np.random.default_rng([self.seed if seed is None else seed, cluster])
        if spread == "unit":
            scaled = draw_unit(self.network_, self.summary_, cluster - 1, n, rng)
        else:
            lowest = 0.0 if self.preprocessor_.clip else -np.inf
            scaled = draw_own(self.network_, self.summary_, cluster - 1, n, rng, lowest=lowest)
        return self.preprocessor_.inverse_expression(self.preprocessor_.inverse_scale(scaled))

    def misfit(self, X: NDArray[np.floating[Any]] | AnnData) -> NDArray[np.float64]:
        """How far each cell is from what its cluster held in the fit, shape (cells,); about 1 for a typical cell.

        See :func:`cytomoe.fit_summary.misfit`. Above ``summary_.limit``, which 0.5 % of the cells of the fit exceed, a
        cell fits no expert.
        """
        expression = self._expression(X)
        found = np.full(len(expression), np.nan)
        for rows, part in self._parts(expression):
            scaled = self.preprocessor_.scale(part)
            codes, experts = codes_and_experts(self.network_, scaled)
            residuals = scaled - decode(self.network_, codes, experts)
            found[rows] = misfit(self.summary_, codes, experts, residuals)
        return found

    def outlyingness(self, X: NDArray[np.floating[Any]] | AnnData) -> NDArray[np.float32]:
        """How far the markers of each cell lie outside its cluster's ranges, shape (cells,); above 1: unassigned.

        The largest distance from a median of the cluster over the markers (see :mod:`cytomoe.outlyingness`), over the
        limit that 4 % of cells like those of the fit exceed, and most of a population that the fit never saw.

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
        for rows, part in self._parts(expression):
            _, experts = codes_and_experts(self.network_, self.preprocessor_.scale(part))
            found[rows] = outlyingness(self.summary_.ranges, part, experts)
        return found / max(limit, np.float32(1e-6))

    # ---------------------------------------------------------------- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model with its preprocessing to one file, which holds no cells."""
        self._check_fitted()
        tensors = {f"network.{name}": tensor for name, tensor in self.network_.state_dict().items()}
        summary = self.summary_.arrays().items()
        tensors |= {f"summary.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in summary}
        description = {
            "version": __version__,
            "torch": torch.__version__,
            "settings": self.settings_.to_dict(),
            "seed": self.seed,
            "n_clusters": self.n_clusters_,
            "names": None if self.names_ is None else self.names_.to_dict(),
            "preprocessing": self.preprocessor_.to_dict(),
            "notes": self.notes_,
            "history": self.history_.records,
        }
        write_model(path, tensors, description)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto", nan: NanPolicy = "refuse") -> Self:
        """Read a model written by :meth:`save`; ``device`` and ``nan`` as in the class.

        Raises
        ------
        InputError
            If the file is no model, is damaged, or needs another version of cytomoe.
        """
        tensors, description = read_model(path)
        try:
            settings = Settings.from_dict(description["settings"])
            n_clusters = _whole(description["n_clusters"], least=1)
            preprocessor = Preprocessor.from_dict(description["preprocessing"])
            seed = _whole(description["seed"])
            model = cls(settings=settings, seed=seed, device=device, preprocessor=preprocessor, nan=nan)
            model.notes_ = [str(note) for note in description["notes"]]
            model.history_ = History(records=[dict(record) for record in description["history"]])
            names = description.get("names")
            model.names_ = None if names is None else ClusterNames.from_dict(names)
            if model.names_ is not None and any(len(c) != n_clusters for c in model.names_.columns.values()):
                raise ValueError("it does not have a name for each cluster")
            kept = _kept(tensors, description["format_version"])
        except InputError as error:
            raise InputError(
                f"{path}: damaged model, or one of another version of cytomoe: {one_line(error)}"
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{path}: damaged model: {one_line(repr(error))} in its description") from error
        if sum(map(len, (settings.encoder_widths, settings.gating_widths, settings.expert_widths))) > len(tensors):
            raise InputError(f"{path}: damaged model: it has fewer tensors than layers")
        n_markers = len(preprocessor.markers)
        for name, tensor in kept.items():
            finite = name not in ("stability", "ranges", "outlyingness_limit")  # NaN where they are not known
            check_tensor(tensor, name, tensor.shape, torch.float32, path, finite=finite)
        model.summary_ = FitSummary(**{name: tensor.numpy() for name, tensor in kept.items()})
        problem = model.summary_.problem(n_clusters, settings.code_size, n_markers)
        if problem:
            raise InputError(f"{path}: damaged model: {problem}")
        model.known_as_ = [""] * n_clusters
        shapes = replace(settings, experts=n_clusters)
        network = load_network(lambda: build_network(n_markers, shapes), tensors, path)
        model.network_ = network.to(find_device(device)).eval()
        model.settings_, model.n_clusters_, model.preprocessor_ = settings, n_clusters, preprocessor
        return model

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise NotFittedError("this MoESimVAE is not fitted yet; call fit first, or MoESimVAE.load(path)")


def _kept(tensors: dict[str, torch.Tensor], format_version: int) -> dict[str, torch.Tensor]:
    """Tensors of the summary; what models of format 2 did not keep is NaN."""
    kept = {field.name: tensors.get(f"summary.{field.name}") for field in fields(FitSummary)}
    if format_version == 2:
        clusters, markers = tensors["summary.residual_means"].shape
        kept |= {
            "ranges": torch.full((clusters, 3, markers), torch.nan),
            "outlyingness_limit": torch.full((1,), torch.nan),
        }
    missing = [name for name, tensor in kept.items() if tensor is None]
    if missing:
        raise KeyError(f"summary.{missing[0]}")
    return {name: tensor for name, tensor in kept.items() if tensor is not None}


def _whole(number: object, *, least: int = 0) -> int:
    """A count from a model's description."""
    if type(number) is not int or not least <= number < 2**63:
        raise ValueError(f"{str(number)[:40]} is no count")
    return number


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


def _there(expression: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a cell has numbers in all markers, shape (cells,): others are there under ``nan="drop"`` alone."""
    return np.asarray(~np.isnan(expression).any(axis=1))


def _as_expression(X: NDArray[np.floating[Any]], nan: NanPolicy = "refuse") -> NDArray[np.float32]:
    if X.ndim != 2:
        raise InputError(f"an array of {X.ndim} dimensions can't be clustered; give shape (cells, markers)")
    expression = np.ascontiguousarray(X, dtype=np.float32)
    finite = np.isfinite(expression)
    if finite.all():
        return expression
    if nan == "refuse":
        bad = np.count_nonzero(~finite)
        raise InputError(f"{bad} values are not finite numbers; remove or replace them first, or give nan='drop'")
    if nan == "zero":
        return np.where(finite, expression, np.float32(0))
    return np.where(finite.all(axis=1, keepdims=True), expression, np.float32(np.nan))


def _fit_preprocessor(X: NDArray[np.floating[Any]] | AnnData, settings: Settings, nan: NanPolicy) -> Preprocessor:
    """Preprocessing as the file suggests for AnnData; scaling alone for an array, which is transformed already."""
    if not isinstance(X, np.ndarray):
        return Preprocessor.fit([X], clip=settings.clips_noise, nan=nan)
    from anndata import AnnData
    from pandas import DataFrame

    expression = _as_expression(X, nan)
    names = [f"marker {i + 1}" for i in range(expression.shape[1])]
    var = DataFrame({"channel": names, "antigen": ""}, index=names)
    return Preprocessor.fit([AnnData(expression, var=var)], markers=names, transform="none", compensate="no", nan=nan)
