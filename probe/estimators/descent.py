"""Probes that are no linear map of their inputs but smooth in their parameters, fitted by L-BFGS with exact gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def descend(start: Sequence[Tensor], loss: Callable[..., Tensor], iterations: int, tolerance: float) -> list[Tensor]:
    """Parameters near `start` at which a loss has no gradient larger than `tolerance`, or as far as `iterations` reach.

    loss: of the parameters, one number. It need not be convex: where it has several minima, the start decides.
    """
    with torch.enable_grad():
        found = [value.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for value in start]
        optimizer = torch.optim.LBFGS(
            found, max_iter=iterations, tolerance_grad=tolerance, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = loss(*found)
            value.backward()
            return value

        optimizer.step(closure)
    return [value.detach() for value in found]
