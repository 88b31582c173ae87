"""Which vectors an activation consists of: its last axes, or the columns or rows of a matrix state."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Literal

from torch import Tensor

Side = Literal["vector", "key", "value"]


def vectors_of(activations: Tensor, side: Side, size: int, name: str) -> Tensor:
    """Activations as vectors [..., size].

    side: "vector" for the last axis, or as many of the last axes as hold `size` numbers together; in a matrix state [..., K, V]
        "key" for its V columns of K numbers and "value" for its K rows of V.
    name: of what is applied, for the error.

    Raises ValueError where the sizes do not fit.
    """
    if side == "key" and activations.ndim > 2:
        vectors = activations.transpose(-1, -2)
    elif side == "vector" and activations.shape[-1] != size:
        axes = next((n for n in range(1, activations.ndim + 1) if prod(activations.shape[-n:]) == size), 1)
        vectors = activations.flatten(-axes)
    else:
        vectors = activations
    if vectors.shape[-1] != size:
        raise ValueError(
            f"{name} has {size} entries on the {side} side, which does not fit an activation {tuple(activations.shape)}"
        )
    return vectors


def change_vectors(activations: Tensor, side: Side, size: int, name: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change every vector [..., size] of activations, and give them their shape again. Arguments: as of `vectors_of`."""
    changed = change(vectors_of(activations, side, size, name))
    is_transposed = side == "key" and activations.ndim > 2
    return changed.transpose(-1, -2) if is_transposed else changed.reshape(activations.shape)
