"""Running parity of a random bit sequence: the smallest task that needs a transition with a negative eigenvalue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .base import Batch, Split, Task, draw_split


@dataclass(frozen=True)
class Parity(Task, kind="parity"):
    """Tokens are fair bits; the target after each token is the parity of the bits so far."""

    label_names = ("parity",)

    @property
    def vocabulary(self) -> int:
        return 2

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        tokens = draw_split(lambda count: torch.randint(0, 2, (count, length), generator=generator), size, split)
        parity = tokens.cumsum(1) % 2
        return Batch(tokens, parity, {"parity": parity})

    @property
    def automaton_table(self) -> Tensor:
        """A bit of 1 leads from each of the two parities to the other."""
        return torch.tensor([[0, 1], [1, 0]])

    def labels_of(self, tokens: Tensor) -> dict[str, Tensor]:
        """The parity of the bits so far."""
        return {"parity": tokens.cumsum(0) % 2}
