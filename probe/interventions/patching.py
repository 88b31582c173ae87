"""State patching: put the state of one run into another, and see what it carries.

A sweep puts, layer by layer, position by position and head by head, the state that a `source` run has after a token into a
`target` run at the same place, and measures the output. Only what a patch can reach is run again: the tokens behind it, from the
memories that one pass leaves at each position, and the layers from its own up. Patches run as rows of one batch, which grows with
the layers: a row joins it at its own layer, with the residual stream that enters there.

Attribution patching (Nanda 2023) replaces all runs by one backward pass: with a metric m, the effect of patching is about
(S_source - S_target) . dm/dS, to first order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.recurrence import Edit, Tap
from ...kernels.shown import with_shapes
from ..hooks.names import hook_name
from ..hooks.positions import PositionRequest
from ..mixers.base import Memory, Snapshots, StateRequest
from ..models.hooked import HookedModel
from ..models.model import Model

Metric = Callable[[Tensor], Tensor]
ROW_TOKENS = 2**15  # rows times tokens that run together at most, which bounds memory


@dataclass(frozen=True)
class Patching:
    """effect [L, P, H]: the metric with the patch less the metric without, nan for a head that a layer lacks. baseline: the
    metric of the whole target; source: of the source. layers, positions: of the first two axes.
    """

    effect: Tensor
    baseline: float
    source: float
    layers: tuple[int, ...]
    positions: tuple[int, ...]

    __repr__ = with_shapes

    def summary(self) -> str:
        """Which place changes the metric most, and how much that is of what the source has more."""
        places = int((~self.effect.isnan()).sum())
        at = torch.unravel_index(self.effect.abs().nan_to_num(-1.0).argmax(), self.effect.shape)
        layer, position, head = map(int, at)
        most, more = float(self.effect[layer, position, head]), self.source - self.baseline
        share = f", {most / more:.0%} of what the source has more" if more else ""
        return (
            f"the metric is {self.baseline:.4g} without a patch and {self.source:.4g} in the source; of {places} places layer "
            f"{self.layers[layer]}, position {self.positions[position]}, head {head} changes it most, by {most:+.3g}{share}"
        )


def last_logit_difference(right: int, wrong: int) -> Metric:
    """The metric of logits [B, T, vocabulary] at the last position: right less wrong, one number a sequence."""
    return lambda logits: logits[:, -1, right] - logits[:, -1, wrong]


def _stateful(model: HookedModel) -> tuple[int, ...]:
    found = tuple(layer for layer in range(model.layers) if model.has_state(layer))
    if not found:
        raise ValueError(f"no layer of this model has a state to patch (its mixers: {model.mixer_kinds})")
    return found


def _check(target: Tensor, source: Tensor, positions: PositionRequest) -> tuple[int, ...]:
    """The positions that are patched."""
    if target.shape != source.shape or target.ndim != 2 or len(target) != 1:
        raise ValueError(
            f"target is {tuple(target.shape)} and source {tuple(source.shape)}; patching needs two sequences [1, T] of one length"
        )
    resolved = Tap.of(positions).resolve(target.shape[1], "patch")
    if resolved[-1] == target.shape[1] - 1:
        raise IndexError(
            f"position {resolved[-1]} has no token behind it in a sequence of {target.shape[1]}: nothing would change"
        )
    return resolved


def _state_name(layer: int) -> str:
    return hook_name(layer, "attn.hook_state")


@torch.no_grad()
def patch_states(
    model: HookedModel, target: Tensor, source: Tensor, metric: Metric, positions: PositionRequest, *, reads: int | None = None
) -> Patching:
    """Patch every layer, position and head. target, source: tokens [1, T].

    model: one of ours, of which only what a patch can reach runs again; or a loaded one, which runs whole for each patch.

    metric: from logits [B, T, vocabulary] to [B]. Of a patch it sees the logits behind it alone, and so it does of the target
        that the patch is compared with: a mean over positions is one over those.
    positions: as taps are given, each with a token behind it.
    reads: how many of the last positions the metric reads, 1 for `last_logit_difference`: it then sees those alone, and so does
        the last layer's channel mixer.

    Raises ValueError for sequences of different lengths, IndexError for a position with nothing behind it.
    """
    layers = _stateful(model)
    taps = _check(target, source, positions)
    names = [_state_name(layer) for layer in layers]
    given_logits, given = model.run_with_cache(source, names_filter=names, taps=taps)
    states = {layer: given[_state_name(layer)][0] for layer in layers}
    sweep: _Sweep | _Reruns
    if isinstance(model, Model):
        sweep, logits = _sweep(model, target, taps, states)
    else:
        sweep, logits = _reruns(model, target, taps, states)
    heads = max(change.shape[1] for change in sweep.changes.values())
    effect = logits.new_full((len(layers), len(taps), heads), torch.nan, device="cpu")
    for patches in sweep.batches(heads):
        found = sweep.run(patches, target.shape[1] if reads is None else reads)
        for slot in dict.fromkeys(slot for slot, _ in patches):
            rows = [row for row, patch in enumerate(patches) if patch[0] == slot]
            own = [patches[row][1] for row in rows]
            behind = found[:, rows, -(target.shape[1] - 1 - taps[slot]) :].flatten(0, 1)
            without = metric(logits[:, -behind.shape[1] :])
            effect[:, slot, own] = (metric(behind) - without).view(len(layers), -1).cpu()
    for row, change in enumerate(sweep.changes.values()):
        effect[row, :, change.shape[1] :] = torch.nan
    return Patching(effect, float(metric(logits)[0]), float(metric(given_logits)[0]), layers, taps)


def _sweep(model: Model, target: Tensor, taps: tuple[int, ...], states: Mapping[int, Tensor]) -> tuple[_Sweep, Tensor]:
    """The sweep that goes on from memories, and the logits of the target. states: of the source, [P, H, ...] by layer."""
    names = [name for layer in states for name in (_state_name(layer), hook_name(layer, "hook_resid_pre"))]
    snapshots = [Snapshots(taps) for _ in range(model.layers)]
    logits, kept = model.run_with_cache(target, names_filter=names, taps=taps, memories=snapshots)
    changes = {layer: state - kept[_state_name(layer)][0] for layer, state in states.items()}
    streams = {layer: kept[hook_name(layer, "hook_resid_pre")][0] for layer in states}
    return _Sweep(model, changes, streams, _memories(model, target, snapshots), taps), logits


def _reruns(model: HookedModel, target: Tensor, taps: tuple[int, ...], states: Mapping[int, Tensor]) -> tuple[_Reruns, Tensor]:
    """The sweep of a model that goes on from no memory, and the logits of the target."""
    logits, kept = model.run_with_cache(target, names_filter=[_state_name(layer) for layer in states], taps=taps)
    return _Reruns(model, {layer: state - kept[_state_name(layer)][0] for layer, state in states.items()}, target, taps), logits


@dataclass(frozen=True)
class _Reruns:
    """The patches of each layer as rows of one batch, each with its own edit. changes, taps: as in `_Sweep`. target: [1, T]."""

    model: HookedModel
    changes: Mapping[int, Tensor]
    target: Tensor
    taps: tuple[int, ...]

    def batches(self, heads: int) -> Iterator[list[tuple[int, int]]]:
        patches = [(slot, head) for slot in range(len(self.taps)) for head in range(heads)]
        together = max(1, ROW_TOKENS // self.target.shape[1])
        for start in range(0, len(patches), together):
            yield patches[start : start + together]

    def run(self, patches: Sequence[tuple[int, int]], reads: int) -> Tensor:
        """As that of `_Sweep`."""
        found = []
        for layer, change in self.changes.items():
            edits = []
            for slot in dict.fromkeys(slot for slot, _ in patches):
                value = change.new_zeros(len(patches), *change.shape[1:])
                for row, (own, head) in enumerate(patches):
                    if own == slot and head < change.shape[1]:
                        value[row, head] = change[slot, head]
                edits.append(Edit(self.taps[slot], "add", value))
            logits = self.model(self.target.expand(len(patches), -1), edits={_state_name(layer): edits})
            found.append(logits[:, -reads:])
        return torch.stack(found)


@dataclass(frozen=True)
class _Sweep:
    """What patches run from. changes: of a layer's state, [P, H, ...]. streams: entering a layer, [T, width]. memories: behind
    each of the P taps, what each layer keeps, stacked [P, ...] where that is possible.
    """

    model: Model
    changes: Mapping[int, Tensor]
    streams: Mapping[int, Tensor]
    memories: Sequence[Snapshots] | Sequence[Sequence[Memory]]
    taps: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(next(iter(self.streams.values())))

    def batches(self, heads: int) -> Iterator[list[tuple[int, int]]]:
        """(slot, head) of the patches that run together: of neighbouring taps, so that little runs for nothing behind the
        later ones, which are padded; and no more than fill a machine.
        """
        patches = [(slot, head) for slot in range(len(self.taps)) for head in range(heads)]
        while patches:
            longest = self.length - 1 - self.taps[patches[0][0]]
            together = max(1, ROW_TOKENS // (longest * len(self.changes)))
            stacked = isinstance(self.memories[0], Snapshots)
            last = self.taps[patches[0][0]] + (longest // 4 if stacked else 0)
            batch = [patch for patch in patches[:together] if self.taps[patch[0]] <= last]
            patches = patches[len(batch) :]
            yield batch

    def run(self, patches: Sequence[tuple[int, int]], reads: int) -> Tensor:
        """The logits [layers, patches, reads at most, vocabulary] of each patch in each layer, those of the last token last."""
        slots = [slot for slot, _ in patches]
        device = next(iter(self.streams.values())).device
        starts = torch.tensor([self.taps[slot] + 1 for slot in slots], device=device)
        longest = self.length - int(starts.min())
        at = starts[:, None] + torch.arange(longest, device=device)
        residual: Tensor | None = None
        joined = 0
        for layer in range(self.model.layers):
            if layer in self.changes:
                stream = self.streams[layer]
                joining = stream[at.clamp(max=self.length - 1)]  # what stands behind the end changes nothing
                residual = joining if residual is None else torch.cat([residual, joining])
                joined += 1
            if residual is not None:
                memory = self._memory(layer, slots * joined)
                if layer in self.changes:
                    _patch(memory, self.model.mixer(layer).recurrence.state, self.changes[layer], patches)
                wanted = self._last(starts, min(reads, longest)).repeat(joined, 1) if layer == self.model.layers - 1 else None
                residual = self.model.blocks[layer](residual, StateRequest(memory=memory), wanted)
        assert residual is not None
        logits: Tensor = self.model.unembed(self.model.ln_final(residual))
        return logits.unflatten(0, (joined, len(patches)))

    def _last(self, starts: Tensor, reads: int) -> Tensor:
        """Where the last positions of the sequence stand in each row, [rows, reads]; before its start, the start."""
        return (self.length - starts[:, None] - reads + torch.arange(reads, device=starts.device)).clamp(min=0)

    def _memory(self, layer: int, slots: Sequence[int]) -> Memory:
        """Of the tokens up to each slot's tap, as rows."""
        held = self.memories[layer]
        if isinstance(held, Snapshots):
            return _each(dict(held), lambda value: value[list(slots)])
        return _each(held[slots[0]], lambda value: value.expand(len(slots), *value.shape[1:]))


def _memories(model: Model, target: Tensor, snapshots: Sequence[Snapshots]) -> Sequence[Snapshots] | Sequence[Sequence[Memory]]:
    """The snapshots; or, where a layer counts positions, so that rows of different ones do not go together, a memory for each tap
    from a pass in pieces.
    """
    if not any("length" in snapshot for snapshot in snapshots):
        return snapshots
    memories: list[Memory] = [{} for _ in range(model.layers)]
    by_layer: list[list[Memory]] = [[] for _ in range(model.layers)]
    start = 0
    for position in snapshots[0].positions:
        model(target[:, start : position + 1], return_type=None, memories=memories)
        start = position + 1
        for held, memory in zip(by_layer, memories, strict=True):
            held.append(dict(memory))
    return by_layer


def _patch(memory: Memory, name: str, change: Tensor, patches: Sequence[tuple[int, int]]) -> None:
    """Add the change of one head to the state, which the memory carries by a name, of each of the last rows."""
    carry = memory["carry"]
    state = carry[name].clone()
    first = len(state) - len(patches)
    own = [(first + row, slot, head) for row, (slot, head) in enumerate(patches) if head < change.shape[1]]
    rows, slots, heads = torch.tensor(own, device=state.device).view(-1, 3).unbind(1)
    state[rows, heads] += change[slots, heads]
    memory["carry"] = carry | {name: state}


def _each(memory: Memory, change: Callable[[Tensor], Tensor]) -> Memory:
    """A memory with each of its tensors changed."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: of(item) for name, item in value.items()}
        return change(value) if isinstance(value, Tensor) else value

    changed: Memory = of(memory)
    return changed


def attribute_states(model: HookedModel, target: Tensor, source: Tensor, metric: Metric, positions: PositionRequest) -> Patching:
    """The same effects to first order, from one backward pass: (S_source - S_target) . dm/dS summed over each head."""
    layers = _stateful(model)
    taps = _check(target, source, positions)
    names = [_state_name(layer) for layer in layers]
    with torch.no_grad():
        logits, own = model.run_with_cache(target, names_filter=names, taps=taps)
        given_logits, given = model.run_with_cache(source, names_filter=names, taps=taps)
    # The gradient with respect to a state is that with respect to what an edit adds to it.
    zeros = {name: torch.zeros_like(own[name]).requires_grad_() for name in names}
    edits = {name: [Edit(position, "add", zero[:, slot]) for slot, position in enumerate(taps)] for name, zero in zeros.items()}
    gradients = torch.autograd.grad(metric(model(target, edits=edits)).sum(), list(zeros.values()))
    rows = []
    for name, gradient in zip(names, gradients, strict=True):
        product = (
            ((given[name] - own[name]) * gradient.conj()).real[0]
            if gradient.is_complex()
            else ((given[name] - own[name]) * gradient)[0]
        )
        rows.append(product.flatten(2).sum(-1))
    heads = max(row.shape[1] for row in rows)
    padded = [torch.nn.functional.pad(row, (0, heads - row.shape[1]), value=torch.nan) for row in rows]
    effect = torch.stack(padded).detach().cpu()
    return Patching(effect, float(metric(logits)[0]), float(metric(given_logits)[0]), layers, taps)
