"""Every public method of transformer-lens's root module and cache works on ours, or is refused by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.hook_points import HookPoint

from statescope import Attention, DeltaNet, GatedDeltaNet, Mamba, Model, ModelConfig, load
from statescope.probe.errors import UnknownNameError
from statescope.probe.hooks.cache import NotInThisModelError, StateCache
from statescope.probe.mixers import MixerConfig
from statescope.probe.models.hooked import HookedModel
from statescope.probe.models.text import NoTokenizerError

Cache = Callable[[StateCache], Any]
STACK = torch.randn(2, 2, 9, 12).double()

OF_THE_CACHE: dict[str, Cache] = {
    "keys": lambda cache: list(cache.keys()),
    "values": lambda cache: list(cache.values()),
    "items": lambda cache: list(cache.items()),
    "to": lambda cache: cache.to("cpu"),
    "toggle_autodiff": lambda cache: cache.toggle_autodiff(True),
    "remove_batch_dim": lambda cache: cache.apply_slice_to_batch_dim((0, 1)).remove_batch_dim(),
    "apply_slice_to_batch_dim": lambda cache: cache.apply_slice_to_batch_dim(1),
    "accumulated_resid": lambda cache: cache.accumulated_resid(2, incl_mid=True, apply_ln=True, pos_slice=-1),
    "logit_lens": lambda cache: cache.logit_lens(top_k=2),
    "logit_attrs": lambda cache: cache.logit_attrs(cache.decompose_resid(), torch.tensor(3)),
    "decompose_resid": lambda cache: cache.decompose_resid(1, mlp_input=True, return_labels=True),
    "compute_head_results": lambda cache: cache.compute_head_results(),
    "ssm_layers": lambda cache: cache.ssm_layers(),
    "compute_ssm_state": lambda cache: cache.compute_ssm_state(time_step=3),
    "compute_ssm_effective_attention": lambda cache: cache.compute_ssm_effective_attention(0),
    "stack_head_results": lambda cache: cache.stack_head_results(2, return_labels=True, incl_remainder=True, apply_ln=True),
    "stack_activation": lambda cache: cache.stack_activation("resid_post"),
    "get_neuron_results": lambda cache: cache.get_neuron_results(1, neuron_slice=(0, 4), pos_slice=-1),
    "stack_neuron_results": lambda cache: cache.stack_neuron_results(2, return_labels=True, incl_remainder=True),
    "apply_ln_to_stack": lambda cache: cache.apply_ln_to_stack(STACK, 1, mlp_input=True),
    "get_full_resid_decomposition": lambda cache: cache.get_full_resid_decomposition(return_labels=True),
}


def ignore(value: Any, hook: Any) -> None:
    return None


OF_THE_MODEL: dict[str, Callable[[Model, torch.Tensor], Any]] = {
    "setup": lambda model, tokens: model.setup(),
    "hook_points": lambda model, tokens: list(model.hook_points()),
    "remove_all_hook_fns": lambda model, tokens: model.remove_all_hook_fns(),
    "clear_contexts": lambda model, tokens: model.clear_contexts(),
    "reset_hooks": lambda model, tokens: model.reset_hooks(),
    "check_and_add_hook": lambda model, tokens: model.check_and_add_hook(model.hook_dict["hook_embed"], "hook_embed", ignore),
    "check_hooks_to_add": lambda model, tokens: model.check_hooks_to_add(model.hook_dict["hook_embed"], "hook_embed", ignore),
    "add_hook": lambda model, tokens: model.add_hook("hook_embed", ignore),
    "add_perma_hook": lambda model, tokens: model.add_perma_hook("hook_embed", ignore),
    "hooks": lambda model, tokens: model.hooks(fwd_hooks=[("hook_embed", ignore)]),
    "run_with_hooks": lambda model, tokens: model.run_with_hooks(tokens, fwd_hooks=[("hook_embed", ignore)]),
    "run_with_cache": lambda model, tokens: model.run_with_cache(tokens),
    "add_caching_hooks": lambda model, tokens: model.add_caching_hooks(),
    "get_caching_hooks": lambda model, tokens: model.get_caching_hooks("hook_embed"),
    "list_hooks": lambda model, tokens: model.list_hooks(),
}
REFUSED = {"cache_all", "cache_some"}


def small(mixer: MixerConfig | tuple[MixerConfig, ...], **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 7, "width": 12, "layers": 2, "mixer": mixer} | changes)).double().eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 7, (2, 9))


def cached(model: HookedModel, tokens: torch.Tensor) -> StateCache:
    """Everything a run can show, on request or not."""
    taps = "all" if any(map(model.has_state, range(model.layers))) else None
    return model.run_with_cache(tokens, names_filter=lambda name: True, taps=taps)[1]


def methods_of(base: type) -> set[str]:
    """Public methods that a class or a base of it defines, but torch's own."""
    own = {name for kind in base.__mro__ if kind.__module__.startswith("transformer_lens") for name in vars(kind)}
    return {name for name in own if not name.startswith("_") and callable(inspect.getattr_static(base, name, None))}


def test_no_public_method_of_transformer_lens_is_left_out() -> None:
    assert methods_of(ActivationCache) == set(OF_THE_CACHE)
    assert methods_of(HookedRootModule) == set(OF_THE_MODEL) | REFUSED


@pytest.mark.parametrize("method", OF_THE_CACHE)
@pytest.mark.parametrize("channel_mixer", ["swiglu", "mlp"])
def test_every_method_of_the_cache_works(method: str, channel_mixer: str, tokens: torch.Tensor) -> None:
    mixers = (GatedDeltaNet(heads=2), Mamba(state_size=3))
    OF_THE_CACHE[method](cached(small(mixers, channel_mixer=channel_mixer), tokens))


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_every_method_of_the_cache_works_on_every_mixer(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    cache = cached(small(mixer), tokens)
    for name, method in OF_THE_CACHE.items():
        if name == "compute_ssm_effective_attention" and "blocks.0.attn.hook_effective_attention" not in cache.cache_dict:
            with pytest.raises(UnknownNameError):
                method(cache)
        else:
            method(cache)


@pytest.mark.parametrize("method", OF_THE_MODEL)
def test_every_method_of_the_model_works(method: str, tokens: torch.Tensor) -> None:
    OF_THE_MODEL[method](small(DeltaNet(heads=2)), tokens)


@pytest.mark.parametrize("method", sorted(REFUSED))
def test_what_has_no_meaning_here_is_refused_by_name(method: str, tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    with pytest.raises(NotInThisModelError, match=f"{method} is deprecated in transformer-lens; use run_with_cache"):
        getattr(model, method)({})
    with pytest.raises(NotInThisModelError, match="pos_slice is not taken.*positions="):
        model.run_with_cache(tokens, pos_slice=-1)
    with pytest.raises(NoTokenizerError, match="no tokenizer"):
        model.tokens_to_residual_directions("a")
    with pytest.raises(NotInThisModelError, match="exact"):
        cached(model, tokens).compute_ssm_effective_attention(include_dt_scaling=True)


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_decompositions_sum_to_the_residual_stream_and_attributions_to_the_logit(
    mixer: MixerConfig, tokens: torch.Tensor
) -> None:
    model = small((mixer, GatedDeltaNet(heads=3)))
    with torch.no_grad():
        model.ln_final.weight.uniform_(0.5, 2.0)  # a gain that is not 1 must count
    logits, cache = model.run_with_cache(tokens)
    end = cache["resid_post", -1]
    full, labels = cache.get_full_resid_decomposition(return_labels=True)
    assert len(labels) == len(set(labels)) == len(full)
    heads, names = cache.stack_head_results(return_labels=True, incl_remainder=True)
    assert len(names) == len(heads) and names[-2:] == ["L1H2", "remainder"]
    for stack in (cache.decompose_resid(), full, cache.get_full_resid_decomposition(expand_neurons=False), heads):
        torch.testing.assert_close(stack.sum(0), end)
        attributed = cache.logit_attrs(stack, tokens)
        torch.testing.assert_close(attributed.sum(0), logits.gather(-1, tokens[..., None])[..., 0])
    against = cache.logit_attrs(full, torch.tensor(2), torch.tensor(5)).sum(0)
    torch.testing.assert_close(against, logits[..., 2] - logits[..., 5])
    torch.testing.assert_close(cache.logit_lens(return_type="logits").values[-1], logits[:, -1])


def test_head_results_are_those_of_each_heads_own_read_out(tokens: torch.Tensor) -> None:
    model = small((GatedDeltaNet(heads=2), Mamba(state_size=3)))
    _, cache = model.run_with_cache(tokens)
    stack = cache.stack_head_results()
    assert stack.shape == (2 + 24, 2, 9, 12)
    torch.testing.assert_close(stack[1], cache["z", 0][:, :, 1] @ model.mixer(0).W_O[1])
    torch.testing.assert_close(stack[2 + 5], cache["z", 1][:, :, 5:6] @ model.mixer(1).W_O[5])
    torch.testing.assert_close(stack[:2].sum(0), cache["attn_out", 0])
    torch.testing.assert_close(cache["result", 1].sum(2), cache["attn_out", 1])


def test_short_names_are_those_of_transformer_lens(tokens: torch.Tensor) -> None:
    model = small((GatedDeltaNet(heads=2), Attention(heads=2)))
    cache = cached(model, tokens)
    for short, name in {
        ("scale", 0, "ln1"): "blocks.0.ln1.hook_scale",
        ("normalized", -1, "ln2"): "blocks.1.ln2.hook_normalized",
        ("scale",): "ln_final.hook_scale",
        ("pre", 1): "blocks.1.mlp.hook_pre",
        ("post", 1, "mlp"): "blocks.1.mlp.hook_post",
        ("k", 0, "a"): "blocks.0.attn.hook_k",
        ("attn_scores", 1): "blocks.1.attn.hook_attn_scores",
        ("attn", 1): "blocks.1.attn.hook_pattern",
        ("state", 0): "blocks.0.attn.hook_state",
        ("hook_state", 0): "blocks.0.attn.hook_state",
        ("mlp_out", 0, "block"): "blocks.0.hook_mlp_out",
    }.items():
        assert cache[short] is cache[name], short
    assert cache["scale"] is cache["ln_final.hook_scale"] and cache["k0"] is cache["k", 0]
    assert cache["scale1ln2"] is cache["blocks.1.ln2.hook_scale"]
    with pytest.raises(UnknownNameError, match=r"'scale' of layer 0.*give a third part.*blocks.0.ln1.hook_scale"):
        cache["scale", 0]
    with pytest.raises(UnknownNameError, match="hook in this cache .*hook_state"):
        cache["state", 1]


def test_a_slice_of_a_cache_and_one_without_its_batch_are_caches_of_states(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    cache = cached(model, tokens)
    row = cache.apply_slice_to_batch_dim(1)
    assert isinstance(row, StateCache) and row.tap_positions == cache.tap_positions and not row.has_batch_dim
    assert torch.equal(row["state", 0], cache["state", 0][1])
    assert torch.equal(row["transition", 1].left, cache["transition", 1].left[1])
    torch.testing.assert_close(row.decompose_resid().sum(0), row["resid_post", -1])
    torch.testing.assert_close(row.stack_head_results(), cache.stack_head_results()[:, 1])
    assert torch.equal(cache.apply_slice_to_batch_dim([1, 0])["state", 0], cache["state", 0].flip(0))
    with pytest.raises(ValueError, match="a batch of 2"):
        cache.remove_batch_dim()
    assert torch.equal(cache.apply_slice_to_batch_dim((1, 2)).remove_batch_dim()["state", 0], row["state", 0])


def test_states_and_effective_attention_by_transformer_lens_names(tokens: torch.Tensor) -> None:
    model = small((DeltaNet(heads=2), Attention(heads=2)))
    cache = cached(model, tokens)
    assert cache.ssm_layers() == [0] and list(cache.compute_ssm_state()) == [0]
    assert torch.equal(cache.compute_ssm_state(0, time_step=3), cache["state", 0][:, 3])
    assert cache.compute_ssm_effective_attention(0) is cache["effective_attention", 0]
    few = model.run_with_cache(tokens, taps=[1, 4])[1]
    with pytest.raises(ValueError, match=r"position 3 was not tapped; the taps of this cache are \[1, 4\]"):
        few.compute_ssm_state(0, time_step=3)


def test_gradients_are_cached_where_they_flow(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    loss, cache = model.run_with_cache(tokens, incl_bwd=True, return_type="loss", positions=[0, 3], taps="last")
    assert loss.ndim == 0 and cache["blocks.0.attn.hook_k_grad"].shape == cache["k", 0].shape == (2, 2, 2, 6)
    assert "blocks.0.attn.hook_state_grad" not in cache.cache_dict
    added = torch.zeros(2, 9, 12, dtype=torch.float64, requires_grad=True)
    shifted = model.run_with_hooks(
        tokens, fwd_hooks=[("blocks.1.hook_resid_pre", lambda value, hook: value + added)], return_type="loss"
    )
    (gradient,) = torch.autograd.grad(shifted, added)
    torch.testing.assert_close(cache["blocks.1.hook_resid_pre_grad"], gradient[:, [0, 3]])
    with pytest.raises(ValueError, match='return_type="loss"'):
        model.run_with_cache(tokens, incl_bwd=True)


def test_caching_hooks_fill_their_dict_in_later_runs(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    held = model.add_caching_hooks(["hook_embed", "blocks.0.attn.hook_k"], incl_bwd=True)
    model(tokens, return_type="loss").backward()
    assert set(held) == {"hook_embed", "blocks.0.attn.hook_k", "hook_embed_grad", "blocks.0.attn.hook_k_grad"}
    model.reset_hooks()
    cache, forward, backward = model.get_caching_hooks("blocks.*.hook_resid_pre", remove_batch_dim=True)
    model.run_with_hooks(tokens[:1], fwd_hooks=forward, bwd_hooks=backward)
    assert {name: tuple(value.shape) for name, value in cache.items()} == {
        "blocks.0.hook_resid_pre": (9, 12),
        "blocks.1.hook_resid_pre": (9, 12),
    }


def test_hook_names_are_listed(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    assert model.hook_names == list(model.hook_dict) and "blocks.1.attn.hook_state" in model.hook_names
    assert all(isinstance(model.hook_dict[name], HookPoint) for name in model.hook_names)


@pytest.mark.parametrize("family", ["mamba2", "qwen3_next"])
def test_methods_on_the_cache_of_a_loaded_model_work_or_are_refused_by_name(family: str) -> None:
    model = load(FOREIGN[family]())
    cache = cached(model, torch.randint(3, 31, (2, 9)))
    refused = set()
    for name, method in OF_THE_CACHE.items():
        try:
            method(cache)
        except NotInThisModelError as error:
            assert "its library's" in str(error)
            refused.add(name)
        except UnknownNameError as error:  # of a hook that the family does not reach
            assert "hook in this cache" in str(error)
    assert {"logit_lens", "apply_ln_to_stack", "get_neuron_results", "stack_neuron_results"} <= refused
    assert {"compute_ssm_state", "stack_activation", "remove_batch_dim"}.isdisjoint(refused)
