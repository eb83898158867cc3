"""The model file: safetensors for the numbers, JSON in its header for everything else.

Loading runs no code and the file holds no cells. Sizes are checked against each other, and against what stands in the
file, before anything is built: see ``docs/model_format.md``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from cytomoe.errors import InputError
from cytomoe.io.atomic import atomic_path

FORMAT = "cytomoe-model"
FORMAT_VERSION = 3
# Formats that can be read.
_READABLE = (2, 3)
_KEY = "cytomoe"
# The description of the largest model is below 1 MB; parsed, a header of this size takes a few hundred.
_MAX_HEADER_BYTES = 16 << 20
_QUOTED = 300


def write_model(path: str | os.PathLike[str], tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write a model file, whole or not at all.

    Parameters
    ----------
    path
        The file to write; an existing one is replaced.
    tensors
        Named tensors, any device.
    description
        JSON-ready description; format and its version are added.
    """
    from safetensors.torch import save

    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **description}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(plain, metadata={_KEY: json.dumps(header, allow_nan=False)}))


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model file.

    Returns
    -------
    tensors, description

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or of a format newer than this program knows.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"{path}: no such model file")
    try:
        with Path(path).open("rb") as start:
            header_bytes = int.from_bytes(start.read(8), "little")
        if header_bytes > _MAX_HEADER_BYTES:
            raise InputError(f"{path}: damaged or not a cytomoe model; give RUN/model.cytomoe")
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY, "null")
            description = json.loads(text, parse_constant=_refuse_constant)
            if not isinstance(description, dict) or description.get("format") != FORMAT:
                raise InputError(f"{path}: not a cytomoe model; give the model.cytomoe of a run")
            _check_version(path, description)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged or not a cytomoe model ({one_line(error)})") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from error
    return tensors, description


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _check_version(path: str | os.PathLike[str], description: dict[str, Any]) -> None:
    """Refuse formats that this program does not know, with the version of cytomoe that does."""
    found, writer = description.get("format_version"), str(description.get("version", "of unknown version"))[:40]
    if type(found) is not int or found < 1:
        raise InputError(f"{path}: damaged model: its format version is {str(found)[:40]}")
    if found not in _READABLE:
        raise InputError(
            f"{path}: has model format {found}, and this cytomoe reads formats {' and '.join(map(str, _READABLE))}; "
            f"use cytomoe {writer}, which wrote it"
        )


def one_line(message: object) -> str:
    """A message that quotes a file, cut to what a person reads."""
    text = " ".join(str(message).split())
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def load_network(build: Callable[[], torch.nn.Module], tensors: dict[str, Tensor], path: str | os.PathLike[str]) -> Any:
    """Build a network from tensors named ``network.*``, refusing missing, extra, misshapen or broken ones.

    Parameters
    ----------
    build
        Makes the network that the description asks for. It is called where tensors have shapes and no memory, so that
        a description that asks for more than the file holds allocates nothing.
    tensors
        What the file holds; they become the network's own.
    path
        The file, for messages.
    """
    try:
        with torch.device("meta"):
            network = build()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path}: damaged model: no network has its sizes") from error
    prefix = "network."
    state = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    expected = network.state_dict()
    for name in sorted(expected.keys() ^ state.keys()):
        raise InputError(
            f"{path}: damaged model: tensor {one_line(name)} is {'missing' if name in expected else 'unknown'}"
        )
    for name, tensor in state.items():
        check_tensor(tensor, name, expected[name].shape, expected[name].dtype, path)
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise InputError(f"{path}: damaged model: tensor {name} holds variances below zero")
    network.load_state_dict(state, assign=True)
    return network


def check_tensor(
    tensor: Tensor,
    name: str,
    shape: Sequence[int],
    dtype: torch.dtype,
    path: str | os.PathLike[str],
    *,
    finite: bool = True,
) -> None:
    """Refuse a tensor of another shape or type, or, where they must be ``finite``, with values that are not."""
    if tuple(tensor.shape) != tuple(shape):
        shapes = f"{tuple(tensor.shape)} instead of {tuple(shape)}"
        raise InputError(f"{path}: damaged model: tensor {name} has shape {shapes}")
    if tensor.dtype != dtype:
        raise InputError(f"{path}: damaged model: tensor {name} holds {tensor.dtype} instead of {dtype}")
    if finite and not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{path}: damaged model: tensor {name} holds values that are not finite")
