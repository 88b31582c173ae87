"""Checkpoints of plain softmax attention: the library's logits, and hooks that mean what their names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import OF_SOFTMAX
from transformer_lens import patching

from statescope import load
from statescope.probe.errors import UnknownNameError
from statescope.probe.loaders import ForeignModel, UnknownArchitectureError
from statescope.probe.loaders.agreement import check_agreement

T = 11
PARALLEL = ("pythia", "phi")


@pytest.fixture(params=OF_SOFTMAX)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def foreign(name: str) -> Any:
    return OF_SOFTMAX[name]()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(3, 31, (2, T))


def _logits(foreign: Any, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return foreign(input_ids=tokens, use_cache=False).logits


def test_a_folder_loads_with_the_same_logits(foreign: Any, tokens: torch.Tensor, tmp_path: Path) -> None:
    foreign.save_pretrained(tmp_path)
    truth, model = _logits(foreign, tokens), load(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), truth, rtol=1e-4, atol=1e-5)
        logits, _ = model.run_with_cache(tokens, names_filter="*.hook_pattern")  # the other way through the softmax
    torch.testing.assert_close(logits, truth, rtol=1e-4, atol=1e-5)
    assert isinstance(model, ForeignModel) and check_agreement(model, tokens).logits < 1e-4
    assert model.mixer(0).kind == "attention" and not model.has_state(0)


def test_patterns_times_values_are_z_and_scores_make_patterns(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    parts = ("q", "k", "v", "attn_scores", "pattern", "z")
    _, cache = model.run_with_cache(tokens, names_filter=[f"*.attn.hook_{part}" for part in parts])
    for layer in range(2):
        q, k, v, scores, pattern, z = (cache[part, layer] for part in parts)
        assert q.shape == k.shape == v.shape == z.shape == (2, T, 4, 8) and pattern.shape == scores.shape == (2, 4, T, T)
        torch.testing.assert_close(torch.einsum("bhqs,bshv->bqhv", pattern, v), z, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(scores.softmax(-1), pattern, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 4, T))
        assert pattern.triu(1).abs().max() == 0
        raw = torch.einsum("bqhk,bshk->bhqs", q, k).tril()
        assert torch.corrcoef(torch.stack([raw[..., T - 1, -3:].flatten(), scores[..., T - 1, -3:].flatten()]))[0, 1] > 0.99


def test_the_residual_stream_adds_up(name: str, foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    _, cache = model.run_with_cache(tokens)
    for layer in range(2):
        pre, tokens_out, channels_out, post = (cache[part, layer] for part in ("resid_pre", "attn_out", "mlp_out", "resid_post"))
        torch.testing.assert_close(pre + tokens_out + channels_out, post, rtol=1e-4, atol=1e-5)
        assert ("blocks.0.hook_resid_mid" in model.hook_dict) is (name not in PARALLEL)
        if name not in PARALLEL:
            torch.testing.assert_close(cache["resid_mid", layer], pre + tokens_out, rtol=1e-4, atol=1e-5)
        hidden = cache["post", layer, "mlp"]
        assert hidden.shape == (2, T, model.axis_sizes(layer)["hidden"]) and tokens_out.norm() > 0.01 * pre.norm()
        if name != "phi3":  # its two first matrices are one
            assert cache["pre", layer, "mlp"].shape == hidden.shape
    if name not in ("gemma2", "gemma3", "olmo2"):  # a norm stands behind their attention
        mixer = model.mixer(1)
        out: Any = next(part for part in map(mixer.module._modules.get, ("o_proj", "dense", "c_proj")) if part is not None)
        added = torch.einsum("bthv,hvd->btd", cache["z", 1], mixer.W_O) + (0 if out.bias is None else out.bias)
        torch.testing.assert_close(added, cache["attn_out", 1], rtol=1e-4, atol=1e-5)


HOOKS = ["hook_resid_mid", "hook_mlp_out", "hook_attn_out", "mlp.hook_post", "mlp.hook_pre", "attn.hook_z"]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_changed_hook_changes_what_follows(name: str, hook: str, foreign: Any, tokens: torch.Tensor) -> None:
    """Zeroed at one position of the first layer, it moves that position and later ones, and no earlier one."""
    model, full = load(foreign), f"blocks.0.{hook}"
    if full not in model.hook_dict:
        with pytest.raises(UnknownNameError):
            model.run_with_cache(tokens, names_filter=full)
        return

    def zero(value: torch.Tensor, hook: Any) -> torch.Tensor:
        changed = value.clone()
        changed[:, 4] = 0
        return changed

    with torch.no_grad():
        plain = model(tokens)
        changed = model.run_with_hooks(tokens, fwd_hooks=[(full, zero)])
        torch.testing.assert_close(changed[:, :4], plain[:, :4])
        assert (changed[:, 4] - plain[:, 4]).abs().max() > 1e-4 and (changed[:, 5] - plain[:, 5]).abs().max() > 1e-6
        torch.testing.assert_close(model(tokens), plain)


def test_the_stream_between_the_mixers_is_changed_on_both_its_ways(tokens: torch.Tensor) -> None:
    """Into the channel mixer, and beside it."""
    model = load(OF_SOFTMAX["llama"]())
    other = torch.randn(2, T, 32)
    layer: Any = model.foreign.model.layers[0]  # type: ignore[union-attr]
    with torch.no_grad(), model.hooks(fwd_hooks=[("blocks.0.hook_resid_mid", lambda value, hook: other)]):
        _, changed = model.run_with_cache(tokens)
        expected = other + layer.mlp(layer.post_attention_layernorm(other))
    torch.testing.assert_close(changed["resid_post", 0], expected, rtol=1e-4, atol=1e-5)


def test_transformer_lens_patches_it(tokens: torch.Tensor) -> None:
    model: Any = load(OF_SOFTMAX["qwen3"]())
    _, clean = model.run_with_cache(tokens)
    corrupted = tokens.clone()
    corrupted[:, 3] = (corrupted[:, 3] + 1) % 31
    with torch.no_grad():
        found = patching.get_act_patch_resid_pre(model, corrupted, clean, lambda logits: logits[:, -1, 5].mean())
        goal, start = (model(given)[:, -1, 5].mean() for given in (tokens, corrupted))
    torch.testing.assert_close(found[0, 3], goal)  # where the inputs differ, before the first layer
    torch.testing.assert_close(found[0, 4], start)


def test_padding_moves_no_token(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    padded = torch.cat([tokens, torch.zeros(2, 3, dtype=torch.long)], dim=1)
    mask = (torch.arange(T + 3) < T).long().expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(model(padded, attention_mask=mask)[:, :T], model(tokens), rtol=1e-4, atol=1e-5)


def test_attention_that_goes_another_way_is_refused() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    foreign = BloomForCausalLM(BloomConfig(vocab_size=31, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(UnknownArchitectureError, match=r"layer 0 of BloomForCausalLM: its BloomAttention calls nothing that"):
        load(foreign)


def test_parity_is_with_the_librarys_own_attention(tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from statescope.probe.loaders.adapters.transformers import softmax_attention

    model = load(OF_SOFTMAX["gemma2"]())
    assert isinstance(model, ForeignModel) and check_agreement(model, tokens).logits < 1e-5
    monkeypatch.setattr(softmax_attention, "_pattern", lambda scores: scores.exp())
    assert check_agreement(model, tokens).logits > 1e-2


def test_an_argument_of_attention_that_is_not_known_is_refused(tokens: torch.Tensor) -> None:
    from statescope.probe.loaders.adapters.transformers.softmax_attention import attend

    q = torch.randn(1, 2, 3, 4)
    attend(torch.nn.Identity(), q, q, q, None, dropout=0.0, output_router_logits=False, position_ids=torch.arange(3))
    with pytest.raises(ValueError, match="s_aux, which the hooks do not know"):
        attend(torch.nn.Identity(), q, q, q, None, s_aux=torch.ones(2))
