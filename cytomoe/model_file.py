"""The model file: safetensors for the numbers, JSON in its header for everything else.

Loading runs no code and the file holds no cells. Shapes are checked against the description before a network is built.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cytomoe.errors import InputError
from cytomoe.io.atomic import atomic_path

FORMAT = "cytomoe-model"
FORMAT_VERSION = 2
_KEY = "cytomoe"


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
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {}).get(_KEY, "null"))
            if not isinstance(description, dict) or description.get("format") != FORMAT:
                raise InputError(f"{path}: not a cytomoe model; give the model.cytomoe of a run")
            if description.get("format_version") != FORMAT_VERSION:
                raise InputError(
                    f"{path}: model format {description.get('format_version')} is not the format {FORMAT_VERSION} that "
                    f"this cytomoe reads; it was written by cytomoe {description.get('version', 'of unknown version')}"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged or not a cytomoe model ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from error
    return tensors, description


def load_weights(network: torch.nn.Module, tensors: dict[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Fill ``network`` from tensors named ``network.*``, refusing missing, extra or misshapen ones."""
    prefix = "network."
    state = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    expected = network.state_dict()
    for name in sorted(expected.keys() ^ state.keys()):
        raise InputError(f"{path}: damaged model: tensor {name} is {'missing' if name in expected else 'unknown'}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
            raise InputError(f"{path}: damaged model: tensor {name} has shape {shapes}")
    network.load_state_dict(state)
