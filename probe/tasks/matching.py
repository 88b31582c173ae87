"""Match2 and Match3: do some tokens sum to 0 modulo M with the last one (Sanford et al. 2023, arXiv:2306.02896)?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .base import Batch, Split, Task, draw_split


@dataclass(frozen=True)
class Match(Task, kind="match"):
    """A token matches where it and `order` - 1 tokens before it, which may repeat, sum to 0 modulo `modulus`. Tokens are numbers
    below `modulus`; the target and the label "match" after a token are 1 where it matches, else 0.
    """

    order: int = 2
    """So many tokens have to sum to 0."""
    modulus: int = 37
    """Tokens are numbers below this one."""

    label_names = ("match",)

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise ValueError(f"order must be 2 or 3, got {self.order}")

    @property
    def vocabulary(self) -> int:
        return self.modulus

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        m = self.modulus
        tokens = draw_split(lambda count: torch.randint(0, m, (count, length), generator=generator), size, split)
        match = self._match(tokens)
        return Batch(tokens, match, {"match": match})

    def _match(self, tokens: Tensor) -> Tensor:
        """By the residues that the tokens so far, or the pairs of them, reach."""
        m = self.modulus
        one_hot = torch.nn.functional.one_hot(tokens, m).bool()
        seen = one_hot.int().cummax(1).values.bool()
        if self.order == 3:
            index = (torch.arange(m)[:, None] - torch.arange(m)) % m  # residue s = r + (s - r)
            seen = (seen[..., None, :] & seen[..., index]).any(-1)
        return seen.gather(2, ((-tokens) % m)[..., None])[..., 0].long()
