"""Recall: measured by the package's recurrences, expected by theory, and of models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN, OF_SOFTMAX

from statescope import Model, ModelConfig, load
from statescope.analyses.geometry.model_rules import write_rules
from statescope.analyses.geometry.recall_by_age import _recall, recall_by_age
from statescope.analyses.geometry.recall_capacity import KEYS, recall_capacity, rules_of
from statescope.analyses.geometry.write_rule import WriteRule, erasing_error, expected_error, expected_error_of_orthonormal
from statescope.probe.mixers import MLSTM, RWKV7, Attention, DeltaNet, GatedDeltaNet, GatedSlotAttention, LinearAttention, Mamba
from statescope.probe.tasks.base import generator_for

CHANNELS = tuple(np.log(np.linspace(0.6, 1, 7)).tolist())
TURNING = tuple(complex(log, angle) for log, angle in zip(CHANNELS, range(7), strict=True))
RULES = rules_of(7) | {
    "beta 1.7, decay": WriteRule(1.7, -0.02),
    "stronger decay": WriteRule(0.0, -0.1),
    "stronger decays by channel": WriteRule(0.0, CHANNELS),
    "beta 0.7, stronger decays": WriteRule(0.7, CHANNELS),
    "beta 1.5, erases first": WriteRule(1.5, CHANNELS, erases_first=True),
    "beta 1.2, three keys": WriteRule(1.2, CHANNELS, keys=3),
    "strong turns": WriteRule(0.0, TURNING),
}


@pytest.mark.parametrize("kind", ["random", "orthonormal"])
@pytest.mark.parametrize("name", RULES)
def test_theory_is_the_mean_of_what_is_measured_pair_by_pair(name: str, kind: str) -> None:
    """2500 states of 7 key channels: each pair's error within five standard errors."""
    rule, size, states = RULES[name], 7, 2500
    pairs = 11 if kind == "random" else size
    error = squared_errors(rule, kind, states, pairs, size)
    expected = (expected_error if kind == "random" else expected_error_of_orthonormal)(rule, pairs, size)
    if expected is None:
        assert kind == "orthonormal" and rule.beta and not rule.one_decay
        return
    off = (error.mean(0) - expected).abs() / (error.std(0) / states**0.5 + 1e-9)
    assert float(off.max()) < 5, (error.mean(0), expected)


def squared_errors(rule: WriteRule, kind: str, states: int, pairs: int, size: int) -> torch.Tensor:
    generator = generator_for(0)
    keys = KEYS[kind].draw(states, pairs, size, generator)
    values = torch.randn(states, pairs, 5, dtype=torch.float64, generator=generator) * 5**-0.5
    return (rule.read(keys, values) - values).square().sum(-1)


WRONG = {
    "the mean decay in the place of each channel's": (WriteRule(0.0, CHANNELS), WriteRule(0.0, float(np.mean(CHANNELS)))),
    "erasing after the decay, not before it": (WriteRule(1.5, CHANNELS, erases_first=True), WriteRule(1.5, CHANNELS)),
    "a decay at each key, not at each token": (WriteRule(1.2, CHANNELS, keys=3), WriteRule(1.2, CHANNELS)),
    "the modulus of a decay that turns": (WriteRule(0.0, TURNING), WriteRule(0.0, CHANNELS)),
    "an additive rule of one that erases": (WriteRule(0.7, CHANNELS), WriteRule(0.0, CHANNELS)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_measured_rejects_the_theory_of_another_rule(name: str) -> None:
    right, wrong = WRONG[name]
    error = squared_errors(right, "random", 2500, 11, 7)
    off = (error.mean(0) - expected_error(wrong, 11, 7)).abs() / (error.std(0) / 2500**0.5 + 1e-9)
    assert float(off.max()) > 8


def test_the_recursion_and_the_closed_form_are_one_where_nothing_is_erased() -> None:
    for rule in (WriteRule(), WriteRule(0.0, -0.1), WriteRule(0.0, CHANNELS)):
        closed, recursion = expected_error(rule, 11, 7), erasing_error(rule, 11, 7)
        np.testing.assert_allclose(recursion.numpy(), closed.numpy(), rtol=0, atol=1e-13)


def test_an_additive_state_errs_by_n_less_1_over_the_keys() -> None:
    for pairs in (1, 2, 9):
        np.testing.assert_allclose(expected_error(WriteRule(), pairs, 7).numpy(), (pairs - 1) / 7, rtol=1e-12, atol=1e-15)


def test_a_delta_rule_is_not_an_additive_state_that_forgets() -> None:
    """The wrong variant: what later keys take away, and beside it all interference of an additive state."""
    size, pairs = 7, 11
    kept = (1 - 1 / size) ** torch.arange(pairs - 1, -1, -1).double()
    wrong = (1 - kept).square() + (pairs - 1) / size
    right = expected_error(WriteRule(1.0), pairs, size)
    assert float(right[-1]) == pytest.approx(0, abs=1e-12) and float((wrong - right).abs().min()) > 0.2


def test_the_delta_rule_holds_as_many_orthonormal_pairs_as_key_channels() -> None:
    result = recall_capacity(pairs=(2, 5, 7, 14), key_size=7, value_size=5, states=60)
    orthonormal = result.select(rule="delta rule", keys="orthonormal").table
    assert (orthonormal["error"] < 1e-20).all() and orthonormal["pairs"].max() == 7
    reach = (result.table["high"] - result.table["low"]) * 2 / 3.92  # two standard errors
    known = result.table["expected"].notna()
    assert set(result.table[~known]["keys"]) == {"orthonormal"}
    assert ((result.table["error"] - result.table["expected"]).abs() <= 2 * reach + 1e-12)[known].all()
    held = result.capacity().set_index(["rule", "keys"])
    assert held.loc[("additive", "random"), "expected"] == 2 and held.loc[("delta rule", "random"), "expected"] >= 5
    assert "delta rule, orthonormal keys of 7 channels: 7 of up to 7 pairs, 7 by theory" in result.summary()
    unknown = "delta rule, decays by channel, orthonormal keys of 7 channels: "
    [said] = [line for line in result.summary().splitlines() if line.startswith(unknown)]
    assert said.endswith("for which no closed form is known")
    assert len(result.specification().panels) == 2
    for wrong in ({"pairs": (0,)}, {"pairs": ()}, {"key_size": 0}, {"value_size": 0}, {"states": 1}):
        with pytest.raises(ValueError, match="must be at least 1, and states="):
            recall_capacity(**wrong)
    for wrong, said in (
        ({"beta": 3}, "beta=3 must be from 0 to 2"),
        ({"log_decay": (0.0, 0.1)}, "at most 0"),
        ({"keys": 2}, "more than that takes a delta rule"),
        ({"beta": 1, "log_decay": (1j,)}, "a decay that turns takes an additive rule"),
    ):
        with pytest.raises(ValueError, match=said):
            WriteRule(**wrong)
    with pytest.raises(ValueError, match="decays for 2 key channels, and keys have 7"):
        WriteRule(0.0, (-0.1, -0.2)).log_decays(7)


def small(mixer: Any) -> Model:
    return Model(ModelConfig(vocabulary=9, width=8, layers=2, mixer=mixer)).double().eval()


TOKENS = torch.randint(0, 9, (3, 12), generator=torch.Generator().manual_seed(0))


def test_recall_of_a_model_is_that_of_its_state_and_keys() -> None:
    model = small(DeltaNet(heads=2))
    result = recall_by_age(model, TOKENS)
    names = [f"blocks.1.attn.hook_{name}" for name in ("k", "v", "state")]
    _, cache = model.run_with_cache(TOKENS, names_filter=names, taps="last")
    k, v, state = (cache[name].detach() for name in names)
    cosines = [
        float(torch.cosine_similarity(state[b, 0, 1].T @ k[b, 12 - 1 - 4, 1], v[b, 12 - 1 - 4, 1], dim=0)) for b in range(3)
    ]
    assert result.value("cosine", layer=1, head=1, age=4) == pytest.approx(np.mean(cosines), abs=1e-9)
    assert result.table["recalled"].between(0, 1).all() and result.table["age"].max() == 11
    # A delta rule with beta near 1 gives back the latest value best.
    assert result.table[result.table["age"] == 0]["cosine"].mean() > result.table[result.table["age"] == 11]["cosine"].mean()


@pytest.mark.parametrize(
    "mixer", [GatedDeltaNet(heads=2, householders=2), RWKV7(heads=2), MLSTM(heads=2), LinearAttention(heads=2)]
)
def test_it_takes_every_matrix_state(mixer: Any) -> None:
    result = recall_by_age({"a": small(mixer)}, TOKENS)
    assert set(result.table["layer"]) == {0, 1} and result.table["cosine"].abs().max() <= 1 + 1e-9
    assert "gives back" in result.summary() and len(result.specification().panels) == 2


def test_a_model_without_a_state_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer of this model has the hooks k, v, state"):
        recall_by_age(small(Attention(heads=2)), TOKENS)
    for mixer in (GatedSlotAttention(heads=2), Mamba()):
        with pytest.raises(ValueError, match="no layer of these models has a state that is written along its keys"):
            recall_by_age(small(mixer), TOKENS)


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_each_mixer_has_a_rule_with_its_theory_or_a_sentence_why_not(mixer: Any) -> None:
    """The rule writes the state that the mixer's recurrence does, at the rule's rates and decays; theory has what is measured."""
    model = Model(ModelConfig(vocabulary=9, width=12, layers=1, mixer=mixer)).double().eval()
    rules = write_rules(model, TOKENS)
    points = {point.name.removeprefix("attn.hook_"): point.axis_names for point in model.layer_points(0)}
    if "k" not in points or points["k"][-1] not in points.get("state", ()):
        [why] = rules.values()
        assert isinstance(why, str) and ("not written along keys" in why or "no pair disturbs another" in why)
        with pytest.raises(ValueError, match="no state is written along keys; model, layer 0"):
            recall_capacity(rules)
        return
    sizes = model.mixer(0).axis_sizes
    assert len(rules) == sizes["head"]
    rule = rules["model, layer 0, head 1"]
    assert isinstance(rule, WriteRule) and "overlap by" in rule.note
    assert ("normaliser" in rule.note) == (sizes.get("state_value", 0) > sizes.get("value", 0))
    check_that_the_recurrence_writes_alike(model.mixer(0).recurrence, points, rule)
    result = recall_capacity({"own": rule}, pairs=(3, 6), key_size=5, value_size=3, states=300)
    reach = (result.table["high"] - result.table["low"]) / 3.92
    off = ((result.table["error"] - result.table["expected"]).abs() / (reach + 1e-12))[result.table["keys"] == "random"]
    assert off.max() < 5 and rule.note in result.summary()


def check_that_the_recurrence_writes_alike(recurrence: Any, points: dict[str, list[str]], rule: WriteRule) -> None:
    """The state of a recurrence whose tokens have unit keys and the rule's rate and decays, beside the state of the rule."""
    size = rule.channels or 5
    generator = generator_for(0)
    keys = KEYS["random"].draw(1, 2 * rule.keys, size, generator)
    values = torch.randn(1, 2 * rule.keys, 3, dtype=torch.float64, generator=generator)
    several = (-1, 1, rule.keys) if rule.keys > 1 else (-1, 1)
    k, v = keys.unflatten(1, several), values.unflatten(1, several)
    logs = rule.log_decays(size).expand(1, 2, 1, -1)
    mine = rule.write(keys, values)[0]
    if "decay" in points:  # each channel of the input is a head of its own: a column of k v^T
        columns = (k[..., None] * v[..., None, :]).squeeze(2).movedim(-1, 2)
        found = recurrence.call(x=columns, decay=logs.exp().real.expand_as(columns)).final_state[0].mT
    else:
        by_channel = "key" in points.get("log_decay", ())
        assert by_channel or rule.channels is None
        tokens = {
            "q": k if rule.keys == 1 else k[:, :, :, 0],
            "k": rule.gain * k if "a" in points else k,
            "v": v,
            "beta": torch.full(k.shape[:-1], rule.beta, dtype=torch.float64),
            "log_decay": logs.real if by_channel else logs.real[..., 0],
            "phase": logs.imag,
            "a": k,
            "b": -rule.beta * k,
            "log_input": torch.zeros(k.shape[:3], dtype=torch.float64),
        }
        found = recurrence.call(**{name: x for name, x in tokens.items() if name in points}).final_state[0, 0][:, :3]
    scale = (found * mine.conj()).sum() / mine.abs().square().sum()
    assert "normaliser" in rule.note or abs(scale - 1) < 1e-12  # a state with its normaliser may be kept on a scale of its own
    torch.testing.assert_close(found, scale * mine, rtol=0, atol=1e-12)


def test_a_wrong_order_of_erasing_is_no_state_of_the_recurrence() -> None:
    """RWKV-7 is no delta rule that decays first."""
    model = Model(ModelConfig(vocabulary=9, width=12, layers=1, mixer=RWKV7(heads=2))).double().eval()
    rule = write_rules(model, TOKENS)["model, layer 0, head 1"]
    assert isinstance(rule, WriteRule) and rule.erases_first
    points = {point.name.removeprefix("attn.hook_"): point.axis_names for point in model.layer_points(0)}
    check_that_the_recurrence_writes_alike(model.mixer(0).recurrence, points, rule)
    with pytest.raises(AssertionError):
        check_that_the_recurrence_writes_alike(model.mixer(0).recurrence, points, WriteRule(rule.beta, rule.log_decay))


@pytest.mark.parametrize("name", ["qwen3_next", "kimi_linear", "mamba", "mamba2", "rwkv", "xlstm", "minimax"])
def test_rules_of_loaded_models(name: str) -> None:
    model = load(FOREIGN[name]())
    rules = write_rules({name: model}, TOKENS)
    heads = [rule for rule, how in rules.items() if isinstance(how, WriteRule)]
    assert all(any(f"layer {layer}" in rule for rule in rules) for layer in range(model.layers))
    if not heads:
        assert all("not written along keys" in str(why) for why in rules.values())
        return
    result = recall_capacity({rule: how for rule, how in rules.items() if rule not in heads[2:]}, (2,), states=50)
    assert result.summary() and result.specification().panels
    for where, why in rules.items():
        assert not isinstance(why, str) or f"{where}: no rule, {why}" in result.summary()
    [only] = write_rules({name: model}, TOKENS, layer=0, head=1)
    assert only == f"{name}, layer 0, head 1"
    with pytest.raises(IndexError):
        write_rules(model, TOKENS, layer=9)


def test_softmax_of_a_loaded_model_disturbs_no_pair() -> None:
    rules = write_rules(load(OF_SOFTMAX["llama"]()), TOKENS)
    assert (
        list(rules.values())
        == ["attention keeps the keys and values of all tokens, and no state of a fixed size: no pair disturbs another"] * 2
    )


def test_a_pair_is_recalled_where_no_other_value_is_nearer_to_what_its_key_reads() -> None:
    """Both keys read the first value: it is recalled, and the second is not, though no other key reads it better."""
    state = torch.tensor([[1.0, 0.0], [0.9, 0.1]])[None, None]
    one = torch.eye(2)[None, :, None]
    cosine, recalled = _recall(state, one, one)
    torch.testing.assert_close(cosine[0, 0], torch.tensor([1.0, 0.1 / 0.82**0.5]))
    assert recalled[0, 0].tolist() == [1.0, 0.0]
