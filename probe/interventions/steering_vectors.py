"""Steering by trained vectors: one bias a layer is added to the residual stream, and nothing else of the model is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...kernels.shown import with_shapes
from ..configuration import Configuration
from ..files import with_ending
from ..models.frozen import frozen
from ..models.hooked import HookedModel
from ..runs.training import Training, train
from ..subspaces.direction import Direction
from ..subspaces.subspace import HookFunction
from ..tasks.base import Task, generator_for
from ..tensor_file import UNREADABLE, read_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """A vector for each of some hooks, which is added at every position.

    vectors: hook -> [D]. about: what they were trained on, and how.

    Raises ValueError for what is no vector of finite real numbers, TypeError where `about` has no names.
    """

    vectors: Mapping[str, Tensor]
    about: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = with_shapes

    def __post_init__(self) -> None:
        if not isinstance(self.about, Mapping):
            raise TypeError(f"about is a table of names, got a {type(self.about).__name__}")
        for hook, vector in self.vectors.items():
            if vector.ndim != 1 or not vector.is_floating_point() or not bool(vector.isfinite().all()):
                raise ValueError(
                    f"what is added at {hook} is [D], finite real numbers; got {tuple(vector.shape)}, {vector.dtype}"
                    + ("" if bool(vector.isfinite().all()) else " with nan or infinity")
                )

    @property
    def parameters(self) -> int:
        """How many numbers there are in all vectors."""
        return sum(vector.numel() for vector in self.vectors.values())

    def hooks(self, strength: float = 1.0, *, positions: Tensor | None = None) -> list[HookFunction]:
        """The hook functions that add strength times each vector, for `run_with_hooks`, or `model.hooks` around `generate`.

        positions: [B, T], true where they are added; everywhere when None.
        """
        return [(hook, _adding(strength * vector, positions)) for hook, vector in self.vectors.items()]

    def direction(self, hook: str, *, name: str = "trained bias") -> Direction:
        """A vector as a direction, whose scale is its length: a strength of 1 adds the vector.

        Raises KeyError for a hook that has none, ValueError for a vector of no length.
        """
        vector = self.vectors[hook]
        norm = float(vector.norm())
        if not norm > 0:
            raise ValueError(f"the vector of {hook} has length 0: training has not moved it")
        return Direction(vector / norm, hook, name, scale=norm, about=dict(self.about))

    def random(self, generator: torch.Generator) -> SteeringVectors:
        """Random vectors of the same lengths: the control of what the trained ones do."""
        drawn = {}
        for hook, vector in self.vectors.items():
            other = torch.randn(vector.shape, generator=generator, dtype=vector.dtype)
            drawn[hook] = other * (vector.norm() / other.norm())
        return SteeringVectors(drawn, {"method": "random"})

    def save(self, path: str | Path) -> Path:
        """Write them as a safetensors file, `path` with that ending."""
        path = with_ending(path, ".safetensors")
        write_tensors(path, "steering_vectors", self.vectors, dict(self.about))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read them back. Raises ValueError naming the file if it holds none."""
        try:
            return cls(*read_tensors(path, "steering_vectors"))
        except UNREADABLE as error:
            raise ValueError(f"{path} holds no steering vectors: {error}") from error


@dataclass(frozen=True)
class BiasSteering(Configuration):
    """How steering vectors are trained: by the loss of a task, on a model that stays as it is (Sinii et al. 2025,
    arXiv:2505.18706).
    """

    hooks: tuple[str, ...] = ("blocks.*.hook_resid_post",)
    """Activations with one vector a position whose names match one of these get a vector each."""
    training: Training = field(default_factory=lambda: Training(steps=200, learning_rate=3e-2, weight_decay=0.0))
    """The vectors are trained so, from zero."""

    def fit(self, model: HookedModel, task: Task, *, seed: int = 0) -> SteeringVectors:
        """Train vectors that lower the loss of a task. No weight of the model changes, in no bit.

        Raises UnknownNameError for a name that matches no hook, ValueError for a hook that has not one vector a position.
        """
        names = model.matching_hooks(list(self.hooks))
        vectors = {name: nn.Parameter(vector) for name, vector in self._zeros(model, task, names, seed).items()}
        with frozen(model):
            hooks = [(name, _adding(vector, None)) for name, vector in vectors.items()]
            train(model, task, self.training, seed=seed, parameters=vectors.values(), hooks=hooks)
        about = {"method": "trained bias", "task": task.kind_name(), "steps": self.training.steps, "seed": seed}
        return SteeringVectors({name: vector.detach().cpu() for name, vector in vectors.items()}, about)

    def _zeros(self, model: HookedModel, task: Task, names: list[str], seed: int) -> dict[str, Tensor]:
        """A vector of zeros for each hook, of the size that a run shows."""
        found: dict[str, Tensor] = {}

        def look(value: Tensor, hook: Any) -> None:
            if value.ndim != 3 or model.points[hook.name].position_axis != 1 or model.points[hook.name].access != "write":
                raise ValueError(f"{hook.name} {tuple(value.shape)} has not one vector a position that can be added to")
            found[hook.name] = torch.zeros_like(value[0, 0])

        tokens = task.batch(1, self.training.length, "train", generator_for(seed, 0)).tokens
        with torch.no_grad():
            model.run_with_hooks(tokens, fwd_hooks=[(name, look) for name in names])
        return found


def _adding(vector: Tensor, positions: Tensor | None) -> Callable[..., Tensor]:
    def add(value: Tensor, hook: Any) -> Tensor:
        if value.shape[-1] != vector.shape[-1]:
            raise ValueError(f"the vector of {hook.name} has {vector.shape[-1]} entries; the activation is {tuple(value.shape)}")
        step = vector.to(device=value.device, dtype=value.dtype)
        return value + (step if positions is None else step * positions.to(value.device)[..., None])

    return add
