"""Layer numbers mean what they mean in transformer-lens, and one outside the model is an error wherever one is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens import ActivationCache

import statescope
from statescope import Attention, DeltaNet, GatedDeltaNet, Model, ModelConfig
from statescope.probe.errors import LayerError
from statescope.probe.hooks.names import hook_name, layer_of, place_of, resolve_layer, site_of
from statescope.probe.models.linearize import linearize


@pytest.fixture
def model() -> Model:
    return Model(ModelConfig(vocabulary=17, width=16, layers=3, mixer=GatedDeltaNet(heads=2))).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 17, (2, 9))


def test_hook_names_are_read_and_written_in_one_place() -> None:
    name = hook_name(12, "attn.hook_k")
    assert name == "blocks.12.attn.hook_k"
    assert (layer_of(name), place_of(name), site_of(name)) == (12, "attn.hook_k", "k")
    assert (layer_of("ln_final.hook_scale"), place_of("hook_embed"), site_of("hook_embed")) == (None, "hook_embed", "embed")


def test_no_other_file_writes_a_hook_name_or_takes_one_apart() -> None:
    root = Path(statescope.__file__).parent
    made = re.compile(r"""f["']blocks\.\{[^}]*\}\.|["']blocks\\\.""")  # an f-string up to a place, or a regular expression
    paths = [path for room in ("probe", "analyses", "app") for path in (root / room).rglob("*.py")]
    found = {path.relative_to(root).as_posix() for path in paths if made.search(path.read_text("utf-8"))}
    assert found == {"probe/hooks/names.py"}


def test_negative_layers_count_from_the_last() -> None:
    assert [resolve_layer(layer, 3) for layer in (0, 2, -1, -3)] == [0, 2, 2, 0]
    assert resolve_layer(3, 3, end=True) == 3
    for layer in (3, -4):
        with pytest.raises(LayerError, match="outside a model of 3 layers"):
            resolve_layer(layer, 3)
    with pytest.raises(LayerError):
        resolve_layer(4, 3, end=True)


def test_stopping_and_starting_mean_the_residual_stream_entering_a_block(model: Model, tokens: torch.Tensor) -> None:
    logits, cache = model.run_with_cache(tokens)
    entering = [cache["resid_pre", layer] for layer in range(3)] + [cache["resid_post", 2]]
    for stop, expected in ((0, 0), (1, 1), (2, 2), (3, 3), (-1, 2), (-2, 1), (-3, 0)):
        assert torch.equal(model(tokens, stop_at_layer=stop), entering[expected]), stop
    for start, given in ((0, 0), (1, 1), (3, 3), (-1, 2), (-3, 0)):
        torch.testing.assert_close(model(entering[given], start_at_layer=start), logits)
    between = model(entering[1], start_at_layer=1, stop_at_layer=-1)
    assert torch.equal(between, entering[2])


@pytest.mark.parametrize(
    "take",
    [
        lambda model, tokens: model(tokens, stop_at_layer=4),
        lambda model, tokens: model(tokens, stop_at_layer=-4),
        lambda model, tokens: model(torch.randn(2, 9, 16), start_at_layer=5),
        lambda model, tokens: model(torch.randn(2, 9, 16), start_at_layer=-4),
        lambda model, tokens: model.run_with_cache(tokens, stop_at_layer=4),
        lambda model, tokens: model.mixer(3),
        lambda model, tokens: model.mixer(-4),
        lambda model, tokens: model.has_state(3),
        lambda model, tokens: model.config.mixer_of(7),
    ],
)
def test_a_layer_outside_the_model_is_an_error(
    take: Callable[[Model, torch.Tensor], Any], model: Model, tokens: torch.Tensor
) -> None:
    with pytest.raises(LayerError, match=r"is outside a model of 3 layers"):
        take(model, tokens)


def test_stopping_before_the_start_is_an_error(model: Model) -> None:
    with pytest.raises(ValueError, match="no layer would run"):
        model(torch.randn(2, 9, 16), start_at_layer=2, stop_at_layer=1)


def test_layers_that_linearize_keeps_are_layers_of_the_teacher() -> None:
    teacher = Model(ModelConfig(vocabulary=5, width=8, layers=3, mixer=Attention(heads=2)))
    kinds = [linearize(teacher, "gla", keep=[-1]).mixer(layer).kind for layer in range(3)]
    assert kinds == ["linearized", "linearized", "attention"]
    with pytest.raises(LayerError, match="keep 9 is outside a model of 3 layers"):
        linearize(teacher, "gla", keep=[9])


def test_a_cache_knows_no_layer_outside_the_model(model: Model, tokens: torch.Tensor) -> None:
    _, cache = model.run_with_cache(tokens, taps="last")
    assert cache["state", -3] is cache["state", 0]
    theirs = ActivationCache(dict(cache.cache_dict), model)
    for key in (("resid_pre", 3), ("state", 7, "attn"), ("resid_pre", -4)):
        with pytest.raises(LayerError):
            cache[key]
        with pytest.raises(KeyError):
            theirs[key]
    one = Model(ModelConfig(vocabulary=17, width=16, layers=1, mixer=DeltaNet(heads=2)))
    with pytest.raises(LayerError, match="layer 7 is outside a model of 1 layer"):
        one.run_with_cache(tokens, taps="last")[1]["state", 7]


@pytest.mark.parametrize(
    "name",
    [
        *("accumulated_resid", "decompose_resid", "stack_head_results", "stack_neuron_results"),
        *("get_full_resid_decomposition", "apply_ln_to_stack", "stack_activation"),
    ],
)
def test_methods_of_the_cache_know_no_layer_outside_the_model(name: str, model: Model, tokens: torch.Tensor) -> None:
    """Theirs answers -2 with an empty stack or the embedding alone."""
    _, cache = model.run_with_cache(tokens)
    first = {"apply_ln_to_stack": [torch.randn(1, 2, 9, 16)], "stack_activation": ["resid_pre"]}.get(name, [])
    for layer in (4, -2):
        with pytest.raises(LayerError, match=r"outside \[0, 3\]"):
            getattr(cache, name)(*first, layer=layer)
        with pytest.raises(LayerError):
            getattr(cache, name)(*first, layer)
