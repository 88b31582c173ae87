"""The states at taps, gathered as they arise."""

from __future__ import annotations

import torch
from torch import Tensor


class TapStates:
    """P states [s, H, K, V] that become one tensor [s, P, H, K, V].

    Without a gradient each is written to its place at once, so that the peak of memory is the P states. With one they are
    stacked at the end: the gradient of writing in place would copy the whole tensor at every write.
    """

    def __init__(self, count: int, *, differentiable: bool) -> None:
        self._count = count
        self._differentiable = differentiable
        self._parts: dict[int, Tensor] = {}
        self._whole: Tensor | None = None

    def put(self, slot: int, state: Tensor) -> None:
        if self._differentiable:
            self._parts[slot] = state
            return
        if self._whole is None:
            self._whole = state.new_empty(state.shape[0], self._count, *state.shape[1:])
        self._whole[:, slot] = state

    def together(self) -> Tensor | None:
        """All states in the order of their slots; None if there are none."""
        if self._differentiable and self._parts:
            return torch.stack([self._parts[slot] for slot in range(self._count)], dim=1)
        return self._whole


def requires_grad(*tensors: Tensor | None) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)
