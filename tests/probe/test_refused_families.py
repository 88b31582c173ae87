"""Families of checkpoints that are refused, and why; held by real small models of the libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import FOREIGN

from statescope import load
from statescope.probe.loaders import UnknownArchitectureError
from statescope.probe.loaders.agreement import foreign_logits
from statescope.probe.loaders.foreign import adapters

SMALL = {"vocab_size": 31, "hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FEW_EXPERTS = {"moe_intermediate_size": 16, "num_dense_layers": 1, "num_experts": 4, "num_experts_per_tok": 2}
MIXED = {"layer_types": ["conv", "full_attention", "conv"]}
MAMBA_BY_HEADS = {"layers_block_type": ["mamba", "hybrid", "hybrid"], "attention_head_dim": 16, "attention_hidden_size": 64}


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(3, 31, (2, 17))


@pytest.mark.parametrize(
    ("family", "own", "reason"),
    [
        ("Lfm2", MIXED | {"block_multiple_of": 8}, "Lfm2ShortConv: it keeps the last inputs of a convolution"),
        ("Lfm2Moe", MIXED | FEW_EXPERTS, "Lfm2MoeShortConv: it keeps the last inputs of a convolution"),
        ("Lfm3", MIXED, "Lfm3ShortConv: it keeps the last inputs of a convolution"),
        ("Zamba", MAMBA_BY_HEADS | {"mamba_d_state": 4}, "ZambaMambaMixer: each head of a layer is scanned by a call of its own"),
    ],
    ids=["LFM2", "LFM2 with experts", "LFM3", "Zamba"],
)
def test_a_model_of_a_refused_family_is_refused_in_memory_and_on_disk(
    family: str, own: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    import transformers

    config = getattr(transformers, f"{family}Config")(**SMALL, **own)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    model.save_pretrained(tmp_path)
    for given in (model, tmp_path):
        with pytest.raises(UnknownArchitectureError, match=f"{family}ForCausalLM is refused for its {reason}"):
            load(given)


def test_a_refused_family_with_attention_alone_is_read(tokens: torch.Tensor) -> None:
    from transformers import Lfm2MoeConfig, Lfm2MoeForCausalLM

    foreign = Lfm2MoeForCausalLM(Lfm2MoeConfig(**SMALL, **FEW_EXPERTS, layer_types=["full_attention"] * 3)).eval()
    model = load(foreign)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), foreign_logits(foreign, tokens))
        pattern = model.run_with_cache(tokens, names_filter="blocks.2.attn.hook_pattern")[1]["pattern", 2]
    torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))


def test_families_that_are_refused_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for adapter in (one for one in adapters() if one.refused):
        theirs = type(adapter.modules[0], (torch.nn.Module,), {"__module__": f"{adapter.package}.models"})
        with pytest.raises(UnknownArchitectureError, match=f"is refused for its {adapter.modules[0]}: {adapter.refused[:20]}"):
            load(torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.ModuleList([theirs()])))
    hybrid = FOREIGN["qwen3_next"]()
    from statescope.probe.loaders.adapters.transformers.gated_delta_rule import GatedDeltaRuleAdapter

    monkeypatch.setattr(GatedDeltaRuleAdapter, "modules", ())
    with pytest.raises(UnknownArchitectureError, match="layer 0 of Qwen3NextForCausalLM has Qwen3NextGatedDeltaNet, which no"):
        load(hybrid)
