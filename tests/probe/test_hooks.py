"""The hook table, and what a model does with each of its rows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from transformer_lens.hook_points import HookPoint

import statescope
from statescope import Attention, DeltaNet, Edit, GatedDeltaNet, Model, ModelConfig, Transition
from statescope.kernels.arguments import NonFiniteError
from statescope.probe.channel_mixers.base import HIDDEN, ChannelMixerConfig
from statescope.probe.errors import UnknownNameError
from statescope.probe.hooks.budget import activation_bytes
from statescope.probe.hooks.points import BLOCK_POINTS, MODEL_POINTS
from statescope.probe.mixers import MixerConfig
from statescope.probe.mixers.table import hook_table

TAPS = [2, 5]


def small(mixer: MixerConfig | tuple[MixerConfig, ...], **changes: int) -> Model:
    return Model(ModelConfig(**{"vocabulary": 7, "width": 12, "layers": 2, "mixer": mixer} | changes)).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 7, (3, 9))


def names(mixer: MixerConfig, layers: int = 2) -> list[str]:
    local = [point.name for point in (*BLOCK_POINTS, *HIDDEN, *mixer.points)]
    return [point.name for point in MODEL_POINTS] + [f"blocks.{layer}.{name}" for layer in range(layers) for name in local]


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_a_model_has_the_hooks_of_the_table_and_no_others(mixer: MixerConfig) -> None:
    assert sorted(small(mixer).hook_dict) == sorted(names(mixer))


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_every_hook_fires_with_the_declared_axes(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer)
    taps = TAPS if mixer.has_state else None
    _, cache = model.run_with_cache(tokens, names_filter=names(mixer), taps=taps)
    sizes = {"batch": 3, "position": 9, "query": 9, "source": 9, "tap": 2, "one": 1, "width": 12, "hidden": 24}
    sizes |= model.mixer(0).axis_sizes
    for name in names(mixer):
        point, value = model.points[name], cache[name]
        if isinstance(value, Transition):
            assert value.diagonal.shape[:-1] == (3, 9, sizes["head"])
            assert value.diagonal.is_complex() == point.is_complex, name
            continue
        assert value.is_complex() == point.is_complex, name
        axes = point.axes.split()
        if sizes.get("householder", 1) == 1:
            axes = [axis for axis in axes if not axis.startswith("[")]
        assert tuple(value.shape) == tuple(sizes[axis.strip("[]")] for axis in axes), name


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_positions_cut_the_declared_axis(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    """The base class cuts the key axis of a state; ours cuts tokens, whatever the layout."""
    model = small(mixer)
    taps = TAPS if mixer.has_state else None
    _, whole = model.run_with_cache(tokens, names_filter=names(mixer), taps=taps)
    _, cut = model.run_with_cache(tokens, names_filter=names(mixer), taps=taps, positions=[1, 4])
    for name in names(mixer):
        axis, value = model.points[name].position_axis, cut[name]
        if isinstance(value, Transition):
            torch.testing.assert_close(value.left, whole[name].left[:, [1, 4]])
        elif "tap" in model.points[name].axis_names:
            torch.testing.assert_close(value, whole[name])
        else:
            torch.testing.assert_close(value, whole[name].index_select(axis, torch.tensor([1, 4])))


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_a_hook_of_other_mixers_is_refused_with_the_reason(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model = small(mixer)
    own = {point.name for point in mixer.points}
    for name in {point.name for point, kinds in hook_table().items() if kinds} - own:
        with pytest.raises(UnknownNameError, match=f"{mixer.kind} (has no|is not linear)"):
            model.run_with_cache(tokens, names_filter=f"blocks.0.{name}", taps=TAPS if mixer.has_state else None)


def test_rows_of_one_name_agree_in_what_does_not_depend_on_the_mixer() -> None:
    """So filters, edits and captures treat a name alike in every layer."""
    table = hook_table()
    for point in table:
        first = next(other for other in table if other.name == point.name)
        assert (point.firing, point.access, point.position_axis) == (first.firing, first.access, first.position_axis)
    for kind in MixerConfig.kinds():
        names = [point.name for point in MixerConfig.of_kind(kind).points]
        assert len(names) == len(set(names)), kind
    assert {kind for kinds in table.values() for kind in kinds} == set(MixerConfig.kinds())


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_the_budget_of_each_hook_is_what_the_hook_holds(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    """Of transitions it is an upper bound: a scalar diagonal has one entry, and a diagonal no low-rank part."""
    model = small(mixer)
    _, cache = model.run_with_cache(
        tokens, names_filter=names(mixer), taps=TAPS if mixer.has_state else None, positions=[1, 4, 5]
    )
    for name, value in cache.items():
        expected = activation_bytes(model, name, batch=3, length=9, kept=3, taps=2)
        if isinstance(value, Transition):
            assert sum(part.nbytes for part in (value.diagonal, value.left, value.right)) <= expected, name
        else:
            assert value.nbytes == expected, name


def test_an_unknown_hook_names_the_nearest(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    with pytest.raises(UnknownNameError, match=r"did you mean 'blocks\.0\.attn\.hook_beta'"):
        model.run_with_cache(tokens, names_filter="blocks.0.attn.hook_betta")
    with pytest.raises(UnknownNameError, match=r"did you mean 'blocks\.1\.hook_resid_post'"):
        model.run_with_hooks(tokens, fwd_hooks=[("blocks.1.hook_resid_pots", lambda value, hook: value)])
    with pytest.raises(UnknownNameError, match="is not known"):
        model.run_with_cache(tokens, names_filter="blocks.7.hook_resid_post")


def test_taps_without_a_state_are_refused(tokens: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no layer of this model has a state"):
        small(Attention(heads=2)).run_with_cache(tokens, taps="last")


def test_the_byte_budget_is_checked_before_the_run(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2, key_size=4, value_size=6))
    fired: list[str] = []
    model.add_hook("hook_embed", lambda value, hook: fired.append(hook.name))
    # 2 layers x 3 sequences x 9 taps x 2 heads x 4 x 6 x 4 bytes = 10 368 bytes; 1 152 a tap
    states = ["blocks.0.attn.hook_state", "blocks.1.attn.hook_state"]
    with pytest.raises(MemoryError, match="4 taps would fit"):
        model.run_with_cache(tokens, names_filter=states, taps=list(range(9)), budget_bytes=5000)
    assert not fired
    _, cache = model.run_with_cache(tokens, names_filter=states, taps=list(range(9)), budget_bytes=10368)
    assert sum(value.nbytes for value in cache.cache_dict.values()) == 10368


@pytest.mark.parametrize("householders", [1, 3])
@pytest.mark.parametrize("kind", [DeltaNet, GatedDeltaNet])
def test_state_is_transition_times_state_plus_write(kind: type, householders: int, tokens: torch.Tensor) -> None:
    model = small(kind(heads=2, key_size=4, value_size=6, householders=householders)).double()
    hooks = [f"blocks.1.attn.hook_{part}" for part in ("state", "transition", "write")]
    _, cache = model.run_with_cache(tokens, names_filter=hooks, taps=list(range(9)))
    state, transition, write = (cache[hook] for hook in hooks)
    expected = transition[:, 1:].matmat(state[:, :-1]) + write[:, 1:]
    torch.testing.assert_close(state[:, 1:], expected, rtol=1e-10, atol=1e-12)
    # Without the erasure (a transition that only decays) the identity must fail.
    decayed = transition[:, 1:].diagonal[..., None] * state[:, :-1] + write[:, 1:]
    assert (state[:, 1:] - decayed).norm() > 1e-2 * state[:, 1:].norm()


def hooked(model: Model, tokens: torch.Tensor, *parts: str, **run: object) -> list[Any]:
    """Hooks of the first layer's mixer."""
    names = [f"blocks.0.attn.hook_{part}" for part in parts]
    _, cache = model.run_with_cache(tokens, names_filter=names, **run)
    return [cache[name] for name in names]


def with_hook(part: str) -> list[MixerConfig]:
    """The mixers that have a hook."""
    return [m for m in MIXERS if any(p.name == f"attn.hook_{part}" for p in m.points)]


@pytest.mark.parametrize("mixer", with_hook("transition"), ids=label)
def test_every_state_is_its_transition_of_the_state_before_plus_its_write(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    """With gates far from where they start: those of the mLSTM move its running maximum."""
    model = small(mixer).double()
    for parameter in (model.mixer(0).project_input.weight, model.mixer(0).project_input.bias) if mixer.kind == "mlstm" else ():
        parameter.data.copy_(5 * torch.randn_like(parameter))
    state, transition, write = hooked(model, tokens, "state", "transition", "write", taps=list(range(9)))
    vector = state.ndim == 4
    after = transition[:, 1:].matmat(state[:, :-1, ..., None] if vector else state[:, :-1])
    torch.testing.assert_close(state[:, 1:], (after[..., 0] if vector else after) + write[:, 1:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mixer", with_hook("effective_attention"), ids=label)
def test_effective_attention_times_values_is_the_read_out(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    vector = any(point.name == "attn.hook_x" for point in mixer.points)
    of_channels = "x" if vector else "v"
    mixing, values, read = hooked(small(mixer).double(), tokens, "effective_attention", of_channels, "recurrence_out")
    equation = "bhqsc,bshc->bqhc" if vector else "bhqsn,bshnv->bqhv" if mixing.ndim == 5 else "bhqs,bshv->bqhv"
    torch.testing.assert_close(torch.einsum(equation, mixing, values), read, rtol=1e-10, atol=1e-12)


def test_looking_at_the_pattern_does_not_change_the_output(tokens: torch.Tensor) -> None:
    model = small(Attention(heads=2)).double()
    plain = model(tokens)
    logits, cache = model.run_with_cache(tokens, names_filter="blocks.*.attn.hook_pattern")
    torch.testing.assert_close(logits, plain, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(cache["pattern", 0].sum(-1), torch.ones(3, 2, 9, dtype=torch.float64))
    assert cache["pattern", 0].triu(1).abs().max() == 0


def test_short_names_reach_the_cache(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    _, cache = model.run_with_cache(tokens, taps="last")
    assert cache["k", 1] is cache["blocks.1.attn.hook_k"]
    assert cache["resid_post", -1] is cache["blocks.1.hook_resid_post"]
    assert cache["state", 0].shape[1] == 1
    assert cache["embed"] is cache["hook_embed"]
    assert cache.tap_positions == (8,)


def test_hook_points_are_transformer_lens_own(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    assert all(isinstance(point, HookPoint) for point in model.hook_dict.values())
    halved = model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_v", lambda value, hook: value / 2)])
    assert not torch.allclose(halved, model(tokens))
    assert not any(point.has_hooks() for point in model.hook_dict.values())


def test_an_edit_in_a_model_is_a_change_of_the_state_and_nothing_before_it(tokens: torch.Tensor) -> None:
    model = small(GatedDeltaNet(heads=2, key_size=4, value_size=6)).double()
    hook = "blocks.0.attn.hook_state"
    added = torch.randn(2, 4, 6, dtype=torch.float64)
    _, before = model.run_with_cache(tokens, names_filter=hook, taps=[4])
    logits, after = model.run_with_cache(tokens, names_filter=hook, taps=[4], edits={hook: [Edit(4, "add", added)]})
    torch.testing.assert_close(after["state", 0], before["state", 0] + added)
    plain = model(tokens)
    assert torch.equal(logits[:, :5], plain[:, :5])
    assert (logits[:, 5:] - plain[:, 5:]).abs().amax(-1).min() > 1e-9
    torch.testing.assert_close(model.run_with_edits(tokens, {hook: [Edit(4, "add", added)]}), logits)


def test_a_readout_edit_changes_its_own_position_first(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2), layers=1).double()
    edit = Edit(4, "scale", torch.tensor(2.0), verb="readout")
    edited, plain = model.run_with_edits(tokens, {"blocks.0.attn.hook_state": [edit]}), model(tokens)
    changed = (edited - plain).abs().amax((0, 2)) > 1e-9
    assert changed.tolist() == [position == 4 for position in range(9)]


def test_edits_go_to_states_only(tokens: torch.Tensor) -> None:
    model = small((DeltaNet(heads=2), Attention(heads=2)))
    edit = Edit(0, "scale", torch.tensor(0.0))
    with pytest.raises(ValueError, match="takes no edits"):
        model.run_with_edits(tokens, {"blocks.0.attn.hook_q": [edit]})
    with pytest.raises(UnknownNameError, match="attention has no hook_state"):
        model.run_with_edits(tokens, {"blocks.1.attn.hook_state": [edit]})
    with pytest.raises(IndexError, match="position 9 is outside a sequence of 9 tokens"):
        model.run_with_edits(tokens, {"blocks.0.attn.hook_state": [Edit(9, "scale", torch.tensor(0.0))]})
    with pytest.raises(IndexError, match="tap at position 12 is outside"):
        model.run_with_cache(tokens, names_filter="blocks.0.attn.hook_state", taps=[3, 12])


def test_an_edit_that_is_not_finite_is_named_with_its_hook_and_position(tokens: torch.Tensor) -> None:
    model = small((DeltaNet(heads=2), GatedDeltaNet(heads=2)))
    sound, name = Edit(1, "scale", torch.tensor(2.0)), "blocks.1.attn.hook_state"
    for position in (2, "last", [0, 2]):
        edit = Edit(position, "add", torch.tensor([1.0, float("nan"), 0.0, 0.0]))  # type: ignore[arg-type]
        with pytest.raises(NonFiniteError) as raised:
            model.run_with_edits(tokens, {"blocks.0.attn.hook_state": [sound], name: [sound, edit]})
        assert f"the value of Edit('add') at position {position} of {name} is nan at index (1,)" in str(raised.value)
    point = model.hook_dict[name]
    point.add_hook(lambda state, hook: state * float("inf"))
    with pytest.raises(NonFiniteError, match=rf"the value of Edit\('set'\) at position 4 of {name} is"):
        model(tokens, taps=4)


def test_nothing_in_the_package_asks_for_a_mixer_by_the_name_of_its_kind() -> None:
    """What an object can do stands on the object: no comparison of a kind with names of mixers."""
    root = Path(statescope.__file__).parent
    kinds = {*MixerConfig.kinds(), *ChannelMixerConfig.kinds()}
    found = []
    for path in (path for room in ("kernels", "probe", "analyses", "app") for path in (root / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare) and any(
                isinstance(part, ast.Attribute) and part.attr == "kind" for part in ast.walk(node)
            ):
                named = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                found += [f"{path.relative_to(root)}:{node.lineno}" for _ in named & kinds]
    assert not found
