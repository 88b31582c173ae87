"""Model and optimizer in one safetensors file, with what they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..checkpoint_folder import not_finite
from ..errors import other_version
from ..files import DamagedFileError, check_regular
from ..tensor_file import UNREADABLE, described, write_tensors

KEY, FORMAT = "statescope", 1
MODEL, OPTIMIZER, LOSSES = "model.", "optimizer.", "losses"


class DamagedCheckpointError(DamagedFileError):
    """A checkpoint file that cannot be read, or does not fit the model."""


@dataclass(frozen=True)
class Progress:
    """Where training stands: steps done, and the loss of each of them in nats."""

    step: int
    losses: tuple[float, ...]

    def summary(self) -> str:
        """How long it has trained, and how the loss fell."""
        fell = f", loss {self.losses[0]:.4g} at the first and {self.losses[-1]:.4g} at the last" if self.losses else ""
        return f"{self.step} steps{fell}"

    def __repr__(self) -> str:
        return f"Progress({self.summary()})"


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.AdamW | None,
    progress: Progress,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write model, optimizer moments and loss history, and `about`; the file appears whole or not at all."""
    tensors = {f"{MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    states = {} if optimizer is None else optimizer.state
    for name, parameter in model.named_parameters():
        moments = states.get(parameter, {})
        tensors |= {f"{OPTIMIZER}{name}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    tensors[LOSSES] = torch.tensor(progress.losses, dtype=torch.float64)
    # One key: safetensors writes several in no fixed order, and the same training should leave the same bytes.
    write_tensors(path, KEY, tensors, {**(about or {}), "format": FORMAT, "step": progress.step})


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.AdamW | None = None) -> Progress:
    """Fill model and optimizer in place, all of it or nothing.

    Raises DamagedCheckpointError for a file that cannot be read, whose tensors are not those of the model and of its optimizer by
    name, shape and type, or that holds numbers which training never leaves, such as NaN.
    """
    progress = progress_of(path)
    with _reading(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    wrong = _flaws(tensors, model, progress)
    if wrong:
        raise DamagedCheckpointError(f"{path} does not fit the model: {', '.join(wrong[:4])}; delete it to train from the start")
    if optimizer is not None:
        for name, parameter in model.named_parameters():
            moments = _strip(tensors, f"{OPTIMIZER}{name}.").items()
            if moments:  # AdamW keeps its count of steps, which has no axes, on the CPU
                optimizer.state[parameter] = {key: value.to(parameter.device) if value.ndim else value for key, value in moments}
    model.load_state_dict(_strip(tensors, MODEL))
    return progress


def progress_of(path: Path) -> Progress:
    """Read where a checkpoint stands. Raises DamagedCheckpointError for a file that cannot be read."""
    with _reading(path) as file:
        step, losses = _header(file)["step"], file.get_tensor(LOSSES)
        if losses.dtype != torch.float64 or losses.shape != (step,) or not_finite(losses):
            raise ValueError(f"its losses are no finite numbers of {step} steps")
    return Progress(step, tuple(losses.tolist()))


def read_about(path: Path) -> dict[str, Any]:
    """Read what stands beside a checkpoint. Raises DamagedCheckpointError for a file that cannot be read."""
    with _reading(path) as file:
        return {name: value for name, value in _header(file).items() if name not in ("format", "step")}


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except UNREADABLE as error:
        raise DamagedCheckpointError(
            f"{path} cannot be read as a checkpoint ({error}); delete it to train again from the start"
        ) from error


def _header(file: Any) -> dict[str, Any]:
    plain = described(file, KEY)
    step, version = (plain.get("step"), plain.get("format")) if isinstance(plain, dict) else (None, None)
    if type(step) is not int or step < 0 or type(version) is not int:
        raise ValueError("it has no header of ours")
    if version != FORMAT:
        raise ValueError(other_version(version, FORMAT))
    return dict(plain)


def _flaws(tensors: Mapping[str, Tensor], model: nn.Module, progress: Progress) -> list[str]:
    """The names of the tensors that are missing, are not expected, or are not what training leaves at this step."""
    wanted = {f"{MODEL}{name}": _kind(value) for name, value in model.state_dict().items()} | {LOSSES: _kind(tensors[LOSSES])}
    for name, parameter in model.named_parameters():
        own = f"{OPTIMIZER}{name}."
        if _strip(tensors, own):  # a parameter that never had a gradient has no moments
            wanted |= {f"{own}{key}": _kind(parameter) for key in ("exp_avg", "exp_avg_sq")}
            wanted[f"{own}step"] = torch.Size(), torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    kinds = {name: _kind(value) for name, value in tensors.items()}
    wrong = {name for name in wanted.keys() | kinds.keys() if wanted.get(name) != kinds.get(name)}
    wrong |= {name for name, value in tensors.items() if name not in wrong and not _possible(name, value, progress.step)}
    return sorted(wrong)


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _possible(name: str, value: Tensor, steps: int) -> bool:
    """Whether numbers are ones that training may leave: finite, mean squares not negative, no more steps than were done."""
    if not_finite(value):
        return False
    if not name.startswith(OPTIMIZER):
        return True
    if name.endswith(".step"):
        return 0 < float(value) <= steps
    return not name.endswith(".exp_avg_sq") or bool(((torch.view_as_real(value) if value.is_complex() else value) >= 0).all())


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
