"""The choice of a direction to steer by: the table against hooks by hand, and what may not be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from statescope import DeltaNet, Direction, Model, ModelConfig
from statescope.analyses.behaviour.direction_choice import direction_choice
from statescope.probe.tasks.base import Batch, generator_for

EARLY, LATE = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
WIDTH, STRENGTH = 12, 1.5


def gap(logits: Tensor, batch: Batch) -> Tensor:
    return logits[..., 2] - logits[..., 5]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(ModelConfig(vocabulary=7, width=WIDTH, layers=2, mixer=DeltaNet(heads=2), seed=3)).double().eval()


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    tokens = torch.randint(0, 7, (6, 9), generator=torch.Generator().manual_seed(0))
    spreads = {hook: torch.diag(torch.logspace(0, -1, WIDTH, dtype=torch.float64)) for hook in (EARLY, LATE)}
    where = torch.arange(9).expand(6, 9) > 3
    batch = Batch(tokens, tokens, {}, torch.arange(6))
    return {
        "batch": batch, "place": "toy", "measure": gap, "where": where, "spreads": spreads, "strength": STRENGTH, "randoms": 4,
        "seed": 5,
    }  # fmt: skip


def candidates(model: Model) -> dict[str, Direction]:
    """At the last activation near what the logits read, that turned round, and one across it; far longer steps at the first."""
    read = torch.nn.functional.normalize((model.W_U[:, 2] - model.W_U[:, 5]).detach(), dim=0)
    across = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    across = torch.nn.functional.normalize(across - (across @ read) * read, dim=0)
    return {
        "turned": Direction(-read, LATE, "two", scale=0.2, about={"method": "turned"}),
        "across": Direction(across, LATE, "two", scale=0.2, about={"method": "across"}),
        "read": Direction(
            torch.nn.functional.normalize(read + 0.3 * across, dim=0), LATE, "two", scale=0.2, about={"method": "read"}
        ),
        "early": Direction(
            torch.nn.functional.normalize(across + 0.3 * read, dim=0), EARLY, "two", scale=40.0, about={"method": "early"}
        ),
    }


def by_hand(model: Model, direction: Direction, given: dict[str, Any]) -> float:
    batch, step = given["batch"], STRENGTH * direction.scale * direction.vector
    with torch.no_grad():
        moved = model.run_with_hooks(batch.tokens, fwd_hooks=[(direction.hook, lambda value, hook: value + step)])
        return float((gap(moved, batch) - gap(model(batch.tokens), batch))[given["where"]].mean())


@pytest.mark.parametrize("reverse", [False, True], ids=["as listed", "the other way round"])
def test_the_choice_is_the_largest_effect_in_units_of_random_directions_there(
    model: Model, given: dict[str, Any], reverse: bool
) -> None:
    """In the measure's own sense, whatever the order of the candidates, and however much further one goes elsewhere."""
    own = candidates(model)
    listed = list(own.values())[:: -1 if reverse else 1]
    choice, chosen = direction_choice(model, listed, **given)
    rows = choice.to_frame().set_index("method")
    for method, direction in own.items():
        first = next(one for one in listed if one.hook == direction.hook)
        drawn = [Direction.random(first, generator_for(5, 32, index), given["spreads"][first.hook]) for index in range(4)]
        null = np.sqrt(np.mean([by_hand(model, one, given) ** 2 for one in drawn]))
        row = rows.loc[method]
        assert row["effect"] == pytest.approx(by_hand(model, direction, given)) and row["random"] == pytest.approx(null)
        assert row["ratio"] == pytest.approx(row["effect"] / null)
    assert chosen is own["read"] and list(rows.index[rows["chosen"]]) == ["read"]
    # what a choice by the plain effect, or by how far without the sign, would have taken:
    assert rows["effect"].idxmax() == "early" and rows["ratio"].abs().idxmax() == "turned"
    assert choice.summary().startswith("two, toy: read at") and choice.about["split"] == "validation"


def test_what_may_not_be_compared_is_refused(model: Model, given: dict[str, Any]) -> None:
    own = candidates(model)
    with pytest.raises(ValueError, match="0 candidates beside 4 random directions"):
        direction_choice(model, [], **given)
    with pytest.raises(ValueError, match="4 candidates beside 0 random directions"):
        direction_choice(model, list(own.values()), **given | {"randoms": 0})
    with pytest.raises(ValueError, match=r"resid_post go 0.2 to 0.4 far; give them one scale by with_scale"):
        direction_choice(model, [own["read"], own["across"].with_scale(0.4)], **given)
    other = Direction(own["read"].vector, LATE, "three", scale=0.2)
    with pytest.raises(ValueError, match="of the concepts three, two; choose among those of one"):
        direction_choice(model, [own["read"], other], **given)
    first_only = torch.zeros(6, 9, dtype=torch.bool)
    first_only[:, 0] = True
    still = given | {"measure": lambda logits, batch: logits[..., 2] * 0, "where": first_only}
    with pytest.raises(ValueError, match="do not move what is measured"):
        direction_choice(model, [own["read"]], **still)
