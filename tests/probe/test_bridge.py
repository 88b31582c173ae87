"""transformer-lens's bridges and caches, and captures as caches of theirs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from foreign_models import FOREIGN
from transformer_lens import ActivationCache
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

from statescope import DeltaNet, Model, ModelConfig, Parity, capture, generator_for, load, replay
from statescope.probe.loaders.agreement import foreign_logits, torch_paths
from statescope.probe.loaders.bridge import ProcessedWeightsError

NAMES = ("qwen3_next", "olmo_hybrid", "mamba", "mamba2", "falcon_h1", "recurrent_gemma", "rwkv")


def bridged(name: str) -> Any:
    foreign = FOREIGN[name]()
    return build_bridge_from_module(foreign, type(foreign).__name__, hf_config=foreign.config)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(3, 31, (2, 17), generator=generator_for(0))


@pytest.mark.parametrize("name", NAMES)
def test_a_bridge_loads_with_our_hooks_and_the_same_logits(name: str, tokens: torch.Tensor) -> None:
    truth = foreign_logits(FOREIGN[name](), tokens)
    bridge = bridged(name)
    with torch_paths(bridge.original_model):
        model = load(bridge)
    logits, cache = model.run_with_cache(tokens, names_filter="blocks.0.attn.hook_state", taps="last")
    torch.testing.assert_close(logits.detach(), truth, rtol=1e-4, atol=1e-4)
    assert cache.states_from == "kernels" and cache["state", 0].abs().max() > 0


def test_weights_that_the_bridge_changed_are_refused() -> None:
    bridge = bridged("mamba2")
    head = bridge.original_model.lm_head
    inner = getattr(head, "_original_component", head)
    inner.bias = torch.nn.Parameter(torch.ones(31))
    with pytest.raises(ProcessedWeightsError, match=r"the logits differ by 1\.0e\+00; its weights were processed"):
        load(bridge)


@pytest.fixture
def bridge_cache(tokens: torch.Tensor) -> tuple[Any, ActivationCache]:
    bridge = bridged("qwen3_next")
    with torch_paths(bridge.original_model), torch.no_grad():
        return bridge, bridge.run_with_cache(tokens, use_cache=False)[1]


def test_states_replayed_from_a_bridges_cache_are_the_models_own(
    bridge_cache: tuple[Any, ActivationCache], tokens: torch.Tensor
) -> None:
    _, cache = bridge_cache
    found = replay(cache, taps=[0, 5, 16])
    assert found.states_from == "replay" and found.tap_positions == (0, 5, 16)
    _, own = load(FOREIGN["qwen3_next"]()).run_with_cache(tokens, names_filter="blocks.0.attn.hook_state", taps=[0, 5, 16])
    torch.testing.assert_close(found["state", 0], own["state", 0], rtol=1e-4, atol=1e-5)
    read = cache["blocks.0.linear_attn.hook_recurrence_out"]
    torch.testing.assert_close(found["recurrence_out", 0], read, rtol=1e-4, atol=1e-5)


def test_our_attention_reads_out_what_theirs_does_not(bridge_cache: tuple[Any, ActivationCache]) -> None:
    """transformer-lens's effective attention leaves out what the delta rule erases; ours is exact."""
    bridge, cache = bridge_cache
    read, values = (cache[f"blocks.0.linear_attn.hook_{name}"] for name in ("recurrence_out", "v"))
    ours = replay(cache, attention=True)["effective_attention", 0]
    torch.testing.assert_close(torch.einsum("bhqs,bshv->bqhv", ours, values), read, rtol=1e-4, atol=1e-5)
    theirs = bridge.blocks[0].linear_attn.compute_effective_attention(cache, 0)
    off = torch.einsum("bhqs,bshv->bqhv", theirs, values) - read
    assert off.norm() > 0.3 * read.norm()


def test_a_cache_without_a_gated_delta_rule_is_refused(tokens: torch.Tensor) -> None:
    bridge = bridged("mamba")
    with torch.no_grad():
        _, cache = bridge.run_with_cache(tokens, use_cache=False)
    with pytest.raises(ValueError, match=r"has no blocks\.\*\.linear_attn\.hook_log_decay: make it with run_with_cache"):
        replay(cache)


def test_a_capture_is_a_cache_of_transformer_lens() -> None:
    model = Model(ModelConfig(2, 16, 2, DeltaNet(heads=2))).eval()
    batches = [Parity().batch(3, 12, "train", generator_for(seed), labels=True) for seed in (0, 1)]
    hooks = ["blocks.*.hook_resid_post", "blocks.1.attn.hook_state"]
    cache = capture(model, batches, hooks, positions=[4, 11]).activation_cache(model)
    assert isinstance(cache, ActivationCache) and cache.tap_positions == (4, 11)
    _, direct = model.run_with_cache(torch.cat([batch.tokens for batch in batches]), taps=[4, 11])
    torch.testing.assert_close(cache["state", 1], direct["state", 1].detach())
    torch.testing.assert_close(cache["resid_post", 0], direct["resid_post", 0][:, [4, 11]].detach())
