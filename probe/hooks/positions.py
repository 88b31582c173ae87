"""Which token positions are kept: one meaning for taps, caches, captures, edits, patching and generation.

A request is a position, a list of increasing positions, "last", "all" or `Tap(every=n)`; negative positions count from the end of
the sequence, and a position outside it raises IndexError. Where padding is given, "last" is the last token of each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.arguments import can_read_values
from ...kernels.operators.transition import Transition
from ...kernels.recurrence import Tap, TapRequest

PositionRequest = TapRequest


@dataclass(frozen=True)
class Positions:
    """Positions of a batch.

    of_batch: increasing, in every row. of_row: [B, 1], which of `of_batch` each row keeps, where rows differ; else None.
    """

    of_batch: tuple[int, ...]
    of_row: Tensor | None = None

    @classmethod
    def of(cls, request: PositionRequest, length: int, attention_mask: Tensor | None = None) -> Positions:
        """Resolve a request in sequences of `length` tokens; those with 0 in `attention_mask` [B, length] are padding."""
        tap = Tap.of(request)
        if attention_mask is None or not tap.last:
            return cls(tap.resolve(length))
        ends = last_tokens(attention_mask)
        positions, of_row = torch.unique(ends, return_inverse=True)
        return cls(tuple(positions.tolist()), of_row[:, None])

    @property
    def shown(self) -> tuple[int, ...]:
        """The positions as a cache names them; -1 where they are the last of each row."""
        return self.of_batch if self.of_row is None else (-1,)

    def select(self, value: Any, axis: int) -> Any:
        """The positions along an axis of a tensor that holds every token."""
        if self.of_row is None:
            return at(value, axis, torch.tensor(self.of_batch, device=value.device))
        return at_rows(value, axis, torch.tensor(self.of_batch, device=value.device)[self.of_row.to(value.device)])

    def select_rows(self, value: Any, axis: int) -> Any:
        """Each row's own along an axis that holds `of_batch` alone, as those of tapped states do."""
        return value if self.of_row is None else at_rows(value, axis, self.of_row.to(value.device))


def last_tokens(attention_mask: Tensor) -> Tensor:
    """The position of the last token of each row of a mask [B, T]. Raises ValueError for a row of padding alone."""
    mask = attention_mask.bool()
    if not bool(mask.any(1).all()):
        raise ValueError(f"row {int((~mask.any(1)).nonzero()[0])} of attention_mask has no token: every position is padding")
    return mask.shape[1] - 1 - mask.flip(1).int().argmax(1)


def check_mask(attention_mask: Tensor, batch: int, length: int) -> None:
    """Raise ValueError unless a mask is [batch, length]."""
    if tuple(attention_mask.shape) != (batch, length):
        raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}; it needs [{batch}, {length}], as tokens have")


def refuse_left_padding(attention_mask: Tensor) -> None:
    """Raise ValueError where padding stands before a token: a recurrence would read it into its state."""
    if can_read_values(attention_mask) and bool((attention_mask.bool().int().diff(dim=1) > 0).any()):
        raise ValueError("attention_mask has padding before a token; pad on the right, where it changes no other position")


def at(value: Any, axis: int, index: Tensor) -> Any:
    """The entries `index` [P] along an axis of a tensor, or of a Transition [B, T, H]."""
    if isinstance(value, Transition):
        return value.each(lambda part: part.index_select(axis, index))
    return value.index_select(axis, index)


def at_rows(value: Any, axis: int, index: Tensor) -> Any:
    """The entries `index` [B, P] along an axis, each row (axis 0) its own."""
    if isinstance(value, Transition):
        return value.each(lambda part: at_rows(part, axis, index))
    rows = torch.arange(len(value), device=value.device)[:, None]
    return value.movedim(axis, 1)[rows, index].movedim(1, axis)
