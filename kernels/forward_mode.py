"""Forward-mode rules of own autograd functions that forward mode can differentiate again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor
from torch.autograd import forward_ad

Rule = Callable[..., Tensor]  # from the tensors that were saved and one tangent for each input


def differentiable(rule: Rule) -> Callable[..., Tensor]:
    """The static method `jvp` of an autograd function, from a rule of (saved tensors, tangent, ...).

    Torch calls `jvp` with forward mode off. An outer derivative, as the second of jacfwd(jacfwd(f)), would then be zero without a
    word; so it is turned on, and what was saved is seen without the tangents of the inner derivative, which the rule has apart.
    """

    @wraps(rule)
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        with forward_ad._set_fwd_grad_enabled(True):
            saved = [forward_ad.unpack_dual(value, level=0).primal for value in ctx.saved_tensors]
            return rule(saved, *tangents)

    return jvp
