"""Captures on disk: zarr v3 with checksums, NaN where nothing was written, and a counter that moves after each batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import Crc32cCodec, ZstdCodec

from ..errors import StatescopeError
from ..files import reporting_full_disk, write_text
from ..tasks.base import Batch
from .capture import Capture

COMMIT = "commit.json"


class DamagedCaptureError(StatescopeError, ValueError):
    """A stored capture that cannot be read, or was not finished."""


class CaptureWriter:
    """Writes batches one after another. What `commit.json` counts is on disk; what lies beyond it is not read."""

    def __init__(self, path: str | Path, positions: tuple[int, ...], sequences: int) -> None:
        self.path = Path(path)
        if (self.path / COMMIT).exists():
            raise FileExistsError(f"{self.path} holds a capture already; delete it or choose another store")
        self.positions = positions
        self.sequences = sequences
        self.done = 0
        with reporting_full_disk(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.group = zarr.open_group(self.path, mode="w", zarr_format=3)

    def write(self, activations: dict[str, Tensor], batch: Batch) -> None:
        rows = slice(self.done, self.done + len(batch.tokens))
        at = list(self.positions)
        columns = {f"hooks/{name}": value.numpy() for name, value in activations.items()}
        columns |= {f"labels/{name}": value[:, at].numpy() for name, value in batch.labels.items()}
        columns |= {"tokens": batch.tokens.numpy(), "groups": batch.groups.numpy()}
        with reporting_full_disk(self.path / COMMIT):
            for name, values in columns.items():
                self._array(name, values)[rows] = values
        self.done += len(batch.tokens)
        self._commit()

    def finish(self) -> Capture:
        return open_capture(self.path)

    def _array(self, name: str, values: np.ndarray[Any, Any]) -> Any:
        if name in self.group:
            return self.group[name]
        floating = np.issubdtype(values.dtype, np.floating)
        return self.group.create_array(
            name,
            shape=(self.sequences, *values.shape[1:]),
            chunks=values.shape,
            dtype=values.dtype,
            compressors=(ZstdCodec(level=3), Crc32cCodec()),
            fill_value=float("nan") if floating else -1,
        )

    def _commit(self) -> None:
        counter = {"sequences": self.sequences, "written": self.done, "positions": self.positions}
        write_text(self.path / COMMIT, json.dumps(counter))


def open_capture(path: str | Path) -> Capture:
    """Read a stored capture. Raises DamagedCaptureError for one that is missing, unfinished or unreadable."""
    path = Path(path)
    try:
        counter = json.loads((path / COMMIT).read_text())
        group = zarr.open_group(path, mode="r", zarr_format=3)
        if counter["written"] != counter["sequences"]:
            raise ValueError(f"{counter['written']} of {counter['sequences']} sequences were written")
        hooks = {name: group[f"hooks/{name}"] for name in sorted(_names(group, "hooks"))}
        labels = {name: _tensor(group[f"labels/{name}"]) for name in sorted(_names(group, "labels"))}
        return Capture(hooks, labels, _tensor(group["tokens"]), _tensor(group["groups"]), tuple(counter["positions"]))
    except (OSError, KeyError, ValueError) as error:
        raise DamagedCaptureError(f"{path} cannot be read as a capture: {error}") from error


def _names(group: Any, part: str) -> list[str]:
    return list(group[part].array_keys()) if part in group else []


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.asarray(array[:]))
