"""Hook functions act, or the run raises: none is accepted and then never called, and no change is lost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN

from statescope import Attention, DeltaNet, Edit, Model, ModelConfig, Transition, load
from statescope.probe.errors import UnknownNameError
from statescope.probe.mixers import MixerConfig

STATE = "blocks.0.attn.hook_state"
STATEFUL = [mixer for mixer in MIXERS if mixer.has_state]


def small(mixer: MixerConfig | tuple[MixerConfig, ...], **changes: int) -> Model:
    return Model(ModelConfig(**{"vocabulary": 7, "width": 12, "layers": 2, "mixer": mixer} | changes)).double().eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 7, (3, 9))


def ignore(value: Any, hook: object) -> None:
    return None


@pytest.mark.parametrize(
    ("hook", "run", "reason"),
    [
        (STATE, {}, "give taps"),
        ("blocks.*.attn.hook_state", {}, "give taps"),
        (lambda name: name.endswith("hook_write"), {}, "give taps"),
        ("blocks.1.hook_resid_pre", {"stop_at_layer": 1}, "stops at layer 1"),
        ("ln_final.hook_scale", {"stop_at_layer": 2}, "stops at layer 2"),
        ("hook_embed", {"start_at_layer": 0}, "starts at layer 0"),
        ("blocks.0.hook_resid_pre", {"start_at_layer": -1}, "starts at layer 1"),
    ],
)
def test_a_hook_that_cannot_fire_in_a_run_raises(hook: Any, run: dict[str, Any], reason: str, tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    given = torch.randn(3, 9, 12).double() if "start_at_layer" in run else tokens
    with pytest.raises(ValueError, match=f"cannot fire in this run: .*{reason}"):
        model.run_with_hooks(given, fwd_hooks=[(hook, ignore)], **run)
    with pytest.raises(ValueError, match=f"cannot fire in this run: .*{reason}"):
        model.run_with_cache(given, names_filter=hook, **run)
    if isinstance(hook, str) and "*" not in hook:
        model.hook_dict[hook].add_hook(ignore)
        with pytest.raises(ValueError, match="cannot fire in this run"):
            model(given, **run)
        model.reset_hooks()
        model(given, **run)


def test_of_the_hooks_a_filter_chooses_it_is_enough_that_one_fires(tokens: torch.Tensor) -> None:
    model, seen = small(DeltaNet(heads=2)), []

    def note(value: Any, hook: Any) -> None:
        seen.append(hook.name)

    model.run_with_hooks(tokens, fwd_hooks=[(lambda name: True, note)])
    assert "hook_embed" in seen and "ln_final.hook_normalized" in seen and STATE not in seen
    seen.clear()
    model.run_with_hooks(tokens, fwd_hooks=[("blocks.1.*", note)])
    assert seen and all(name.startswith("blocks.1.") for name in seen)
    with pytest.raises(ValueError, match="true for no hook"):
        model.add_hook(lambda name: "hook_betta" in name, ignore)
    with pytest.raises(UnknownNameError):
        model.add_hook("blocks.*.attn.hook_betta", ignore)


def test_the_final_norm_is_hooked_when_no_logits_are_asked_for(tokens: torch.Tensor) -> None:
    _, cache = small(DeltaNet(heads=2)).run_with_cache(tokens, names_filter="ln_final.hook_normalized", return_type=None)
    assert cache["normalized"].shape == (3, 9, 12)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("mixer", STATEFUL, ids=label)
def test_a_change_in_place_of_what_is_not_read_raises(mixer: MixerConfig, inference: bool, tokens: torch.Tensor) -> None:
    model = small(mixer)
    shown = [name for name in model.hook_names if name.startswith("blocks.0.") and model.points[name].access != "write"]
    assert STATE in shown

    def zero(value: Any, hook: object) -> Any:
        part = value.right if isinstance(value, Transition) and value.rank else value
        (part.diagonal if isinstance(part, Transition) else part).detach().zero_()
        return value

    with torch.inference_mode(inference), torch.set_grad_enabled(False):
        for name in shown:
            with pytest.raises(RuntimeError, match=f"changed {name} in place.*return a changed copy"):
                model.run_with_hooks(tokens, fwd_hooks=[(name, zero)], taps=[5])
            model.run_with_hooks(tokens, fwd_hooks=[(name, ignore)], taps=[5])


@pytest.mark.parametrize("mixer", STATEFUL, ids=label)
def test_a_state_that_a_hook_function_returns_is_gone_on_from(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    """As by the edit "set", and gradients go through it."""
    model = small(mixer)
    _, cache = model.run_with_cache(tokens, names_filter=STATE, taps=[4])
    wanted = 0.3 * cache[STATE][:, 0].roll(1, 0)
    edited = model.run_with_edits(tokens, {STATE: [Edit(4, "set", wanted)]})
    hooked = model.run_with_hooks(tokens, fwd_hooks=[(STATE, lambda value, hook: wanted[:, None].clone())], taps=4)
    torch.testing.assert_close(hooked, edited, rtol=1e-12, atol=1e-13)
    assert (hooked - model(tokens)).abs().max() > 1e-9
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    halved = model.run_with_hooks(tokens, fwd_hooks=[(STATE, lambda value, hook: value * scale)], taps=[4])
    halved[:, 5:].square().sum().backward()
    assert scale.grad is not None and scale.grad.abs() > 0


def test_a_state_hook_composes_with_edits_and_caches(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    added = torch.randn(2, 6, 6).double()
    edits = {STATE: [Edit(4, "add", added)]}
    with model.hooks(fwd_hooks=[(STATE, lambda value, hook: 2 * value)]):
        hooked, cache = model.run_with_cache(tokens, names_filter=STATE, taps=[4], edits=edits)
    both = {STATE: [Edit(4, "add", added), Edit(4, "scale", torch.tensor(2.0))]}
    expected, shown = model.run_with_cache(tokens, names_filter=STATE, taps=[4], edits=both)
    torch.testing.assert_close(hooked, expected)
    torch.testing.assert_close(cache[STATE], shown[STATE])


def test_a_replacement_that_has_no_one_meaning_raises(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    with pytest.raises(RuntimeError, match="2 positions are tapped.*run_with_edits"):
        model.run_with_hooks(tokens, fwd_hooks=[(STATE, lambda value, hook: 2 * value)], taps=[1, 4])
    with pytest.raises(ValueError, match=r"returned \(3, 1, 2, 6, 6\) torch.complex128"):
        model.run_with_hooks(tokens, fwd_hooks=[(STATE, lambda value, hook: value * 1j)], taps=[4])
    with pytest.raises(RuntimeError, match="replacement for blocks.0.attn.hook_write"):
        model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_write", lambda value, hook: 2 * value)], taps=[4])


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_in_place_and_by_replacement_a_hook_function_does_the_same(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    """Of every hook for writing, and of one head, so that a tensor which stands for several would show."""
    model = small(mixer, layers=1)
    names = [name for name in model.hook_names if model.points[name].access == "write"]

    def in_place(value: torch.Tensor, hook: object) -> None:
        one = value[1, 1, min(1, value.shape[2] - 1)]
        one.copy_(one.flip(-1) if one.ndim else 0.25 * one)  # a vector keeps its length

    def by_copy(value: torch.Tensor, hook: object) -> torch.Tensor:
        changed = value.clone()
        in_place(changed, hook)
        return changed

    with torch.no_grad():
        plain = model(tokens)
        for name in names:
            one, other = (model.run_with_hooks(tokens, fwd_hooks=[(name, change)]) for change in (in_place, by_copy))
            assert torch.equal(one, other), name
            assert not torch.equal(one, plain), name


def test_a_backward_hook_that_would_never_fire_is_refused(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    with pytest.raises(ValueError, match="a backward hook on blocks.0.attn.hook_state never fires"):
        model.add_hook(STATE, ignore, "bwd")
    model.hook_dict[STATE].add_hook(ignore, dir="bwd")
    with pytest.raises(RuntimeError, match="has a backward hook, which never fires"):
        model(tokens, taps="last")
    model.reset_hooks()
    seen: list[str] = []
    with model.hooks(bwd_hooks=[("blocks.0.attn.*", lambda value, hook: seen.append(hook.name))]):
        model(tokens, return_type="loss").backward()
    assert "blocks.0.attn.hook_k" in seen and STATE not in seen


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex128])
def test_a_cache_of_another_dtype_keeps_what_is_complex_complex(
    mixer: MixerConfig, dtype: torch.dtype, tokens: torch.Tensor
) -> None:
    model = small(mixer)
    run: dict[str, Any] = {"taps": [2, 5]} if mixer.has_state else {}
    names = ["blocks.0.attn.*", "hook_embed"]
    (_, whole), (_, kept) = (model.run_with_cache(tokens, names_filter=names, dtype=d, **run) for d in (None, dtype))
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6}.get(dtype, 1e-12)
    for name, value in whole.items():
        pairs = zip(_parts(value), _parts(kept[name]), strict=True)
        for exact, stored in pairs:
            assert stored.is_complex() == (exact.is_complex() or dtype.is_complex), name
            wide = stored.to(torch.complex128) if stored.is_complex() else stored.double()
            torch.testing.assert_close(wide, exact.to(wide.dtype), rtol=tolerance, atol=tolerance * float(exact.abs().sum()))
    with pytest.raises(TypeError, match="cut activations to whole numbers"):
        model.run_with_cache(tokens, names_filter="hook_embed", dtype=torch.int64)


def _parts(value: Any) -> tuple[torch.Tensor, ...]:
    return (value.diagonal, value.left, value.right) if isinstance(value, Transition) else (value,)


def test_hooks_of_attention_alone_take_no_taps(tokens: torch.Tensor) -> None:
    model = small((DeltaNet(heads=2), Attention(heads=2)))
    _, cache = model.run_with_cache(tokens, taps="last")
    assert STATE in cache.cache_dict and "blocks.1.attn.hook_state" not in cache.cache_dict


@pytest.mark.parametrize("family", FOREIGN)
def test_hook_functions_of_loaded_models(family: str) -> None:
    """A state that is returned is gone on from; what is changed in place counts, or raises; what cannot fire raises."""
    model = load(FOREIGN[family]())
    tokens = torch.randint(3, 31, (2, 9))
    with torch.no_grad():
        plain = model(tokens)
        edited = model.run_with_edits(tokens, {STATE: [Edit(4, "scale", torch.tensor(-0.5))]})
        hooked = model.run_with_hooks(tokens, fwd_hooks=[(STATE, lambda value, hook: -0.5 * value)], taps=[4])
        torch.testing.assert_close(hooked, edited, rtol=1e-5, atol=1e-5)
        assert (hooked - plain).abs().max() > 1e-5
        with pytest.raises(RuntimeError, match="in place"):
            model.run_with_hooks(tokens, fwd_hooks=[(STATE, lambda value, hook: value.zero_())], taps=[4])
        with pytest.raises(ValueError, match="cannot fire in this run"):
            model.run_with_hooks(tokens, fwd_hooks=[(STATE, ignore)])
        for name in (name for name, point in model.points.items() if point.access == "write" and point.firing == "always"):
            one, other = (
                model.run_with_hooks(tokens, fwd_hooks=[(name, change)])
                for change in (_zero_row, lambda value, hook: _without_row(value))
            )
            assert torch.equal(one, other), name


def _zero_row(value: torch.Tensor, hook: object) -> None:
    value[1] = 0


def _without_row(value: torch.Tensor) -> torch.Tensor:
    changed = value.clone()
    changed[1] = 0
    return changed
