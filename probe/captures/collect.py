"""Run a model over batches and keep what its hooks saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import nan
from pathlib import Path

import torch
from torch import Tensor

from ...kernels.recurrence import Tap, TapRequest
from ..models.hooked import HookedModel
from ..tasks.base import IGNORED, Batch
from .capture import NO_TOKEN, Capture, from_columns, pad_to
from .store import CaptureWriter


def capture(
    model: HookedModel,
    batches: Iterable[Batch],
    hooks: Sequence[str],
    *,
    positions: TapRequest,
    store: str | Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Capture:
    """Run the model over batches and keep hooks at some positions.

    batches: of any lengths. "last", negative positions and Tap(every=n) mean each batch's own; where one has fewer positions than
        another, its sequences have fewer samples.
    hooks: names, with wildcards. A wildcard leaves out what has no position to capture along; a name that has none raises.
    positions: as taps are given, for states and for all other hooks alike.
    store: a folder to write to as zarr; without it the capture stays in memory. bfloat16, which zarr lacks, is stored as
        float32, which holds every bfloat16 exactly.
    advance: called with the number of batches done.

    Raises UnknownNameError for a hook that does not exist, ValueError for one without a position or for no batches, IndexError
    for a position outside a batch, and FileExistsError where the store holds a finished capture.
    """
    batches = list(batches)
    if not batches:
        raise ValueError("there is no batch to capture")
    resolved = [Tap.of(positions).resolve(batch.tokens.shape[1]) for batch in batches]
    most, longest = max(map(len, resolved)), max(batch.tokens.shape[1] for batch in batches)
    writer = None if store is None else CaptureWriter(store, sum(len(batch.tokens) for batch in batches))
    kept: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for done, (batch, at) in enumerate(zip(batches, resolved, strict=True)):
            columns = {f"hooks/{name}": value for name, value in _activations(model, batch, hooks, at).items()}
            columns = {name: pad_to(value, most, nan) for name, value in columns.items()} | _about(batch, at, most, longest)
            if writer is not None:
                writer.write(columns)
            else:
                for name, value in columns.items():
                    kept.setdefault(name, []).append(value)
            advance(done + 1)
    return writer.finish() if writer is not None else from_columns({name: torch.cat(values) for name, values in kept.items()})


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
    """hook -> [B, P, ...] of one batch. Taps are set only where a hook asks for states: they cost memory, and some models have
    none.
    """
    names = model.matching_hooks(list(hooks), taps=tuple(at))
    taps = tuple(at) if any(model.points[name].firing == "taps" for name in names) else None
    _, cache = model.run_with_cache(batch.tokens, names_filter=names, taps=taps, positions=at, return_type=None)
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
