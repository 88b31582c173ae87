"""Matrices as sequences of tokens: a transpose, a sum or a product with a vector, written number by number.

Charton 2021 (arXiv:2112.01898).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from .base import IGNORED, Batch, Split, Task, draw_split
from .number_encodings import ENCODINGS, EncodingName, NumberEncoding

Operation = Literal["transpose", "addition", "product"]


class _Shape(NamedTuple):
    """Of an operation on n x n matrices: how many numbers are read and written; those written [B, m'] by those read [B, m]."""

    read: Callable[[int], int]
    written: Callable[[int], int]
    result: Callable[[Tensor, int], Tensor]


def _product(entries: Tensor, size: int) -> Tensor:
    matrix, vector = entries[:, : size**2].unflatten(1, (size, size)), entries[:, size**2 :]
    return (matrix * vector[:, None]).sum(-1)


OPERATIONS: dict[Operation, _Shape] = {
    "transpose": _Shape(lambda n: n**2, lambda n: n**2, lambda entries, n: entries.unflatten(1, (n, n)).mT.flatten(1)),
    "addition": _Shape(lambda n: 2 * n**2, lambda n: n**2, lambda entries, n: entries.unflatten(1, (2, -1)).sum(1)),
    "product": _Shape(lambda n: n**2 + n, lambda n: n, _product),
}


@dataclass(frozen=True)
class MatrixAlgebra(Task, kind="matrix_algebra"):
    """A sequence is the numbers of one matrix, of two, or of a matrix and a vector, row by row, a token that asks, and the
    numbers of the result, of which each is asked for before it is read. Every sequence has the same length, `tokens`.
    """

    operation: Operation = "transpose"
    """The transpose of one matrix is asked for, the sum of two, or the product of one with a vector ("product")."""
    size: int = 2
    """Matrices have this many rows and columns."""
    encoding: EncodingName = "P10"
    """Numbers are written so: by digits (P10), mantissas (P1000), with signs (B1999) or as one token (FP15)."""
    largest: int = 9
    """Entries are whole numbers from minus this to this."""

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS or self.encoding not in ENCODINGS:
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
        shape = OPERATIONS[self.operation]
        return (shape.read(self.size) + shape.written(self.size)) * len(self.numbers.sizes)

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        if length != self.tokens:
            raise ValueError(f"sequences have {self.tokens} tokens, got length {length}")

        operation = OPERATIONS[self.operation]

        def draw(count: int) -> Tensor:
            shape = count, operation.read(self.size)
            return torch.randint(-self.largest, self.largest + 1, shape, generator=generator)

        entries = draw_split(draw, size, split)
        result = operation.result(entries, self.size)
        read, written = (self.numbers.encode(values.double()).flatten(1) for values in (entries, result))
        ask = torch.full((size, 1), self.vocabulary - 1)
        tokens = torch.cat([read, ask, written[:, :-1]], 1)
        return Batch(tokens, torch.cat([torch.full_like(read, IGNORED), written], 1))

    def right_within(self, predicted: Tensor, batch: Batch, tolerance: float = 0.05) -> Tensor:
        """Whether each result is right, [B]: predicted tokens [B, T] after each token, read as numbers, differ from the true ones
        by no more than `tolerance` of their size in the sum of absolute differences.
        """
        count, width = OPERATIONS[self.operation].written(self.size), len(self.numbers.sizes)
        own, truth = (
            self.numbers.decode(tokens[:, -count * width :].unflatten(1, (count, width))) for tokens in (predicted, batch.targets)
        )
        return (own - truth).abs().sum(1) <= tolerance * truth.abs().sum(1) + 1e-12
