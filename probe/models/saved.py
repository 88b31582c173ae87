"""A model of ours in a folder: config.json and model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..configuration import from_plain, to_plain
from ..errors import StatescopeError
from ..studies.files import write_text, write_whole
from .config import ModelConfig
from .model import Model

FORMAT = "statescope"


class UnreadableModelError(StatescopeError, ValueError):
    """A folder whose files are no model of ours, or do not fit each other."""


def save_model(model: Model, folder: str | Path) -> Path:
    """Write config.json and model.safetensors; each file appears whole or not at all. `load(folder)` reads them back."""
    folder = Path(folder)
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder / "model.safetensors", lambda temporary: save_file(tensors, temporary))
    configuration = {"model_type": FORMAT, "format": 1, "config": to_plain(model.config)}
    write_text(folder / "config.json", json.dumps(configuration, indent=2) + "\n")
    return folder


def load_model(folder: Path, configuration: dict[str, Any]) -> Model:
    """The model of a folder, in eval mode, bit for bit. Raises UnreadableModelError where files do not fit."""
    if configuration.get("format") != 1:
        raise UnreadableModelError(f"{folder}/config.json has format {configuration.get('format')!r}; this version reads 1")
    model = Model(from_plain(ModelConfig, configuration["config"]))
    try:
        tensors = load_file(folder / "model.safetensors")
        wrong = {name: tensor for name, tensor in model.state_dict().items() if _differs(tensor, tensors.get(name))}
        if wrong or set(tensors) - set(model.state_dict()):
            names = sorted([*wrong, *(set(tensors) - set(model.state_dict()))])
            raise UnreadableModelError(f"{folder}/model.safetensors does not fit its config.json: {', '.join(names[:4])}")
        kinds = {tensor.dtype for tensor in tensors.values()}
        if len(kinds) == 1:
            model.to(kinds.pop())
        model.load_state_dict(tensors)
    except (OSError, SafetensorError) as error:
        raise UnreadableModelError(f"{folder}/model.safetensors cannot be read: {error}") from error
    return model.eval()


def _differs(own: Any, found: Any) -> bool:
    return found is None or found.shape != own.shape
