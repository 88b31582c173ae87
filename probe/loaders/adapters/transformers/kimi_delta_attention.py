"""Kimi Linear's delta rule, with a decay by channel."""

from __future__ import annotations

from ....mixers.recurrences import DELTA_RULE
from ....mixers.spectrum import AllowedSpectrum
from ...adapter import Adapter, ForeignMixer
from ...delta_rule import spectrum_of_delta_rule, transformers_delta_rule


class KimiDeltaAttentionAdapter(Adapter, kind="kimi_delta_attention"):
    """S_t = (I - beta_t k_t k_t^T) Diag(e^{g_t}) S_{t-1} + beta_t k_t v_t^T, with a decay by channel."""

    title = "Kimi delta attention"
    checkpoints = ("Kimi Linear", "Bailing hybrid")
    mixer = "kimi_delta_attention"
    modules = ("KimiLinearDeltaAttention", "BailingHybridDeltaAttention")
    recurrence = DELTA_RULE
    functions = dict.fromkeys(("chunk_kimi_delta_attention", "recurrent_kimi_delta_attention"), transformers_delta_rule)

    @classmethod
    def allowed(cls, mixer: ForeignMixer) -> AllowedSpectrum | None:
        return spectrum_of_delta_rule(mixer.module)
