"""What of a fitted model is kept in its file: settings, preprocessing, network, and what its clusters are like.

The file holds no cells. Its description and tensors are taken for hostile until each has been checked; the container
is :mod:`cytomoe.model_file`, the format ``docs/model_format.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch

from cytomoe import __version__
from cytomoe.annotation import ClusterNames
from cytomoe.errors import InputError
from cytomoe.fit_summary import FitSummary
from cytomoe.model.networks import MoESimVAENetwork
from cytomoe.model_file import check_tensor, load_network, one_line, read_model, write_model
from cytomoe.preprocessing import Preprocessor
from cytomoe.settings import Settings
from cytomoe.training.loop import build_network

# Arrays of the summary that are NaN where they are not known.
_MAY_BE_UNKNOWN = ("stability", "ranges", "outlyingness_limit")


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A fitted model, ready to be written or just read.

    Attributes
    ----------
    settings, seed
        Of the training.
    preprocessor
        Transformation and scaling that every input passes.
    names
        What the clusters are called, or None.
    notes, history
        What the user should know of the fit, and the losses over it.
    summary
        How codes and markers are spread in each cluster.
    network
        With one expert for each cluster.
    """

    settings: Settings
    seed: int
    preprocessor: Preprocessor
    names: ClusterNames | None
    notes: list[str]
    history: list[dict[str, float]]
    summary: FitSummary
    network: MoESimVAENetwork

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        summary = self.summary.arrays().items()
        tensors |= {f"summary.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in summary}
        description = {
            "version": __version__,
            "torch": torch.__version__,
            "settings": self.settings.to_dict(),
            "seed": self.seed,
            "n_clusters": self.network.n_experts,
            "names": None if self.names is None else self.names.to_dict(),
            "preprocessing": self.preprocessor.to_dict(),
            "notes": self.notes,
            "history": self.history,
        }
        write_model(path, tensors, description)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file; the network stays on the CPU.

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
            notes = [str(note) for note in description["notes"]]
            history = [dict(record) for record in description["history"]]
            names = _names(description.get("names"), n_clusters)
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
            check_tensor(tensor, name, tensor.shape, torch.float32, path, finite=name not in _MAY_BE_UNKNOWN)
        summary = FitSummary(**{name: tensor.numpy() for name, tensor in kept.items()})
        problem = summary.problem(n_clusters, settings.code_size, n_markers)
        if problem:
            raise InputError(f"{path}: damaged model: {problem}")
        shapes = replace(settings, experts=n_clusters)
        network = load_network(lambda: build_network(n_markers, shapes), tensors, path)
        return cls(settings, seed, preprocessor, names, notes, history, summary, network)


def _names(values: Any, n_clusters: int) -> ClusterNames | None:
    """What the clusters of a file are called."""
    if values is None:
        return None
    names = ClusterNames.from_dict(values)
    if any(len(column) != n_clusters for column in names.columns.values()):
        raise ValueError("it does not have a name for each cluster")
    return names


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
