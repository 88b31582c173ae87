"""The samples of a kernel: what the model takes, which positions its outputs are read at, and the outputs themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..operators.precise import precise

Read = Callable[[Any], Tensor]


def last_position(output: Tensor) -> Tensor:
    """The outputs at the last token of [N, T, O]; [N, O] as they are."""
    return output if output.ndim == 2 else output[:, -1]


class Samples:
    """N samples: the model's inputs, each with the samples first, and where their outputs are read.

    A batch of sequences of different lengths is padded behind their ends and read at `positions=lengths - 1`; a model that is not
    causal takes its mask as a further input.
    """

    def __init__(self, *inputs: Tensor, positions: Tensor | None = None) -> None:
        """Hold samples.

        inputs: what the model is called with, each [N, ...].
        positions: [N] or [N, P], the tokens whose outputs are read, the outputs of several one after another as [N, P O]. Left
            out, `read` says what is read.

        Raises ValueError for inputs of different lengths, or none.
        """
        lengths = {len(value) for value in (*inputs, *([] if positions is None else [positions]))}
        if not inputs or len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"inputs and positions must hold the same number of samples, one at least; got {sorted(lengths)}")
        self.inputs, self.positions = inputs, positions

    @staticmethod
    def of(x: Tensor | Samples) -> Samples:
        return x if isinstance(x, Samples) else Samples(x)

    def __len__(self) -> int:
        return len(self.inputs[0])

    def __getitem__(self, rows: slice | Tensor) -> Samples:
        positions = None if self.positions is None else self.positions[rows]
        return Samples(*(value[rows] for value in self.inputs), positions=positions)

    def double(self) -> Samples:
        """The same with numbers in float64 or complex128, whole ones as they are; detached, and usable by autograd."""
        return Samples(*map(precise, self.inputs), positions=self.positions)


def read_outputs(output: Any, samples: Samples, read: Read) -> Tensor:
    """The outputs f [N, O] of a pass. Raises ValueError for another shape, or one that no parameter moves."""
    if samples.positions is not None:
        places = samples.positions.reshape(len(samples), -1)
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
