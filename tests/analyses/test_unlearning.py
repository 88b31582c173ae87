"""One step of one layer along one gradient: what it forgets and keeps, and its layers against gradients by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from pytest import MonkeyPatch
from torch import Generator

from statescope import DeltaNet, Model, ModelConfig, Training, train
from statescope.analyses.behaviour import unlearning
from statescope.directions import Unlearned, unlearn, unlearning_layers
from statescope.probe.runs.training import task_loss
from statescope.probe.tasks.base import Batch, Task


@dataclass(frozen=True)
class Next(Task, kind="next_of_this_test"):
    """Each token is followed by the one two further on."""

    first: int = 0

    @property
    def vocabulary(self) -> int:
        return 8

    def batch(self, size: int, length: int, split: str, generator: Generator, *, labels: bool = False) -> Batch:
        tokens = torch.randint(self.first, 8, (size, length), generator=generator)
        return Batch(tokens, (tokens + 2) % 8)


def about(tokens: torch.Tensor) -> Batch:
    return Batch(tokens, (tokens + 2) % 8)


FORGET = about(torch.full((4, 6), 3))
KEEP = about(torch.tensor([0, 1, 2, 4, 5, 6, 7])[torch.randint(0, 7, (30, 6), generator=torch.Generator().manual_seed(0))])


@pytest.fixture(scope="module")
def model() -> Model:
    model = Model(ModelConfig(vocabulary=8, width=16, layers=2, mixer=DeltaNet(heads=2), seed=1))
    train(model, Next(), Training(steps=80, batch=16, length=8, learning_rate=1e-2, warm_up=5))
    return model


def test_importance_and_conflict_are_those_of_gradients_by_hand(model: Model) -> None:
    found = unlearning_layers(model, FORGET, KEEP, name="tiny")
    table = found.to_frame().set_index("layer")
    assert len(table) == sum(value.ndim > 1 for value in model.parameters())
    name = "blocks.1.mlp.outward.weight"
    gradients = []
    for batch in (FORGET, KEEP):
        model.zero_grad()
        task_loss(model(batch.tokens), batch).backward()
        gradients.append(model.blocks[1].mlp.outward.weight.grad.double().flatten().clone())
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0).abs()
    assert table.loc[name, "conflict"] == pytest.approx(float(cosine), rel=1e-4)
    norm = float(model.blocks[1].mlp.outward.weight.detach().norm())
    assert table.loc[name, "importance"] == pytest.approx(float(gradients[0].norm()) / norm, rel=1e-4)
    front = table[table["on_front"]]
    for row in table[~table["on_front"]].itertuples():
        assert ((front["importance"] > row.importance) & (front["conflict"] < row.conflict)).any()
    assert 0 < len(front) < len(table)
    assert "layers on the front" in found.summary() and len(found.specification().panels) == 1
    model.zero_grad(set_to_none=True)


def test_a_layer_on_the_front_forgets_and_keeps_and_one_behind_it_keeps_less(model: Model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = unlearning_layers(model, FORGET, KEEP).to_frame()
    kept = {}
    for row in table.itertuples():
        try:
            found = unlearn(model, FORGET, KEEP, row.layer, until=0.2)
        except ValueError:  # no step makes this layer forget
            continue
        assert found.forgotten[0] == 1.0 and found.forgotten[1] <= 0.2 and found.kept[0] > 0.99
        shorter = {name: value for name, value in found.model.state_dict().items() if not torch.equal(value, before[name])}
        assert list(shorter) == [row.layer]  # one layer alone has moved
        kept[row.layer] = (row.on_front, found.kept[1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    best = max(value for on_front, value in kept.values() if on_front)
    worst = min(value for on_front, value in kept.values() if not on_front)
    assert best > 0.9 and worst < best - 0.1, kept


def test_what_was_unlearnt_is_said_in_words(model: Model) -> None:
    told = Unlearned(model, "blocks.0.mlp.W_in", 0.25, (0.9, 0.1), (0.8, 0.75)).summary()
    assert told == (
        "blocks.0.mlp.W_in moved by 0.25 times the gradient: what is to be forgotten went from 0.9 to 0.1, what is to be kept "
        "from 0.8 to 0.75"
    )


def test_what_cannot_be_unlearnt_is_refused(model: Model) -> None:
    with pytest.raises(KeyError, match="no parameter nothing"):
        unlearning_layers(model, FORGET, KEEP, layers=["nothing"])
    with pytest.raises(ValueError, match="no step of"):
        unlearn(model, FORGET, KEEP, "unembed.weight", until=-1.0)
    with pytest.raises(ValueError, match="has no target"):
        unlearn(model, FORGET, Batch(KEEP.tokens, torch.full_like(KEEP.targets, -100)), "unembed.weight", until=0.2)


def test_of_layers_in_no_conflict_the_most_important_alone_is_on_the_front(model: Model, monkeypatch: MonkeyPatch) -> None:
    gradients = unlearning._gradients

    def indifferent(model: Model, batch: Batch, names: list[str]) -> list[torch.Tensor]:
        """What is kept depends on no layer."""
        return [value * (batch is FORGET) for value in gradients(model, batch, names)]

    monkeypatch.setattr(unlearning, "_gradients", indifferent)
    table = unlearning_layers(model, FORGET, KEEP).to_frame()
    assert bool((table["conflict"] == 0).all())
    assert table.loc[table["on_front"], "importance"].tolist() == [table["importance"].max()]


def test_a_batch_without_targets_has_no_gradient(model: Model) -> None:
    with pytest.raises(ValueError, match="targets that count"):
        unlearning_layers(model, FORGET, Batch(KEEP.tokens, torch.full_like(KEEP.targets, -100)))


def test_the_step_goes_up_the_gradient_of_what_is_forgotten(model: Model) -> None:
    layer = "blocks.1.mlp.outward.weight"
    found = unlearn(model, FORGET, KEEP, layer, until=0.2)
    [gradient] = unlearning._gradients(model, FORGET, [layer])
    before, after = (dict(own.named_parameters())[layer].detach().double() for own in (model, found.model))
    assert found.step > 0
    torch.testing.assert_close(after - before, found.step * gradient, rtol=1e-3, atol=1e-6)
