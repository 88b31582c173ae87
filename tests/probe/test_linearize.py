"""From softmax attention to linear mixers."""

from __future__ import annotations

import pytest
import torch

from statescope import AssociativeRecall, Attention, DeltaNet, Model, ModelConfig, Training, linearize, train
from statescope.probe.errors import UnknownNameError
from statescope.probe.models.linearize import Target, add_low_rank, layer_attention, transfer

TASK = AssociativeRecall(pairs=2, symbols=5)
TARGETS: tuple[Target, ...] = ("hedgehog", "gla", "mamba")


@pytest.fixture
def teacher() -> Model:
    return Model(ModelConfig(TASK.vocabulary, 16, 3, mixer=Attention(heads=2), seed=1)).eval()


@pytest.mark.parametrize("target", TARGETS)
def test_projections_are_taken_over_and_kept_layers_stay(teacher: Model, target: Target) -> None:
    student = linearize(teacher, target, keep=[1])
    kinds = [student.mixer(layer).kind for layer in range(3)]
    assert kinds[1] == "attention" and "attention" not in (kinds[0], kinds[2])
    before, after = teacher.state_dict(), student.state_dict()
    shared = set(before) & set(after)
    assert {name for name in before if "project" in name} <= shared
    assert all(torch.equal(before[name], after[name]) for name in shared)
    added = sum(p.numel() for p in student.parameters()) - sum(p.numel() for p in teacher.parameters())
    assert (added == 0) == (target == "gla")


@pytest.mark.parametrize("target", TARGETS)
def test_transfer_changes_the_new_mixers_alone_and_lowers_their_loss(teacher: Model, target: Target) -> None:
    student = linearize(teacher, target, keep=[2])
    before = {name: parameter.clone() for name, parameter in student.named_parameters()}
    losses = transfer(student, teacher, TASK, steps=40, batch=8, length=12)
    assert sum(losses[-5:]) < 0.98 * sum(losses[:5])
    changed = {name.split(".")[1] for name, parameter in student.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"0", "1"}


def test_a_map_is_a_softmax_map_or_an_effective_attention(teacher: Model) -> None:
    student = linearize(teacher, "hedgehog")
    entering = torch.randn(2, 9, 16)
    for model in (teacher, student):
        found = layer_attention(model, 1, entering)
        torch.testing.assert_close(found.sum(-1), torch.ones(2, 2, 9))
        assert found.min() >= 0 and found.triu(1).abs().max() < 1e-6


def test_changes_of_low_rank_start_at_nothing_and_are_all_that_learns(teacher: Model) -> None:
    student = linearize(teacher, "gla")
    tokens = TASK.batch(4, 12, "test", torch.Generator().manual_seed(0)).tokens
    before, count = student(tokens), add_low_rank(student, 2)
    assert torch.equal(student(tokens), before)
    assert count == sum(p.numel() for p in student.parameters() if p.requires_grad)
    originals = {name: p.clone() for name, p in student.named_parameters() if not p.requires_grad}
    train(student, TASK, Training(steps=3, batch=4, length=12))
    assert all(torch.equal(p, originals[name]) for name, p in student.named_parameters() if name in originals)
    assert not torch.equal(student(tokens), before)


def test_what_cannot_be_linearised_is_refused(teacher: Model) -> None:
    with pytest.raises(UnknownNameError, match="target 'glaa' is not known; did you mean 'gla'"):
        linearize(teacher, "glaa")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no softmax layer to replace: layer 0 is delta_net"):
        linearize(Model(ModelConfig(5, 8, 1, mixer=DeltaNet(heads=2))), "gla")
