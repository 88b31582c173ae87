"""Directions and what is done with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from statescope import DeltaNet, Direction, Model, ModelConfig

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture
def model() -> Model:
    return Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=DeltaNet(heads=2))).eval()


def test_difference_of_means_finds_a_planted_direction() -> None:
    planted = torch.nn.functional.normalize(torch.randn(20), dim=0)
    present = torch.rand(4000) < 0.3
    features = torch.randn(4000, 20) + 2.5 * present[:, None] * planted
    found = Direction.difference_of_means(features, present, hook=HOOK, name="x")
    assert found.vector @ planted > 0.98
    assert found.scale == pytest.approx(2.5, abs=0.15)
    assert found.about["with"] == int(present.sum())
    assert found.about["method"] == "difference of means"


def test_steering_adds_the_vector_at_every_position(model: Model) -> None:
    tokens = torch.randint(0, 5, (2, 6))
    direction = Direction(torch.nn.functional.normalize(torch.randn(8), dim=0), HOOK, "x", scale=2.0)
    _, plain = model.run_with_cache(tokens, names_filter="blocks.1.hook_resid_pre")
    name, steer = direction.steer(1.5)
    with model.hooks(fwd_hooks=[(name, steer)]):
        _, steered = model.run_with_cache(tokens, names_filter="blocks.1.hook_resid_pre")
    torch.testing.assert_close(steered["resid_pre", 1], plain["resid_pre", 1] + 3.0 * direction.vector)


def test_ablation_removes_the_component_and_nothing_else() -> None:
    direction = Direction(torch.nn.functional.normalize(torch.randn(8), dim=0), HOOK, "x")
    value = torch.randn(3, 4, 8)
    _, ablate = direction.ablate()
    left = ablate(value, None)
    torch.testing.assert_close(direction.project(left), torch.zeros(3, 4), atol=1e-6, rtol=0)
    moved = (value - left).flatten(0, 1)
    assert torch.linalg.matrix_rank(moved, rtol=1e-4) == 1


def test_a_direction_is_a_unit_vector_of_a_named_space() -> None:
    with pytest.raises(ValueError, match="has length 1, got 2"):
        Direction(torch.tensor([2.0, 0.0]), HOOK, "x")
    with pytest.raises(ValueError, match="one vector"):
        Direction(torch.eye(2), HOOK, "x")
    key = Direction(torch.tensor([1.0, 0.0]), "s", "a", side="key")
    value = Direction(torch.tensor([1.0, 0.0]), "s", "b", side="value")
    with pytest.raises(ValueError, match="different spaces"):
        key.cosine(value)
    with pytest.raises(ValueError, match="with and without the concept"):
        Direction.difference_of_means(torch.randn(3, 2), torch.ones(3), hook=HOOK, name="x")


def test_it_is_saved_with_its_provenance(tmp_path: Path) -> None:
    direction = Direction.difference_of_means(torch.randn(9, 4), torch.arange(9) > 4, hook=HOOK, name="x", split="test")
    found = Direction.load(direction.save(tmp_path / "x"))
    assert torch.equal(found.vector, direction.vector)
    assert (found.hook, found.name, found.side, found.scale, found.about) == (
        HOOK,
        "x",
        "vector",
        direction.scale,
        direction.about,
    )
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"bad\.safetensors holds no direction"):
        Direction.load(tmp_path / "bad.safetensors")


def test_the_random_control_has_the_same_space_and_scale() -> None:
    direction = Direction(torch.nn.functional.normalize(torch.randn(8), dim=0), HOOK, "x", scale=3.0)
    control = Direction.random(direction, torch.Generator().manual_seed(1))
    assert (control.hook, control.scale, control.vector.shape) == (HOOK, 3.0, (8,))
    assert control.about == {"method": "random"}
