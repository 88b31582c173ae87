"""KDA of flash-linear-attention."""

from __future__ import annotations

from ....mixers.recurrences import DELTA_RULE
from ....mixers.spectrum import AllowedSpectrum
from ...adapter import ForeignMixer
from ...delta_rule import spectrum_of_delta_rule
from .delta_net import delta
from .layers import FlashLinearAttention, ways


class FlaKimiDeltaAttentionAdapter(FlashLinearAttention, kind="fla_kimi_delta_attention"):
    """S_t = (I - beta_t k_t k_t^T) Diag(e^{g_t}) S_{t-1} + beta_t k_t v_t^T."""

    title = "Kimi delta attention"
    checkpoints = ("KDA",)
    mixer = "kimi_delta_attention"
    modules = ("KimiDeltaAttention",)
    recurrence = DELTA_RULE
    functions = ways("kda", delta, "chunk", "fused_recurrent")
    value_first = True

    @classmethod
    def allowed(cls, mixer: ForeignMixer) -> AllowedSpectrum | None:
        return spectrum_of_delta_rule(mixer.module)
