"""How far one way to compute something is from another, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Draw = Callable[..., Tensor]


def seeded(seed: int) -> Draw:
    """A function of sizes that draws normal numbers in float64 from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randn(*size, dtype=torch.float64, generator=generator)


def difference(found: Tensor, truth: Tensor) -> float:
    """|found - truth| / |truth| in the Euclidean norm, in float64 (or its complex form)."""
    wide = torch.promote_types(truth.dtype, torch.float64)
    found, truth = found.detach().to(wide), truth.detach().to(wide)
    return float((found - truth).norm() / truth.norm())


def agreement(call: Callable[..., Any], inputs: Sequence[Tensor], **how: Any) -> float:
    """The larger of the differences of the output and of the final state of a recurrence, chunked in float32, from the token
    loop in float64. inputs: its positional arguments, in float64.
    """
    truth = call(*inputs, implementation="reference")
    found = call(*(x.float() for x in inputs), implementation="chunked", **how)
    return max(difference(found.output, truth.output), difference(found.final_state, truth.final_state))


def operations(call: Callable[[], object]) -> int:
    """Multiplications and additions in the matrix products of a call: a cost that no load of the machine changes."""
    with FlopCounterMode(display=False) as counted:
        call()
    return int(counted.get_total_flops())
