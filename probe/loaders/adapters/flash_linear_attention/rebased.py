"""ReBased of flash-linear-attention: linear attention by a learned square, with a small number in its denominator."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any, ClassVar

from torch import Tensor

from .....kernels.effective_attention import effective_attention
from .....kernels.linear_attention import linear_attention, with_ones
from .....kernels.recurrence import RecurrenceOutput
from ....mixers.recurrences import NORMALISED_LINEAR_ATTENTION, Recurrence
from ....mixers.spectrum import NO_DECAY
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, working

OF_LINEAR_ATTENTION = 1e-10  # what the library's linear attention adds to the normaliser


def _divided(q: Tensor, k: Tensor, v: Tensor, *, added: float, **how: Any) -> RecurrenceOutput:
    """o_t = S_t^T q_t / (z_t . q_t + added): a query that meets no key, as at padding, reads 0."""
    out = linear_attention(q, k, with_ones(v), **how)
    return replace(out, output=(out.output[..., :-1] / (out.output[..., -1:] + added)).to(v.dtype))


def _shares(tokens: dict[str, Any], *, added: float) -> Tensor:
    scores = effective_attention(tokens["q"], tokens["k"])
    return scores / (scores.sum(-1, keepdim=True) + added)


@cache
def _recurrence(added: float) -> Recurrence:
    shares = partial(_shares, added=added)
    return replace(NORMALISED_LINEAR_ATTENTION, call=partial(_divided, added=added), attention=shares)


def _squared(mixer: ForeignMixer, q: Tensor, k: Tensor, v: Tensor, eps: float = 1e-5, **_: Any) -> Tensor:
    """q, k [B, T, H, D] before their square: phi(x) = x outer x / D^{1/2}, so that phi(q) . phi(k) = (q . k)^2 / D."""
    queries, keys = ((x[..., :, None] * x[..., None, :] * x.shape[-1] ** -0.5).flatten(-2) for x in working(q, k))
    return _normalised(mixer, queries, keys, v, eps)


def _mapped(mixer: ForeignMixer, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> tuple[Tensor, None]:
    """q, k [B, T, H, D (D + 1) / 2] after the library's own square."""
    return _normalised(mixer, q, k, v, OF_LINEAR_ATTENTION), None


def _normalised(mixer: ForeignMixer, q: Tensor, k: Tensor, v: Tensor, added: float) -> Tensor:
    mixer.settings["added"] = added
    tokens = dict(zip("qkv", working(q, k, v), strict=True))
    if mixer.mask is not None:
        tokens["k"] = tokens["k"] * mixer.mask[..., None, None]
    read: Read = run(mixer, tokens, v, 1.0, None, state_value=v.shape[-1] + 1)
    return read[0]


class ReBasedAdapter(FlashLinearAttention, kind="fla_rebased"):
    """S_t = S_{t-1} + phi(k_t) [v_t, 1]^T, with phi the products of all pairs of normalised features."""

    title = "ReBased"
    checkpoints = ("ReBased",)
    mixer = "linear_attention"
    modules = ("ReBasedLinearAttention",)
    recurrence = NORMALISED_LINEAR_ATTENTION
    spectrum = NO_DECAY
    functions: ClassVar = {"parallel_rebased": _squared, "chunk_linear_attn": _mapped, "fused_chunk_linear_attn": _mapped}

    @classmethod
    def recurrence_of(cls, mixer: ForeignMixer) -> Recurrence:
        return _recurrence(mixer.settings.get("added", OF_LINEAR_ATTENTION))
