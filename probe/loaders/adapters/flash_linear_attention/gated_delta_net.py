"""Gated DeltaNet of flash-linear-attention."""

from __future__ import annotations

from ....mixers.recurrences import DELTA_RULE
from ....mixers.spectrum import AllowedSpectrum
from ...adapter import ForeignMixer
from ...delta_rule import spectrum_of_delta_rule
from .delta_net import delta
from .layers import FlashLinearAttention, ways


class GatedDeltaNetAdapter(FlashLinearAttention, kind="fla_gated_delta_net"):
    """S_t = e^{g_t} (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T."""

    title = "gated delta rule"
    checkpoints = ("Gated DeltaNet",)
    mixer = "gated_delta_net"
    modules = ("GatedDeltaNet",)
    recurrence = DELTA_RULE
    functions = ways("gated_delta_rule", delta, "chunk", "fused_recurrent")
    value_first = True

    @classmethod
    def allowed(cls, mixer: ForeignMixer) -> AllowedSpectrum | None:
        return spectrum_of_delta_rule(mixer.module)
