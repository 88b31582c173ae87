"""Tiny randomly initialised models of `transformers`, one of each family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

V, W, L = 31, 32, 2
SHARED: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": W,
    "num_hidden_layers": L,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GATED: dict[str, Any] = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA_2: dict[str, Any] = {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 2, "expand": 2, "chunk_size": 8}
HYBRID: dict[str, Any] = {
    "mamba_d_state": 8,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}


def _make(configuration: str, model: str, **settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, configuration)(**(SHARED | settings))
        made = getattr(transformers, model)(config).eval()
        for name, parameter in made.named_parameters():
            if parameter.ndim >= 2:
                parameter.data.normal_(std=0.6 * parameter.shape[-1] ** -0.5)
            elif name.endswith(("dt_bias", "dt_proj.bias")):
                parameter.data.uniform_(-3, 0)
        return made

    return make


FOREIGN: dict[str, Callable[[], Any]] = {
    "qwen3_next": _make("Qwen3NextConfig", "Qwen3NextForCausalLM", **GATED, num_experts=0),
    "qwen3_5": _make("Qwen3_5TextConfig", "Qwen3_5ForCausalLM", **GATED),
    "olmo_hybrid": _make("OlmoHybridConfig", "OlmoHybridForCausalLM", **GATED),
    "kimi_linear": _make(
        "KimiLinearConfig",
        "KimiLinearForCausalLM",
        **(GATED | {"num_key_value_heads": 4}),
        linear_num_heads=4,
        linear_head_dim=8,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=8,
        num_experts=4,
        num_experts_per_token=2,
        moe_intermediate_size=16,
    ),
    "qwen3_5_moe": _make(
        "Qwen3_5MoeTextConfig",
        "Qwen3_5MoeForCausalLM",
        **GATED,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "bailing_hybrid": _make(
        "BailingHybridConfig",
        "BailingHybridForCausalLM",
        **(GATED | {"num_key_value_heads": 4}),
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        linear_num_heads=4,
        linear_head_dim=8,
    ),
    "granite_hybrid": _make(
        "GraniteMoeHybridConfig",
        "GraniteMoeHybridForCausalLM",
        **HYBRID,
        layer_types=["mamba", "attention"],
        num_local_experts=0,
        shared_intermediate_size=48,
    ),
    "mamba": _make("MambaConfig", "MambaForCausalLM", state_size=6),
    "falcon_mamba": _make("FalconMambaConfig", "FalconMambaForCausalLM", state_size=6),
    "mamba2": _make("Mamba2Config", "Mamba2ForCausalLM", **MAMBA_2),
    "jamba": _make(
        "JambaConfig",
        "JambaForCausalLM",
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=1,
        mamba_d_state=6,
        use_mamba_kernels=False,
    ),
    "bamba": _make("BambaConfig", "BambaForCausalLM", **HYBRID, attn_layer_indices=[1]),
    "falcon_h1": _make("FalconH1Config", "FalconH1ForCausalLM", **HYBRID, mamba_d_ssm=64),
    "nemotron_h": _make(
        "NemotronHConfig",
        "NemotronHForCausalLM",
        hybrid_override_pattern="M*",
        mamba_num_heads=4,
        mamba_head_dim=16,
        ssm_state_size=8,
        n_groups=1,
        chunk_size=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
    ),
    "zamba2": _make(
        "Zamba2Config",
        "Zamba2ForCausalLM",
        mamba_d_state=8,
        mamba_expand=2,
        mamba_ngroups=1,
        n_mamba_heads=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=48,
        chunk_size=8,
        layers_block_type=["mamba", "hybrid"],
        num_mem_blocks=1,
    ),
    "recurrent_gemma": _make(
        "RecurrentGemmaConfig",
        "RecurrentGemmaForCausalLM",
        num_attention_heads=4,
        num_key_value_heads=1,
        lru_width=32,
        intermediate_size=64,
        attention_window_size=64,
        block_types=["recurrent", "attention"],
    ),
    "minimax": _make(
        "MiniMaxConfig",
        "MiniMaxForCausalLM",
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        layer_types=["linear_attention", "full_attention"],
        block_size=8,
        num_local_experts=2,
        num_experts_per_tok=1,
    ),
    "xlstm": _make("xLSTMConfig", "xLSTMForCausalLM", num_heads=4, hidden_size=128, mode="inference"),
    "rwkv": _make("RwkvConfig", "RwkvForCausalLM", attention_hidden_size=32, intermediate_size=64, context_length=128),
}

PLAIN: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48}
WINDOWED = PLAIN | {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "intermediate_size": 48}
OF_SOFTMAX: dict[str, Callable[[], Any]] = {
    "llama": _make("LlamaConfig", "LlamaForCausalLM", **PLAIN),
    "mistral": _make("MistralConfig", "MistralForCausalLM", **PLAIN, sliding_window=5),
    "qwen2": _make("Qwen2Config", "Qwen2ForCausalLM", **PLAIN),
    "qwen3": _make("Qwen3Config", "Qwen3ForCausalLM", **PLAIN),
    "gemma": _make("GemmaConfig", "GemmaForCausalLM", **PLAIN),
    "gemma2": _make("Gemma2Config", "Gemma2ForCausalLM", **WINDOWED, query_pre_attn_scalar=8),
    "gemma3": _make("Gemma3TextConfig", "Gemma3ForCausalLM", **WINDOWED, query_pre_attn_scalar=8),
    "gpt2": _make("GPT2Config", "GPT2LMHeadModel", n_embd=W, n_layer=L, n_head=4, n_positions=64),
    "pythia": _make("GPTNeoXConfig", "GPTNeoXForCausalLM", **HEADS, use_parallel_residual=True),
    "gpt_neox": _make("GPTNeoXConfig", "GPTNeoXForCausalLM", **HEADS, use_parallel_residual=False),
    "olmo": _make("OlmoConfig", "OlmoForCausalLM", **HEADS),
    "olmo2": _make("Olmo2Config", "Olmo2ForCausalLM", **HEADS),
    "phi": _make("PhiConfig", "PhiForCausalLM", **HEADS),
    "phi3": _make("Phi3Config", "Phi3ForCausalLM", **HEADS),
}
