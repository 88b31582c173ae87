"""Captures: activations of named hooks at chosen positions, with the labels and sources of their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import unknown_name
from ..hooks.cache import StateCache


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

    def activation_cache(self, model: Any) -> StateCache:
        """Everything as a transformer-lens ActivationCache, hook -> [N, P, ...], for what is written against those.

        model: the one that was captured. The axis of positions holds the captured ones, `tap_positions` of the cache; hooks
        whose positions stand elsewhere in the model (attention patterns) have them second here too.
        """
        tensors = {name: x if isinstance(x, Tensor) else torch.from_numpy(x[:]) for name, x in self.activations.items()}
        return StateCache(tensors, model, self.positions)

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
        """The last `length` tokens up to each sample, [N * P, length], padded with -1 before the start.

        Raises ValueError for real inputs.
        """
        if self.tokens.is_floating_point():
            raise ValueError("contexts are of tokens; these sequences are real numbers, no two of which are alike")
        padded = torch.nn.functional.pad(self.tokens, (length - 1, 0), value=-1)
        windows = padded.unfold(1, length, 1)[:, list(self.positions)]
        return windows.flatten(0, 1)
