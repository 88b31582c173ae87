"""What a tangent kernel is asked of: a model, two sets of samples, outputs and parameters."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ...probe.errors import unknown_name
from .jacobian import Parameters, Route, chosen
from .samples import Read, Samples

Output = Literal["trace", "full"] | int
Advance = Callable[[int, int], None]
Made = TypeVar("Made")

AT_ONCE = 32  # directions in the parameters that are held at once, of the columns that an engine or an operator multiplies


@dataclass(frozen=True)
class EngineResult:
    """What an engine gives: the kernel of each group, the route of each parameter, and the values' standard errors if any."""

    parts: dict[str, Tensor]
    routes: dict[str, Route]
    standard_error: Tensor | None = None


@dataclass(frozen=True)
class KernelTask:
    """What an engine is asked for: arguments of `tangent_kernel`.

    second: None for the first samples with themselves. tensors: what `double_tensors` gives of the model. group: from a
    parameter's name to that of the group whose kernel it is part of. features, seed: of random projections. in_a_pass: samples
    that share a backward pass at most; a tile takes several.
    """

    model: nn.Module
    first: Samples
    second: Samples | None
    output: Output
    read: Read
    parameters: Parameters
    tensors: tuple[dict[str, Tensor], dict[str, Tensor]]
    tile: int
    group: Callable[[str], str] = lambda name: "all"
    features: int = 512
    seed: int = 0
    advance: Advance = lambda done, total: None
    in_a_pass: int = sys.maxsize

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


def as_output(output: Any) -> Output:
    """An output as an engine takes it: a whole number of any kind is an int. Raises UnknownNameError for what is none."""
    if isinstance(output, str) and output in ("trace", "full"):
        return "trace" if output == "trace" else "full"
    try:
        if not isinstance(output, str | bool):
            return operator.index(output)
    except TypeError:
        pass
    raise unknown_name("output", str(output), ("trace", "full", "the index of one"))


def as_tile(tile: Any) -> int:
    """Samples at once, as `as_output` takes an output. Raises ValueError for what is no positive whole number."""
    try:
        found = 0 if isinstance(tile, bool) else operator.index(tile)
    except TypeError:
        found = 0
    if found < 1:
        raise ValueError(f"tile={tile} must be a positive whole number")
    return found


class KernelSums:
    """The kernel of each group, to which blocks are added where they belong; it lies where the samples do.

    In a kernel of samples with themselves a block off the diagonal stands for its transpose too.
    """

    def __init__(self, task: KernelTask, outputs: int) -> None:
        n, m = len(task.first), len(task.first if task.second is None else task.second)
        self._shape = (n, outputs, m, outputs) if task.output == "full" else (n, m)
        self._mirrored, self._group, self._device = task.second is None, task.group, task.first.inputs[0].device
        self.parts: dict[str, Tensor] = {task.group(name): self._empty() for name in chosen(task.model, task.parameters)}

    def add(self, name: str, rows: slice, columns: slice, block: Tensor) -> None:
        """Add what a parameter has at rows and columns, a block [n, m] or [n, O, m, O]."""
        kernel = self.parts[self._group(name)]
        block = block.detach().to(kernel.device)
        last = (slice(None),) * (block.ndim == 4)
        kernel[(rows, *last, columns)] += block
        if self._mirrored and rows != columns:
            turned = block.mT if block.ndim == 2 else block.permute(2, 3, 0, 1)
            kernel[(columns, *last, rows)] += turned

    def _empty(self) -> Tensor:
        return torch.zeros(self._shape, dtype=torch.float64, device=self._device)


def _slices(count: int, tile: int) -> list[slice]:
    return [slice(start, min(start + tile, count)) for start in range(0, count, tile)]
