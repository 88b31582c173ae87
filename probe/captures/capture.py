"""Captures: activations of named hooks at chosen positions, with the labels and sources of their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...kernels.recurrence import Tap, TapRequest
from ..errors import unknown_name
from ..hooks.points import point_of
from ..tasks.base import Batch

if TYPE_CHECKING:
    from ..models.model import Model


@dataclass(frozen=True)
class Capture:
    """N sequences at P positions each.

    activations: hook -> [N, P, ...], a tensor or a stored array that is read when asked for.
    labels: name -> [N, P]. tokens: [N, T], whole sequences. groups: [N], the source of each sequence.
    positions: the P token positions.
    """

    activations: dict[str, Any]
    labels: dict[str, Tensor]
    tokens: Tensor
    groups: Tensor
    positions: tuple[int, ...]

    @property
    def hooks(self) -> list[str]:
        return list(self.activations)

    def features(self, hook: str) -> Tensor:
        """Every position a sample, [N * P, features], float32. Raises UnknownNameError for a hook that was not captured."""
        if hook not in self.activations:
            raise unknown_name("captured hook", hook, self.activations)
        found = self.activations[hook]
        tensor = found if isinstance(found, Tensor) else torch.from_numpy(found[:])
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"the capture of {hook} holds values that are not finite; it is damaged or was not finished")
        return tensor.flatten(0, 1).flatten(1).to(torch.float32)

    def label(self, name: str) -> Tensor:
        """[N * P]. Raises UnknownNameError for a label the task does not give."""
        if name not in self.labels:
            raise unknown_name("label", name, self.labels)
        return self.labels[name].flatten()

    @property
    def sample_groups(self) -> Tensor:
        """The source of each sample, [N * P]."""
        return self.groups.repeat_interleave(len(self.positions))

    def contexts(self, length: int) -> Tensor:
        """The last `length` tokens up to each sample, [N * P, length], padded with -1 before the start."""
        padded = torch.nn.functional.pad(self.tokens, (length - 1, 0), value=-1)
        windows = padded.unfold(1, length, 1)[:, list(self.positions)]
        return windows.flatten(0, 1)


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
    from .store import CaptureWriter

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
