"""Run a model over batches and keep what its hooks saw."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...kernels.recurrence import Tap, TapRequest
from ..models.hooked import HookedModel
from ..tasks.base import IGNORED, Batch
from .capture import NO_TOKEN, Capture, from_columns, pad_to
from .inputs import Inputs
from .plan import CapturePlan
from .store import CaptureWriter, finished, open_capture

SAMPLED = 65_536  # numbers of each weight that tell one model from another


def capture(
    model: HookedModel,
    tokens: Any,
    hooks: Sequence[str] = ("blocks.*.hook_resid_post",),
    *,
    positions: TapRequest = "all",
    labels: Mapping[str, Any] | Sequence[str] = (),
    groups: Any = None,
    mask: Any = None,
    batch_size: int = 32,
    store: str | Path | None = None,
    resume: bool = False,
    budget_bytes: int = 8 * 2**30,
    advance: Callable[[int], None] = lambda done: None,
) -> Capture:
    """Run the model over sequences and keep hooks at some positions.

    tokens: a task's batches, which bring their labels and groups. Or sequences of one's own, of any lengths: token ids as a
        tensor or array [N, T] or as lists; texts, for a model with a tokenizer; real numbers [N, T, inputs]; a DataFrame or
        datasets.Dataset with a column "tokens" or "text". They are run in batches of one length each, without padding, and stand
        in the capture in their own order.
    hooks: names, with wildcards. A wildcard leaves out what has no position to capture along; a name that has none raises.
    positions: as taps are given, for states and for all other hooks alike. "last", negative positions and Tap(every=n) mean each
        sequence's own; where one has fewer positions than another, it has fewer samples.
    labels: name -> N values: each one for the sequence, one for each of its tokens, or one for each captured position. Whole
        numbers, booleans and text are classes, real numbers are values; -100, nan, NA or None says that there is no label. Of a
        table, the names of columns.
    groups: the source of each sequence (a document, a speaker), as numbers or names, which mean the same source in every
        capture and table: 1, 1.0, "1" and "1.0" are one (`group_of`); of a table, a column. Without it, or where it is missing
        (None, NaN, NaT, NA or ""), a sequence is its own source, and equal ones are one.
    mask: [N, T], false at padding before and behind the tokens, which is cut off before the model runs.
    batch_size: sequences that run together at most.
    store: a folder to write to as zarr; without it the capture stays in memory. bfloat16, which zarr lacks, is stored as
        float32, which holds every bfloat16 exactly.
    resume: go on with a store that the same call began, behind the last batch that it finished; a finished one is opened.
    budget_bytes: a capture in memory that would be larger is refused before the model runs; so is a store for which the disk has
        no room. `plan_capture` says how large it will be.
    advance: called with the number of batches done.

    Raises UnknownNameError for a hook or column that does not exist, ValueError for a hook without a position, no sequence, or
    labels that do not fit, IndexError for a position outside a sequence, NotEnoughMemoryError over the budget, DiskFullError
    without room on the disk, and FileExistsError where the store holds a capture, finished or not, or with `resume` that of
    another call.
    """
    inputs = _inputs(model, tokens, labels, groups, mask, positions, batch_size)
    resolved = [Tap.of(positions).resolve(batch.tokens.shape[1]) for batch in inputs.batches]
    most, longest = max(map(len, resolved)), max(batch.tokens.shape[1] for batch in inputs.batches)
    count = sum(map(len, inputs.rows))
    plan = CapturePlan.of(model, hooks, inputs, resolved)
    writer = None
    if store is None:
        plan.check_memory(budget_bytes)
    else:
        request = _request(model, hooks, positions, inputs) if resume else ""
        if resume and finished(store, request):
            return open_capture(store)
        plan.check_disk(store)
        writer = CaptureWriter(store, count, inputs.classes, request=request, resume=resume)
    already = 0 if writer is None else writer.done
    kept: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for done, (batch, at, rows) in enumerate(zip(inputs.batches, resolved, inputs.rows, strict=True)):
            if already > 0:
                already -= len(rows)
                continue
            columns = {f"hooks/{name}": value for name, value in _activations(model, batch, hooks, at).items()}
            columns = {name: pad_to(value, most, nan) for name, value in columns.items()} | _about(batch, at, most, longest)
            if writer is not None:
                writer.write(columns, rows)
            else:
                for name, value in columns.items():
                    kept.setdefault(name, []).append(value)
            advance(done + 1)
    if writer is not None:
        return writer.finish()
    order = torch.cat(inputs.rows).argsort()
    in_order = bool((order == torch.arange(count)).all())
    joined = {name: torch.cat(values) for name, values in kept.items()}
    return from_columns({name: value if in_order else value[order] for name, value in joined.items()}, inputs.classes)


def _inputs(
    model: HookedModel, tokens: Any, labels: Any, groups: Any, mask: Any, positions: TapRequest, batch_size: int
) -> Inputs:
    """The sequences of a call, in whatever form they came."""
    given = [tokens] if isinstance(tokens, Batch) else list(tokens) if isinstance(tokens, Iterator) else tokens
    if isinstance(given, list | tuple) and len(given) and all(isinstance(entry, Batch) for entry in given):
        if len(labels) or groups is not None or mask is not None:
            raise TypeError("batches bring their own labels and groups; give labels, groups and mask with plain sequences")
        return Inputs.of_batches(given)

    def encode(text: str) -> Tensor:
        ids: Tensor = model.to_tokens(text)[0]
        return ids

    return Inputs.of(given, labels, groups, mask, positions=positions, size=batch_size, encode=encode)


def plan_capture(
    model: HookedModel,
    tokens: Any,
    hooks: Sequence[str] = ("blocks.*.hook_resid_post",),
    *,
    positions: TapRequest = "all",
    mask: Any = None,
    batch_size: int = 32,
) -> CapturePlan:
    """How large a `capture` of these arguments will be, hook by hook, before anything runs."""
    inputs = _inputs(model, tokens, (), None, mask, positions, batch_size)
    return CapturePlan.of(model, hooks, inputs, [Tap.of(positions).resolve(batch.tokens.shape[1]) for batch in inputs.batches])


def _request(model: HookedModel, hooks: Sequence[str], positions: TapRequest, inputs: Inputs) -> str:
    """A digest of what a capture asks for: model, hooks, positions, sequences, labels and groups."""
    digest = hashlib.sha256(repr((type(model).__name__, list(hooks), Tap.of(positions))).encode())
    for name, tensor in model.state_dict().items():
        step = max(1, tensor.numel() // SAMPLED)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().flatten()[::step].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for batch, rows in zip(inputs.batches, inputs.rows, strict=True):
        for name, tensor in (("tokens", batch.tokens), ("groups", batch.groups), ("rows", rows), *sorted(batch.labels.items())):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _about(batch: Batch, at: Sequence[int], most: int, longest: int) -> dict[str, Tensor]:
    """What is kept of a batch beside its activations, as columns of one width for all batches."""
    columns = {}
    for name, label in batch.labels.items():
        label = label.long() if label.dtype == torch.bool else label
        columns[f"labels/{name}"] = pad_to(label[:, list(at)], most, nan if label.is_floating_point() else IGNORED)
    fill = nan if batch.tokens.is_floating_point() else NO_TOKEN
    table = torch.tensor(at, dtype=torch.long).expand(len(batch.tokens), -1)
    return columns | {
        "tokens": pad_to(batch.tokens, longest, fill),
        "groups": batch.groups,
        "positions": pad_to(table, most, NO_TOKEN),
    }


def _activations(model: HookedModel, batch: Batch, hooks: Sequence[str], at: Sequence[int]) -> dict[str, Tensor]:
    """hook -> [B, P, ...] of one batch."""
    names = model.matching_hooks(list(hooks), taps=tuple(at))
    taps = model.taps_for(names, tuple(at))
    tokens = batch.tokens.to(next(model.parameters()).device)
    _, cache = model.run_with_cache(tokens, names_filter=names, taps=taps, positions=at, return_type=None)
    found = {}
    for name in names:
        value, axis = cache[name], model.hook_dict[name].pos_dim
        if isinstance(value, Tensor) and axis is not None:
            found[name] = value.movedim(axis, 1).cpu()
        elif name in hooks:
            raise ValueError(f"{name} has no position axis to capture along")
    if not found:
        raise ValueError(f"{', '.join(hooks)}: none of these hooks has a position axis to capture along")
    return found
