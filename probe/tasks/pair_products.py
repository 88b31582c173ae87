"""Products of real numbers at one position: what a multiplicative gate is made for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .base import Batch, Split, Task, draw_split


@dataclass(frozen=True)
class PairProducts(Task, kind="pair_products"):
    """Each position holds real numbers x ~ N(0, 1), and the target is x_1 x_2 + x_3 x_4 + ..., over the root of the number of
    products. A form of degree 2: no layer of linear maps gives it. Nothing has to be remembered, so that a model's channel mixer
    alone decides.
    """

    pairs: int = 2
    """The target is a sum of so many products, of two numbers each."""

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise ValueError(f"pairs must be at least 1, got {self.pairs}")

    @property
    def vocabulary(self) -> int:
        return 1

    @property
    def inputs(self) -> int:
        return 2 * self.pairs

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        def draw(count: int) -> Tensor:
            return torch.randn(count, length, self.inputs, generator=generator, dtype=torch.float64)

        x = draw_split(draw, size, split)
        products = (x[..., ::2] * x[..., 1::2]).sum(-1, keepdim=True) / self.pairs**0.5
        return Batch(x.float(), products.float())
