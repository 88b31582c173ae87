"""State patching: put the state of one run into another, and see what it carries.

A sweep puts, layer by layer, position by position and head by head, the state that a `source` run has after a token into a
`target` run at the same place, and measures the output. Only what a patch can reach is run again: the tokens behind it, from the
memories that one pass leaves at each position, and the layers from its own up, from the residual stream entering it. All heads
of a few places run as one batch.

Attribution patching (Nanda 2023) replaces all runs by one backward pass: with a metric m, the effect of patching is about
(S_source - S_target) . dm/dS, to first order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.recurrence import Edit
from ..mixers.base import Memory
from ..models.model import Model

Metric = Callable[[Tensor], Tensor]
TOGETHER = 4  # positions that run as one batch, the shorter suffixes padded


@dataclass(frozen=True)
class Patching:
    """effect [L, P, H]: the metric with the patch less the metric without. baseline: the metric of the target; source: of the
    source. layers, positions: of the first two axes.
    """

    effect: Tensor
    baseline: float
    source: float
    layers: tuple[int, ...]
    positions: tuple[int, ...]


def last_logit_difference(right: int, wrong: int) -> Metric:
    """The metric of logits [B, T, vocabulary] at the last position: right less wrong, one number a sequence."""
    return lambda logits: logits[:, -1, right] - logits[:, -1, wrong]


def _stateful(model: Model) -> tuple[int, ...]:
    found = tuple(layer for layer in range(model.layers) if model.has_state(layer))
    if not found:
        raise ValueError(f"no layer of this model has a state to patch (mixer: {model.mixer(0).kind})")
    return found


def _check(target: Tensor, source: Tensor, positions: Sequence[int]) -> None:
    if target.shape != source.shape or target.ndim != 2 or len(target) != 1:
        raise ValueError(
            f"target is {tuple(target.shape)} and source {tuple(source.shape)}; patching needs two sequences [1, T] of one length"
        )
    outside = [position for position in positions if not 0 <= position < target.shape[1] - 1]
    if outside:
        raise IndexError(f"position {outside[0]} has no token behind it in a sequence of {target.shape[1]}: nothing would change")


def _state_name(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_state"


@torch.no_grad()
def patch_states(model: Model, target: Tensor, source: Tensor, metric: Metric, positions: Sequence[int]) -> Patching:
    """Patch every layer, position and head. target, source: tokens [1, T]. metric: from logits [B, T, vocabulary] to [B], of the
    last positions: it sees the logits behind the patch alone.

    Raises ValueError for sequences of different lengths, IndexError for a position with nothing behind it.
    """
    layers = _stateful(model)
    _check(target, source, positions)
    names, taps = [_state_name(layer) for layer in layers], sorted(positions)
    entering = [f"blocks.{layer}.hook_resid_pre" for layer in layers]
    logits, kept = model.run_with_cache(target, names_filter=[*names, *entering], taps=taps)
    given_logits, given = model.run_with_cache(source, names_filter=names, taps=taps)
    baseline = float(metric(logits)[0])
    effects: dict[tuple[int, int], Tensor] = {}
    places = list(enumerate(_snapshots(model, target, taps)))
    count = TOGETHER if all(_can_stack(memory) for memory in places[0][1][1]) else 1
    for group in (places[at : at + count] for at in range(0, len(places), count)):
        longest = target.shape[1] - 1 - group[0][1][0]
        for layer in layers:
            own, other = kept[_state_name(layer)][0], given[_state_name(layer)][0]
            heads = own.shape[1]
            # Row h has head h of the source, and the rest as they are.
            each = torch.eye(heads, dtype=torch.bool, device=own.device).view(heads, heads, *[1] * (own.ndim - 2))
            before = target if layer == 0 else kept[f"blocks.{layer}.hook_resid_pre"]
            rows, suffixes = [], []
            for slot, (position, memories) in group:
                rows.append([_expanded(memory, heads) for memory in memories])
                _set_state(rows[-1][layer], torch.where(each, other[slot], own[slot]))
                suffix = before[0, position + 1 :]
                behind = suffix.new_zeros(longest - len(suffix), *suffix.shape[1:])  # later tokens change nothing before them
                suffixes.append(torch.cat([suffix, behind]).expand(heads, longest, *suffix.shape[1:]))
            stacked = [_stacked(parts) for parts in zip(*rows, strict=True)]
            out = model(torch.cat(suffixes), start_at_layer=layer, memories=stacked)
            for (_, (position, _)), own_logits in zip(group, out.split(heads), strict=True):
                effects[layer, position] = metric(own_logits[:, : target.shape[1] - 1 - position]) - baseline
    effect = torch.stack([torch.stack([effects[layer, position] for position in positions]) for layer in layers])
    return Patching(effect.cpu(), baseline, float(metric(given_logits)[0]), layers, tuple(positions))


def _snapshots(model: Model, tokens: Tensor, positions: Sequence[int]) -> Iterator[tuple[int, list[Memory]]]:
    """What each layer keeps of the tokens up to each position, from one pass over them."""
    memories: list[Memory] = [{} for _ in range(model.layers)]
    start = 0
    for position in positions:
        model(tokens[:, start : position + 1], return_type=None, memories=memories)
        start = position + 1
        yield position, [dict(memory) for memory in memories]


def _expanded(memory: Memory, count: int) -> Memory:
    """A memory of one sequence as one of `count` alike."""

    def expand(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: expand(item) for name, item in value.items()}
        return value.expand(count, *value.shape[1:]) if isinstance(value, Tensor) else value

    expanded: Memory = expand(memory)
    return expanded


def _can_stack(memory: Memory) -> bool:
    """Whether memories behind different numbers of tokens can be rows of one batch: not where a position is counted."""
    return "length" not in memory


def _stacked(memories: Sequence[Memory]) -> Memory:
    """Memories as the rows of one batch."""

    def stack(values: Sequence[Any]) -> Any:
        if isinstance(values[0], dict):
            return {name: stack([value[name] for value in values]) for name in values[0]}
        return torch.cat(list(values)) if isinstance(values[0], Tensor) else values[0]

    stacked: Memory = stack(memories)
    return stacked


def _set_state(memory: Memory, state: Tensor) -> None:
    carry = memory["carry"]
    carry["initial_values" if "initial_values" in carry else "initial_state"] = state


def attribute_states(model: Model, target: Tensor, source: Tensor, metric: Metric, positions: Sequence[int]) -> Patching:
    """The same effects to first order, from one backward pass: (S_source - S_target) . dm/dS summed over each head."""
    layers = _stateful(model)
    _check(target, source, positions)
    names, taps = [_state_name(layer) for layer in layers], sorted(positions)
    with torch.no_grad():
        logits, own = model.run_with_cache(target, names_filter=names, taps=taps)
        given_logits, given = model.run_with_cache(source, names_filter=names, taps=taps)
    # The gradient with respect to a state is that with respect to what an edit adds to it.
    zeros = {name: torch.zeros_like(own[name]).requires_grad_() for name in names}
    edits = {name: [Edit(position, "add", zero[:, slot]) for slot, position in enumerate(taps)] for name, zero in zeros.items()}
    gradients = torch.autograd.grad(metric(model(target, edits=edits)).sum(), list(zeros.values()))
    order = torch.tensor([taps.index(position) for position in positions])
    rows = []
    for name, gradient in zip(names, gradients, strict=True):
        product = (
            ((given[name] - own[name]) * gradient.conj()).real[0]
            if gradient.is_complex()
            else ((given[name] - own[name]) * gradient)[0]
        )
        rows.append(product.flatten(2).sum(-1)[order])
    effect = torch.stack(rows).detach().cpu()
    return Patching(effect, float(metric(logits)[0]), float(metric(given_logits)[0]), layers, tuple(positions))
