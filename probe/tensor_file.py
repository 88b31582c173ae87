"""A safetensors file with a description: tensors by name, and a JSON value under a key of the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import check_regular, write_whole

UNREADABLE = (OSError, SafetensorError, KeyError, TypeError, ValueError, OverflowError, RuntimeError)
"""What reading a file that somebody else wrote, and making something of it, may raise; torch has RuntimeErrors."""


def write_tensors(path: Path, key: str, tensors: Mapping[str, Tensor], about: Any) -> None:
    """Write the file, with `about` in JSON under one key: several stand in no fixed order, and the same should be one file."""
    write_plain(path, tensors, {key: json.dumps(about)})


def write_plain(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str] | None = None) -> None:
    """Write tensors alone; the file appears whole or not at all. One tensor may stand under several names."""
    held = {name: _apart(value) for name, value in tensors.items()}
    write_whole(path, lambda temporary: save_file(held, temporary, header))


def _apart(tensor: Tensor) -> Tensor:
    """A copy that shares no memory with another tensor, which safetensors refuses to write."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def read_tensors(path: str | Path, key: str) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the description. Raises one of `UNREADABLE` for what is no such file; a link or a device is none."""
    check_regular(path)
    with safe_open(str(path), framework="pt") as file:
        about = described(file, key)
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 (no dict)


def described(file: Any, key: str) -> Any:
    """What an opened file says under a key of its header. Raises one of `UNREADABLE`."""
    return json.loads((file.metadata() or {})[key])
