"""DeltaNet of flash-linear-attention, and the call that its gated kin share."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from ....mixers.recurrences import DELTA_RULE
from ....mixers.spectrum import AllowedSpectrum
from ...adapter import ForeignMixer
from ...delta_rule import run_delta_rule, spectrum_of_delta_rule
from .layers import FlashLinearAttention, Read, ways


def delta(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    *,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,  # noqa: N803 (their name)
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    **_: Any,
) -> Read:
    """beta [B, T, H], or what a sigmoid makes it of; g a log-decay, or what -exp(A_log) softplus(g + dt_bias) makes it of."""
    mixer.only_from_nothing(initial_state, "initial_state")
    assert beta is not None
    if use_beta_sigmoid_in_kernel:
        beta = beta.float().sigmoid() * (2.0 if allow_neg_eigval else 1.0)
    if g is not None and use_gate_in_kernel:
        g = _log_decay(g.float(), A_log, dt_bias, lower_bound)
    return run_delta_rule(mixer, q, k, v, beta, g, scale=scale, normalise=use_qk_l2norm_in_kernel)[0], None


def _log_decay(g: Tensor, rate: Tensor | None, bias: Tensor | None, lower_bound: float | None) -> Tensor:
    """g [B, T, H] or [B, T, H, K]; rate [H], bias one for each entry of a token."""
    if bias is not None:
        g = g + bias.view(g.shape[2:])
    scale = g.new_ones(()) if rate is None else rate.float().exp().view(-1, *[1] * (g.ndim - 3))
    return -scale * functional.softplus(g) if lower_bound is None else lower_bound * (scale * g).sigmoid()


class DeltaNetAdapter(FlashLinearAttention, kind="fla_delta_net"):
    """S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T."""

    title = "delta rule"
    checkpoints = ("DeltaNet",)
    mixer = "delta_net"
    modules = ("DeltaNet",)
    recurrence = DELTA_RULE
    functions = ways("delta_rule", delta, "chunk", "fused_recurrent")

    @classmethod
    def allowed(cls, mixer: ForeignMixer) -> AllowedSpectrum | None:
        return spectrum_of_delta_rule(mixer.module)
