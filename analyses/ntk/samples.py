"""The samples of a kernel: what the model takes, which positions its outputs are read at, and the outputs themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...kernels.arguments import can_read_values
from ..operators.precise import precise

Read = Callable[[Any], Tensor]


def last_position(output: Any) -> Tensor:
    """The outputs at the last token of [N, T, O]; [N, O] as they are. Of an output with `logits`, as transformers', those.

    Raises ValueError for another output, with what to do.
    """
    values = getattr(output, "logits", output)
    if not isinstance(values, Tensor) or values.ndim < 2:
        found = f"{tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(output).__name__}"
        raise ValueError(
            f"the model gives {found}, not outputs [N, O] or [N, T, O]; give `read`, a function from what it gives to [N, O], "
            "such as read=lambda output: output[:, None] for one number of each sample"
        )
    return values if values.ndim == 2 else values[:, -1]


class Samples:
    """N samples: the model's inputs, each with the samples first, and where their outputs are read.

    A batch of sequences of different lengths is padded behind their ends and read at `positions=lengths - 1`; a model that is not
    causal takes its mask as a further input.

    numbers: [N], theirs among the samples that were given, of which a part may run by itself.
    """

    def __init__(self, *inputs: Tensor, positions: Tensor | None = None) -> None:
        """Hold samples.

        inputs: what the model is called with, each [N, ...].
        positions: [N] or [N, P], the tokens whose outputs are read, from 0, the outputs of several one after another as
            [N, P O]. Left out, `read` says what is read.

        Raises TypeError for inputs that are no tensors, and ValueError for inputs of different lengths, or none, and positions
        that are not whole numbers from 0: that of a sequence without tokens would be the last of what it is padded with.
        """
        for value in inputs:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"samples are tensors, samples first, got {type(value).__name__}; pad sequences of different lengths behind "
                    "their ends and give Samples(tokens, positions=lengths - 1)"
                )
        if positions is not None and (positions.dtype not in (torch.int32, torch.int64) or not _from_zero(positions)):
            raise ValueError(
                f"positions must be whole numbers from 0, got {positions.dtype} {positions.flatten()[:8].tolist()} .."
            )
        lengths = {len(value) for value in (*inputs, *([] if positions is None else [positions]))}
        if not inputs or len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"inputs and positions must hold the same number of samples, one at least; got {sorted(lengths)}")
        self.inputs, self.positions = inputs, positions
        self.numbers = torch.arange(len(inputs[0]), device=inputs[0].device)

    @staticmethod
    def of(x: Tensor | Samples) -> Samples:
        return x if isinstance(x, Samples) else Samples(x)

    def __len__(self) -> int:
        return len(self.inputs[0])

    def __getitem__(self, rows: slice | Tensor) -> Samples:
        positions = None if self.positions is None else self.positions[rows]
        found = Samples(*(value[rows] for value in self.inputs), positions=positions)
        found.numbers = self.numbers[rows]
        return found

    def double(self) -> Samples:
        """The same with numbers in float64 or complex128, whole ones as they are; detached, and usable by autograd."""
        found = Samples(*map(precise, self.inputs), positions=self.positions)
        found.numbers = self.numbers
        return found


def read_outputs(output: Any, samples: Samples, read: Read) -> Tensor:
    """The outputs f [N, O] of a pass. Raises ValueError for another shape, or one that no parameter moves."""
    if samples.positions is not None:
        places = samples.positions.reshape(len(samples), -1)
        output = getattr(output, "logits", output)
        if (
            not isinstance(output, Tensor)
            or output.ndim < 3
            or (can_read_values(places) and int(places.max()) >= output.shape[1])
        ):
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"positions are read from outputs [N, T, O] of more tokens than the last position, got {found}")
        output = output[torch.arange(len(samples), device=output.device)[:, None], places].flatten(1)
    values = read(output)
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != len(samples):
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"read must give the outputs of each sample, [{len(samples)}, outputs] for {len(samples)}; it gave {found}"
        )
    if not values.is_floating_point():
        instead = "read their parts" if values.is_complex() else "whole numbers have no gradient: read what they are chosen by"
        raise ValueError(f"the outputs must be real numbers, got {values.dtype}; {instead}")
    if not values.requires_grad:
        raise ValueError("the outputs depend on no parameter with requires_grad, or the model detaches them")
    return values.double()


def _from_zero(positions: Tensor) -> bool:
    return not can_read_values(positions) or not bool((positions < 0).any())
