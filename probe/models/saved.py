"""Reading a model of ours from a folder: config.json and model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..checkpoint_folder import CheckpointFolder, UnreadableCheckpointError, at_most, check_layers, refuse_not_finite
from ..configuration import from_plain
from .config import ModelConfig
from .model import Model


def load_model(folder: CheckpointFolder) -> Model:
    """The model of a folder, in eval mode, bit for bit. Raises UnreadableCheckpointError, with names, where files do not fit."""
    configuration = folder.configuration
    if configuration.get("format") != 1:
        raise UnreadableCheckpointError(
            f"{folder.path}/config.json has format {configuration.get('format')!r}; this version reads 1"
        )
    model = build(folder, configuration.get("config"))
    _check_fit(folder, model.state_dict())
    # The file is mapped, and takes the place of what was drawn before its numbers are read: no second copy is ever in memory.
    model.load_state_dict({name: part[...] for name, part in folder.slices().items()}, assign=True)
    refuse_not_finite(folder, model.state_dict())
    return model.eval()


def build(folder: CheckpointFolder, config: Any) -> Model:
    """The model that the plain form of a ModelConfig describes, as it is drawn.

    Raises UnreadableCheckpointError where it describes none, or one far larger than what the files hold, which is never made.
    """
    check_layers(folder)
    try:
        with at_most(folder):
            return Model(from_plain(ModelConfig, config))
    except UnreadableCheckpointError:
        raise
    except (TypeError, ValueError, KeyError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise UnreadableCheckpointError(f"{folder.described_in} describes no model: {error}") from error


def _check_fit(folder: CheckpointFolder, own: Mapping[str, Tensor]) -> None:
    problems = [f"{name} is missing" for name in own if name not in folder.tensors]
    for name, stored in folder.tensors.items():
        if name not in own:
            problems.append(f"{name} is not expected")
        elif stored.shape != tuple(own[name].shape):
            problems.append(f"{name} has shape {list(stored.shape)} instead of {list(own[name].shape)}")
        elif stored.floating != own[name].is_floating_point() or (stored.dtype.startswith("C") != own[name].is_complex()):
            problems.append(f"{name} is stored as {stored.dtype} instead of {own[name].dtype}")
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UnreadableCheckpointError(f"{folder.path}: the tensors do not fit its config.json: {'; '.join(problems[:4])}{more}")
