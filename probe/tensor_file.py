"""A safetensors file with a description: tensors by name, and a JSON value under a key of the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import check_regular, write_whole

UNREADABLE = (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError)
"""What reading a file that somebody else wrote, and making something of it, may raise."""


def write_tensors(path: Path, key: str, tensors: Mapping[str, Tensor], about: Any) -> None:
    """Write the file, which appears whole or not at all. about: what JSON can say."""
    held = {name: value.detach().contiguous() for name, value in tensors.items()}
    write_whole(path, lambda temporary: save_file(held, temporary, {key: json.dumps(about)}))


def read_tensors(path: str | Path, key: str) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the description. Raises one of `UNREADABLE` for what is no such file; a link or a device is none."""
    check_regular(path)
    with safe_open(str(path), framework="pt") as file:
        about = json.loads((file.metadata() or {})[key])
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 (no dict)
