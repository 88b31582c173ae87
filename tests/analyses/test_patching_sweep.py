"""Patching sweeps against patches by hand, attribution against small patches, and their null by a model that does not listen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from statescope import Attention, DeltaNet, Edit, Model, ModelConfig, attribute_states, generator_for
from statescope.analyses.behaviour.patching_sweep import _random, patching_sweep
from statescope.probe.interventions.patching import last_logit_difference

METRIC = last_logit_difference(1, 2)
PRE, STATE, Z = "blocks.*.hook_resid_pre", "blocks.*.attn.hook_state", "blocks.1.attn.hook_z"


def small(mixer: object = None) -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=2, mixer=mixer or DeltaNet(heads=2), seed=3)).double().eval()


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 7, (6, 5), generator=generator), torch.randint(0, 7, (6, 5), generator=generator)


def test_effects_are_those_of_patches_by_hand(pairs: tuple[Tensor, Tensor]) -> None:
    model, (target, source) = small(), pairs
    table = patching_sweep(model, target, source, METRIC, hooks=[PRE, STATE], positions=[1, -2], randoms=3).to_frame()
    assert len(table) == 2 * 2 * 2 and set(table["position"]) == {1, 3}
    with torch.no_grad():
        plain, given = METRIC(model(target)), METRIC(model(source))
        for layer, position in ((0, 1), (1, 3)):
            hook = f"blocks.{layer}.hook_resid_pre"
            held = model.run_with_cache(source, names_filter=hook)[1][hook]

            def put(value: Tensor, hook: object, held: Tensor = held, position: int = position) -> Tensor:
                return torch.cat([value[:, :position], held[:, position : position + 1], value[:, position + 1 :]], dim=1)

            by_hand = METRIC(model.run_with_hooks(target, fwd_hooks=[(hook, put)])) - plain
            row = table[(table["hook"] == hook) & (table["position"] == position)].iloc[0]
            assert row["effect"] == pytest.approx(float(by_hand.mean()), abs=1e-12)
            assert row["recovered"] == pytest.approx(float(by_hand.mean() / (given - plain).mean()))
            assert by_hand.min() <= row["low"] < row["effect"] < row["high"] <= by_hand.max()
            state = f"blocks.{layer}.attn.hook_state"
            kept = model.run_with_cache(source, names_filter=state, taps=[position])[1][state][:, 0]
            edited = METRIC(model.run_with_edits(target, {state: [Edit(position, "set", kept)]})) - plain
            row = table[(table["hook"] == state) & (table["position"] == position)].iloc[0]
            assert row["effect"] == pytest.approx(float(edited.mean()), abs=1e-10)
        wrong = METRIC(model.run_with_hooks(target, fwd_hooks=[(hook, lambda value, hook: held)])) - plain
    assert row["effect"] != pytest.approx(float(wrong.mean()), abs=1e-4)  # all positions at once


def test_all_of_the_first_stream_recovers_the_source(pairs: tuple[Tensor, Tensor]) -> None:
    """A sequence of one token: the stream that enters the first block is all there is."""
    model, (target, source) = small(), pairs
    table = patching_sweep(model, target[:, :1], source[:, :1], METRIC, hooks=["blocks.0.hook_resid_pre"], randoms=2).to_frame()
    assert table["recovered"].tolist() == pytest.approx([1.0])


@pytest.mark.parametrize(("hook", "rows"), [(PRE, 4), (STATE, 8), (Z, 4)])
def test_attribution_is_the_patch_to_first_order(pairs: tuple[Tensor, Tensor], hook: str, rows: int) -> None:
    model, (target, source) = small(), pairs
    slightly = [("hook_embed", lambda value, hook: value * (1 + 1e-8 * torch.arange(12.0).to(value)))]
    run = {"hooks": [hook], "positions": [2, 3], "randoms": 2, "by_head": True}
    patched = patching_sweep(model, target, target, METRIC, corrupt=slightly, **run).to_frame()
    own = patching_sweep(model, target, target, METRIC, corrupt=slightly, method="attribute", **run).to_frame()
    assert len(own) == rows and own["head"].nunique() == (1 if hook == PRE else 2)
    for column in ("effect", "null", "low"):
        np.testing.assert_allclose(own[column], patched[column], rtol=1e-3, atol=1e-14)
    if hook == STATE:
        far = patching_sweep(model, target, source, METRIC, method="attribute", **run).to_frame()
        by_state = [attribute_states(model, target[n : n + 1], source[n : n + 1], METRIC, [2, 3]).effect for n in range(6)]
        expected = torch.stack(by_state).mean(0)
        for row in far.itertuples():
            assert row.effect == pytest.approx(float(expected[row.layer, row.position - 2, row.head]), abs=1e-10)


def test_a_corrupted_run_is_restored_where_its_tokens_were_and_not_elsewhere(pairs: tuple[Tensor, Tensor]) -> None:
    """Causal tracing: the embedding of token 1 is spoilt; in the first stream only position 1 restores it, and wholly."""
    model, (_, tokens) = small(Attention(heads=2)), pairs
    noise = torch.randn(6, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def spoil(value: Tensor, hook: object) -> Tensor:
        changed = value.clone()
        changed[:, 1] += 3 * noise
        return changed

    first = ["blocks.0.hook_resid_pre"]
    found = patching_sweep(model, tokens, tokens, METRIC, hooks=first, corrupt=[("hook_embed", spoil)], randoms=3)
    recovered = found.to_frame().set_index("position")["recovered"]
    assert recovered[1] == pytest.approx(1.0) and recovered.drop(1).abs().max() < 1e-9
    with pytest.raises(ValueError, match="there is nothing to find"):
        patching_sweep(model, tokens, tokens, METRIC, hooks=first)
    measured = iter([torch.ones(6).double(), torch.ones(6).double() + torch.finfo(torch.float64).eps])  # apart by rounding
    with pytest.raises(ValueError, match="there is nothing to find"):
        patching_sweep(model, tokens, tokens, lambda logits: next(measured), hooks=first)


def test_what_is_read_is_found_and_a_random_change_is_not(pairs: tuple[Tensor, Tensor]) -> None:
    """Targets and sources differ at the last position alone, along what the metric reads; patches elsewhere change nothing."""
    model, (target, _) = small(), pairs
    source = target.clone()
    source[:, -1] = (source[:, -1] + 1) % 7
    run = {"hooks": ["blocks.1.hook_resid_post"], "positions": [2, 3, 4], "randoms": 99, "groups": torch.arange(6) // 2}
    read = (model.W_U[:, 1] - model.W_U[:, 2]).detach()
    shift = [("blocks.1.hook_resid_post", lambda value, hook: value - 9 * read)]
    check = patching_sweep(model, target, source, METRIC, corrupt=shift, **run)
    table = check.to_frame().set_index("position")
    assert table.loc[4, "p_value"] == 1 / 100
    assert (table.drop(4)["effect"].abs() < 1e-12).all() and (table.drop(4)["p_value"] == 1).all()
    assert table.loc[4, "q_value"] == pytest.approx(3 * (1 + 1 / 2 + 1 / 3) / 100)  # Benjamini-Yekutieli
    assert "places change the metric" in check.summary()
    [panel] = check.specification().panels
    assert np.asarray(panel.marks[0].values).shape == (1, 3)


def test_pairs_of_one_source_say_no_more_than_one_of_them(pairs: tuple[Tensor, Tensor]) -> None:
    """Six pairs, each four times over: as 24 sources they would seem to say twice as much."""
    model, (target, source) = small(), (each.repeat_interleave(4, 0) for each in pairs)
    run = {"hooks": ["blocks.0.hook_resid_pre"], "positions": [3], "randoms": 2}

    def width(groups: Tensor | None, repeated: bool = True) -> float:
        a, b = (target, source) if repeated else pairs
        row = patching_sweep(model, a, b, METRIC, groups=groups, **run).to_frame().iloc[0]
        return float(row["high"] - row["low"])

    whole = width(torch.arange(6).repeat_interleave(4))
    assert whole == pytest.approx(width(torch.arange(6), repeated=False), rel=1e-9)
    assert width(torch.arange(24)) < 0.75 * whole


def test_what_cannot_be_patched_is_refused(pairs: tuple[Tensor, Tensor]) -> None:
    model, (target, source) = small(), pairs
    with pytest.raises(ValueError, match="pairs"):
        patching_sweep(model, target, source[:, :3], METRIC)
    with pytest.raises(IndexError, match="outside sequences of 5"):
        patching_sweep(model, target, source, METRIC, positions=[5])
    with pytest.raises(ValueError, match="one number for each of 6 pairs"):
        patching_sweep(model, target, source, lambda logits: logits)
    with pytest.raises(ValueError, match="is not known"):
        patching_sweep(model, target, source, METRIC, hooks=["blocks.0.hook_nothing"])


def test_attribution_costs_as_many_runs_whatever_the_number_of_places(pairs: tuple[Tensor, Tensor]) -> None:
    model, (target, source) = small(), pairs
    taken: list[int] = []
    run = model.forward
    model.forward = lambda *given, **how: taken.append(1) or run(*given, **how)
    counts = []
    for positions in ([2], None):
        taken.clear()
        found = patching_sweep(
            model, target, source, METRIC, hooks=[PRE, STATE], method="attribute", positions=positions, randoms=9
        )
        counts.append(len(taken))
    assert counts[0] == counts[1] > 0
    table = found.to_frame().set_index(["hook", "position"])["effect"]
    assert table["blocks.0.attn.hook_state", 4] == 0  # nothing reads a state behind the last token
    assert (table[["blocks.1.hook_resid_pre"]].xs(4, level="position") != 0).all()


def test_a_random_move_is_one_direction_as_far_as_each_pair_moves_and_where_it_moves() -> None:
    """A direction for each pair would average out; a move of other heads is no null of this one's."""
    change = torch.randn(5, 3, 4, generator=generator_for(0, 1))
    change[:, 1] = 0
    moves = _random(change, generator_for(0, 2))
    torch.testing.assert_close(moves.flatten(1).norm(dim=1), change.flatten(1).norm(dim=1))
    assert int(torch.linalg.matrix_rank(moves.flatten(1), rtol=1e-5)) == 1 and bool((moves[:, 1] == 0).all())
    assert not torch.equal(moves, _random(change, generator_for(0, 3)))
