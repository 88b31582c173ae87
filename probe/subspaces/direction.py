"""Directions: a unit vector in an activation space, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files import write_whole

Side = Literal["vector", "key", "value"]


@dataclass(frozen=True)
class Direction:
    """A unit vector with its provenance.

    vector: [D], of length 1. hook: the activation it lives in. name: the concept.
    side: "vector" for an ordinary activation; in a matrix state "key" or "value", for the axis it lies along.
    scale: how far apart the two sides of the concept lie along it, in the activation's own units.
    about: which data, which fit.
    """

    vector: Tensor
    hook: str
    name: str
    side: Side = "vector"
    scale: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.vector.ndim != 1:
            raise ValueError(f"a direction is one vector, got shape {tuple(self.vector.shape)}")
        length = float(self.vector.norm())
        if not abs(length - 1) < 1e-4:
            raise ValueError(f"a direction has length 1, got {length:.6g}; divide by its norm")

    @classmethod
    def difference_of_means(cls, features: Tensor, present: Tensor, *, hook: str, name: str, **about: Any) -> Direction:
        """From the mean activation where a concept is absent to the mean where it is present.

        features [N, D], present [N] of booleans. `scale` is the distance of the two means.
        """
        present = present.bool()
        if present.all() or not present.any():
            raise ValueError(f"{name}: a difference of means needs samples with and without the concept")
        gap = features[present].mean(0) - features[~present].mean(0)
        norm = float(gap.norm())
        details = {"method": "difference of means", "with": int(present.sum()), "without": int((~present).sum())}
        return cls(gap / norm, hook, name, scale=norm, about=details | about)

    @classmethod
    def random(cls, like: Direction, generator: torch.Generator) -> Direction:
        """A random direction in the same space with the same scale: the control of a steering experiment."""
        drawn = torch.randn(like.vector.shape, generator=generator, dtype=like.vector.dtype)
        return cls(drawn / drawn.norm(), like.hook, "random", like.side, like.scale, {"method": "random"})

    def cosine(self, other: Direction) -> float:
        """The cosine with a direction of the same space."""
        if self.vector.shape != other.vector.shape or self.side != other.side:
            raise ValueError(
                f"{self.name} ({self.hook}, {self.side}) and {other.name} ({other.hook}, {other.side}) lie in different spaces"
            )
        return float(self.vector @ other.vector)

    def project(self, activations: Tensor) -> Tensor:
        """The component of activations [..., D] along it, [...]."""
        return activations @ self.vector.to(activations)

    def steer(self, strength: float) -> tuple[str, Callable[..., Tensor]]:
        """A hook for `run_with_hooks` that adds strength * scale * vector at every position."""
        shift = strength * self.scale * self.vector
        return self.hook, lambda value, hook: value + shift.to(value)

    def ablate(self) -> tuple[str, Callable[..., Tensor]]:
        """A hook for `run_with_hooks` that removes the component along it at every position."""

        def remove(value: Tensor, hook: Any) -> Tensor:
            unit = self.vector.to(value)
            return value - (value @ unit)[..., None] * unit

        return self.hook, remove

    def save(self, path: str | Path) -> Path:
        """Write it as a safetensors file."""
        path = Path(path).with_suffix(".safetensors")
        about = {"hook": self.hook, "name": self.name, "side": self.side, "scale": self.scale, "about": dict(self.about)}
        write_whole(path, lambda at: save_file({"vector": self.vector.contiguous()}, at, {"direction": json.dumps(about)}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Direction:
        """Read it back. Raises ValueError naming the file if it holds no direction."""
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["direction"])
                return cls(file.get_tensor("vector"), **about)
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no direction: {error}") from error
