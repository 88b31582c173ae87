"""Writing a model of ours to a folder: config.json and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..configuration import to_plain
from ..files import write_text
from ..tensor_file import write_plain
from .config import ModelConfig

FORMAT = "statescope"


def save_model(config: ModelConfig, tensors: Mapping[str, Tensor], folder: str | Path) -> Path:
    """Write config.json and model.safetensors; each file appears whole or not at all. `load(folder)` reads them back."""
    folder = Path(folder)
    write_plain(folder / "model.safetensors", tensors)
    configuration = {"model_type": FORMAT, "format": 1, "config": to_plain(config)}
    write_text(folder / "config.json", json.dumps(configuration, indent=2) + "\n")
    return folder
