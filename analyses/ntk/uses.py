"""A place where a weight meets the data, and what the gradient there says of each sample.

    Multiplied    what was multiplied, and the gradient of the product
    LookedUp      the numbers that were looked up, and the gradient of the rows
    Copied        the weight was taken once a sample, so that the gradient of each copy is that of its sample
    Convolved     what was convolved, and the gradient of the result
    Contracted    what an einsum contracted with the weight, and the gradient of the result

`rules` says which functions meet a weight in which of these ways.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import ascii_letters

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from .factors import Dense, Factor, Outer, Scattered


@dataclass(frozen=True)
class Weight:
    """A tensor computed from parameters alone, from none of them if it is a constant.

    leaves: the parameters that it depends on, by name.
    straight: (scale, turned) where it is scale times the one parameter, a matrix, or its transpose.
    version: of the tensor when it was seen; a later one says that something was written into it.
    """

    tensor: Tensor
    leaves: Mapping[str, Tensor]
    straight: tuple[float, bool] | None
    version: int

    def pull(self, rows: Tensor) -> Iterator[tuple[str, Factor]]:
        """Gradients [N, ...] in this tensor as gradients in the parameters behind it."""
        if self.straight is not None:
            scale, turned = self.straight
            yield next(iter(self.leaves)), Dense(scale * (rows.mT if turned else rows))
            return
        names, tensors = list(self.leaves), list(self.leaves.values())
        if self.tensor is tensors[0]:
            yield names[0], Dense(rows)
            return
        try:
            found = torch.autograd.grad(
                self.tensor, tensors, rows, retain_graph=True, allow_unused=True, is_grads_batched=True, materialize_grads=True
            )
        except RuntimeError:  # a backward pass that knows no batches
            each = [torch.autograd.grad(self.tensor, tensors, row, retain_graph=True, materialize_grads=True) for row in rows]
            found = tuple(map(torch.stack, zip(*each, strict=True)))
        for name, value in zip(names, found, strict=True):
            yield name, Dense(value)


@dataclass(frozen=True)
class Use(ABC):
    """One place where a weight meets the data.

    edge: of the autograd graph, at which the gradient is asked for. size: the numbers of that gradient.
    """

    weight: Weight
    edge: GradientEdge
    size: int

    @abstractmethod
    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        """What the gradient at the edge says of each sample, in the parameters behind the weight."""


@dataclass(frozen=True)
class Multiplied(Use):
    """inputs [..., m] @ weight [m, n].

    coordinates: the inputs, one after another, in the span of the few of them that differ [positions, r], the same for all
        outputs; None where they were not asked for, or are no shorter (`coordinates`).
    """

    inputs: Tensor
    coordinates: Tensor | None = None

    @property
    def outer(self) -> bool:
        """Whether its gradients are kept as sums of outer products: the weight is one matrix, and what it multiplied is real."""
        return self.weight.straight is not None and self.inputs.ndim > 1 and not self.inputs.is_complex()

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        into, out = (side.reshape(samples, -1, side.shape[-1]) for side in (self.inputs, gradient))
        straight = self.weight.straight
        if straight is None or into.is_complex() or out.is_complex():
            yield from self.weight.pull(into.mH @ out)
        else:
            scale, turned = straight
            few = None if self.coordinates is None else self.coordinates.unflatten(0, out.shape[:2])
            pairs = [(side.to(out.dtype), out) for side in (into, few) if side is not None]
            pairs = pairs if scale == 1 else [(scale * side, out) for side, _ in pairs]
            (left, right), *shorter = [(out, side) for side, _ in pairs] if turned else pairs
            yield next(iter(self.weight.leaves)), Outer(left, right, *shorter)


@dataclass(frozen=True)
class LookedUp(Use):
    """Rows `ids` of a table; those of `padding` have no gradient."""

    ids: Tensor
    padding: int | None

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        ids, size = self.ids.reshape(samples, -1), self.weight.tensor.shape[-1]
        gradient = gradient.reshape(samples, -1, size)
        if self.padding is not None:
            gradient = gradient * (ids != self.padding)[..., None]
        found = Scattered(ids, gradient, len(self.weight.tensor))
        if self.weight.straight == (1.0, False):
            yield next(iter(self.weight.leaves)), found
        else:
            yield from self.weight.pull(found.dense().unflatten(1, tuple(self.weight.tensor.shape)))


@dataclass(frozen=True)
class Copied(Use):
    """The weight taken once for each entry of the first axis."""

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        shape = self.weight.tensor.shape
        rows = gradient.reshape(samples, -1, *gradient.shape[1:]).sum(1)
        if len(shape) == gradient.ndim:
            rows = rows[:, None]
        if rows.ndim > len(shape) + 1:
            rows = rows.flatten(1, rows.ndim - len(shape) - 1).sum(1)
        for axis, size in enumerate(shape):
            if rows.shape[axis + 1] != size:
                rows = rows.sum(axis + 1, keepdim=True)
        yield from self.weight.pull(rows)


@dataclass(frozen=True)
class Convolved(Use):
    """inputs [N, C, ...] convolved with weight [O, C / groups, ...]: one more grouping of them makes a weight of each sample."""

    inputs: Tensor
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        weight, count = self.weight.tensor.detach(), len(self.inputs)
        of_each = weight.repeat(count, *[1] * (weight.ndim - 1))
        plain, zeros = self.inputs.reshape(1, -1, *self.inputs.shape[2:]), [0] * len(self.stride)
        laid_out = torch.contiguous_format  # an axis of length 1 may have any stride, from which torch guesses another layout
        _, rows, _ = torch.ops.aten.convolution_backward(
            gradient.reshape(1, -1, *gradient.shape[2:]).clone(memory_format=laid_out),
            plain.to(gradient.dtype).clone(memory_format=laid_out),
            of_each,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            zeros,
            count * self.groups,
            [False, True, False],
        )
        yield from self.weight.pull(rows.reshape(samples, -1, *weight.shape).sum(1))


@dataclass(frozen=True)
class Contracted(Use):
    """An einsum of one weight with the data.

    pattern: the einsum that gives each sample's rows from the data and the gradient, whose results begin with the letter of
    samples. Where samples and tokens share that axis, the tokens are contracted with the rest.
    """

    pattern: str
    data: tuple[Tensor, ...]

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        sides, result = self.pattern.split("->")
        sample, token = result[0], next(letter for letter in ascii_letters if letter not in self.pattern)
        operands = [*(value.conj() for value in self.data), gradient]
        split = [
            own.unflatten(side.index(sample), (samples, -1)) if sample in side else own
            for side, own in zip(sides.split(","), operands, strict=True)
        ]
        yield from self.weight.pull(torch.einsum(f"{sides.replace(sample, sample + token)}->{result}", *split))
