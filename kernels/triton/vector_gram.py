"""`chunked.vector_gram` on a GPU: its products in one kernel, and their gradients in another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..chunked.vector_gram import VectorGram
from ..precision import outside_autocast
from .launch_gram import launch_gram, launch_gram_backward


class TritonGram(VectorGram):
    """`VectorGram`, each of its passes in a kernel."""

    generate_vmap_rule = False

    @staticmethod
    def forward(left: Tensor, right: Tensor, log_decay: Tensor) -> Tensor:
        return launch_gram(left, right, log_decay)

    @classmethod
    def far_gradients(cls, left: Tensor, right: Tensor, log_decay: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return launch_gram_backward(left, right, log_decay, gradient)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @outside_autocast
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return TritonGram.gradients(ctx.saved_tensors, gradient)


def vector_gram(left: Tensor, right: Tensor, log_decay: Tensor) -> Tensor:
    """G [..., C P, C R] of left [..., C, P, K] and right [..., C, R, K], with log_decay [..., C, K]."""
    gram: Tensor = TritonGram.apply(left, right, log_decay)  # type: ignore[no-untyped-call]
    return gram
