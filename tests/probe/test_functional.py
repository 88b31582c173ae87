"""Models under torch.func: gradients and Jacobians of single samples by vmap are those of a loop over samples."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from every_mixer import MIXERS, label
from torch.func import functional_call, grad, jacrev, vmap

from statescope import DeltaNet, GatedDeltaNet, Model, ModelConfig
from statescope.probe.mixers import MixerConfig


def small(mixer: MixerConfig) -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=2, mixer=mixer)).double().eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 7, (3, 9))


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_logits_under_vmap_over_tokens(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer)
    each = vmap(lambda row: model(row[None])[0])(tokens)
    torch.testing.assert_close(each, model(tokens), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_gradients_of_single_samples_by_vmap(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer)
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = functional_call(model, parameters, (row[None],), {"return_type": "loss"})
        return value

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, tokens)
    for sample, row in enumerate(tokens):
        model.zero_grad()
        model(row[None], return_type="loss").backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                scale = float(expected.abs().max())
                torch.testing.assert_close(
                    found[name][sample], expected, rtol=1e-7, atol=1e-8 * scale + 1e-14, msg=partial("{}: {}".format, name)
                )


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_jacobians_of_single_samples_by_vmap(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    """Of the last logits by the unembedding's and the first layer's output matrices."""
    model = small(mixer)
    names = ["unembed.weight", "blocks.0.attn.project_out.weight"]
    held = {name: value.detach() for name, value in model.named_parameters()}

    def last(chosen: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = functional_call(model, held | chosen, (row[None],))
        return value[0, -1]

    chosen = {name: held[name] for name in names}
    found = vmap(jacrev(last), in_dims=(None, 0))(chosen, tokens)
    parameters = dict(model.named_parameters())
    for output in (0, 6):
        for sample, row in enumerate(tokens):
            expected = torch.autograd.grad(model(row[None])[0, -1, output], [parameters[name] for name in names])
            for name, gradient in zip(names, expected, strict=True):
                torch.testing.assert_close(found[name][sample, output], gradient, rtol=1e-7, atol=1e-10)


def test_caches_taps_and_edits_under_vmap(tokens: torch.Tensor) -> None:
    model, hook = small(GatedDeltaNet(heads=2)), "blocks.0.attn.hook_state"

    def states(row: torch.Tensor) -> torch.Tensor:
        _, cache = model.run_with_cache(row[None], names_filter=hook, taps=[2, -1])
        return cache[hook][0]

    _, cache = model.run_with_cache(tokens, names_filter=hook, taps=[2, -1])
    torch.testing.assert_close(vmap(states)(tokens), cache[hook])


def test_token_ids_outside_the_vocabulary_are_refused_where_they_can_be_read(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    for bad in (tokens - 7, tokens + 7):
        with pytest.raises(ValueError, match=r"vocabulary is \[0, 6\]"):
            model(bad)
        with pytest.raises(ValueError, match=r"vocabulary is \[0, 6\]"):
            functional_call(model, dict(model.named_parameters()), (bad,))
        with pytest.raises((ValueError, IndexError)):
            vmap(lambda row: model(row[None]))(bad)
