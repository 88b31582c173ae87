"""The scan on a GPU, with its gradient: a scan from the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..precision import outside_autocast
from .launch import launch_scan


class TritonScan(torch.autograd.Function):
    """`chunked.scan.Scan`, which the kernel `scan` runs."""

    @staticmethod
    def forward(decay: Tensor, x: Tensor, state: Tensor) -> Tensor:
        return launch_scan(decay, x, state, from_end=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        decay, _, state = inputs
        ctx.save_for_backward(decay, state, output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @outside_autocast
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        decay, state, states = ctx.saved_tensors
        later = torch.cat([decay[:, 1:], torch.zeros_like(decay[:, :1])], dim=1).conj().resolve_conj()
        through = launch_scan(later, gradient, torch.zeros_like(state), from_end=True)
        before = torch.cat([state[:, None], states[:, :-1]], dim=1)
        return through * before.conj(), through, decay[:, 0].conj() * through[:, 0]


def scan(decay: Tensor, x: Tensor, state: Tensor) -> Tensor:
    """All h [B, T, ...] from decay and x [B, T, ...] and the state before the first token [B, ...]."""
    states: Tensor = TritonScan.apply(decay, x, state)  # type: ignore[no-untyped-call]
    return states
