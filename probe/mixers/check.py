"""What every token mixer must hold, as a check that the author of a mixer runs on it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Generator, Tensor
from transformer_lens.hook_points import HookPoint

from ...kernels.operators.transition import Transition
from ...kernels.recurrence import Edit
from ..errors import StatescopeError
from ..hooks.names import MIXING_PLACE, STATE_PLACE, TRANSITION_PLACE
from ..hooks.points import Point
from .base import Mixer, MixerConfig, StateRequest

WRITE_PLACE, READ_PLACE = "attn.hook_write", "attn.hook_recurrence_out"
BATCH, LENGTH, CUT = 2, 9, 4
CLOSE = 1e-6  # of the largest entry, in float64
HOW = {
    TRANSITION_PLACE: "its Recurrence's `transition` shows it",
    WRITE_PLACE: "its Recurrence's `write` shows it",
    MIXING_PLACE: "its Recurrence's `attention` shows it",
}


class UnfitMixerError(StatescopeError, ValueError):
    """A mixer that breaks what caches, edits, generation, spectra and mixing matrices rely on."""


def check_mixer(config: MixerConfig, *, width: int = 12) -> None:
    """Check a mixer by building it and running it in float64 on random inputs. Raises UnfitMixerError, with the reason, unless

    - the same generator builds the same parameters, and another one builds others,
    - each hook of `points` fires, with the axes that its point says, and no other hook is there,
    - no token hears of a later one, and a sequence in two parts, with the memory between them, gives what it gives whole,
    - an edit that sets the state to what it is changes nothing, and another one changes later tokens alone,
    - the states follow what is shown of them, S_t = A_t S_{t-1} + B_t,
    - and the mixing matrix times the values (or inputs) is what the recurrence reads out.

    The last three are asked of a mixer that has these hooks.

    config: with the sizes that are to be checked; a check of the smallest takes the least time.
    width: of the residual stream.
    """
    mixer, again, other = (config.build(width, Generator().manual_seed(seed)).double().eval() for seed in (1, 1, 2))
    first, second, third = (torch.cat([value.detach().flatten() for value in one.parameters()]) for one in (mixer, again, other))
    _require(torch.equal(first, second), "two modules of one generator differ; draw every parameter from the generator given")
    _require(not torch.equal(first, third), "modules of two generators are equal; draw the parameters from the generator given")
    with torch.no_grad():
        x = torch.randn(BATCH, LENGTH, width, dtype=torch.float64, generator=Generator().manual_seed(3))
        out = mixer(x, StateRequest())
        _require(out.shape == x.shape, f"the output is {list(out.shape)}; it has the shape of the input, {list(x.shape)}")
        seen = _shown(mixer, x)
        for point in mixer.points:
            _check_axes(mixer, point, seen)
        _check_time(mixer, x, out)
        if mixer.has_hook(STATE_PLACE):
            _check_edits(mixer, x, out, seen[STATE_PLACE])
        if all(mixer.has_hook(place) for place in (STATE_PLACE, TRANSITION_PLACE, WRITE_PLACE)):
            _check_states(seen)
        if mixer.has_hook(MIXING_PLACE) and mixer.has_hook(READ_PLACE):
            _check_mixing(seen)


def _shown(mixer: Mixer, x: Tensor) -> dict[str, Tensor]:
    """What each hook shows while all of them are asked for and each token is tapped."""
    declared = {point.name for point in mixer.points}
    hooks = {f"attn.{name}": module for name, module in mixer.named_modules() if isinstance(module, HookPoint)}
    unsaid = sorted(hooks.keys() - declared)
    _require(not unsaid, f"the module has {', '.join(unsaid)}, which `points` does not list")
    seen: dict[str, Tensor] = {}

    def see(name: str, value: Tensor, hook: HookPoint) -> None:
        seen[name] = value

    for name, hook in hooks.items():
        hook.add_hook(partial(see, name))
    try:
        mixer(x, StateRequest(taps=list(range(LENGTH)) if STATE_PLACE in declared else None))
    finally:
        for hook in hooks.values():
            hook.remove_hooks()
    return seen


def _check_axes(mixer: Mixer, point: Point, seen: dict[str, Tensor]) -> None:
    how = HOW.get(point.name, "fire it with self.fire(...), or by a call of the hook itself")
    _require(point.name in seen, f"{point.name} is in `points` and does not fire: {how}, or leave it out of `points`")
    sizes = {"batch": BATCH, "position": LENGTH, "tap": LENGTH, "query": LENGTH, "source": LENGTH, **mixer.axis_sizes}
    shown = seen[point.name]
    shape = list(shown.shape[:-2] if isinstance(shown, Transition) else shown.shape)
    optional = {name.strip("[]") for name in point.axes.split() if name.startswith("[")}
    forms = [point.axis_names, [name for name in point.axis_names if name not in optional]]
    fits = any(
        len(names) == len(shape) and all(sizes.get(name, size) == size for name, size in zip(names, shape, strict=True))
        for names in forms
    )
    wanted = ", ".join(f"{name} {sizes.get(name, '')}".strip() for name in point.axis_names)
    _require(fits, f"{point.name} is {shape}, and its axes are said to be {wanted}: amend its point, or the mixer's axis_sizes")
    if isinstance(shown, Tensor):
        said = "complex" if point.is_complex else "real"
        _require(shown.is_complex() == point.is_complex, f"{point.name} is {shown.dtype}; its point says {said}, see complex_of")


def _check_time(mixer: Mixer, x: Tensor, out: Tensor) -> None:
    later = torch.cat([x[:, :CUT], x[:, CUT:].flip(1) + 1], dim=1)
    _require(_close(mixer(later, StateRequest())[:, :CUT], out[:, :CUT]), "a token's output changes with the tokens behind it")
    memory: dict[str, object] = {}
    parts = [mixer(part, StateRequest(memory=memory)) for part in (x[:, :CUT], x[:, CUT : CUT + 1], x[:, CUT + 1 :])]
    _require(
        _close(torch.cat(parts, dim=1), out),
        "a sequence in parts gives another output than whole: what a token needs of those before it goes through request.memory",
    )


def _check_edits(mixer: Mixer, x: Tensor, out: Tensor, states: Tensor) -> None:
    same = mixer(x, StateRequest(edits=[Edit(CUT, "set", states[:, CUT])]))
    _require(_close(same, out), "an edit that sets the state to what it is changes the output: not all that is carried is in it")
    changed = mixer(x, StateRequest(edits=[Edit(CUT, "scale", torch.tensor(-1.0, dtype=torch.float64))]))
    _require(_close(changed[:, : CUT + 1], out[:, : CUT + 1]), "an edit of the state after a token changes what is read before")
    _require(not _close(changed, out), "an edit of the state changes nothing: hand request.edits on to the recurrence")


def _check_states(seen: dict[str, Tensor]) -> None:
    state, write = seen[STATE_PLACE], seen[WRITE_PLACE]
    _require(write.shape == state.shape, f"the write is {list(write.shape)}, and the state {list(state.shape)}")
    if state.ndim == 4:  # a vector state
        state, write = state[..., None], write[..., None]
    before = torch.cat([torch.zeros_like(state[:, :1]), state[:, :-1]], dim=1)
    following = seen[TRANSITION_PLACE].matmat(before) + write  # type: ignore[attr-defined]
    _require(
        _close(following, state),
        f"the states do not follow A_t S_(t-1) + B_t: they differ by up to {float((following - state).abs().max()):.2g}. The "
        "Recurrence's `transition` and `write` have to be those of its `call`",
    )


def _check_mixing(seen: dict[str, Tensor]) -> None:
    mixing, read = seen[MIXING_PLACE], seen[READ_PLACE]
    by_channel = "attn.hook_x" in seen
    values = seen["attn.hook_x" if by_channel else "attn.hook_v"]
    equation = "bhtsc,bshc->bthc" if by_channel else "bhts,bshv->bthv" if mixing.ndim == 4 else "bhtsn,bshnv->bthv"
    _require(
        _close(torch.einsum(equation, mixing, values), read),
        "the mixing matrix times the values is not what is read out: the Recurrence's `attention` is not its `call`'s",
    )


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= CLOSE * wanted.abs().max().clamp(min=CLOSE))


def _require(held: bool, reason: str) -> None:
    if not held:
        raise UnfitMixerError(reason)
