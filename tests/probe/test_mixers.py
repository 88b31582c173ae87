"""What every token mixer must do, and what each paper says of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from torch.nn import functional

from statescope import Attention, DeltaNet, Edit, Model, ModelConfig, load
from statescope.probe.checkpoint_folder import UnreadableCheckpointError
from statescope.probe.errors import UnknownNameError
from statescope.probe.mixers import HGRN2, LRU, LSSL, RWKV7, S4D, S5, LinearAttention, MixerConfig, RetNet
from statescope.probe.mixers.base import CausalConvolution, Memory, sum_of_squares
from statescope.probe.mixers.delta_net import unit
from statescope.probe.mixers.feature_maps import FEATURE_MAPS, NEVER_ZERO, feature_map
from statescope.probe.mixers.heads import HeadsConfig
from statescope.probe.models.generate import memory_bytes, stream_logits

GROWS = ("attention",)
EVERY = [*MIXERS, Attention(heads=2, key_size=4, value_size=6, window=3)]


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 7, "width": 12, "layers": 2, "mixer": mixer} | changes)).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 7, (3, 20))


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_step_by_step_gives_the_logits_of_the_parallel_pass(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer)
    steps = torch.stack([logits for logits, _ in stream_logits(model, tokens)], dim=1)
    torch.testing.assert_close(steps, model(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_memory_does_not_grow(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    sizes = [memory_bytes(memories) for _, memories in stream_logits(small(mixer), tokens)]
    assert sizes[0] > 0
    if mixer.kind not in GROWS:
        assert len(set(sizes)) == 1
    elif getattr(mixer, "window", None):
        assert len(set(sizes[3:])) == 1
    else:
        assert sizes[-1] == 20 * sizes[0]


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_generation_is_the_parallel_pass_again_and_again(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer).double()
    made = model.generate(tokens[:, :5], 6)
    now = tokens[:, :5]
    for _ in range(6):
        now = torch.cat([now, model(now)[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(made, now)


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_the_future_does_not_reach_the_past(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model, changed = small(mixer).double(), tokens.clone()
    changed[:, 11:] = (changed[:, 11:] + 1) % 7
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :11], after[:, :11], rtol=1e-12, atol=1e-12)
    assert (before[:, 11:] - after[:, 11:]).abs().amax(-1).min() > 1e-9


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_every_parameter_learns(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses = []
    for _ in range(30):
        loss = model(tokens, return_type="loss")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    still = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and torch.equal(parameter, start[name])
    ]
    assert not still


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer.has_state], ids=label)
def test_an_edit_of_the_state_propagates_and_leaves_the_past(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model, hook = small(mixer).double(), "blocks.0.attn.hook_state"
    edited = model.run_with_edits(tokens, {hook: [Edit(9, "scale", torch.tensor(0.5))]})
    plain = model(tokens)
    torch.testing.assert_close(edited[:, :10], plain[:, :10], rtol=1e-12, atol=1e-12)
    assert (edited[:, 10] - plain[:, 10]).abs().max() > 1e-12


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_hooks_are_live_during_generation(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer)
    lengths: list[int] = []

    def note(value: torch.Tensor, hook: Any) -> None:
        lengths.append(value.shape[1])

    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", note)]):
        model.generate(tokens[:, :5], 3)
    assert lengths == [5, 1, 1, 1]  # the last token too, which nothing follows


def test_generation_by_chance_is_seeded(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    draws = [model.generate(tokens, 8, temperature=2.0, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    with pytest.raises(ValueError, match="temperature must not be negative"):
        model.generate(tokens, 1, temperature=-1.0)


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_a_saved_model_loads_bit_for_bit(mixer: MixerConfig, tokens: torch.Tensor, tmp_path: Path) -> None:
    model = small(mixer, channel_mixer="geglu", seed=3)
    loaded = load(model.save(tmp_path / "saved"))
    assert isinstance(loaded, Model) and loaded.config == model.config
    assert torch.equal(loaded(tokens), model(tokens))


def test_a_saved_model_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    small(DeltaNet(heads=2)).save(tmp_path)
    other = small(DeltaNet(heads=3)).save(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(UnreadableCheckpointError, match=r"do not fit its config.json: blocks\.0"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(UnreadableCheckpointError, match="cannot be read"):
        load(tmp_path)


def test_memories_of_another_model_are_refused(tokens: torch.Tensor) -> None:
    memories: list[Memory] = [{}]
    with pytest.raises(ValueError, match="memories has 1 entries; the model has 2 layers"):
        small(DeltaNet(heads=2))(tokens, memories=memories)


def test_a_window_hides_what_is_before_it(tokens: torch.Tensor) -> None:
    model = small(Attention(heads=2, window=4), layers=1).double()
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 7
    differs = (model(tokens) - model(changed)).abs().amax((0, 2)) > 1e-12
    assert differs.nonzero().flatten().tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("name", FEATURE_MAPS)
def test_feature_maps(name: str) -> None:
    phi = feature_map(name, 6).double()
    q, k = phi(torch.randn(50, 6).double()), phi(torch.randn(50, 6).double())
    scores = q @ k.T
    assert q.isfinite().all()
    if name in NEVER_ZERO:
        assert scores.min() > 0
    with pytest.raises(UnknownNameError, match="feature map 'eluu' is not known"):
        feature_map("eluu", 4)


def test_the_learned_quadratic_is_the_square_of_a_product() -> None:
    phi = feature_map("learned_quadratic", 6).double()
    q, k = torch.randn(2, 9, 6).double()
    y_q, y_k = (functional.layer_norm(x, (6,)) for x in (q, k))
    torch.testing.assert_close(phi(q) @ phi(k).T, (y_q @ y_k.T).square() / 36)


def test_features_that_can_sum_to_zero_are_not_normalised() -> None:
    with pytest.raises(ValueError, match="feature_map='relu' can give scores that sum to 0"):
        LinearAttention(feature_map="relu")


def test_retention_sees_distance_and_not_position(tokens: torch.Tensor) -> None:
    """Rotary positions: shifting a sequence by a padding that writes nothing leaves scores."""
    model = small(RetNet(heads=2, key_size=4, value_size=6), layers=1).double()
    hook = "blocks.0.attn.hook_effective_attention"
    same = torch.full((1, 12), 3)
    _, cache = model.run_with_cache(same, names_filter=hook)
    weights = cache[hook][0, 0]
    for lag in range(4):
        torch.testing.assert_close(weights.diagonal(-lag)[1:], weights.diagonal(-lag)[:-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if isinstance(mixer, HeadsConfig)], ids=label)
@pytest.mark.parametrize("size", [1, 3])
def test_an_odd_key_size_runs_or_is_refused_where_positions_turn_pairs_of_channels(mixer: HeadsConfig, size: int) -> None:
    odd = replace(mixer, key_size=size)
    if odd.turned:
        with pytest.raises(ValueError, match="even key_size"):
            small(odd)
        return
    model, place = small(odd), "blocks.0.attn.hook_q"
    _, cache = model.run_with_cache(torch.tensor([[0, 1, 2]]), names_filter=[name for name in [place] if name in model.hook_dict])
    assert all(cache[name].shape[-1] == model.mixer(0).axis_sizes["key"] for name in cache)


@pytest.mark.parametrize(
    ("mixer", "low", "high"),
    [
        (DeltaNet(heads=2, eigenvalue_range=(0.0, 1.0)), 0.0, 1.0),
        (DeltaNet(heads=2, eigenvalue_range=(-1.0, 1.0)), -1.0, 1.0),
        (HGRN2(heads=2), 0.5, 1.0),  # the second of two layers
        (RWKV7(heads=2), -0.455, 1.0),
    ],
    ids=lambda value: label(value) if isinstance(value, MixerConfig) else "",
)
def test_eigenvalues_lie_where_the_paper_says(mixer: MixerConfig, low: float, high: float, tokens: torch.Tensor) -> None:
    model = small(mixer).double()
    for parameter in model.parameters():
        parameter.data *= 3
    hook = "blocks.1.attn.hook_transition"
    _, cache = model.run_with_cache(tokens, names_filter=hook)
    eigenvalues = cache[hook].eigenvalues()
    assert eigenvalues.imag.abs().max() < 1e-7
    assert low - 1e-9 <= eigenvalues.real.min() and eigenvalues.real.max() <= high + 1e-9


@pytest.mark.parametrize("system", ["legs", "legt", "fout"])
@pytest.mark.parametrize("rule", ["bilinear", "backward", "zoh"])
def test_the_linear_state_space_layers_read_out_is_a_convolution_with_its_systems_kernel(
    system: str, rule: str, tokens: torch.Tensor
) -> None:
    """y_t = sum_j C . A^j B u_{t-j} with the discretised HiPPO matrices, in double precision."""
    from statescope.probe.mixers import hippo

    model = small(LSSL(state_size=6, system=system, rule=rule)).double()
    names = [f"blocks.0.{name}" for name in ("ln1.hook_normalized", "attn.hook_recurrence_out", "attn.hook_transition")]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    u, mixer = cache[names[0]], model.mixer(0)
    for channel in (0, 3):
        step = float(mixer.log_step[channel].exp())
        a, b = hippo.discretise(mixer.a.double(), mixer.b.double(), step, rule)
        kernel = hippo.krylov(a, b, mixer.outward[channel], u.shape[1])
        expected = torch.stack([(kernel[: t + 1].flip(0) * u[:, : t + 1, channel]).sum(1) for t in range(u.shape[1])], 1)
        found = (cache[names[1]][:, :, channel] * mixer.outward[channel]).sum(-1)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(cache[names[2]].dense()[0, 0, channel], a, rtol=1e-8, atol=1e-10)
    assert cache[names[2]].eigenvalues().abs().max() < 1 + 1e-12  # a sine of frequency 0 in FouT stands still


@pytest.mark.parametrize("mixer", [LRU(state_size=64), S5(state_size=64), S4D(state_size=32)], ids=label)
def test_state_spaces_start_inside_the_unit_circle(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    _, cache = small(mixer).run_with_cache(tokens, names_filter="blocks.0.attn.hook_decay")
    modulus = cache["decay", 0].abs()
    assert modulus.max() < 1
    if isinstance(mixer, LRU):
        assert modulus.min() >= 0.9 and modulus.max() <= 0.999


@pytest.mark.parametrize("mixer", EVERY, ids=label)
def test_a_mixer_says_why_it_lacks_what_its_family_lacks(mixer: MixerConfig) -> None:
    assert small(mixer, layers=1).mixer(0).absences == dict(mixer.absences)


def test_eigenvalues_of_an_lru_start_evenly_on_the_rings_area() -> None:
    """E |lambda|^2 = (r_min^2 + r_max^2) / 2, as of points that fill the ring; radii drawn evenly have another mean."""
    low, high = 0.2, 0.9
    drawn = Model(ModelConfig(2, 4, 1, LRU(state_size=5_000, radius=(low, high)))).blocks[0].attn.coefficients()[0].detach()
    assert low <= drawn.abs().min().item() and drawn.abs().max().item() <= high + 1e-6
    assert drawn.abs().square().mean().item() == pytest.approx((low**2 + high**2) / 2, abs=0.02)
    even = (high**3 - low**3) / (3 * (high - low))
    assert abs(even - (low**2 + high**2) / 2) > 0.05


def test_a_short_convolution_and_its_derivatives_are_those_of_the_sum_over_lags() -> None:
    padded = torch.randn(2, 5 + 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)

    def plain(padded: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.einsum("btcj,bjc->btc", padded.unfold(1, 3, 1), weight)

    torch.testing.assert_close(CausalConvolution.apply(padded, weight), plain(padded, weight))
    backwards = plain(padded.flip(1), weight).flip(1)
    assert not torch.allclose(CausalConvolution.apply(padded, weight), backwards)
    assert torch.autograd.gradcheck(CausalConvolution.apply, (padded, weight), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(CausalConvolution.apply, (padded, weight))
    for place in (0, 1):
        found, exact = (
            torch.func.vmap(torch.func.grad(lambda *own, f=f: f(own[0][None], own[1][None]).square().sum(), argnums=place))(
                padded, weight
            )
            for f in (CausalConvolution.apply, plain)
        )
        torch.testing.assert_close(found, exact)


def test_a_sum_of_squares_and_its_derivatives() -> None:
    """Beside autograd's own; a unit vector of zero is zero, and has a gradient where its dtype has so large a number."""
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(sum_of_squares(x), x.square().sum(-1, keepdim=True))
    assert torch.autograd.gradcheck(sum_of_squares, (x,), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(sum_of_squares, (x,))
    found, exact = (
        torch.func.vmap(torch.func.grad(lambda own, f=f: f(own).sin().sum()))(x)
        for f in (sum_of_squares, lambda own: own.square().sum(-1, keepdim=True))
    )
    torch.testing.assert_close(found, exact)
    assert not torch.allclose(found, 0.5 * exact)
    for dtype in (torch.float16, torch.float32, torch.float64):
        zero = torch.zeros(2, 4, dtype=dtype, requires_grad=True)
        unit(zero).sum().backward()
        assert zero.grad is not None and not unit(zero).any() and not zero.grad.isnan().any()
        small = torch.full((4,), 1e-3, dtype=dtype)
        torch.testing.assert_close(unit(small), torch.full((4,), 0.5, dtype=dtype))
