"""Matrices as sequences of tokens: a transpose or a sum, written number by number (Charton 2022, arXiv:2112.01898)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from .base import IGNORED, Batch, Split, Task, draw_split
from .number_encodings import ENCODINGS, EncodingName, NumberEncoding


@dataclass(frozen=True)
class MatrixAlgebra(Task, kind="matrix_algebra"):
    """A sequence is the numbers of one matrix or two, row by row, a token that asks, and the numbers of the result, of which each
    is asked for before it is read. Every sequence has the same length, `tokens`.
    """

    operation: Literal["transpose", "addition"] = "transpose"
    """The transpose of one matrix is asked for, or the sum of two."""
    size: int = 2
    """Matrices have this many rows and columns."""
    encoding: EncodingName = "P10"
    """Numbers are written so: by digits (P10), mantissas (P1000), with signs (B1999) or as one token (FP15)."""
    largest: int = 9
    """Entries are whole numbers from minus this to this."""

    def __post_init__(self) -> None:
        if self.operation not in ("transpose", "addition") or self.encoding not in ENCODINGS:
            raise ValueError(f"operation={self.operation!r} or encoding={self.encoding!r} is not known")
        if self.size < 1 or not 1 <= self.largest <= 499:
            raise ValueError("size must be at least 1, and largest from 1 to 499, so that sums have three digits")

    @property
    def vocabulary(self) -> int:
        return self.numbers.vocabulary + 1

    @property
    def numbers(self) -> NumberEncoding:
        """How a number is written."""
        return ENCODINGS[self.encoding]

    @property
    def tokens(self) -> int:
        """The length of every sequence: nothing is asked after the last token of the result, which is left out."""
        return (self._matrices + 1) * self._written

    @property
    def _matrices(self) -> int:
        return 1 if self.operation == "transpose" else 2

    @property
    def _written(self) -> int:
        return self.size**2 * len(self.numbers.sizes)

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        if length != self.tokens:
            raise ValueError(f"sequences have {self.tokens} tokens, got length {length}")

        def draw(count: int) -> Tensor:
            shape = count, self._matrices * self.size**2
            return torch.randint(-self.largest, self.largest + 1, shape, generator=generator)

        entries = draw_split(draw, size, split)
        matrices = entries.unflatten(1, (self._matrices, self.size, self.size))
        result = matrices[:, 0].mT if self.operation == "transpose" else matrices.sum(1)
        read, written = (self.numbers.encode(values.flatten(1).double()).flatten(1) for values in (entries, result))
        ask = torch.full((size, 1), self.vocabulary - 1)
        tokens = torch.cat([read, ask, written[:, :-1]], 1)
        return Batch(tokens, torch.cat([torch.full_like(read, IGNORED), written], 1))

    def right_within(self, predicted: Tensor, batch: Batch, tolerance: float = 0.05) -> Tensor:
        """Whether each result is right, [B]: predicted tokens [B, T] after each token, read as numbers, differ from the true ones
        by no more than `tolerance` of their size in the sum of absolute differences.
        """
        own, truth = (
            self.numbers.decode(tokens[:, -self._written :].unflatten(1, (self.size**2, -1)))
            for tokens in (predicted, batch.targets)
        )
        return (own - truth).abs().sum(1) <= tolerance * truth.abs().sum(1) + 1e-12
