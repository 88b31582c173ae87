"""How large a capture will be, before the model runs."""

from __future__ import annotations

import errno
import html
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import NotEnoughMemoryError
from ..files import DiskFullError
from ..hooks.budget import activation_bytes
from ..models.hooked import HookedModel
from .inputs import Inputs


@dataclass(frozen=True)
class CapturePlan:
    """The bytes of each hook of a capture, by its declared axes, uncompressed; and its counts.

    A hook whose axes a model does not declare in full is counted by those that it does.
    """

    bytes_by_hook: dict[str, int]
    sequences: int
    samples: int

    @classmethod
    def of(cls, model: HookedModel, hooks: Sequence[str], inputs: Inputs, resolved: Sequence[tuple[int, ...]]) -> CapturePlan:
        """Plan batches at some positions each. Raises as `matching_hooks` does for hooks that there are not."""
        names = model.matching_hooks(list(hooks), taps=resolved[0])
        names = [name for name in names if model.points[name].position_axis is not None] or names
        wide = next(model.parameters()).element_size() == 8  # a model in float64 has activations twice as large as float32
        most = max(map(len, resolved))
        found = dict.fromkeys(names, 0)
        for batch in inputs.batches:
            count, length = batch.tokens.shape[:2]
            for name in names:
                found[name] += activation_bytes(model, name, count, length, most, most) * (2 if wide else 1)
        samples = sum(len(batch.tokens) * len(at) for batch, at in zip(inputs.batches, resolved, strict=True))
        return cls(found, sum(len(batch.tokens) for batch in inputs.batches), samples)

    @property
    def total_bytes(self) -> int:
        """The bytes of all hooks together."""
        return sum(self.bytes_by_hook.values())

    def to_frame(self) -> pd.DataFrame:
        """One row a hook: its bytes, and MiB."""
        frame = pd.DataFrame({"hook": list(self.bytes_by_hook), "bytes": list(self.bytes_by_hook.values())})
        return frame.assign(mebibytes=frame["bytes"] / 2**20)

    def summary(self) -> str:
        """The size of the whole, and of the largest hooks."""
        largest = sorted(self.bytes_by_hook.items(), key=lambda pair: -pair[1])[:3]
        shown = ", ".join(f"{name} {_size(size)}" for name, size in largest)
        return f"{_size(self.total_bytes)} for {self.samples} samples of {self.sequences} sequences: {shown}"

    def __repr__(self) -> str:
        return f"CapturePlan({self.summary()})"

    def _repr_html_(self) -> str:
        return f"<div><b>{html.escape(repr(self))}</b>{self.to_frame().to_html(index=False)}</div>"

    def check_memory(self, budget: int) -> None:
        """Raise NotEnoughMemoryError for a plan over a budget in bytes."""
        if self.total_bytes > budget:
            raise NotEnoughMemoryError(
                f"{self!r} is over the budget of {_size(budget)}; give store=FOLDER to write it to disk, keep fewer hooks or "
                "positions, or raise budget_bytes"
            )

    def check_disk(self, store: str | Path) -> None:
        """Raise DiskFullError where the disk of a store has less room than the plan takes uncompressed."""
        folder = Path(store).absolute()
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if self.total_bytes > free:
            raise DiskFullError(
                errno.ENOSPC, f"{self!r} does not fit the {_size(free)} that are free at {folder}; keep fewer hooks or positions"
            )


def _size(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.2f} MiB"
