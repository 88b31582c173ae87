"""Model and optimizer in one safetensors file, so that training goes on as if it had not stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import StatescopeError
from ..files import write_whole


class DamagedCheckpointError(StatescopeError, ValueError):
    """A checkpoint file that cannot be read, or does not fit the model."""


@dataclass(frozen=True)
class Progress:
    """Where training stands: steps done, and the loss of each of them in nats."""

    step: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one model in a folder. Only the newest is kept; its name tells the step.

    changed: called with (files that appeared, files about to be deleted) before an old file is deleted, so that a list of
    files elsewhere never names one that is gone.
    """

    folder: Path
    changed: Callable[[Sequence[Path], Sequence[Path]], None] = lambda added, removed: None

    @property
    def newest(self) -> Path | None:
        found = sorted(self.folder.glob("step-*.safetensors"))
        return found[-1] if found else None

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        old = sorted(self.folder.glob("step-*.safetensors"))
        path = self.folder / f"step-{progress.step:07d}.safetensors"
        save_checkpoint(path, model, optimizer, progress)
        old = [other for other in old if other != path]
        self.changed([path], old)
        for other in old:
            other.unlink()

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Progress:
        """Fill model and optimizer from the newest checkpoint; nothing is done (step 0) when there is none."""
        newest = self.newest
        return Progress(0, ()) if newest is None else load_checkpoint(newest, model, optimizer)


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, progress: Progress) -> None:
    """Write model, optimizer moments and loss history; the file appears whole or not at all."""
    tensors = {f"model.{name}": tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for name, state in _moments(model, optimizer).items():
            tensors |= {f"optimizer.{name}.{key}": torch.as_tensor(value).clone() for key, value in state.items()}
    tensors["losses"] = torch.tensor(progress.losses, dtype=torch.float64)
    # One key: safetensors writes several in no fixed order, and the same training should leave the same bytes.
    metadata = {"statescope": json.dumps({"format": 1, "step": progress.step})}
    write_whole(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Progress:
    """Fill model and optimizer in place. Raises DamagedCheckpointError for a file that cannot be read or does not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["statescope"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise DamagedCheckpointError(
            f"{path} cannot be read as a checkpoint ({error}); delete it to train again from the start"
        ) from error
    try:
        model.load_state_dict(_strip(tensors, "model."))
    except RuntimeError as error:
        raise DamagedCheckpointError(f"{path} does not fit the model: {error}") from error
    if optimizer is not None:
        _restore(model, optimizer, tensors)
    return Progress(int(header["step"]), tuple(tensors["losses"].tolist()))


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    return {name: optimizer.state[p] for name, p in model.named_parameters() if p in optimizer.state}


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        found = _strip(tensors, f"optimizer.{name}.")
        if found:
            optimizer.state[parameter] = dict(found)
