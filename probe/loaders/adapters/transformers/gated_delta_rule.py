"""The gated delta rule with one decay a head: Qwen3-Next, Qwen3.5, OLMo-hybrid."""

from __future__ import annotations

from ....mixers.recurrences import DELTA_RULE
from ....mixers.spectrum import AllowedSpectrum
from ...adapter import Adapter, ForeignMixer
from ...delta_rule import spectrum_of_delta_rule, transformers_delta_rule


class GatedDeltaRuleAdapter(Adapter, kind="gated_delta_rule"):
    """S_t = e^{g_t} (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, with one decay a head."""

    title = "gated delta rule"
    checkpoints = ("Qwen3-Next", "Qwen3.5", "Qwen3.5-MoE", "OLMo-hybrid", "Lara mini")
    mixer = "gated_delta_net"
    modules = (
        "Qwen3NextGatedDeltaNet",
        "Qwen3_5GatedDeltaNet",
        "Qwen3_5MoeGatedDeltaNet",
        "OlmoHybridGatedDeltaNet",
        "LaraMiniGatedDeltaNet",
    )
    recurrence = DELTA_RULE
    functions = dict.fromkeys(("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"), transformers_delta_rule)

    @classmethod
    def allowed(cls, mixer: ForeignMixer) -> AllowedSpectrum | None:
        return spectrum_of_delta_rule(mixer.module)
