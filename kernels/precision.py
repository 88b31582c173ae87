"""What precision a recurrence computes in.

What continues a recurrence is float32 at least: states, normalisers, running maxima, the states at taps and the final state,
and the decays and gates that lead from one to the next. Tokens may be half precision; they are widened where they enter, and
outputs are rounded to the dtype of the values where they leave. Autocast ends at the public calls: inside they compute in the
dtypes that they name, and so do their gradients, wherever the backward pass is called.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

DEVICES = ("cpu", "cuda")


def widened(x: Tensor) -> Tensor:
    """x in float32 (or complex64) if it is narrower; float64 and complex128 stay."""
    return x.to(working_dtype(x.dtype))


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that states have for tokens of this one."""
    return torch.promote_types(dtype, torch.float32)


def outside_autocast(call: Callable[P, R]) -> Callable[P, R]:
    """The call, run with autocast off on every device where it is on."""

    @wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        on = [device for device in DEVICES if torch.is_autocast_enabled(device)]
        if not on:
            return call(*args, **kwargs)
        with ExitStack() as stack:
            for device in on:
                stack.enter_context(torch.autocast(device, enabled=False))
            return call(*args, **kwargs)

    return run
