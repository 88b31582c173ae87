"""The checkpoints of a model in a folder, so that training goes on as if it had not stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import unknown_name
from .checkpoint_file import Progress, load_checkpoint, progress_of, save_checkpoint
from .ledger import Ledger


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one model in a folder. Of those to go on from, `step-*`, only the newest is kept; beside it stand those
    of chosen steps to look at, `kept-*`, without the optimizer. The name tells the step.

    ledger: lists the files. A checkpoint that it does not list was not finished and counts for nothing: a new one is written,
    then listed in the place of the old, and then the old is deleted. Without a ledger whatever lies in the folder counts.
    about: what stands beside each of them, as JSON: which model it is, so that others than the study can build it.
    keep: the chosen steps, counted as steps done; 0 is the model before training.
    """

    folder: Path
    ledger: Ledger | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    keep: tuple[int, ...] = ()

    @property
    def newest(self) -> Path | None:
        """The last checkpoint. Raises AlteredFileError if it is not as it was written."""
        for path in reversed(self._files("step")):
            if self.ledger is None or self.ledger.holds(path):
                return path
        return None

    @property
    def steps(self) -> list[int]:
        """The steps of which there is a finished checkpoint, in order. Raises AlteredFileError as `newest` does."""
        return sorted(self._by_step())

    def at(self, step: int) -> Path:
        """The checkpoint of a step. Raises UnknownNameError, which says of which steps there is one."""
        found = self._by_step()
        if step not in found:
            raise unknown_name(f"step with a checkpoint in {self.folder}", str(step), map(str, sorted(found)))
        return found[step]

    def _by_step(self) -> dict[int, Path]:
        newest = self.newest
        return {_step(path): path for path in [*([] if newest is None else [newest]), *self._finished_to_look_at()]}

    def _finished_to_look_at(self) -> list[Path]:
        return [path for path in self._files("kept") if self.ledger is None or self.ledger.holds(path)]

    def mark(self, model: nn.Module, progress: Progress) -> None:
        """Keep the model as it is now, where its step is one of those to keep and does not stand there already."""
        path = self.folder / f"kept-{progress.step:07d}.safetensors"
        if progress.step not in self.keep or (self.ledger is not None and self.ledger.holds(path)):
            return
        if self.ledger is not None:
            self.ledger.clear(path)
        save_checkpoint(path, model, None, progress, self.about)
        if self.ledger is not None:
            self.ledger.record([path])

    def save(self, model: nn.Module, optimizer: torch.optim.AdamW, progress: Progress) -> None:
        path = self.folder / f"step-{progress.step:07d}.safetensors"
        old = [other for other in self._files("step") if other != path]
        if self.ledger is not None:
            self.ledger.clear(path)
        save_checkpoint(path, model, optimizer, progress, self.about)
        if self.ledger is not None:
            self.ledger.record([path], old)
        for other in old:
            other.unlink()

    def remove_leftovers(self) -> None:
        """Delete what a killed process left behind: checkpoints older than the newest, and those that are not listed."""
        finished = {self.newest, *self._finished_to_look_at()}
        for path in (*self._files("step"), *self._files("kept")):
            if path not in finished:
                path.unlink() if self.ledger is None else self.ledger.clear(path)

    def restore(self, model: nn.Module, optimizer: torch.optim.AdamW | None = None) -> Progress:
        """Fill model and optimizer from the newest checkpoint; nothing is done (step 0) when there is none."""
        newest = self.newest
        return Progress(0, ()) if newest is None else load_checkpoint(newest, model, optimizer)

    def progress(self) -> Progress:
        """Read where the newest checkpoint stands, without a model; step 0 when there is none."""
        newest = self.newest
        return Progress(0, ()) if newest is None else progress_of(newest)

    def _files(self, kind: str) -> list[Path]:
        """The files of checkpoints "step" or "kept", by step, whether they were finished or not."""
        found = self.folder.glob(f"{kind}-*.safetensors")
        return sorted((path for path in found if path.stem.removeprefix(f"{kind}-").isdecimal()), key=_step)


def _step(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
