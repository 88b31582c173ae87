"""A model of a run by its checkpoint alone: which model it is, and what it was trained on, stand beside the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..checkpoint_folder import CheckpointFolder, read_header
from ..configuration import Count, from_plain, to_plain
from ..errors import StatescopeError
from ..models.config import ModelConfig
from ..models.model import Model
from ..models.saved import build
from ..tasks.base import Task
from .checkpoint import Checkpoints
from .checkpoint_file import load_checkpoint, read_about


class UndescribedModelError(StatescopeError, ValueError):
    """A checkpoint that does not say which model it holds; the text says what to do."""


@dataclass(frozen=True)
class TrainedModel:
    """A model in eval mode, the task it was trained on, and the length of its training sequences."""

    model: Model
    task: Task
    length: int


def trained_model(checkpoints: Checkpoints, step: int | None = None) -> TrainedModel:
    """The model of the newest checkpoint, or of that of a step. Raises UndescribedModelError where it does not say which model it
    is, UnreadableCheckpointError where that one cannot be built or is far larger than the file.
    """
    path = checkpoints.newest if step is None else checkpoints.at(step)
    if path is None:
        raise UndescribedModelError(f"{checkpoints.folder} holds no finished checkpoint yet")
    about = read_about(path)
    try:
        config, task = to_plain(from_plain(ModelConfig, about.get("config"))), _task(about.get("task"))
        length = from_plain(_Length, {"length": about.get("length")}).length
    except StatescopeError as error:
        raise UndescribedModelError(
            f"{path} does not say which model it holds ({error}); an older version may have written it: run the study again in "
            "another folder"
        ) from error
    model = build(CheckpointFolder(path, {"config": config}, read_header(path)), config)
    load_checkpoint(path, model)
    return TrainedModel(model.eval(), task, length)


@dataclass(frozen=True)
class _Length:
    length: Count


def _task(plain: Any) -> Task:
    return from_plain(Task, plain)  # type: ignore[type-abstract]
