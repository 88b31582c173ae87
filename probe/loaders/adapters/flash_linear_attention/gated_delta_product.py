"""Gated DeltaProduct of flash-linear-attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ....mixers.recurrences import DELTA_RULE
from ....mixers.spectrum import AllowedSpectrum
from ...adapter import ForeignMixer
from ...delta_rule import run_delta_rule, spectrum_of_delta_rule
from .layers import FlashLinearAttention, Read, ways


def _delta_product(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    *,
    num_householder: int | None = None,
    **_: Any,
) -> Read:
    """k, v, beta [B, T n, H, .], n keys a token. Without num_householder q and g are spread alike, and so is what is returned."""
    mixer.only_from_nothing(initial_state, "initial_state")
    n: int = mixer.module.num_householder
    spread = num_householder is None
    if spread:
        q, g = q[:, n - 1 :: n], None if g is None else g[:, ::n]
    k, v, beta = (x.unflatten(1, (-1, n)).movedim(2, 3) for x in (k, v, beta))
    g = torch.zeros_like(beta[..., 0]) if g is None else g
    read = run_delta_rule(mixer, q, k, v, beta, g, scale=scale, normalise=True)[0]
    if not spread:
        return read, None
    return functional.pad(read[:, :, None], (0, 0, 0, 0, n - 1, 0)).flatten(1, 2), None


class GatedDeltaProductAdapter(FlashLinearAttention, kind="fla_gated_delta_product"):
    """Several delta rule steps a token."""

    title = "gated delta product"
    checkpoints = ("DeltaProduct",)
    mixer = "gated_delta_net"
    modules = ("GatedDeltaProduct",)
    recurrence = DELTA_RULE
    functions = ways("gated_delta_product", _delta_product, "chunk") | ways("gated_delta_rule", _delta_product, "fused_recurrent")

    @classmethod
    def allowed(cls, mixer: ForeignMixer) -> AllowedSpectrum | None:
        return spectrum_of_delta_rule(mixer.module, mixer.module.num_householder)
