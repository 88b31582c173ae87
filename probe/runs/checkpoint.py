"""Model and optimizer in one safetensors file, so that training goes on as if it had not stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import unknown_name
from ..files import DamagedFileError, write_whole
from ..tensor_file import apart
from .ledger import Ledger


class DamagedCheckpointError(DamagedFileError):
    """A checkpoint file that cannot be read, or does not fit the model."""


@dataclass(frozen=True)
class Progress:
    """Where training stands: steps done, and the loss of each of them in nats."""

    step: int
    losses: tuple[float, ...]

    def __repr__(self) -> str:
        fell = f", loss {self.losses[0]:.4g} at the first and {self.losses[-1]:.4g} at the last" if self.losses else ""
        return f"Progress({self.step} steps{fell})"


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

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
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

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Progress:
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


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    progress: Progress,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write model, optimizer moments and loss history, and `about`; the file appears whole or not at all."""
    tensors = {f"model.{name}": apart(tensor) for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for name, state in _moments(model, optimizer).items():
            tensors |= {f"optimizer.{name}.{key}": torch.as_tensor(value).clone() for key, value in state.items()}
    tensors["losses"] = torch.tensor(progress.losses, dtype=torch.float64)
    # One key: safetensors writes several in no fixed order, and the same training should leave the same bytes.
    metadata = {"statescope": json.dumps({**(about or {}), "format": 1, "step": progress.step})}
    write_whole(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Progress:
    """Fill model and optimizer in place, all of it or nothing.

    Raises DamagedCheckpointError for a file that cannot be read, or whose tensors are not those of the model by name, shape and
    type.
    """
    progress = progress_of(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    _check_fit(path, _strip(tensors, "model."), model)
    if optimizer is not None:
        _restore(path, model, optimizer, tensors)
    model.load_state_dict(_strip(tensors, "model."))
    return progress


def progress_of(path: Path) -> Progress:
    """Read where a checkpoint stands. Raises DamagedCheckpointError for a file that cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            step = _header(file)["step"]
            losses = file.get_tensor("losses")
        if losses.dtype != torch.float64 or losses.shape != (step,):
            raise ValueError(f"it has losses of shape {list(losses.shape)} for {step} steps")
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise DamagedCheckpointError(
            f"{path} cannot be read as a checkpoint ({error}); delete it to train again from the start"
        ) from error
    return Progress(step, tuple(losses.tolist()))


def read_about(path: Path) -> dict[str, Any]:
    """Read what stands beside a checkpoint. Raises DamagedCheckpointError for a file that cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: value for name, value in _header(file).items() if name not in ("format", "step")}
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error


def _header(file: Any) -> dict[str, Any]:
    plain = json.loads((file.metadata() or {}).get("statescope", "") or "null")
    step = plain.get("step") if isinstance(plain, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or step < 0 or plain.get("format") != 1:
        raise ValueError("it has no header of ours")
    return dict(plain)


def _check_fit(path: Path, tensors: dict[str, Tensor], model: nn.Module) -> None:
    own = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    stored = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    wrong = sorted(name for name in own.keys() | stored.keys() if own.get(name) != stored.get(name))
    if wrong:
        raise DamagedCheckpointError(f"{path} does not fit the model: {', '.join(wrong[:4])}; delete it to train from the start")


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    return {name: optimizer.state[p] for name, p in model.named_parameters() if p in optimizer.state}


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    found = {name: _strip(tensors, f"optimizer.{name}.") for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        wrong = [key for key, moment in found[name].items() if moment.ndim and moment.shape != parameter.shape]
        if wrong:
            raise DamagedCheckpointError(
                f"{path} does not fit the model: {wrong[0]} of {name}; delete it to train from the start"
            )
    for name, parameter in model.named_parameters():
        if found[name]:  # AdamW keeps its count of steps, which has no axes, on the CPU
            moments = found[name].items()
            optimizer.state[parameter] = {key: value.to(parameter.device) if value.ndim else value for key, value in moments}
