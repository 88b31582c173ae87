"""A model of ours in a folder: config.json and model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..configuration import from_plain, to_plain
from ..errors import StatescopeError
from ..files import write_text, write_whole
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
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            _check_fit(model, file, folder)
            # The file is mapped, not read, and takes the place of what was drawn: no second copy of the model is ever in memory.
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()}, assign=True)  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise UnreadableModelError(f"{folder}/model.safetensors cannot be read: {error}") from error
    return model.eval()


def _check_fit(model: Model, file: Any, folder: Path) -> None:
    """Raise UnreadableModelError, with names, where the file's tensors are not the model's."""
    own = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    stored = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    wrong = sorted(name for name in own.keys() | stored.keys() if own.get(name) != stored.get(name))
    if wrong:
        raise UnreadableModelError(f"{folder}/model.safetensors does not fit its config.json: {', '.join(wrong[:4])}")
