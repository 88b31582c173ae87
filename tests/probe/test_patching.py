"""State patching against patching by hand, and attribution patching against the sweep."""

from __future__ import annotations

import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN

from statescope import (
    AssociativeRecall,
    Attention,
    DeltaNet,
    Edit,
    GatedDeltaNet,
    LinearAttention,
    Model,
    ModelConfig,
    Training,
    attribute_states,
    generator_for,
    load,
    patch_states,
    train,
)
from statescope.probe.interventions.patching import Patching, last_logit_difference
from statescope.probe.mixers import MixerConfig

METRIC = last_logit_difference(1, 2)
POSITIONS = [1, 4, 9]


def small(mixer: MixerConfig | tuple[MixerConfig, ...], layers: int = 2) -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=layers, mixer=mixer)).double().eval()


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(0, 7, (1, 14)), torch.randint(0, 7, (1, 14))


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer.has_state], ids=label)
def test_the_sweep_is_patching_by_hand(mixer: MixerConfig, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    model, (target, source) = small(mixer), pair
    found = patch_states(model, target, source, METRIC, POSITIONS)
    assert found.effect.shape == (2, 3, model.mixer(0).axis_sizes["head"])
    assert found.baseline == pytest.approx(float(METRIC(model(target))))
    for layer, position, head in ((0, 4, 0), (1, 9, -1)):
        hook = f"blocks.{layer}.attn.hook_state"
        _, cache = model.run_with_cache(source, names_filter=hook, taps=[position])
        which = head % model.mixer(0).axis_sizes["head"]
        edit = Edit(position, "set", cache[hook][:, 0, which : which + 1].clone(), heads=(which,))
        by_hand = METRIC(model.run_with_edits(target, {hook: [edit]})) - found.baseline
        place = found.effect[layer, POSITIONS.index(position), which]
        torch.testing.assert_close(place, by_hand[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["qwen3_next", "mamba", "falcon_h1", "xlstm"])
def test_a_loaded_model_is_patched_as_by_hand(name: str) -> None:
    model = load(FOREIGN[name]().double())
    target, source = torch.randint(3, 31, (2, 1, 14)).unbind()
    found = patch_states(model, target, source, METRIC, POSITIONS)
    layers = [layer for layer in range(model.layers) if model.has_state(layer)]
    heads = model.mixer(0).axis_sizes["head"]
    assert found.effect.shape == (len(layers), 3, heads) and found.effect.isfinite().all()
    for position, head in ((4, 0), (9, heads - 1)):
        hook = "blocks.0.attn.hook_state"
        _, cache = model.run_with_cache(source, names_filter=hook, taps=[position])
        edit = Edit(position, "set", cache[hook][:, 0, head : head + 1].clone(), heads=(head,))
        by_hand = METRIC(model.run_with_edits(target, {hook: [edit]})) - found.baseline
        torch.testing.assert_close(found.effect[0, POSITIONS.index(position), head], by_hand[0], rtol=1e-6, atol=1e-8)
    near = target.clone()
    near[0, 3] = (near[0, 3] + 1) % 31
    exact, first_order = (way(model, target, near, METRIC, [9]).effect for way in (patch_states, attribute_states))
    assert torch.nn.functional.cosine_similarity(exact.flatten(), first_order.flatten(), dim=0) > 0.7


@pytest.mark.parametrize("mixers", [(Attention(heads=2), DeltaNet(heads=2)), (DeltaNet(heads=2), Attention(heads=2))])
def test_hybrids_and_metrics_of_the_last_position(
    mixers: tuple[MixerConfig, ...], pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    model, (target, source) = small(mixers, layers=4), pair
    found, quick = (patch_states(model, target, source, METRIC, [1, 4, -5], reads=reads) for reads in (None, 1))
    torch.testing.assert_close(quick.effect, found.effect)
    layer = 0 if isinstance(mixers[0], DeltaNet) else 1
    hook = f"blocks.{layer}.attn.hook_state"
    _, cache = model.run_with_cache(source, names_filter=hook, taps=[4])
    edit = Edit(4, "set", cache[hook][:, 0, 1:].clone(), heads=(1,))
    by_hand = METRIC(model.run_with_edits(target, {hook: [edit]})) - found.baseline
    torch.testing.assert_close(found.effect[0, 1, 1], by_hand[0], rtol=1e-8, atol=1e-10)


def test_layers_of_different_heads(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    model, (target, source) = small((DeltaNet(heads=2), DeltaNet(heads=3))), pair
    effect = patch_states(model, target, source, METRIC, POSITIONS).effect
    assert effect.shape == (2, 3, 3)
    linear = attribute_states(model, target, source, METRIC, POSITIONS).effect
    assert torch.equal(linear.isnan(), effect.isnan())
    assert effect[0, :, 2].isnan().all() and effect[:, :, :2].isfinite().all() and effect[1].isfinite().all()


def test_a_metric_sees_the_logits_behind_the_patch(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Of every position behind it, with the patches of several places in one batch."""
    model, (target, source) = small(DeltaNet(heads=2)), pair
    seen: list[int] = []

    def total(logits: torch.Tensor) -> torch.Tensor:
        seen.append(logits.shape[1])
        return logits[:, -3:, 1].sum(1)

    found = patch_states(model, target, source, total, [8, 9, 10])  # 8 and 9 run together, and 9 is padded
    assert seen == [5, 5, 4, 4, 3, 3, 14, 14]
    hook = "blocks.0.attn.hook_state"
    for place, position in enumerate((8, 9, 10)):
        _, cache = model.run_with_cache(source, names_filter=hook, taps=[position])
        by_hand = model.run_with_edits(target, {hook: [Edit(position, "set", cache[hook][:, 0, :1].clone(), heads=(0,))]})
        torch.testing.assert_close(found.effect[0, place, 0], by_hand[0, -3:, 1].sum() - model(target)[0, -3:, 1].sum())


@pytest.mark.parametrize("reads", [None, 2])
@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "loaded"])
def test_a_mean_over_positions_is_compared_with_the_mean_over_the_same(
    foreign: bool, reads: int | None, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """The wrong variant compares it with the mean over all positions of the target."""
    model = load(FOREIGN["qwen3_next"]().double()) if foreign else small(DeltaNet(heads=2))
    target, source = pair

    def mean(logits: torch.Tensor) -> torch.Tensor:
        return logits[..., 1].mean(1)

    found = patch_states(model, target, source, mean, POSITIONS, reads=reads)
    (layer, *_), itself = found.layers, patch_states(model, target, target, mean, POSITIONS, reads=reads).effect
    assert itself[~itself.isnan()].abs().max() < 1e-12
    hook = f"blocks.{layer}.attn.hook_state"
    for place, position in enumerate(POSITIONS):
        _, cache = model.run_with_cache(source, names_filter=hook, taps=[position])
        changed = model.run_with_edits(target, {hook: [Edit(position, "set", cache[hook][:, 0, :1].clone(), heads=(0,))]})
        seen = target.shape[1] - 1 - position if reads is None else min(reads, target.shape[1] - 1 - position)
        by_hand, wrong = mean(changed[:, -seen:]) - mean(model(target)[:, -seen:]), mean(changed[:, -seen:]) - mean(model(target))
        torch.testing.assert_close(found.effect[0, place, :1], by_hand, rtol=1e-8, atol=1e-10)
        assert not torch.allclose(found.effect[0, place, :1], wrong, rtol=1e-3)


def test_the_summary_names_the_place_that_changes_most() -> None:
    effect = torch.tensor([[[0.1, -0.5], [0.0, 0.25]], [[0.2, torch.nan], [0.3, torch.nan]]])
    told = Patching(effect, 1.0, 0.0, (0, 2), (3, 7)).summary()
    assert told == (
        "the metric is 1 without a patch and 0 in the source; of 6 places layer 0, position 3, head 1 changes it most, by -0.5, "
        "50% of what the source has more"
    )
    same = Patching(effect.flip(0), 1.0, 1.0, (0, 2), (3, 7)).summary()
    assert "layer 2, position 3, head 1" in same and "%" not in same, "where the runs agree there is no share"


def test_a_patch_from_itself_does_nothing(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    model, (target, _) = small(DeltaNet(heads=2)), pair
    assert patch_states(model, target, target, METRIC, POSITIONS).effect.abs().max() < 1e-12
    assert attribute_states(model, target, target, METRIC, POSITIONS).effect.abs().max() < 1e-12


def test_all_heads_at_once_at_the_last_place_carry_the_whole_difference(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """One layer and no convolution: behind the patch nothing but the state knows the prefix."""
    model, (target, source) = small(DeltaNet(heads=1, short_convolution=0), layers=1), pair
    source = torch.cat([source[:, :10], target[:, 10:]], dim=1)
    found = patch_states(model, target, source, METRIC, [9])
    assert float(found.effect) == pytest.approx(found.source - found.baseline, abs=1e-10)


def test_attribution_is_the_first_order_of_the_sweep(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Where the two runs differ by little, the two agree; where by much, mostly in sign."""
    model, (target, _) = small((GatedDeltaNet(heads=2), Attention(heads=2))), pair
    source = target.clone()
    source[0, 2] = (source[0, 2] + 1) % 7
    with torch.no_grad():
        model.embed.weight[:] = model.embed.weight[:1] + 1e-4 * model.embed.weight
    swept, attributed = (run(model, target, source, METRIC, [3, 6, 11]).effect for run in (patch_states, attribute_states))
    torch.testing.assert_close(attributed, swept, rtol=1e-2, atol=1e-9)


def test_what_cannot_be_patched_is_refused(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    target, source = pair
    with pytest.raises(ValueError, match="no layer of this model has a state to patch"):
        patch_states(small(Attention(heads=2)), target, source, METRIC, [1])
    with pytest.raises(ValueError, match="two sequences"):
        patch_states(small(DeltaNet(heads=2)), target, source[:, :9], METRIC, [1])
    with pytest.raises(IndexError, match="position 13 has no token behind it"):
        patch_states(small(DeltaNet(heads=2)), target, source, METRIC, [13])


def test_attribution_agrees_in_sign_with_the_sweep_on_a_trained_model() -> None:
    """On recall with one stored value changed: at least 90% of the large effects; the correlation is printed."""
    task = AssociativeRecall(pairs=2, symbols=6)
    mixer = LinearAttention(heads=4, short_convolution=4)
    model = Model(ModelConfig(task.vocabulary, 32, 2, mixer))
    train(model, task, Training(steps=400, batch=64, length=10, learning_rate=5e-3))
    swept, attributed = [], []
    for row in task.batch(30, 10, "test", generator_for(3)).tokens:
        asked = next(place for place in range(4, 10) if row[place] > 0)
        target = row[: asked + 1]
        place = 1 if target[0] == target[-1] else 3
        source = target.clone()
        source[place] = 7 + (source[place] - 6) % 6
        metric = last_logit_difference(int(source[place]), int(target[place]))
        for found, run in ((swept, patch_states), (attributed, attribute_states)):
            found.append(run(model, target[None], source[None], metric, list(range(asked))).effect.flatten())
    effects, estimates = torch.cat(swept), torch.cat(attributed)
    large = effects.abs() > 0.1 * effects.abs().max()
    agreement = (effects[large].sign() == estimates[large].sign()).double().mean()
    correlation = torch.corrcoef(torch.stack([effects, estimates]))[0, 1]
    print(f"\n{int(large.sum())} large effects: {agreement:.1%} agree in sign; correlation {correlation:.2f}")
    assert large.sum() > 50 and agreement >= 0.9
    assert correlation > 0.5
