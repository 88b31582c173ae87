"""The model as a module, and as transformer-lens sees it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional
from transformer_lens import patching

from statescope import Attention, DeltaNet, GatedDeltaNet, Model, ModelConfig
from statescope.probe.errors import UnknownNameError


@pytest.fixture
def model() -> Model:
    mixers = (GatedDeltaNet(heads=2), Attention(heads=2))
    return Model(ModelConfig(vocabulary=11, width=16, layers=3, mixer=mixers)).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 11, (2, 12))


def test_the_mixer_pattern_is_repeated_over_the_layers(model: Model) -> None:
    assert [model.config.mixer_of(layer).kind for layer in range(3)] == ["gated_delta_net", "attention", "gated_delta_net"]
    assert ModelConfig(vocabulary=2, mixer="attention").mixer == Attention()  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean 'delta_net'"):
        ModelConfig(vocabulary=2, mixer="deltanet")  # type: ignore[arg-type]


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="width 10 is not a multiple of 4 heads"):
        Model(ModelConfig(vocabulary=2, width=10, mixer=DeltaNet(heads=4)))
    with pytest.raises(ValueError, match="even key_size"):
        Model(ModelConfig(vocabulary=2, width=6, mixer=Attention(heads=2)))
    with pytest.raises(ValueError, match="layers must be at least 1"):
        ModelConfig(vocabulary=2, layers=0)
    with pytest.raises(ValueError, match="eigenvalue_range"):
        DeltaNet(eigenvalue_range=(-2.0, 1.0))


def test_tokens_outside_the_vocabulary_are_refused(model: Model, tokens: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"vocabulary is \[0, 10\]"):
        model(tokens + 1000)
    with pytest.raises(ValueError, match="whole numbers"):
        model(tokens.float())


def test_the_same_seed_makes_the_same_model_whatever_was_drawn_before(tokens: torch.Tensor) -> None:
    config = ModelConfig(vocabulary=11, width=16, mixer=GatedDeltaNet(heads=2), seed=5)
    first = Model(config)(tokens)
    torch.randn(7)
    assert torch.equal(Model(config)(tokens), first)


def test_the_future_does_not_reach_the_past(model: Model, tokens: torch.Tensor) -> None:
    changed = tokens.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 11
    assert torch.equal(model(tokens)[:, :8], model(changed)[:, :8])


def test_loss_is_the_next_token_cross_entropy(model: Model, tokens: torch.Tensor) -> None:
    logits, loss = model(tokens, return_type="both")
    by_hand = -logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None]).mean()
    torch.testing.assert_close(loss, by_hand)
    assert torch.equal(model(tokens, return_type="loss"), loss)
    assert model(tokens, return_type=None) is None


def test_stopping_and_starting_between_layers(model: Model, tokens: torch.Tensor) -> None:
    residual = model(tokens, stop_at_layer=1)
    _, cache = model.run_with_cache(tokens, names_filter="blocks.1.hook_resid_pre")
    assert torch.equal(residual, cache["resid_pre", 1])
    torch.testing.assert_close(model(residual, start_at_layer=1), model(tokens))


def test_the_residual_stream_is_the_sum_of_what_is_written(model: Model, tokens: torch.Tensor) -> None:
    _, cache = model.run_with_cache(tokens)
    for layer in range(3):
        torch.testing.assert_close(cache["resid_mid", layer], cache["resid_pre", layer] + cache["attn_out", layer])
        torch.testing.assert_close(cache["resid_post", layer], cache["resid_mid", layer] + cache["mlp_out", layer])
    by_head = torch.einsum("bthv,hvd->btd", cache["z", 0], model.mixer(0).W_O)
    torch.testing.assert_close(by_head, cache["attn_out", 0])


def test_transformer_lens_cache_methods_work(model: Model, tokens: torch.Tensor) -> None:
    _, cache = model.run_with_cache(tokens)
    stack, labels = cache.accumulated_resid(return_labels=True, incl_mid=False)
    assert len(labels) == len(stack)
    torch.testing.assert_close(stack[-1], cache["resid_post", -1])


def test_transformer_lens_patching_works(model: Model, tokens: torch.Tensor) -> None:
    other = tokens.flip(0)
    _, clean = model.run_with_cache(tokens)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logits[0, -1, 3]

    swept = patching.get_act_patch_resid_pre(model, other, clean, metric)
    assert swept.shape == (3, 12)
    by_hand = model.run_with_hooks(other, fwd_hooks=[("blocks.2.hook_resid_pre", _patch(clean["resid_pre", 2], 4))])
    torch.testing.assert_close(swept[2, 4], metric(by_hand))


@pytest.mark.parametrize(("site", "sweep"), [("q", "q"), ("k", "k"), ("v", "v"), ("z", "out")])
def test_transformer_lens_patching_of_heads_works(site: str, sweep: str, model: Model, tokens: torch.Tensor) -> None:
    other = tokens.flip(0)
    _, clean = model.run_with_cache(tokens)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logits[0, -1, 3]

    run = getattr(patching, f"get_act_patch_attn_head_{sweep}_by_pos")
    swept = run(model, other, clean, metric)
    assert swept.shape == (3, 12, model.cfg.n_heads)

    def patch(value: torch.Tensor, hook: object) -> torch.Tensor:
        changed = value.clone()
        changed[:, 4, 1] = clean[site, 1][:, 4, 1]
        return changed

    by_hand = metric(model.run_with_hooks(other, fwd_hooks=[(f"blocks.1.attn.hook_{site}", patch)]))
    torch.testing.assert_close(swept[1, 4, 1], by_hand)
    assert not torch.isclose(by_hand, metric(model(other)))


def test_a_cache_is_filtered_by_name_glob_list_and_function_and_stored_as_asked(model: Model, tokens: torch.Tensor) -> None:
    by_layer = ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"]
    filters = ("blocks.1.hook_resid_*", by_layer, lambda name: name.startswith("blocks.1.hook_resid"))
    for names_filter in filters:
        _, cache = model.run_with_cache(tokens, names_filter=names_filter)
        assert sorted(cache) == sorted(by_layer)
    _, cache = model.run_with_cache(tokens, names_filter=by_layer[0], dtype=torch.float16, device="cpu", positions=[2, 5])
    kept = cache[by_layer[0]]
    assert kept.dtype == torch.float16 and kept.device.type == "cpu" and kept.shape[1] == 2


def _patch(source: torch.Tensor, position: int):  # type: ignore[no-untyped-def]
    def patch(value: torch.Tensor, hook: object) -> torch.Tensor:
        value = value.clone()
        value[:, position] = source[:, position]
        return value

    return patch


def test_backward_hooks_see_gradients(model: Model, tokens: torch.Tensor) -> None:
    seen: dict[str, torch.Tensor] = {}

    def keep(gradient: torch.Tensor, hook: object) -> None:
        seen["k"] = gradient.clone()

    with model.hooks(bwd_hooks=[("blocks.0.attn.hook_k", keep)]):
        model(tokens, return_type="loss").backward()
    assert seen["k"].abs().max() > 0


def test_attention_is_the_softmax_of_the_paper(tokens: torch.Tensor) -> None:
    model = Model(ModelConfig(vocabulary=11, width=16, layers=1, mixer=Attention(heads=2))).double()
    _, cache = model.run_with_cache(tokens)
    q, k, v = (cache[name, 0].transpose(1, 2) for name in ("q", "k", "v"))
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(torch.ones(12, 12).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(cache["z", 0].transpose(1, 2), functional.softmax(scores, -1) @ v)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    from statescope.probe.mixers.attention import rotate

    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    q, k = (rotate(x.expand(1, 20, 1, 8)).squeeze() for x in (q, k))
    scores = q @ k.T
    for lag in (0, 3, 7):
        along = scores.diagonal(-lag)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    assert (scores[10] - scores[10, 10]).abs().max() > 1e-3


def test_a_copy_is_a_model_of_its_own(tokens: torch.Tensor) -> None:
    model = Model(ModelConfig(vocabulary=17, width=16, layers=2, mixer=(DeltaNet(heads=2), Attention(heads=2))))
    copied, plain = copy.deepcopy(model), model(tokens)
    model.add_hook("blocks.1.hook_resid_post", lambda value, hook: 0 * value)
    assert torch.equal(copied(tokens), plain)
    with pytest.raises(RuntimeError, match="has a hook function; call reset_hooks"):
        copy.deepcopy(model)
    names = [name for name in copied.hook_dict if name.startswith("blocks.")]
    _, cache = copied.run_with_cache(tokens, names_filter=names, taps="last")
    assert set(cache.cache_dict) == set(names)
    zeroed = copied.run_with_hooks(tokens, fwd_hooks=[("blocks.1.hook_resid_post", lambda value, hook: 0 * value)])
    assert not torch.allclose(zeroed, plain)
    model.reset_hooks()
    with torch.no_grad():
        copied.W_U.zero_()
    assert torch.equal(model(tokens), plain)
