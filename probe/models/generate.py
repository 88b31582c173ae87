"""Generation token by token, with what each mixer keeps of the tokens before: a state, or keys and values.

Positions of taps, edits and caches count in the whole sequence, prompt and new tokens, and "last" is its last token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from ...kernels.operators.transition import Transition
from ...kernels.recurrence import Edit, Tap, TapRequest
from ..hooks.budget import check_budget
from ..hooks.cache import StateCache
from ..hooks.choose import NamesFilter
from ..hooks.positions import PositionRequest, at
from ..mixers.base import Memory, StateRequest

if TYPE_CHECKING:
    from .hooked import HookedModel


@torch.no_grad()
def stream_logits(model: HookedModel, tokens: Tensor) -> Iterator[tuple[Tensor, list[Memory]]]:
    """The logits [B, vocabulary] after each token of [B, T], one step at a time, and the memories behind it."""
    memories: list[Memory] = [{} for _ in range(model.layers)]
    for position in range(tokens.shape[1]):
        yield model(tokens[:, position : position + 1], memories=memories)[:, -1], memories


def generate(
    model: HookedModel,
    tokens: Tensor,
    count: int,
    *,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    taps: TapRequest | None = None,
    edits: Mapping[str, Sequence[Edit]] | None = None,
) -> Tensor:
    """`count` tokens more behind tokens [B, T]: [B, T + count].

    The prompt is read in one parallel pass and each token in one step. Hook functions are called in both and see every token, the
    last one too, which nothing follows. For the recurrent mixers memory and the time of a step do not grow with the length.

    temperature: 0 takes the likeliest token, else tokens are drawn from softmax(logits / temperature) with `generator`.
    taps: where hook functions see states. edits: as in `run_with_edits`; they change what is generated behind them.
    """
    return _grown(model, tokens, count, temperature, generator, taps, edits, show_last=_watched(model))


def generate_with_cache(
    model: HookedModel,
    tokens: Tensor,
    count: int,
    *,
    names_filter: NamesFilter = None,
    taps: TapRequest | None = None,
    positions: PositionRequest | None = None,
    edits: Mapping[str, Sequence[Edit]] | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    budget_bytes: int = 8 * 2**30,
) -> tuple[Tensor, StateCache]:
    """`count` tokens more behind tokens [B, T], and activations of all T + count, as the steps of generation computed them.

    Arguments as those of `generate` and `run_with_cache`. Attention over the sources that a step has not met, or whose keys it no
    longer keeps, is 0.
    """
    names = model.matching_hooks(names_filter, taps=taps)
    total = tokens.shape[1] + count
    tapped = () if taps is None else Tap.of(taps).resolve(total)
    kept = range(total) if positions is None else Tap.of(positions).resolve(total, "position")
    check_budget(model, names, len(tokens), total, len(kept), len(tapped), budget_bytes)
    parts: dict[str, list[Any]] = {name: [] for name in names}
    pass_of = range(0)

    def keep(value: Any, hook: HookPoint) -> None:
        name = hook.name or ""
        axes = model.points[name].axis_names
        value = value.detach()
        if "tap" not in axes:
            own = [position - pass_of.start for position in kept if position in pass_of]
            value = at(value, hook.pos_dim or 0, torch.tensor(own, dtype=torch.long, device=tokens.device))
        if "source" in axes:
            nothing = 0.0 if name.endswith("hook_pattern") else -torch.inf
            value = torch.nn.functional.pad(value, (pass_of.stop - value.shape[-1], total - pass_of.stop), value=nothing)
        parts[name].append(value)

    def begin(now: range) -> None:
        nonlocal pass_of
        pass_of = now

    with model.hooks(fwd_hooks=[(name, keep) for name in names]):
        made = _grown(model, tokens, count, temperature, generator, taps, edits, show_last=True, begin=begin)
    found = {name: _joined(values, model.points[name].position_axis or 0) for name, values in parts.items()}
    return made, StateCache(found, model, tapped)


@torch.no_grad()
def _grown(
    model: HookedModel,
    tokens: Tensor,
    count: int,
    temperature: float,
    generator: torch.Generator | None,
    taps: TapRequest | None,
    edits: Mapping[str, Sequence[Edit]] | None,
    *,
    show_last: bool,
    begin: Callable[[range], None] = lambda now: None,
) -> Tensor:
    """The tokens with `count` more. show_last: whether the last one is read too. begin: told the positions of each pass."""
    _check(count, temperature)
    model.check_hooks(model.extent(taps))
    total = tokens.shape[1] + count
    tapped = () if taps is None else Tap.of(taps).resolve(total)
    by_layer = model.edits_by_layer(total, edits or {})
    memories: list[Memory] = [{} for _ in range(model.layers)]
    read = 0
    while read < total if show_last else tokens.shape[1] < total:
        now = range(read, tokens.shape[1])
        begin(now)
        own_taps = [position - read for position in tapped if position in now] or None
        requests = [
            StateRequest(
                own_taps if model.has_state(layer) else None,
                [replace(edit, position=edit.position - read) for edit in by_layer.get(layer, ()) if edit.position in now],
                memory,
            )
            for layer, memory in enumerate(memories)
        ]
        logits = model.step(tokens[:, read:], requests)
        read = now.stop
        if read < total:
            tokens = torch.cat([tokens, _next(logits, temperature, generator)], dim=1)
    return tokens


def _check(count: int, temperature: float) -> None:
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")


def _next(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """The next token [B, 1] by the logits [B, vocabulary]."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)


def _watched(model: HookedModel) -> bool:
    """Whether any hook function would see a pass."""
    return any(point.has_hooks() for point in model.hook_dict.values())


def _joined(values: Sequence[Any], axis: int) -> Any:
    """The passes as one."""
    if isinstance(values[0], Transition):
        return Transition.joined(values, axis)
    return torch.cat(list(values), dim=axis)


def memory_bytes(memories: list[Memory]) -> int:
    """Bytes that generation holds between two tokens."""

    def count(value: object) -> int:
        if isinstance(value, Tensor):
            return value.numel() * value.element_size()
        return sum(map(count, value.values())) if isinstance(value, dict) else 0

    return sum(map(count, memories))
