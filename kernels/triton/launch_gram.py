"""Launching the products of vectors under a decay for each channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .configurations import GRAM, GRAM_BACKWARD, LaunchConfiguration
from .launch import block, precision_of


def launch_gram(left: Tensor, right: Tensor, log_decay: Tensor) -> Tensor:
    """G [..., C P, C R] of left [..., C, P, K], right [..., C, R, K] and log_decay [..., C, K], all float32."""
    from .channel_gram import channel_gram

    *lead, tokens, p, _ = left.shape
    r = right.shape[-2]
    gram = torch.empty(*lead, tokens * p, tokens * r, dtype=torch.float32, device=left.device)
    arguments = (left.contiguous(), right.contiguous(), *_in_two(log_decay), gram, tokens)
    channel_gram[(_rows(log_decay), p, r)](*arguments, **_constants(left, right, GRAM[0]))
    return gram


def launch_gram_backward(left: Tensor, right: Tensor, log_decay: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of left and right from products of one token with another."""
    from .channel_gram_backward import channel_gram_backward

    left, right, gradient = (x.contiguous() for x in (left, right, gradient))
    d_left, d_right = torch.empty_like(left), torch.empty_like(right)
    chosen, c = GRAM_BACKWARD[0], _in_two(log_decay)
    constants = _constants(left, right, chosen)
    for d_own, other, is_left in ((d_left, right, True), (d_right, left, False)):
        grid = (_rows(log_decay), -(-left.shape[-1] // chosen.step), d_own.shape[-2])
        channel_gram_backward[grid](other, *c, gradient, d_own, left.shape[-3], **constants, LEFT=is_left)
    return d_left, d_right


def _rows(log_decay: Tensor) -> int:
    """N: rows of tokens, sequences and heads."""
    return log_decay[..., 0, 0].numel()


def _in_two(log_decay: Tensor) -> tuple[Tensor, Tensor]:
    """c as two float32: after many strong gates one rounding of c would be an error of 1e-4 in the ratio of two neighbours."""
    c = log_decay.double().cumsum(-2)
    coarse = c.float()
    return coarse.contiguous(), (c - coarse.double()).float().contiguous()


def _constants(left: Tensor, right: Tensor, chosen: LaunchConfiguration) -> dict[str, Any]:
    tokens, p, channels = left.shape[-3:]
    sizes = {"P": p, "R": right.shape[-2], "K": channels, "LEVELS": (tokens - 1).bit_length()}
    blocks = {"BLOCK": block(tokens), "STEP": chosen.step, "PRECISION": precision_of(left.dtype)}
    return sizes | blocks | {"num_warps": chosen.warps, "num_stages": chosen.stages}
