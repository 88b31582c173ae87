"""Mixers from a user's own files, outside the package: everything that reads states, hooks and transitions works on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recipes import forgotten_afterwards, recipe
from torch.func import functional_call, grad, vmap

from statescope import (
    Direction,
    Edit,
    Model,
    ModelConfig,
    ProbeSweep,
    attribute_states,
    capture,
    empirical_ntk,
    load,
    patch_states,
    state_trajectory,
    transition_spectrum,
)
from statescope.kernels.linear_recurrence import linear_recurrence
from statescope.probe.configuration import from_plain, to_plain
from statescope.probe.errors import UnknownNameError
from statescope.probe.hooks.budget import activation_bytes
from statescope.probe.interventions.patching import last_logit_difference
from statescope.probe.mixers import MixerConfig
from statescope.probe.plugins import DuplicateKindError
from statescope.probe.tasks.base import Batch

ROTOR = '''
"""h_t = 0.95 e^{i theta_t} h_{t-1} + W x_t, y = Re(C h), theta_t from the token."""

from dataclasses import dataclass

import torch

from statescope.mixers import (
    DIAGONAL_VECTOR_STATE, DIAGONAL_SCAN, ComplexLinear, MixerConfig, Point, RecurrentMixer, Z_WITHOUT_HEADS, complex_of, linear,
)


@dataclass(frozen=True)
class Rotor(MixerConfig, kind="rotor"):
    """Units that turn."""

    state_size: int = 5

    points = (
        Point("attn.hook_angle", "batch position channel", "angle of each unit's turn, radians"),
        *complex_of(DIAGONAL_VECTOR_STATE),
        Z_WITHOUT_HEADS,
    )

    def build(self, width, generator, layer=0, layers=1):
        return RotorMixer(self, width, generator)


class RotorMixer(RecurrentMixer):
    recurrence = DIAGONAL_SCAN

    def __init__(self, config, width, generator):
        super().__init__(config.kind, config.points)
        self.axis_sizes = {"head": 1, "channel": config.state_size, "rank": 0}
        self.project_angle = linear(width, config.state_size, generator)
        self.inward = ComplexLinear(width, config.state_size, generator)
        self.outward = ComplexLinear(config.state_size, width, generator)
        self.project_out = linear(width, width, generator)

    @property
    def W_O(self):
        return self.project_out.weight.T[None]

    def forward(self, x, request):
        angle = self.hook_angle(self.project_angle(x))[:, :, None]
        decay = torch.polar(torch.full_like(angle, 0.95), angle)
        states = self.recur(self.fire(x=self.inward(x)[:, :, None], decay=decay), request)
        return self.project_out(self.hook_z(self.outward(states[:, :, 0]).real))
'''
STATE = "blocks.0.attn.hook_state"
METRIC = last_logit_difference(1, 2)
T = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """With the user's files, which are imported while the tests of this file run."""
    made = tmp_path_factory.mktemp("outside")
    recipe("A mixer").write(made)
    (made / "rotor.py").write_text(ROTOR, "utf-8")
    sys.path.insert(0, str(made))
    with forgotten_afterwards():
        import reflecting  # type: ignore[import-not-found]  # noqa: F401
        import rotor  # type: ignore[import-not-found]  # noqa: F401

        yield made
    sys.path.remove(str(made))
    del sys.modules["reflecting"], sys.modules["rotor"]


@pytest.fixture(params=["reflecting", "rotor"])
def mixer(request: pytest.FixtureRequest, folder: Path) -> MixerConfig:
    made: MixerConfig = MixerConfig.of_kind(request.param)()
    return made


@pytest.fixture
def model(mixer: MixerConfig) -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=2, mixer=mixer)).double().eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 7, (3, T))


def test_what_the_object_can_do_follows_from_its_hooks(mixer: MixerConfig, model: Model) -> None:
    assert mixer.has_state and model.has_state(1)
    assert model.mixer(0).is_complex == (mixer.kind == "rotor")
    assert [name for name in model.hook_names if name.startswith("blocks.0.attn.")] == [
        f"blocks.0.{point.name}" for point in mixer.points
    ]
    with pytest.raises(UnknownNameError, match=f"{mixer.kind} has no hook_beta; it belongs to delta_net"):
        model.run_with_cache(torch.zeros(1, 2, dtype=torch.long), names_filter="blocks.0.attn.hook_beta")


def test_caches_budgets_and_positions(mixer: MixerConfig, model: Model, tokens: torch.Tensor) -> None:
    names = [name for name in model.hook_names if not name.endswith("hook_transition")]
    _, whole = model.run_with_cache(tokens, names_filter=names, taps="all")
    _, cut = model.run_with_cache(tokens, names_filter=names, taps=[2, -1], positions=[2, -1])
    for name, value in cut.items():
        axis = model.points[name].position_axis
        assert axis is not None
        torch.testing.assert_close(value, whole[name].index_select(axis, torch.tensor([2, T - 1])))
        assert value.is_complex() == model.points[name].is_complex
        assert value.nbytes == 2 * activation_bytes(model, name, 3, T, 2, 2)  # double precision
    with pytest.raises(MemoryError, match="taps would fit"):
        model.run_with_cache(tokens, names_filter=STATE, taps="all", budget_bytes=1000)


def test_states_follow_their_transitions_and_writes(mixer: MixerConfig, model: Model, tokens: torch.Tensor) -> None:
    _, cache = model.run_with_cache(tokens, names_filter="blocks.0.attn.*", taps="all")
    state, transition, write = (cache[part, 0] for part in ("state", "transition", "write"))
    if state.ndim == 4:
        state, write = state[..., None], write[..., None]
    torch.testing.assert_close(state[:, 1:], transition[:, 1:].matmat(state[:, :-1]) + write[:, 1:])
    mixing, read = cache["effective_attention", 0], cache["recurrence_out", 0]
    values, equation = (cache["v", 0], "bhts,bshv->bthv") if mixing.ndim == 4 else (cache["x", 0], "bhtsc,bshc->bthc")
    torch.testing.assert_close(torch.einsum(equation, mixing, values), read)
    if mixer.kind == "reflecting":
        assert torch.allclose(transition.eigenvalues().real.min(), -cache["log_decay", 0].exp().max())
        torch.testing.assert_close(linear_recurrence(cache["q", 0], transition, write).output, read)


def test_edits_patches_and_attributions(model: Model, tokens: torch.Tensor) -> None:
    target, source = tokens[:1], tokens[1:2]
    _, given = model.run_with_cache(source, names_filter=STATE, taps=[4])
    by_hand = METRIC(model.run_with_edits(target, {STATE: [Edit(4, "set", given[STATE][:, 0])]})) - METRIC(model(target))
    found = patch_states(model, target, source, METRIC, [4, 7])
    heads = model.mixer(0).axis_sizes["head"]
    assert found.effect.shape == (2, 2, heads)
    if heads == 1:
        torch.testing.assert_close(found.effect[0, 0, 0], by_hand[0].detach())
    near = model.run_with_cache(target, names_filter=STATE, taps=[4])[1][STATE][:, 0]
    one = model.run_with_edits(target, {STATE: [Edit(4, "set", given[STATE][:, 0, :1], heads=(0,))]})
    torch.testing.assert_close(found.effect[0, 0, 0], (METRIC(one) - METRIC(model(target)))[0].detach())
    assert attribute_states(model, target, source, METRIC, [4, 7]).effect.isfinite().all()
    same = model.run_with_edits(target, {STATE: [Edit(4, "set", near)]})
    torch.testing.assert_close(same, model(target))


def test_generation_step_by_step(model: Model, tokens: torch.Tensor) -> None:
    edits = {STATE: [Edit(6, "scale", torch.tensor(-2.0))]}
    names = [STATE, "blocks.1.attn.hook_z"]
    made, cache = model.generate_with_cache(tokens[:, :5], T - 5, names_filter=names, taps=[3, 8], edits=edits)
    logits, whole = model.run_with_cache(made, names_filter=names, taps=[3, 8], edits=edits)
    assert torch.equal(made[:, 5:], logits[:, 4:-1].argmax(-1))
    for name, value in whole.items():
        torch.testing.assert_close(cache[name], value)


def test_spectra_trajectories_and_tangent_kernels(mixer: MixerConfig, model: Model, tokens: torch.Tensor) -> None:
    spectrum = transition_spectrum(model, tokens)
    size = {"reflecting": 3, "rotor": 5}[mixer.kind]
    assert spectrum.table["multiplicity"].sum() == 2 * 3 * T * model.mixer(0).axis_sizes["head"] * size
    modulus = (spectrum.table["real"] ** 2 + spectrum.table["imaginary"] ** 2) ** 0.5
    if mixer.kind == "rotor":
        assert abs(modulus - 0.95).max() < 1e-6 and spectrum.table["imaginary"].abs().max() > 0.1
    path = state_trajectory(model, tokens[0], texts=list("abcdefghijkl"), labels=tokens[0], label="token")
    assert len(path.table) == 2 * T * model.mixer(0).axis_sizes["head"]
    kernel = empirical_ntk(model, tokens)
    rows = []
    for row in tokens:
        rows.append([])
        for output in model(row[None])[0, -1]:
            given = torch.autograd.grad(output, list(model.parameters()), retain_graph=True, allow_unused=True)
            rows[-1].append(torch.cat([g.flatten() for g in given if g is not None]))
    jacobian = torch.stack([torch.stack(row) for row in rows])
    by_hand = torch.einsum("nop,mop->nm", jacobian, jacobian)
    torch.testing.assert_close(kernel / kernel[0, 0], by_hand / by_hand[0, 0], rtol=1e-6, atol=1e-9)


def test_probes_and_directions(model: Model, tokens: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(1)

    def batch() -> Batch:
        drawn = torch.randint(0, 7, (40, T), generator=generator)
        return Batch(drawn, drawn, {"token is odd": drawn % 2})

    train, test = (capture(model, [batch()], [STATE, "blocks.0.hook_resid_post"], positions=[5, -1]) for _ in range(2))
    scores = ProbeSweep(permutations=0, resamples=20).run(train, test)
    assert set(scores.table["hook"]) == {STATE, "blocks.0.hook_resid_post"}
    features, label = train.features("blocks.0.hook_resid_post"), train.label("token is odd")
    direction = Direction.difference_of_means(features, label, hook="blocks.0.hook_resid_post", name="odd")
    steered = model.run_with_hooks(tokens, fwd_hooks=[direction.steer(1)])
    assert (steered - model(tokens)).abs().max() > 1e-6


def test_settings_saved_models_and_samples_under_vmap(
    mixer: MixerConfig, model: Model, tokens: torch.Tensor, tmp_path: Path
) -> None:
    assert from_plain(ModelConfig, to_plain(model.config)) == model.config
    named: Any = mixer.kind
    assert Model(ModelConfig(vocabulary=7, width=12, mixer=named)).mixer(1).kind == mixer.kind
    single = Model(model.config)
    assert torch.equal(load(single.save(tmp_path / "saved"))(tokens), single(tokens))
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor], row: torch.Tensor) -> Any:
        return functional_call(model, parameters, (row[None],), {"return_type": "loss"})

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, tokens)
    model(tokens[1:2], return_type="loss").backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name][1], parameter.grad, rtol=1e-7, atol=1e-9)


def test_a_hook_that_nothing_declares_is_refused(folder: Path) -> None:
    from reflecting import Reflecting, ReflectingMixer
    from transformer_lens.hook_points import HookPoint

    class Careless(ReflectingMixer):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.hook_extra = HookPoint()

    class Unsaid(Reflecting, kind="unsaid"):  # type: ignore[misc]
        def build(self, width: int, generator: torch.Generator, layer: int = 0, layers: int = 1) -> Any:
            return Careless(self, width, generator)

    with pytest.raises(ValueError, match=r"blocks.0.attn.hook_extra is in no `points`"):
        Model(ModelConfig(vocabulary=7, width=12, mixer=Unsaid()))


def test_a_name_that_is_taken_is_refused(folder: Path) -> None:
    with pytest.raises(DuplicateKindError):

        class DeltaNet(MixerConfig, kind="delta_net"):
            points = ()
