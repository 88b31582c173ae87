"""What analyses ask of a model, whichever it is: ours or a loaded one, with matrix, vector or complex states, or a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor

from ..kernels.effective_attention import effective_attention
from ..kernels.operators.linear_system import LinearSystem
from ..kernels.operators.transition import Transition
from ..kernels.recurrence import TapRequest
from ..probe.hooks.names import hook_name

if TYPE_CHECKING:
    from ..probe.models.hooked import HookedModel

Models: TypeAlias = "HookedModel | Mapping[str, HookedModel]"


def named_models(models: Models) -> dict[str, HookedModel]:
    """Models by name; one alone is called "model". Raises ValueError where there is none."""
    named = dict(models) if isinstance(models, Mapping) else {"model": models}
    if not named:
        raise ValueError("no model is given")
    return named


def transitions_of(model: HookedModel, tokens: Tensor, *, jacobians: bool = False) -> Iterator[tuple[int, Transition]]:
    """Each layer that has a linear transition, with A_t of every token [B, T, H] in float64 or complex128.

    jacobians: cells too, with d state_t / d state_{t-1} at the states of these sequences, all parts of a state together.

    Raises ValueError, with the reason, where no layer has one.
    """
    cells = cells_of(model, tokens) if jacobians else {}
    if not cells or shows(model, "attn.hook_transition"):
        linear = _shown(model, tokens, "attn.hook_transition", "linear transition")
        cells |= {layer: cast(Transition, transition).double() for layer, transition in linear}
    yield from sorted(cells.items())


def cells_of(model: HookedModel, tokens: Tensor) -> dict[int, Transition]:
    """The layers that are cells, with the Jacobian of every token [B, T, H] as a transition; none where there are none."""
    from ..probe.mixers.cells import CellMixer

    if not any(isinstance(model.mixer(layer), CellMixer) for layer in range(model.layers)):
        return {}
    found = {}
    for layer, inputs in _shown(model, tokens, "attn.hook_inputs", "cell"):
        matrix = cast(CellMixer, model.mixer(layer)).jacobians(inputs)
        identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype).expand(matrix.shape)
        found[layer] = Transition(torch.zeros_like(matrix[..., :1]).squeeze(-1), matrix, identity)
    return found


def mixing_of(model: HookedModel, tokens: Tensor) -> Iterator[tuple[int, Tensor, bool]]:
    """Each layer that shows how it mixes tokens, as matrices [B, H, C, T, T, n] in float64, and whether they are of a softmax.

    C: channels of a vector state, each with its own matrix; 1 elsewhere. n: values that a token writes, in its column.

    Raises ValueError where no layer does.
    """
    places = {"attn.hook_pattern": True, "attn.hook_effective_attention": False}
    shown = {place: pattern for place, pattern in places.items() if shows(model, place)}
    if not shown:
        raise ValueError(f"no layer of this model shows how it mixes tokens (its mixers: {model.mixer_kinds})")
    found = {}
    for place, pattern in shown.items():
        for layer, mixing in _shown(model, tokens, place, "mixing matrix"):
            mixing = mixing.to(torch.promote_types(mixing.dtype, torch.float64))
            [axes] = [point.axes for point in model.layer_points(layer) if point.name == place]
            of_channels = axes.endswith("channel")
            by_channel = mixing.movedim(-1, 2) if of_channels else mixing[:, :, None]
            found[layer] = (by_channel if by_channel.ndim == 6 else by_channel[..., None], pattern)
    for layer, (mixing, pattern) in sorted(found.items()):
        yield layer, mixing, pattern


def additive_of(model: HookedModel, tokens: Tensor, layers: Sequence[int] | None = None) -> Iterator[tuple[int, Tensor]]:
    """Each layer whose tokens erase, with the mixing matrices [B, H, 1, T, T, n] that it had if they did not: what they write,
    beta k v^T, would only decay. None where no layer erases. layers: only these are asked.
    """
    asked = range(model.layers) if layers is None else layers
    if not any(hook_name(layer, "attn.hook_transition") in model.hook_dict for layer in asked):
        return
    shown = _shown(model, tokens, "attn.hook_transition", "transition", asked)
    erasing = [layer for layer, transition in shown if transition.rank]
    hooks = ("attn.hook_q", "attn.hook_k", "attn.hook_beta", "attn.hook_log_decay")
    for layer in erasing:
        names = {place.removeprefix("attn.hook_"): hook_name(layer, place) for place in hooks}
        held = {short: name for short, name in names.items() if name in model.hook_dict}
        if not {"q", "k"} <= set(held):
            continue
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens, names_filter=list(held.values()), return_type=None)
        parts = {short: on_cpu(cache[name]).double() for short, name in held.items()}
        k = parts.pop("k") * (parts.pop("beta")[..., None] if "beta" in parts else 1.0)
        keys = k.unbind(3) if k.ndim == 5 else (k,)
        yield layer, torch.stack([effective_attention(k=own, **parts) for own in keys], dim=-1)[:, :, None]


def linear_systems_of(model: HookedModel) -> Iterator[tuple[int, LinearSystem]]:
    """Each layer that is linear in its inputs up to its read-out, and whose recurrence no token chooses, as a system in float64.

    Raises ValueError where no layer is.
    """
    from ..probe.mixers.state_space import StateSpaceMixer

    layers = [layer for layer in range(model.layers) if isinstance(model.mixer(layer), StateSpaceMixer)]
    if not layers:
        raise ValueError(f"no layer of this model is a time-invariant state space (its mixers: {model.mixer_kinds})")
    for layer in layers:
        with torch.no_grad():
            yield layer, cast(StateSpaceMixer, model.mixer(layer)).linear_system().to(torch.float64, "cpu")


def states_of(model: HookedModel, tokens: Tensor, taps: TapRequest) -> Iterator[tuple[int, Tensor]]:
    """Each layer that has a state, with S_t after the tapped tokens [B, P, H, ...] in float64 or complex128.

    Raises ValueError where no layer has one.
    """
    for layer, state in _shown(model, tokens, "attn.hook_state", "state", taps=taps):
        yield layer, state.to(torch.promote_types(state.dtype, torch.float64))


def writes_of(model: HookedModel, tokens: Tensor, taps: TapRequest) -> Iterator[tuple[int, Tensor]]:
    """Each layer that says what it writes, with B_t of the tapped tokens in the shape of its state.

    Raises ValueError where no layer does.
    """
    for layer, write in _shown(model, tokens, "attn.hook_write", "write of a token", taps=taps):
        yield layer, write.to(torch.promote_types(write.dtype, torch.float64))


def hooks_of(
    model: HookedModel, tokens: Tensor, names: Sequence[str], taps: TapRequest | None = None
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Each layer that has all of some hooks of its mixer, such as "k" and "state", with what they show in float64.

    Raises ValueError where no layer has.
    """
    found = {}
    for layer in range(model.layers):
        places = {name: hook_name(layer, f"attn.hook_{name}") for name in names}
        if all(place in model.hook_dict for place in places.values()):
            found[layer] = places
    if not found:
        raise ValueError(f"no layer of this model has the hooks {', '.join(names)} (its mixers: {model.mixer_kinds})")
    length_of(tokens)
    wanted = [place for places in found.values() for place in places.values()]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=wanted, return_type=None, taps=taps)
    for layer, places in found.items():
        shown = {name: on_cpu(cache[place]) for name, place in places.items()}
        yield layer, {name: value.to(torch.promote_types(value.dtype, torch.float64)) for name, value in shown.items()}


def on_cpu(value: Any) -> Any:
    """A tensor or Transition that a model's hook showed, on the CPU."""
    from ..probe.hooks.cache import converted

    return converted(value, "cpu")


def shows(model: HookedModel, place: str) -> bool:
    """Whether some layer of a model has this hook, such as "attn.hook_write"."""
    return any(hook_name(layer, place) in model.hook_dict for layer in range(model.layers))


def real_parts(values: Tensor) -> Tensor:
    """Complex numbers [..., n] as real ones [..., 2n], real and imaginary part side by side; real ones as they are."""
    return torch.view_as_real(values.resolve_conj()).flatten(-2) if values.is_complex() else values


def length_of(tokens: Tensor) -> int:
    """The tokens T of each sequence. Raises ValueError for one sequence without an axis of sequences."""
    if tokens.ndim < 2:
        raise ValueError(f"tokens have shape {list(tokens.shape)}; give sequences, [B, T], one alone as tokens[None]")
    return tokens.shape[1]


def _shown(
    model: HookedModel, tokens: Tensor, place: str, what: str, layers: Sequence[int] | None = None, **run: Any
) -> Iterator[tuple[int, Any]]:
    hooks = {layer: hook_name(layer, place) for layer in (range(model.layers) if layers is None else layers)}
    found = {layer: name for layer, name in hooks.items() if name in model.hook_dict}
    if not found:
        raise ValueError(f"no layer of this model has a {what} (its mixers: {model.mixer_kinds})")
    length_of(tokens)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=list(found.values()), return_type=None, **run)
    for layer, name in found.items():
        yield layer, on_cpu(cache[name])
