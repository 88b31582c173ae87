"""Products of the vectors of a row under a decay for each channel: G_ij = sum_d left_id right_jd e^{c_id - c_jd}, j <= i.

Factoring every ratio around one token overflows as soon as the decay inside a row passes e^88. Here blocks of four tokens are
factored around their first, and then halves are merged again and again: the lower-left quarter of a block is factored around the
first token f of its lower half, e^{c_i - c_f} e^{c_f - c_j}, both factors at most 1. Neither sees a token after i. (An anchor
further in would let the gates of later tokens into the rounding of earlier outputs.) All factors are products of e^g, token by
token, which rounds no large exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..precision import outside_autocast

BASE = 4  # tokens of the blocks that are factored around their first
# A decay below this in one step is taken for this: the square of what a dtype resolves, and its third power still fits in it.
LEAST = {torch.float32: -29.0, torch.float64: -200.0}


Gram = Callable[[Tensor, Tensor, Tensor], Tensor]


def vector_gram(left: Tensor, right: Tensor, log_decay: Tensor) -> Tensor:
    """G [..., C P, C R] of left [..., C, P, K] and right [..., C, R, K], P and R vectors a token, with log_decay [..., C, K].

    Rows and columns run over tokens and then over a token's vectors; G is 0 where the column's token is after the row's.
    """
    gram: Tensor = VectorGram.apply(left, right, log_decay)  # type: ignore[no-untyped-call]
    return gram


class Level(NamedTuple):
    """The decay inside blocks of `size` tokens [..., n, size, K]: e^{c_i - c_first} and e^{c_last - c_i}; and, at the first token
    of each block, its own e^g [..., n, 1, K].
    """

    size: int
    down: Tensor
    up: Tensor
    first: Tensor


class VectorGram(torch.autograd.Function):
    """With P_i = sum_j dG_ij right_j e^{c_i - c_j} and Q_j = sum_i dG_ij left_i e^{c_i - c_j}: d left = P, d right = Q and
    d c = left * P - right * Q, of which d log_decay is the sum from the end.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, right: Tensor, log_decay: Tensor) -> Tensor:
        tokens, (p, r) = left.shape[-3], (left.shape[-2], right.shape[-2])
        left, right = _pad(left, -3), _pad(right, -3)
        levels = _levels(log_decay)
        near = next(levels)
        mask = _causal(p, r, left, strict=False)
        gram = (_scaled(left, near.down) @ _scaled(right, near.down.reciprocal()).mT) * mask
        for level in levels:
            lower, upper = _far(level)
            corner = _scaled(_half(left, level.size, 1), lower) @ _scaled(_half(right, level.size, 0), upper).mT
            top = torch.cat([gram[..., 0::2, :, :], torch.zeros_like(corner)], dim=-1)
            gram = torch.cat([top, torch.cat([corner, gram[..., 1::2, :, :]], dim=-1)], dim=-2)
        return gram[..., 0, : tokens * p, : tokens * r]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @classmethod
    def far_gradients(cls, left: Tensor, right: Tensor, log_decay: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Compute P and Q without the products of a token with itself."""
        tokens, (p, r) = left.shape[-3], (left.shape[-2], right.shape[-2])
        wide_left, wide_right = _pad(left, -3), _pad(right, -3)
        extra = wide_left.shape[-3] - tokens
        wide = torch.nn.functional.pad(gradient, (0, extra * r, 0, extra * p)) if extra else gradient
        levels = _levels(log_decay)
        near = next(levels)
        corner = _corners(wide, BASE, p, r) * _causal(p, r, left, strict=True)
        inverse = near.down.reciprocal()
        d_left = _unscaled(corner @ _scaled(wide_right, inverse), near.down, p)
        d_right = _unscaled(corner.mT @ _scaled(wide_left, near.down), inverse, r)
        for level in levels:
            lower, upper = _far(level)
            corner = _corners(wide, 2 * level.size, p, r)[..., level.size * p :, : level.size * r]
            below = _unscaled(corner @ _scaled(_half(wide_right, level.size, 0), upper), lower, p, level.size)
            above = _unscaled(corner.mT @ _scaled(_half(wide_left, level.size, 1), lower), upper, r, level.size)
            d_left = d_left + _merge(torch.zeros_like(below), below, level.size)
            d_right = d_right + _merge(above, torch.zeros_like(above), level.size)
        return d_left[..., :tokens, :, :], d_right[..., :tokens, :, :]

    @classmethod
    def gradients(cls, inputs: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor, ...]:
        """The gradients of left, right and log_decay."""
        left, right, log_decay = inputs
        tokens, (p, r) = left.shape[-3], (left.shape[-2], right.shape[-2])
        d_left, d_right = cls.far_gradients(left, right, log_decay, gradient)
        # Products of a token with itself know no decay. Under strong decays they are the largest, and where they met their own
        # negative here they would leave their rounding.
        d_cumulative = (left * d_left).sum(-2) - (right * d_right).sum(-2)
        d_log_decay = d_cumulative.double().flip(-2).cumsum(-2).flip(-2).to(log_decay.dtype)
        own = gradient.unflatten(-1, (tokens, r)).unflatten(-3, (tokens, p)).diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
        return d_left + own @ right, d_right + own.mT @ left, d_log_decay

    @staticmethod
    @outside_autocast
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return VectorGram.gradients(ctx.saved_tensors, gradient)


def _levels(log_decay: Tensor) -> Iterator[Level]:
    """Blocks of BASE tokens, and then, for each merge, the blocks that are merged."""
    gate = _pad(log_decay, -2).clamp(min=LEAST[log_decay.dtype]).exp()
    blocks = gate.unflatten(-2, (-1, BASE))
    first, inside = blocks[..., :1, :], blocks[..., 1:, :]
    one = torch.ones_like(first)
    down = torch.cat([one, inside], dim=-2).cumprod(-2)
    up = torch.cat([inside, one], dim=-2).flip(-2).cumprod(-2).flip(-2)
    level = Level(BASE, down, up, first)
    yield level
    while level.down.shape[-3] > 1:
        yield level
        (down_a, down_b), (up_a, up_b) = _pairs(level.down), _pairs(level.up)
        first_a, first_b = _pairs(level.first)
        whole_a, whole_b = down_a[..., -1:, :] * first_b, first_b * down_b[..., -1:, :]
        down = torch.cat([down_a, whole_a * down_b], dim=-2)
        up = torch.cat([up_a * whole_b, up_b], dim=-2)
        level = Level(2 * level.size, down, up, first_a)


def _far(level: Level) -> tuple[Tensor, Tensor]:
    """e^{c_i - c_f} of the lower and e^{c_f - c_j} of the upper of two blocks [..., n/2, size, K], f the lower's first token."""
    return _pairs(level.down)[1], _pairs(level.up)[0] * _pairs(level.first)[1]


def _pairs(blocks: Tensor) -> tuple[Tensor, Tensor]:
    return blocks[..., 0::2, :, :], blocks[..., 1::2, :, :]


def _pad(x: Tensor, axis: int) -> Tensor:
    """Tokens up to BASE times a power of two, with zeros: vectors that add nothing and steps that do not decay."""
    size = x.shape[axis]
    wide = max(BASE, 1 << (size - 1).bit_length())
    return x if wide == size else torch.nn.functional.pad(x, (0, 0) * (-axis - 1) + (0, wide - size))


def _scaled(vectors: Tensor, factor: Tensor) -> Tensor:
    """vectors [..., n size, P, K] times factor [..., n, size, K], as [..., n, size P, K]."""
    return (vectors.unflatten(-3, factor.shape[-3:-1]) * factor[..., None, :]).flatten(-3, -2)


def _unscaled(vectors: Tensor, factor: Tensor, each: int, size: int = BASE) -> Tensor:
    """vectors [..., n, size P, K] times factor [..., n, size, K], as [..., n size, P, K]."""
    return (vectors.unflatten(-2, (size, each)) * factor[..., None, :]).flatten(-4, -3)


def _half(vectors: Tensor, size: int, which: int) -> Tensor:
    """The first or second of each two blocks of `size` tokens: [..., C / 2, P, K]."""
    return vectors.unflatten(-3, (-1, 2, size)).select(-4, which).flatten(-4, -3)


def _merge(first: Tensor, second: Tensor, size: int) -> Tensor:
    """Blocks of `size` tokens of both in turn: the inverse of `_half`."""
    blocks = [x.unflatten(-3, (-1, size)) for x in (first, second)]
    return torch.stack(blocks, dim=-4).flatten(-5, -3)


def _corners(gram: Tensor, size: int, p: int, r: int) -> Tensor:
    """The diagonal blocks of `size` tokens of [..., C P, C R]: [..., n, size P, size R]."""
    blocks = gram.unflatten(-1, (-1, size * r)).unflatten(-3, (-1, size * p))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _causal(p: int, r: int, like: Tensor, *, strict: bool) -> Tensor:
    """1 where the column's token is not after (before, if strict) the row's in a block of BASE tokens: [BASE P, BASE R]."""
    order = torch.arange(BASE, device=like.device)
    rows, columns = order.repeat_interleave(p)[:, None], order.repeat_interleave(r)
    return ((rows > columns) if strict else (rows >= columns)).to(like.dtype)
