"""Captures on disk: zarr v3 with checksums, NaN where nothing was written, and a counter that moves after each batch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import Crc32cCodec, ZstdCodec

from ..files import check_regular_folder, explaining_failed_writes, read_json, write_text
from .capture import Capture, from_columns
from .stored import DamagedCaptureError, StoredActivation

COMMIT = "commit.json"


class CaptureWriter:
    """Writes batches one after another. What `commit.json` counts is on disk; what lies beyond it is not read.

    sequences: how many there will be in all. classes: of the capture. request: a digest of what is written. resume: go on behind
    the `done` sequences of an unfinished capture of the same request.
    """

    def __init__(
        self,
        path: str | Path,
        sequences: int,
        classes: Mapping[str, Sequence[str]] | None = None,
        *,
        request: str = "",
        resume: bool = False,
    ) -> None:
        self.path, self.request = Path(path), request
        begun = _counter(self.path) if resume else None
        if begun is not None:
            _check_request(self.path, begun, request)
            self.sequences, self.classes, self.done = sequences, dict(classes or {}), int(begun["written"])
            self.group = zarr.open_group(self.path, mode="r+", zarr_format=3)
            return
        there = _counter(self.path)
        if there is not None and there["written"] < there["sequences"]:
            went = f"{there['written']} of {there['sequences']} sequences of a capture that stopped"
            on = ", or give resume=True to go on" if there.get("request") else "; with resume=True from the start it goes on"
            raise FileExistsError(f"{self.path} holds {went}; delete it{on}")
        if there is not None:
            raise FileExistsError(f"{self.path} holds a capture already; delete it or choose another store")
        if os.path.lexists(self.path) and not _is_unfinished(self.path):
            raise FileExistsError(f"{self.path} is no capture of ours, and writing one would delete it; choose another store")
        self.sequences = sequences
        self.classes = dict(classes or {})
        self.done = 0
        with explaining_failed_writes(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.group = zarr.open_group(self.path, mode="w", zarr_format=3)

    def write(self, columns: Mapping[str, Tensor], rows: Tensor | None = None) -> None:
        """Write a batch: its columns [B, ...] by name. All batches need the same columns, of one shape behind the first axis.

        rows: which sequences of the capture they are, [B]; the next ones when None. Raises ValueError for a column that does not
        fit those before: nothing is cut to fit.
        """
        count = len(next(iter(columns.values())))
        at = np.arange(self.done, self.done + count) if rows is None else rows.numpy()
        with explaining_failed_writes(self.path / COMMIT):
            for name, values in columns.items():
                array = self._array(name, _numpy(values))
                if array.shape[1:] != tuple(values.shape[1:]) or at.max() >= self.sequences:
                    raise ValueError(f"{name}: {tuple(values.shape)} does not fit rows {at.min()} to {at.max()} of {array.shape}")
                if at[-1] - at[0] == count - 1 and (np.diff(at) == 1).all():
                    array[at[0] : at[-1] + 1] = _numpy(values)
                else:
                    array.oindex[at] = _numpy(values)
        self.done += count
        self._commit()

    def finish(self) -> Capture:
        return open_capture(self.path)

    def _array(self, name: str, values: np.ndarray[Any, Any]) -> Any:
        if name in self.group:
            return self.group[name]
        return self.group.create_array(
            name,
            shape=(self.sequences, *values.shape[1:]),
            chunks=values.shape,
            dtype=values.dtype,
            compressors=(ZstdCodec(level=3), Crc32cCodec()),
            fill_value=_nothing(values.dtype),
        )

    def _commit(self) -> None:
        counter = {"sequences": self.sequences, "written": self.done, "classes": self.classes}
        counter |= {"request": self.request} if self.request else {}
        write_text(self.path / COMMIT, json.dumps(counter))


def finished(path: str | Path, request: str) -> bool:
    """Tell whether a store holds the whole capture of a request. Raises FileExistsError for one of another request."""
    counter = _counter(Path(path))
    if counter is None:
        return False
    _check_request(Path(path), counter, request)
    return bool(counter["written"] == counter["sequences"])


def _counter(path: Path) -> dict[str, Any] | None:
    """What commit.json says; None where nothing was committed."""
    if not (path / COMMIT).exists():
        return None
    try:
        counter = read_json(path / COMMIT)
        if not isinstance(counter["written"], int) or not isinstance(counter["sequences"], int):
            raise ValueError("it counts no sequences")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedCaptureError(f"{path / COMMIT} cannot be read: {error}") from error
    return dict(counter)


def _check_request(path: Path, counter: Mapping[str, Any], request: str) -> None:
    if counter.get("request") != request:
        raise FileExistsError(
            f"{path} holds a capture of another call: another model, hooks, positions, sequences, labels or batches; choose "
            "another store"
        )


def _is_unfinished(path: Path) -> bool:
    """Whether a path is an empty folder, or a capture that was begun: a zarr group of ours."""
    return not path.is_symlink() and path.is_dir() and (not any(path.iterdir()) or (path / "zarr.json").is_file())


def open_capture(path: str | Path) -> Capture:
    """Read a stored capture. Raises DamagedCaptureError for one that is missing, unfinished or unreadable."""
    path = Path(path)
    try:
        counter = read_json(path / COMMIT)
        check_regular_folder(path)
        group: Any = zarr.open_group(path, mode="r", zarr_format=3)
        if counter["written"] != counter["sequences"]:
            raise ValueError(f"{counter['written']} of {counter['sequences']} sequences were written")
        columns = {f"hooks/{name}": group[f"hooks/{name}"] for name in sorted(_names(group, "hooks"))}
        wrong = [name for name, array in columns.items() if array.dtype.kind not in "fc"]
        if wrong or not columns:
            raise ValueError(f"{', '.join(wrong)} is of no real or complex numbers" if wrong else "it holds no activation")
        small = [f"labels/{name}" for name in sorted(_names(group, "labels"))] + ["tokens", "groups", "positions"]
        columns = {name: StoredActivation(array) for name, array in columns.items()}
        columns |= {name: _written(name, np.asarray(group[name][:])) for name in small}
        return from_columns(columns, {name: tuple(map(str, own)) for name, own in counter.get("classes", {}).items()})
    except (OSError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise DamagedCaptureError(f"{path} cannot be read as a capture: {error}") from error


def _written(name: str, values: np.ndarray[Any, Any]) -> Tensor:
    """What is small enough to be held. Raises ValueError where a part of it was never written, or is gone."""
    if values.dtype.kind == "i" and bool((values == _nothing(values.dtype)).any()):
        raise ValueError(f"a part of {name} is missing")
    return torch.from_numpy(values)


def _names(group: Any, part: str) -> list[str]:
    return list(group[part].array_keys()) if part in group else []


def _nothing(dtype: np.dtype[Any]) -> Any:
    """What stands where nothing was written: nan, or the smallest whole number, which is no token, label or position."""
    if np.issubdtype(dtype, np.integer):
        return int(np.iinfo(dtype).min)
    return complex(np.nan, np.nan) if np.issubdtype(dtype, np.complexfloating) else np.nan


def _numpy(values: Tensor) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return found
