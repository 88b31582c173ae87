"""Activations on disk, read a part at a time: what is larger than memory is probed without being held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import DamagedFileError

DENSE = 8  # times as many sequences are read in one piece as are wanted, rather than one by one
TORCH = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64, "complex64": torch.float32}
CHUNK = 4096  # samples that are read at a time


class DamagedCaptureError(DamagedFileError):
    """A stored capture that cannot be read, or was not finished."""


@dataclass(frozen=True)
class StoredActivation:
    """An activation [N, P, ...] of a store, or those of some of its sequences, indexed as a tensor would be.

    array: of zarr. sequences: which, None for all. `stored[4:, -1]` reads the sequences that it names and gives a tensor.
    """

    array: Any
    sequences: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [N, P, ...] that it has when it is read."""
        count = self.array.shape[0] if self.sequences is None else len(self.sequences)
        return (count, *self.array.shape[1:])

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """How many bytes it takes in memory."""
        return prod(self.shape) * self.array.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        places = index if isinstance(index, tuple) else (index,)
        if not places or not _names_sequences(places[0]):
            return self.read()[index]
        first, *others = places
        sequences = torch.arange(len(self))[first]
        found = self.read(sequences.flatten())
        own = slice(None) if isinstance(first, slice) else torch.arange(len(found)).reshape(sequences.shape)
        return found[(own if sequences.ndim else 0, *others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("a stored activation is read from disk, which always makes a copy")
        return self.read().numpy().astype(dtype or self.dtype, copy=False)

    def select(self, sequences: Tensor) -> StoredActivation:
        """Some of its sequences by number or mask, which nothing is read for. Raises IndexError for one that is not there."""
        every = torch.arange(self.array.shape[0]) if self.sequences is None else self.sequences
        return StoredActivation(self.array, every[sequences])

    def read(self, sequences: Tensor | None = None) -> Tensor:
        """The activation of some of its sequences [n, P, ...], by number or mask; of all when None.

        Raises DamagedCaptureError where what is on disk is not as it was written.
        """
        wanted = self.sequences if sequences is None else self.select(sequences).sequences
        if wanted is None:
            return self._numbers(self.array, slice(None))
        if not len(wanted):
            return self._numbers(self.array, slice(0))
        low, high = int(wanted.min()), int(wanted.max()) + 1
        if high - low <= DENSE * len(wanted):
            return self._numbers(self.array, slice(low, high))[wanted - low]
        unique, place = wanted.unique(return_inverse=True)
        return self._numbers(self.array.oindex, unique.numpy())[place]

    def _numbers(self, view: Any, index: Any) -> Tensor:
        try:
            return torch.from_numpy(np.asarray(view[index]))
        except (OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
            raise DamagedCaptureError(
                f"{self.array.store_path} cannot be read: {error}; delete the capture and make it again"
            ) from error


def _names_sequences(index: Any) -> bool:
    """Whether the first of several indices is of the first axis alone: no new axis, no ellipsis, and no mask of other axes."""
    mask = getattr(index, "dtype", type(index)) in (bool, np.bool_, torch.bool)
    return index is not None and index is not ... and (not mask or getattr(index, "ndim", 0) == 1)


@dataclass(frozen=True)
class StoredFeatures:
    """The samples of a stored activation as rows [S, D], read when they are asked for; what a tensor of them would be.

    samples: [S], where each sample stands when the sequences and positions [N, P] are counted in one row: as int32 where that is
        enough, for there may be more samples than numbers in one. `rows[index]` and `rows.split(size)` give tensors,
        `rows.subset(index)` more of this kind.
    """

    activation: StoredActivation
    samples: Tensor
    hook: str

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape [S, D], a complex number being two features."""
        return len(self.samples), prod(self.activation.shape[2:]) * (2 if np.dtype(self.activation.dtype).kind == "c" else 1)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of rows that are read: float64 where the store's is, or else float32."""
        return torch.float64 if str(self.activation.dtype) in ("float64", "complex128") else torch.float32

    def is_floating_point(self) -> bool:
        """True, as of a tensor of floats."""
        return True

    def __getitem__(self, index: Any) -> Tensor:
        samples, positions = self.samples[index].long(), self.activation.shape[1]
        sequences, own = (samples // positions).unique(return_inverse=True)
        return feature_rows(self.activation.read(sequences)[own, samples % positions], self.hook)

    def split(self, size: int) -> Iterator[Tensor]:
        """The rows in their order, `size` at a time."""
        for part in torch.arange(len(self)).split(size):
            yield self[part]

    def subset(self, index: Tensor) -> StoredFeatures:
        """Some of the rows, by number or mask, unread."""
        return StoredFeatures(self.activation, self.samples[index], self.hook)

    def tensor(self) -> Tensor:
        """All rows, in memory."""
        return torch.cat(list(self.split(CHUNK)))


Features = Tensor | StoredFeatures


def feature_rows(values: Tensor, hook: str) -> Tensor:
    """Values [S, ...] as rows [S, D] in float32, or float64 where they are; a complex number is two features side by side.

    Raises DamagedCaptureError for values that are not finite.
    """
    rows = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    if not bool(rows.isfinite().all()):
        raise DamagedCaptureError(f"the capture of {hook} holds values that are not finite; it is damaged or was not finished")
    return rows.flatten(1).to(torch.promote_types(rows.dtype, torch.float32))


def subset(features: Features, index: Tensor) -> Features:
    """Some rows: of a tensor copied, of stored ones unread."""
    return features.subset(index) if isinstance(features, StoredFeatures) else features[index]


def in_memory(features: Features) -> Tensor:
    """The rows as a tensor."""
    return features.tensor() if isinstance(features, StoredFeatures) else features
