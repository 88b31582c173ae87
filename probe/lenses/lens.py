"""A lens: for each hook an affine map to the stream that the unembedding reads, and so to logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...kernels.recurrence import TapRequest
from ...kernels.shown import with_shapes
from ..errors import StatescopeError, unknown_name
from ..files import DamagedFileError
from ..hooks.names import hook_name
from ..hooks.positions import Positions
from ..tensor_file import UNREADABLE, read_tensors, write_tensors

if TYPE_CHECKING:
    from ..models.hooked import HookedModel

FORMAT = "statescope lens"


class LensError(StatescopeError, ValueError):
    """A lens that does not fit the activation or the model that it is applied to."""


@dataclass(frozen=True, eq=False)
class Translator:
    """The map x -> x weight + bias of activations [..., D] to the stream [..., width]. No weight is the identity."""

    weight: Tensor | None
    bias: Tensor | None

    __repr__ = with_shapes

    @property
    def flaw(self) -> str:
        """Why it is no such map, to read behind "the lens"; empty where it is one."""
        if self.weight is None:
            fits = self.bias is None
        else:
            fits = self.weight.ndim == 2 and (self.bias is None or self.bias.shape == self.weight.shape[1:])
        if not fits:
            weight, bias = (None if value is None else list(value.shape) for value in (self.weight, self.bias))
            return f"has a weight {weight} and a bias {bias}, which are no affine map"
        held = [value for value in (self.weight, self.bias) if value is not None]
        if not all(value.is_floating_point() for value in held):
            return f"holds {', '.join(str(value.dtype) for value in held)}, which are no real numbers"
        if not all(bool(value.isfinite().all()) for value in held):
            return "holds numbers that are not finite"
        return ""

    def __call__(self, features: Tensor) -> Tensor:
        if self.weight is None:
            return features
        if features.shape[-1] != len(self.weight):
            raise LensError(f"the lens reads {len(self.weight)} numbers, got {features.shape[-1]}")
        moved = features @ self.weight.to(features)
        return moved if self.bias is None else moved + self.bias.to(features)


@dataclass(frozen=True, eq=False)
class Lens:
    """What was fitted: a translator for each hook.

    kind: how. translators: by hook. model: the class of the model that it was fitted to. Every activation is read as one row a
    position: a state [H, K, V] as H K V numbers, a complex number as two.
    """

    kind: str
    translators: Mapping[str, Translator]
    model: str = ""

    @property
    def hooks(self) -> list[str]:
        return list(self.translators)

    def stream(self, hook: str, features: Tensor) -> Tensor:
        """The stream [..., width] that features [..., D] of a hook stand for. Raises UnknownNameError for another hook."""
        if hook not in self.translators:
            raise unknown_name("hook of this lens", hook, self.translators)
        return self.translators[hook](features)

    def logits(self, model: HookedModel, hook: str, features: Tensor) -> Tensor:
        """The logits [..., vocabulary] that features of a hook stand for."""
        return model.logits_of(self.stream(hook, features))

    def save(self, path: str | Path) -> Path:
        """Write the lens as one safetensors file, which appears whole or not at all; `Lens.load` reads it back."""
        tensors: dict[str, Tensor] = {}
        for number, translator in enumerate(self.translators.values()):
            for name, value in (("weight", translator.weight), ("bias", translator.bias)):
                if value is not None:
                    tensors[f"{number}.{name}"] = value
        about = {"format": FORMAT, "version": 1, "kind": self.kind, "model": self.model, "hooks": self.hooks}
        write_tensors(Path(path), FORMAT, tensors or {"empty": torch.zeros(1)}, about)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Lens:
        """Read a lens. Raises DamagedFileError for a file that is none, or whose numbers are not finite or do not fit."""
        try:
            tensors, about = read_tensors(path, FORMAT)
            hooks, kind, model = about["hooks"], about["kind"], about["model"]
            if about["version"] != 1 or not isinstance(hooks, list) or not all(isinstance(x, str) for x in (*hooks, kind, model)):
                raise ValueError("its description is of another version")
            belonging = {f"{number}.{part}" for number in range(len(hooks)) for part in ("weight", "bias")} | {"empty"}
            if len(set(hooks)) < len(hooks) or not set(tensors) <= belonging:
                raise ValueError("its tensors are not those of the hooks that it names, each once")
            translators = {
                hook: Translator(tensors.get(f"{number}.weight"), tensors.get(f"{number}.bias"))
                for number, hook in enumerate(hooks)
            }
            flaws = {hook: translator.flaw for hook, translator in translators.items()}
        except UNREADABLE as error:
            raise DamagedFileError(f"{path} cannot be read as a lens: {error}") from error
        for hook, flaw in flaws.items():
            if flaw:
                raise DamagedFileError(f"{path}: the lens of {hook} {flaw}")
        return cls(kind, translators, model)


def last_stream(model: HookedModel) -> str:
    """The hook of the stream that leaves the last block."""
    name = hook_name(model.layers - 1, "hook_resid_post")
    if name not in model.hook_dict:
        raise LensError(
            f"a {type(model).__name__} has no {name}, which lenses end in; they are for models of ours and for those that `load` "
            "reads"
        )
    return name


@torch.no_grad()
def activations_of(
    model: HookedModel, tokens: Tensor, hooks: Sequence[str], positions: TapRequest
) -> tuple[dict[str, Tensor], Tensor]:
    """The activations of hooks at some positions, [B, P, features] each, and the model's own logits there."""
    names = model.matching_hooks(list(hooks), taps="last")
    taps = model.taps_for(names, positions)
    logits, cache = model.run_with_cache(tokens, names_filter=names, taps=taps, positions=positions)
    found = {}
    for name in names:
        axis = model.points[name].position_axis
        if axis is None:
            raise LensError(f"{name} has no position axis: a lens reads an activation at a position")
        found[name] = rows_of(cache[name].movedim(axis, 1))
    return found, selected(logits, positions)


def selected(logits: Tensor, positions: TapRequest) -> Tensor:
    """The logits [B, P, vocabulary] at some positions."""
    return Positions.of(positions, logits.shape[1]).select(logits, 1)


def rows_of(values: Tensor) -> Tensor:
    """Values [B, P, ...] as rows [B, P, features], with a complex number as two real ones."""
    values = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    return values.flatten(2)


def batches_of(tokens: Tensor | Iterable[Tensor], size: int) -> list[Tensor]:
    """Tokens [N, T], or batches of them, in batches of at most `size` sequences."""
    given: list[Any] = [tokens] if isinstance(tokens, Tensor) else list(tokens)
    found = [part for batch in given for part in batch.split(size)]
    if not found:
        raise ValueError("there is no sequence to fit a lens to")
    return found
