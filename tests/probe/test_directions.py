"""Directions and what is done with them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from statescope import DeltaNet, Direction, Mamba, Model, ModelConfig
from statescope.probe.errors import UnknownNameError
from statescope.probe.subspaces.subspace import Subspace

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


def unit(size: int, **how: object) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(size, **how), dim=0)  # type: ignore[arg-type]


def test_names_with_dots_are_files_of_their_own(tmp_path: Path) -> None:
    for index in (0, 1):
        hook = f"blocks.{index}.attn.hook_z"
        Direction(torch.eye(8)[index], hook, f"concept {index}").save(tmp_path / hook)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"blocks.{i}.attn.hook_z.safetensors" for i in (0, 1)]
    for version in ("string.v1", "string.v2", "string.v2.safetensors"):
        path = Direction(torch.eye(8)[2], "h", version).save(tmp_path / version)
        assert Direction.load(path).name == version
    assert len(list(tmp_path.iterdir())) == 4


def test_means_of_half_precision_give_directions_of_length_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        x, present = torch.randn(200, 1024, generator=generator), torch.arange(200) % 2 == 0
        x[present, 3] += 2
        half = Direction.difference_of_means(x.bfloat16(), present, hook="h", name="c")
        whole = Direction.difference_of_means(x, present, hook="h", name="c")
        assert abs(float(half.vector.norm()) - 1) < 1e-6 and half.vector.dtype == torch.float32
        assert half.cosine(whole) > 0.999
    rounded = Direction(whole.vector.bfloat16(), "h", "c")  # unit as far as bfloat16 goes
    assert abs(float(rounded.vector.norm()) - 1) < 1e-6
    with pytest.raises(ValueError, match="means with and without the concept are 0 apart"):
        Direction.difference_of_means(torch.ones(4, 3), torch.arange(4) > 1, hook="h", name="c")


@pytest.mark.parametrize("side", ["key", "value"])
def test_a_side_of_a_matrix_state_is_each_of_its_columns_or_rows(side: str) -> None:
    state = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)  # [B, T, H, K, V]
    direction = Direction(unit(5 if side == "key" else 6, dtype=torch.float64), "s", "c", side, scale=2.0)  # type: ignore[arg-type]
    u = direction.vector
    left, moved = direction.ablate()[1](state, None), direction.steer(1.5)[1](state, None)
    if side == "key":
        torch.testing.assert_close(left, state - torch.einsum("k,l,...lv->...kv", u, u, state))
        torch.testing.assert_close(moved, state + 3.0 * u[:, None])
        torch.testing.assert_close(direction.project(state), torch.einsum("k,...kv->...v", u, state))
    else:
        torch.testing.assert_close(left, state - torch.einsum("...kw,w,v->...kv", state, u, u))
        torch.testing.assert_close(moved, state + 3.0 * u)
        torch.testing.assert_close(direction.project(state), torch.einsum("...kv,v->...k", state, u))
    assert not torch.allclose(left, Direction(unit(30, dtype=torch.float64), "s", "c").remove(state))


def test_a_vector_may_span_several_axes_and_one_that_fits_none_is_refused() -> None:
    z = torch.randn(2, 3, 4, 5)
    direction = Direction(unit(20), "blocks.0.attn.hook_z", "c")
    torch.testing.assert_close(direction.project(direction.remove(z)), torch.zeros(2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(direction.remove(z).flatten(2), direction.remove(z.flatten(2)))
    with pytest.raises(ValueError, match="has 7 entries on the vector side, which does not fit an activation"):
        Direction(unit(7), HOOK, "c").remove(z)
    with pytest.raises(UnknownNameError, match="side 'kye' is not known; did you mean 'key'"):
        Direction(unit(7), HOOK, "c", "kye")  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["key", "value", "vector"])
def test_a_direction_edits_a_state_and_the_recurrence_goes_on_from_there(model: Model, side: str) -> None:
    tokens, hook = torch.randint(0, 5, (2, 6)), "blocks.0.attn.hook_state"
    _, plain = model.run_with_cache(tokens, names_filter=hook, taps=[3, 5])
    shape = plain["state", 0].shape[2:]
    direction = Direction(unit({"key": shape[1], "value": shape[2], "vector": shape.numel()}[side]), hook, "c", side, 0.5)  # type: ignore[arg-type]
    _, steered = model.run_with_cache(
        tokens, names_filter=hook, taps=[3, 5], edits={hook: [direction.steering_edit(3, 2.0, shape)]}
    )
    torch.testing.assert_close(steered["state", 0][:, 0], direction.add(plain["state", 0][:, 0], 2.0))
    assert not torch.allclose(steered["state", 0][:, 1], plain["state", 0][:, 1])
    if side == "vector":
        with pytest.raises(ValueError, match="edits remove real directions of one axis"):
            direction.ablation_edits(3, shape)
        return
    _, without = model.run_with_cache(tokens, names_filter=hook, taps=[3, 5], edits={hook: direction.ablation_edits(3, shape)})
    torch.testing.assert_close(without["state", 0][:, 0], direction.remove(plain["state", 0][:, 0]))
    assert float(direction.project(without["state", 0][:, 0]).abs().max()) < 1e-5


def test_directions_of_vector_states_edit_their_channels() -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=Mamba())).eval()
    tokens, hook = torch.randint(0, 5, (2, 6)), "blocks.0.attn.hook_state"
    plain = model.run_with_cache(tokens, names_filter=hook, taps=[3])[1]["state", 0]
    shape = plain.shape[2:]
    direction = Direction(unit(shape[-1]), hook, "c")
    edits = {hook: [direction.steering_edit(3, 1.0, shape), *direction.ablation_edits(3, shape)]}
    edited = model.run_with_cache(tokens, names_filter=hook, taps=[3], edits=edits)[1]["state", 0]
    torch.testing.assert_close(edited, direction.remove(direction.add(plain, 1.0)))


def test_a_complex_direction_is_one_of_both_parts() -> None:
    z = torch.randn(300, 6, dtype=torch.complex128)
    present = torch.arange(300) < 100
    gap = 3 * unit(6, dtype=torch.complex128)
    z[present] += gap
    found = Direction.difference_of_means(z, present, hook="h", name="c")
    assert found.scale == pytest.approx(3, abs=0.4)
    assert abs(float((found.vector.conj() @ gap).real) / 3 - 1) < 0.05
    real = torch.view_as_real(z).flatten(1)  # as a capture gives them
    along = torch.view_as_real(found.vector).flatten()
    torch.testing.assert_close(found.project(z), real @ along)
    torch.testing.assert_close(torch.view_as_real(found.remove(z)).flatten(1), real - (real @ along)[:, None] * along)
    torch.testing.assert_close(found.add(z, 2.0), z + 2 * found.scale * found.vector)
    line = Subspace(torch.stack([found.vector, 1j * found.vector], 1), "h", "line")  # a complex line has two real dimensions
    torch.testing.assert_close(line.remove(z), z - (z @ found.vector.conj())[:, None] * found.vector)
    with pytest.raises(ValueError, match="is complex; the activation of h is real"):
        found.project(real[:, :6])


def test_a_hook_function_on_a_state_acts_at_taps_as_the_edits_do_and_raises_without_them(model: Model) -> None:
    tokens, hook = torch.randint(0, 5, (2, 6)), "blocks.0.attn.hook_state"
    direction = Direction(unit(4), hook, "c", "key", scale=10.0)
    for name, edits in (
        (direction.steer(1), [direction.steering_edit(3, 1.0, (2, 4, 4))]),
        (direction.ablate(), direction.ablation_edits(3, (2, 4, 4))),
    ):
        with pytest.raises(ValueError, match="hook_state"):
            model.run_with_hooks(tokens, fwd_hooks=[name])
        changed = model.run_with_hooks(tokens, fwd_hooks=[name], taps=[3])
        assert (changed - model(tokens)).detach().abs().max() > 1e-2
        torch.testing.assert_close(changed, model.run_with_edits(tokens, {hook: edits}))


def test_a_subspace_is_removed_turned_and_kept_under_its_metric(tmp_path: Path) -> None:
    root = torch.randn(7, 7, dtype=torch.float64)
    metric = root @ root.T + torch.eye(7, dtype=torch.float64)
    drawn = torch.randn(7, 3, dtype=torch.float64)
    factor = torch.linalg.cholesky(drawn.T @ metric @ drawn)
    basis = torch.linalg.solve_triangular(factor, drawn.T, upper=False).T
    space = Subspace(basis, HOOK, "x", metric=metric, scale=2.0, about={"fit": "none"})
    x = torch.randn(11, 7, dtype=torch.float64)
    left = space.remove(x)
    torch.testing.assert_close(left @ metric @ basis, torch.zeros(11, 3, dtype=torch.float64), atol=1e-9, rtol=0)
    assert torch.linalg.matrix_rank(x - left, rtol=1e-8) == 3
    torch.testing.assert_close(space.remove(left), left)
    torch.testing.assert_close(space.reflect(space.reflect(x)), x)
    torch.testing.assert_close(
        space.coordinates(space.add(x, torch.tensor([1.0, 0.0, -2.0]))), space.coordinates(x) + torch.tensor([2.0, 0, -4])
    )
    found = Subspace.load(space.save(tmp_path / "s.1"))
    assert torch.equal(found.basis, space.basis) and torch.equal(found.metric, metric)  # type: ignore[arg-type]
    assert (found.hook, found.name, found.side, found.scale, found.about) == (HOOK, "x", "vector", 2.0, {"fit": "none"})
    with pytest.raises(ValueError, match="a subspace of 3 dimensions"):
        Direction.load(tmp_path / "s.1.safetensors")
    with pytest.raises(ValueError, match="a basis is orthonormal"):
        Subspace(basis, HOOK, "x")
    with pytest.raises(ValueError, match="strength has 1 entries; the subspace has 3"):
        space.add(x, 1.0)
    with pytest.raises(ValueError, match="has another metric; edits"):
        space.ablation_edits(1, (2, 7))


def test_principal_angles_are_those_that_were_made() -> None:
    q = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64)).Q
    turned = torch.stack(
        [q[:, 0] * math.cos(0.3) + q[:, 2] * math.sin(0.3), q[:, 1] * math.cos(1.1) + q[:, 3] * math.sin(1.1)], 1
    )
    first, second = Subspace(q[:, :2], HOOK, "a"), Subspace(turned, HOOK, "b")
    torch.testing.assert_close(first.angles(second), torch.tensor([0.3, 1.1], dtype=torch.float64))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"hook": 1', "null", '{"hook": "h", "name": "n", "side": "up", "scale": 1, "about": {}}']
)
def test_a_description_that_is_none_is_an_error_with_the_file(text: str, tmp_path: Path) -> None:
    """One nested beyond what can be read among them."""
    path = tmp_path / "odd.safetensors"
    save_file({"basis": torch.eye(3)[:, :1].contiguous()}, path, {"subspace": text})
    with pytest.raises(ValueError, match="odd.safetensors holds no direction"):
        Direction.load(path)


def test_a_notebook_shows_where_a_direction_lies_and_its_largest_entries() -> None:
    vector = torch.zeros(9, dtype=torch.complex128)
    vector[3], vector[7] = 0.6j, -0.8
    shown = Direction(vector, "blocks.0.attn.hook_state", "<b>odd</b>", "key", 2.5, {"method": "by hand"})._repr_html_()
    assert "&lt;b&gt;odd" in shown and "<b>odd" not in shown and "1 of 9" in shown and "<td>scale</td><td>2.5</td>" in shown
    assert shown.index("-0.8+0j (7)") < shown.index("0+0.6j (3)") and "by hand" in shown
