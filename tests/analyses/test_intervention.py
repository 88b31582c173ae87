"""What one change of a run does, on one sequence."""

from __future__ import annotations

import pytest
import torch

from statescope import Direction, Edit, Model, ModelConfig
from statescope.analyses.behaviour.intervention import (
    CHANGED,
    PLAIN,
    RANDOM,
    Change,
    adding,
    contrast,
    intervene,
    random_ones,
    read_along,
    reflecting,
    removing,
)

TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(ModelConfig(10, width=16, layers=2, mixer="delta_net")).eval()


def show(ids: list[int]) -> list[str]:
    return [f"<{token}>" for token in ids]


def test_nothing_changed_moves_nothing(model: Model) -> None:
    found, shift = intervene(model, TOKENS, Change(), [], name="nothing", position=7, show=show)
    assert found.about["divergence"] == 0 and shift is not None and float(shift.table["share"].max()) == 0
    logits = model(TOKENS[None])[0, 7].detach().double().softmax(-1)
    plain = found.select(run=PLAIN).table
    for row in plain.itertuples():
        assert row.probability == pytest.approx(float(logits[int(row.token.strip("<>"))]))


def test_a_direction_is_added_where_it_is_said_and_nowhere_else(model: Model) -> None:
    direction = contrast(model, [1, 2, 3], [7, 8], HOOK, "one")
    means = [model.run_with_cache(torch.tensor([row]), names_filter=[HOOK])[1][HOOK][0].mean(0) for row in ([1, 2, 3], [7, 8])]
    torch.testing.assert_close(direction.vector * direction.scale, means[0] - means[1])
    change = adding(direction, 2.0, [4, 5])
    controls = [adding(one, 2.0, [4, 5]) for one in random_ones(direction, range(3))]
    found, shift = intervene(model, TOKENS, change, controls, name="one", position=7, show=show)
    assert shift is not None
    own = shift.select(run=CHANGED, layer=1).table.set_index("position")["share"]
    assert float(own[:3].max()) == 0 < float(own[4:].min())
    assert float(shift.select(run=CHANGED, layer=0).table["share"].max()) == 0, "what lies before the change stays"
    with_hook = model.run_with_hooks(TOKENS[None], fwd_hooks=list(change.hooks))[0, 7].detach().double().softmax(-1)
    moved = found.select(run=CHANGED).table.iloc[0]
    assert moved["probability"] == pytest.approx(float(with_hook[int(moved["token"].strip("<>"))]))
    assert len(found.about["random_divergences"]) == 3 and min(found.about["random_divergences"]) > 0
    spread = found.select(run=RANDOM).table
    assert (spread["low"] <= spread["probability"]).all() and (spread["probability"] <= spread["high"]).all()
    assert "random ones" in found.summary() and found.figure().to_frame() is not None


def test_a_direction_is_taken_out_and_turned_around_where_it_is_said(model: Model) -> None:
    direction = contrast(model, [1, 2, 3], [7, 8], HOOK, "one")
    _, cache = model.run_with_cache(TOKENS[None], names_filter=[HOOK])
    plain = direction.project(cache[HOOK][0])
    for change, left in ((removing(direction, [4, 5]), 0.0), (reflecting(direction, [4, 5]), -1.0)):
        with model.hooks(fwd_hooks=list(change.hooks)):
            _, changed = model.run_with_cache(TOKENS[None], names_filter=[HOOK])
        after = direction.project(changed[HOOK][0])
        torch.testing.assert_close(after[[4, 5]], left * plain[[4, 5]], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(after[:4], plain[:4])
    state = Direction(torch.ones(4) / 2, "blocks.0.attn.hook_state", "s")
    with pytest.raises(ValueError, match="lies in a state"):
        removing(state, [1])


def test_random_directions_have_the_same_length(model: Model) -> None:
    direction = contrast(model, [1, 2, 3], [7, 8], HOOK, "one")
    for one in random_ones(direction, range(4)):
        assert float(one.vector.norm()) == pytest.approx(1, abs=1e-5) and one.scale == direction.scale
        assert not torch.allclose(one.vector, direction.vector)


@pytest.mark.parametrize("verb", ["propagate", "readout"])
def test_an_edit_of_the_state_reaches_what_its_verb_says(model: Model, verb: str) -> None:
    edits = {"blocks.0.attn.hook_state": [Edit(3, "scale", torch.tensor(0.0), None, verb)]}
    found, shift = intervene(model, TOKENS, Change(edits=edits), [], name="forget", position=7, show=show)
    own = shift.select(run=CHANGED, layer=0).table.set_index("position")["share"]
    assert float(own[:2].max()) == 0
    assert (float(own[3:].min()) > 0) == (verb == "propagate")
    assert "no random one" in found.summary()


def test_what_a_direction_reads_is_its_component(model: Model) -> None:
    direction = contrast(model, [1, 2, 3], [7, 8], HOOK, "one")
    values = model.run_with_cache(TOKENS[None], names_filter=[HOOK])[1][HOOK][0] @ direction.vector / direction.scale
    assert read_along(model, TOKENS, direction) == pytest.approx(values.tolist(), abs=1e-5)


def test_a_model_without_states_has_no_shift_of_them() -> None:
    softmax = Model(ModelConfig(10, width=16, layers=1, mixer="attention")).eval()
    found, shift = intervene(softmax, TOKENS, Change(), [], name="x", position=2, show=show)
    assert shift is None and found.about["position"] == 2
    with pytest.raises(IndexError, match="position 8"):
        intervene(softmax, TOKENS, Change(), [], name="x", position=8, show=show)
