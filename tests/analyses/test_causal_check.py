"""Causal checks: a direction that the output reads is found to matter, and one that it does not read is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from statescope import DeltaNet, Direction, Model, ModelConfig, Subspace
from statescope.analyses.behaviour.causal_check import CausalCheck, causal_check, join_causal_checks
from statescope.analyses.behaviour.measures import concept_score, token_accuracy, token_loss
from statescope.probe.results.result import Result
from statescope.probe.tasks.base import Batch

HOOK = "blocks.1.hook_resid_post"
STATE = "blocks.0.attn.hook_state"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=2, mixer=DeltaNet(heads=2), seed=3)).double().eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    tokens = torch.randint(0, 7, (15, 9), generator=torch.Generator().manual_seed(0))
    targets = tokens.roll(-1, 1)
    targets[:, -1] = -100
    return Batch(tokens, targets, {}, torch.arange(15) // 3)


def gap(logits: Tensor, batch: Batch) -> Tensor:
    return logits[..., 2] - logits[..., 5]


def read(model: Model) -> Direction:
    """What the logits of tokens 2 and 5 differ by, as seen through the last normalisation's gain."""
    difference = model.W_U[:, 2] - model.W_U[:, 5]
    return Direction(torch.nn.functional.normalize(difference.detach(), dim=0), HOOK, "two", scale=2.0)


def test_effects_are_those_of_hooks_by_hand(model: Model, batch: Batch) -> None:
    direction = read(model)
    table = causal_check(model, direction, batch, measure=gap, strengths=[-1.0, 2.0], randoms=7).to_frame()
    plain = gap(model(batch.tokens), batch)
    for operation, strength, change in [
        ("ablate", None, direction.remove),
        ("reflect", None, direction.reflect),
        ("steer", -1.0, lambda value: value - 2.0 * direction.vector),
        ("steer", 2.0, lambda value: value + 4.0 * direction.vector),
    ]:
        changed = gap(
            model.run_with_hooks(batch.tokens, fwd_hooks=[(HOOK, lambda value, hook, change=change: change(value))]), batch
        )
        row = table[(table["operation"] == operation) & ((table["strength"] == strength) | (strength is None))].iloc[0]
        each = (changed - plain).detach().numpy()
        assert row["effect"] == pytest.approx(each.mean()) and row["samples"] == each.size
        by_group = each.reshape(5, -1).mean(1)
        assert by_group.min() <= row["low"] < row["effect"] < row["high"] <= by_group.max()


def test_only_what_follows_the_change_is_run_again(model: Model, batch: Batch) -> None:
    """The embedding is asked for in the run without a change and for what enters the block, and in no run with a change."""
    runs: list[int] = []
    handle = model.embed.register_forward_hook(lambda *_: runs.append(1))
    causal_check(model, read(model), batch, measure=gap, randoms=5)
    handle.remove()
    assert len(runs) == 2


def test_what_the_output_reads_matters_and_what_it_does_not_does_not(model: Model, batch: Batch) -> None:
    direction = read(model)
    aside = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    aside = aside - (aside @ direction.vector) * direction.vector
    control = Direction(torch.nn.functional.normalize(aside, dim=0), HOOK, "control", scale=2.0)
    check = causal_check(model, direction, batch, measure=gap, strengths=[1.0, 3.0], control=control, randoms=99, accuracy=0.8)
    table = check.to_frame().set_index(["direction", "operation", "strength"])
    assert table.loc[("two", "steer", 3.0), "p_value"].item() == 0.01
    assert table.loc[("two", "steer", 3.0), "low"].item() > table.loc[("two", "steer", 3.0), "null_high"].item()
    assert table.loc[("control", "steer", 3.0), "p_value"].item() > 0.1
    assert table.loc[("two", "steer", 1.0), "effect"].item() < table.loc[("two", "steer", 3.0), "effect"].item()
    assert (table["q_value"] >= table["p_value"]).all()
    said = check.summary()
    assert "two at 1 resid_post, steer x 3" in said and "more than random directions" in said and "reads it at 0.800" in said
    assert "no more than random" in check.select(direction="control", operation="steer").summary()
    assert [panel.title for panel in check.specification().panels] == ["Dose and effect", "Without it"]
    series = check.specification().to_frame()["series"].unique()
    assert {"model: two, 1 resid_post", "random beside model: two, 1 resid_post"} <= set(series)


def test_a_random_direction_has_uniform_p_values(model: Model, batch: Batch) -> None:
    like, few = read(model), Batch(batch.tokens[:4, :3], batch.targets[:4, :3])
    found = [
        causal_check(
            model,
            Direction.random(like, torch.Generator().manual_seed(5000 + draw)),
            few,
            measure=gap,
            operations=["ablate"],
            randoms=19,
            seed=draw,
        ).value("p_value")
        for draw in range(40)
    ]
    spread = np.array(found) - np.random.default_rng(0).random(40) / 20  # between the steps of 1 / 20
    assert stats.kstest(spread, "uniform").pvalue > 0.05


def test_a_state_is_changed_at_its_taps_and_the_recurrence_goes_on(model: Model, batch: Batch) -> None:
    size = model.run_with_cache(batch.tokens, names_filter=STATE, taps=[3])[1][STATE].shape[-2]
    direction = Direction(torch.eye(size, dtype=torch.float64)[0], STATE, "first key", side="key", scale=1.0)
    late = torch.zeros(batch.tokens.shape, dtype=torch.bool)
    late[:, 4:] = True
    check = causal_check(model, direction, batch, measure=gap, strengths=[1.0], taps=[3], where=late, randoms=5)
    assert (check.to_frame()["effect"].abs() > 1e-6).all() and (check.to_frame()["samples"] == 15 * 5).all()
    early = causal_check(model, direction, batch, measure=gap, taps=[3], where=~late & (torch.arange(9) < 3), randoms=5)
    assert (early.to_frame()["effect"].abs() < 1e-12).all()


def test_an_activation_is_changed_at_chosen_positions_alone(model: Model, batch: Batch) -> None:
    direction, first = read(model), torch.zeros(batch.tokens.shape, dtype=torch.bool)
    first[:, :4] = True
    late = causal_check(model, direction, batch, measure=gap, changed=first, where=~first, randoms=3).to_frame()
    assert (late["effect"].abs() < 1e-12).all()  # behind the last layer nothing passes from one position to another
    early = causal_check(model, direction, batch, measure=gap, changed=first, where=first, randoms=3).to_frame()
    whole = causal_check(model, direction, batch, measure=gap, where=first, randoms=3).to_frame()
    np.testing.assert_allclose(early["effect"], whole["effect"])
    with pytest.raises(ValueError, match="not one vector a position"):
        causal_check(model, direction, batch, measure=gap, changed=first[:, :5], randoms=3)


def test_subspaces_are_taken_out_and_measures_are_those_of_their_names(model: Model, batch: Batch) -> None:
    plane = Subspace(torch.eye(12, dtype=torch.float64)[:, :3], HOOK, "plane")
    check = causal_check(model, plane, batch, operations=["ablate"], randoms=9)
    assert check.to_frame()["samples"].item() == 15 * 8  # the last position has no target
    with pytest.raises(ValueError, match="3 dimensions"):
        causal_check(model, plane, batch, strengths=[1.0])
    logits = model(batch.tokens)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
    assert float(token_loss(logits, batch).nanmean()) == pytest.approx(float(loss))
    right = (logits.argmax(-1) == batch.targets)[:, :-1].double().mean()
    assert float(token_accuracy(logits, batch).nanmean()) == pytest.approx(float(right))
    odds = torch.arange(7.0, dtype=torch.float64)
    torch.testing.assert_close(concept_score(odds)(logits, batch), logits.softmax(-1) @ odds)


def test_what_cannot_be_checked_is_refused(model: Model, batch: Batch, tmp_path: object) -> None:
    direction = read(model)
    with pytest.raises(ValueError, match="nothing to do"):
        causal_check(model, direction, batch, operations=())
    with pytest.raises(ValueError, match="no position"):
        causal_check(model, direction, batch, where=torch.zeros(15, 9, dtype=torch.bool))
    with pytest.raises(ValueError, match="not finite after the change"):
        causal_check(model, direction, batch, measure=lambda x, b: (gap(x, b) - gap(x, b).max() + 1e-9).log(), randoms=3)
    with pytest.raises(ValueError, match="does not fit"):
        causal_check(model, Direction(torch.ones(1), HOOK, "short"), batch)


def test_checks_are_joined_saved_and_read(model: Model, batch: Batch, tmp_path: object) -> None:
    parts = [causal_check(model, read(model), batch, measure=gap, randoms=9, name=name) for name in ("a", "b")]
    joined = join_causal_checks(parts)
    assert len(joined.to_frame()) == 4
    found = Result.load(joined.save(f"{tmp_path}/check.parquet"))
    assert isinstance(found, CausalCheck) and found.summary() == joined.summary()
    many = [causal_check(model, read(model), batch, measure=gap, strengths=[1.0], randoms=3, name=name) for name in "abc"]
    panels = join_causal_checks(many).specification().panels
    assert [panel.title for panel in panels] == ["a: two", "b: two", "c: two", "a", "b", "c"], "each has axes of its own"
    assert [mark.label for mark in panels[0].marks] == ["direction", "random"]
    with pytest.raises(ValueError, match="not measured in the same way"):
        join_causal_checks([parts[0], causal_check(model, read(model), batch, measure=gap, randoms=3)])
