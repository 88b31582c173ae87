"""What a tangent kernel is asked of: a model, two sets of samples, outputs and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import nn

from .jacobian import Parameters
from .samples import Read, Samples

Output = Literal["trace", "full"] | int
Made = TypeVar("Made")


@dataclass(frozen=True)
class KernelTask:
    """The arguments of `tangent_kernel` that every engine takes. second: None for the first samples with themselves."""

    model: nn.Module
    first: Samples
    second: Samples | None
    output: Output
    read: Read
    parameters: Parameters
    tile: int

    def tiles(self, of: Callable[[Samples], Made]) -> Iterator[tuple[slice, slice, Made, Made]]:
        """What `of` makes of the samples of each two tiles; of a symmetric kernel one half, and one thing on its diagonal."""
        for rows in _slices(len(self.first), self.tile):
            one = of(self.first[rows])
            if self.second is None:
                yield rows, rows, one, one
            other = self.first if self.second is None else self.second
            for columns in _slices(len(other), self.tile):
                if self.second is not None or columns.start > rows.start:
                    yield rows, columns, one, of(other[columns])

    def indices(self, outputs: int) -> list[int]:
        """The outputs that are differentiated, of this many."""
        return [self.output % outputs] if isinstance(self.output, int) else list(range(outputs))


def _slices(count: int, tile: int) -> list[slice]:
    return [slice(start, min(start + tile, count)) for start in range(0, count, tile)]
