"""Products of the tokens of a row under a decay for each channel: G_ij = sum_d left_id right_jd e^{c_id - c_jd}, j <= i.

Factoring every ratio around one token overflows as soon as the decay inside a row passes e^88. Here the lower triangle is
halved again and again: the lower-left quarter is factored around the first token f of its lower half,
e^{c_i - c_f} e^{c_f - c_j}, both factors at most 1 and neither seeing a token after i; the two diagonal quarters are
halved in turn, down to blocks that are summed ratio by ratio. (An anchor further in would let the gates of later tokens
into the rounding of earlier outputs.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BASE = 4  # blocks of this size are summed ratio by ratio


def vector_gram(left: Tensor, right: Tensor, cumulative: Tensor, *, strict: bool = False) -> Tensor:
    """G [..., C, C], lower triangular (strictly with `strict`). left, right [..., C, K]; cumulative the same, in float64."""
    gram: Tensor = VectorGram.apply(left, right, cumulative, strict)  # type: ignore[no-untyped-call]
    return gram


class VectorGram(torch.autograd.Function):
    """With P_i = sum_j dG_ij right_j e^{c_i - c_j} and Q_j = sum_i dG_ij left_i e^{c_i - c_j}: d left = P, d right = Q and
    d c = left * P - right * Q.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, right: Tensor, cumulative: Tensor, strict: bool) -> Tensor:
        size = left.shape[-2]
        left, right, cumulative = (_pad(x) for x in (left, right, cumulative))
        near = _blocks(cumulative, BASE)
        ratio = _near_ratios(near, left.dtype, strict)
        gram = torch.einsum("...ik,...jk,...ijk->...ij", _blocks(left, BASE), _blocks(right, BASE), ratio)
        half = BASE
        while half < left.shape[-2]:
            reach_down, reach_up = _far_ratios(cumulative, half, left.dtype)
            corner = (_halves(left, half)[1] * reach_down) @ (_halves(right, half)[0] * reach_up).mT
            upper = torch.cat([gram[..., 0::2, :, :], torch.zeros_like(corner)], dim=-1)
            gram = torch.cat([upper, torch.cat([corner, gram[..., 1::2, :, :]], dim=-1)], dim=-2)
            half *= 2
        return gram[..., 0, :size, :size]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        left, right, cumulative, ctx.strict = inputs
        ctx.save_for_backward(left, right, cumulative)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, cumulative = ctx.saved_tensors
        size = left.shape[-2]
        wide_left, wide_right, wide_c = (_pad(x) for x in (left, right, cumulative))
        padding = wide_left.shape[-2] - size
        gradient = torch.nn.functional.pad(gradient, (0, padding, 0, padding))
        ratio = _near_ratios(_blocks(wide_c, BASE), left.dtype, True)
        weighted = _corners(gradient, BASE)[..., None] * ratio
        d_left = torch.einsum("...ijk,...jk->...ik", weighted, _blocks(wide_right, BASE)).flatten(-3, -2)
        d_right = torch.einsum("...ijk,...ik->...jk", weighted, _blocks(wide_left, BASE)).flatten(-3, -2)
        half = BASE
        while half < wide_left.shape[-2]:
            reach_down, reach_up = _far_ratios(wide_c, half, left.dtype)
            corner = _corners(gradient, 2 * half)[..., half:, :half]
            below = (corner @ (_halves(wide_right, half)[0] * reach_up)) * reach_down
            above = (corner.mT @ (_halves(wide_left, half)[1] * reach_down)) * reach_up
            d_left = d_left + torch.stack([torch.zeros_like(below), below], dim=-3).flatten(-4, -2)
            d_right = d_right + torch.stack([above, torch.zeros_like(above)], dim=-3).flatten(-4, -2)
            half *= 2
        d_left, d_right = d_left[..., :size, :], d_right[..., :size, :]
        d_cumulative = (left * d_left - right * d_right).to(cumulative.dtype)
        if not ctx.strict:
            # Products of a token with itself know no decay. Under strong decays they are the largest, and where they met
            # their own negative in d_cumulative they would leave their rounding.
            own = gradient.diagonal(dim1=-2, dim2=-1)[..., :size, None]
            d_left, d_right = d_left + own * right, d_right + own * left
        return d_left, d_right, d_cumulative, None


def _pad(x: Tensor) -> Tensor:
    """Tokens up to BASE times a power of two. Repeating the last row keeps its cumulative decay."""
    size = x.shape[-2]
    wide = BASE
    while wide < size:
        wide *= 2
    if wide == size:
        return x
    return torch.cat([x, x[..., -1:, :].expand(*x.shape[:-2], wide - size, x.shape[-1])], dim=-2)


def _blocks(x: Tensor, size: int) -> Tensor:
    """[..., C, K] as [..., C / size, size, K]."""
    return x.unflatten(-2, (-1, size))


def _halves(x: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """The upper and lower halves of blocks of 2 * half tokens: each [..., C / (2 half), half, K]."""
    upper, lower = x.unflatten(-2, (-1, 2, half)).unbind(-3)
    return upper, lower


def _corners(gram: Tensor, size: int) -> Tensor:
    """The diagonal blocks of [..., C, C]: [..., C / size, size, size]."""
    return gram.unflatten(-2, (-1, size)).unflatten(-1, (-1, size)).diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _near_ratios(cumulative: Tensor, dtype: torch.dtype, strict: bool) -> Tensor:
    """e^{c_i - c_j} inside blocks [..., n, B, K], 0 above the diagonal: [..., n, B, B, K]."""
    order = torch.arange(BASE, device=cumulative.device)
    mask = (order[:, None] > order) if strict else (order[:, None] >= order)
    lag = (cumulative[..., :, None, :] - cumulative[..., None, :, :]).to(dtype)
    return (lag + mask.to(dtype).log()[..., None]).exp()


def _far_ratios(cumulative: Tensor, half: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """e^{c_i - c_f} of the lower halves and e^{c_f - c_j} of the upper ones, f the first token of the lower half."""
    upper, lower = _halves(cumulative, half)
    anchor = lower[..., :1, :]
    return (lower - anchor).to(dtype).exp(), (anchor - upper).to(dtype).exp()
