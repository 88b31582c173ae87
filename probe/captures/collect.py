"""Run a model over batches and keep what its hooks saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...kernels.recurrence import Tap, TapRequest
from ..hooks.points import point_of
from ..models.model import Model
from ..tasks.base import Batch
from .capture import Capture
from .store import CaptureWriter


def capture(
    model: Model,
    batches: Iterable[Batch],
    hooks: Sequence[str],
    *,
    positions: TapRequest,
    store: str | Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Capture:
    """Run the model over batches and keep hooks at some positions.

    hooks: names, with wildcards. positions: as taps are given, for states and for all other hooks alike.
    store: a folder to write to as zarr; without it the capture stays in memory.
    advance: called with the number of batches done.

    Raises UnknownNameError for a hook that does not exist, and FileExistsError where the store holds a finished capture.
    """
    batches = list(batches)
    length = batches[0].tokens.shape[1]
    resolved = Tap.of(positions).resolve(length)
    writer = None if store is None else CaptureWriter(store, resolved, sum(len(batch.tokens) for batch in batches))
    kept: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for done, batch in enumerate(batches):
            # Taps only where a hook asks for states: they cost memory, and a softmax model has none.
            taps = resolved if any("hook_state" in name or "hook_write" in name for name in hooks) else None
            _, cache = model.run_with_cache(
                batch.tokens, names_filter=list(hooks), taps=taps, positions=resolved, return_type=None
            )
            found = {name: _by_sequence(name, cache[name]) for name in cache.cache_dict}
            if writer is not None:
                writer.write(found, batch)
            else:
                for name, value in found.items():
                    kept.setdefault(name, []).append(value)
            advance(done + 1)
    if writer is not None:
        return writer.finish()
    at = torch.tensor(resolved)
    labels = {name: torch.cat([batch.labels[name] for batch in batches])[:, at] for name in batches[0].labels}
    return Capture(
        {name: torch.cat(values) for name, values in kept.items()},
        labels,
        torch.cat([batch.tokens for batch in batches]),
        torch.cat([batch.groups for batch in batches]),
        resolved,
    )


def _by_sequence(name: str, value: Any) -> Tensor:
    """[N, P, ...]; hooks whose position axis stands elsewhere are moved."""
    axis = point_of(name).position_axis
    if axis is None or not isinstance(value, Tensor):
        raise ValueError(f"{name} has no position axis to capture along")
    return value.movedim(axis, 1).cpu()
