"""Checks at the public boundary: each error names the argument, what was found and what is needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
UNIT_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float16: 5e-3}


class NonFiniteError(ValueError):
    """An argument holds a NaN or an infinity."""


def check_shapes(dimensions: dict[str, int], **arguments: tuple[Tensor | None, str]) -> None:
    """Check shapes, dtypes and devices of named tensors against a shared table of dimensions.

    dimensions: sizes already known, such as {"K": 64}; it is filled with those met first, so that `B T H K` of the
        first argument fixes them for the rest.
    arguments: name = (tensor or None, its dimensions as a string such as "B T H K").
    """
    first: tuple[str, Tensor] | None = None
    for name, (tensor, names) in arguments.items():
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
        wanted = names.split()
        if tensor.ndim != len(wanted):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it needs {len(wanted)} dimensions [{', '.join(wanted)}]")
        for axis, dimension in enumerate(wanted):
            size = dimensions.setdefault(dimension, tensor.shape[axis])
            if tensor.shape[axis] != size:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}; its axis {axis} ({dimension}) is {tensor.shape[axis]} and must "
                    f"be {size}"
                )
        if tensor.dtype not in FLOATING:
            raise TypeError(f"{name} has dtype {tensor.dtype}; it must be a floating-point tensor")
        if first is None:
            first = name, tensor
        elif tensor.device != first[1].device:
            raise ValueError(f"{name} is on {tensor.device} and {first[0]} on {first[1].device}; move them to one device")
        elif (tensor.dtype == torch.float64) != (first[1].dtype == torch.float64):
            raise TypeError(f"{name} has dtype {tensor.dtype} and {first[0]} {first[1].dtype}; float64 does not mix with others")


def group_heads(v: Tensor, **shared: Tensor) -> list[Tensor]:
    """Tensors with a head for several heads of v, such as q and k of grouped-value attention, repeated to v's heads.

    Consecutive heads of v share one. What already has v's heads, or is no tensor of rank >= 3, comes back as it is: the check
    of shapes speaks of it. Raises ValueError where the heads do not divide.
    """
    repeated = []
    for name, tensor in shared.items():
        if not isinstance(tensor, Tensor) or not isinstance(v, Tensor) or tensor.ndim < 3 or v.ndim < 4:
            repeated.append(tensor)
            continue
        heads, own = v.shape[2], tensor.shape[2]
        if own < heads and (own == 0 or heads % own):
            raise ValueError(f"{name} has {own} heads and v {heads}; grouped heads need a multiple")
        repeated.append(tensor.repeat_interleave(heads // own, dim=2) if own < heads else tensor)
    return repeated


@dataclass(frozen=True)
class Requirement:
    """What must be true of the values of an argument.

    holds: whether it is, a boolean on the argument's device. refuse: raises the error, with the first place where it is not.
    """

    holds: Tensor
    refuse: Callable[[], None]


def check_values(*requirements: Requirement) -> None:
    """Raise for the first requirement that does not hold. Whether they hold is read from the device once: each reading of a GPU
    waits for all that was asked of it before.
    """
    if not requirements:
        return
    for required, holds in zip(requirements, torch.stack([one.holds for one in requirements]).tolist(), strict=True):
        if not holds:
            required.refuse()


def check_finite(**arguments: Tensor | None) -> None:
    """Raise where an argument holds a NaN or an infinity, with the index of the first."""
    check_values(*finite(**arguments))


def finite(**arguments: Tensor | None) -> list[Requirement]:
    """That no argument holds a NaN or an infinity."""
    given = {name: x.detach() for name, x in arguments.items() if x is not None and can_read_values(x)}
    # The sum is finite only if every entry is (up to overflow, which the exact test in the refusal rules out): one fast pass.
    return [Requirement(tensor.sum().isfinite(), partial(_refuse_infinite, name, tensor)) for name, tensor in given.items()]


def _refuse_infinite(name: str, tensor: Tensor) -> None:
    bad = torch.nonzero(~torch.isfinite(tensor))
    if len(bad):
        index = tuple(bad[0].tolist())
        raise NonFiniteError(f"{name} is {tensor[index].item()} at index {index}, and {len(bad)} entries in all are not finite")


def in_range(name: str, tensor: Tensor | None, low: float, high: float, why: str) -> list[Requirement]:
    """That no entry lies outside [low, high]."""
    if tensor is None or not can_read_values(tensor) or tensor.numel() == 0:
        return []
    least, most = torch.aminmax(tensor.detach())

    def refuse() -> None:
        raise ValueError(f"{name} ranges over [{least.item():.6g}, {most.item():.6g}] and must lie in [{low:g}, {high:g}]: {why}")

    return [Requirement((least >= low) & (most <= high), refuse)]


def not_growing(log_decay: Tensor | None) -> list[Requirement]:
    """That no log-decay is positive."""
    return in_range("log_decay", log_decay, -math.inf, 0.0, "a decay multiplies the state by at most 1")


def unit_keys(key: Tensor) -> list[Requirement]:
    """That every key has length 1 (or exactly 0, a token that writes nothing)."""
    if not can_read_values(key):
        return []
    norm = torch.linalg.vector_norm(key.detach(), dim=-1, dtype=torch.promote_types(key.dtype, torch.float32))
    wrong = (norm != 0) & ((norm - 1).abs() > UNIT_TOLERANCE[key.dtype])

    def refuse() -> None:
        index = tuple(torch.nonzero(wrong)[0].tolist())
        raise ValueError(
            f"k has length {norm[index].item():.6g} at index {index}: a delta rule needs unit keys (or its transitions are "
            "no contractions); use torch.nn.functional.normalize(k, dim=-1)"
        )

    return [Requirement(~wrong.any(), refuse)]


def can_read_values(tensor: Tensor) -> bool:
    """False under vmap, where a tensor's values cannot steer Python; shapes are checked there, values are not."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return False
        tensor = functorch.get_unwrapped(tensor)
    return True
