"""Hooks whose value the forward pass does not read: what a hook function does to it is seen, and never lost in silence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from ...kernels.operators.transition import Transition

OTHER_WAYS = (
    "change states with run_with_edits, or with one tap and a hook function that returns the changed state; transitions through "
    "hook_k, hook_beta or hook_log_decay"
)


def fire(point: HookPoint, value: Any) -> None:
    """Fire a hook whose value the model does not read. Raises RuntimeError if a hook function replaces or changes it."""
    if show(point, value) is not value:
        raise RuntimeError(
            f"a hook function returned a replacement for {point.name}, which the forward pass does not read; {OTHER_WAYS}"
        )


def show(point: HookPoint, value: Any) -> Any:
    """What a hook gives back for a value that nothing downstream reads: the value itself, or a hook function's replacement.

    Raises RuntimeError where a hook function changed it in place, which nothing would see, and for a backward hook, which would
    never fire.
    """
    if not point.has_hooks():
        return value
    if point.bwd_hooks:
        raise RuntimeError(
            f"{point.name} has a backward hook, which never fires: no gradient flows into what the forward pass does not read; "
            "take the gradient of an edit's value instead, as attribute_states does"
        )
    given = _each(value, lambda part: part.clone() if part.is_inference() else part)  # those count no versions
    before = [part._version for part in _parts(given) if not part.is_inference()]
    shown = point(given)
    after = [part._version for part in _parts(given) if not part.is_inference()]
    changed = [
        own.is_inference() and not torch.allclose(seen, own, rtol=0, atol=0, equal_nan=True)
        for own, seen in zip(_parts(value), _parts(given), strict=True)
    ]
    if before != after or any(changed) or _derived_changed(given):
        raise RuntimeError(
            f"a hook function changed {point.name} in place, which the forward pass does not read; return a changed copy "
            f"instead, or {OTHER_WAYS}"
        )
    return value if shown is given else shown


def _parts(value: Any) -> tuple[Tensor, ...]:
    return value.parts if isinstance(value, Transition) else (value,)


def _derived_changed(value: Any) -> bool:
    """Whether what a Transition multiplied out for a hook function, such as its diagonal, is no longer that."""
    if not isinstance(value, Transition) or value.log_decay is None:
        return False
    fresh = Transition(*value.parts)
    held = [name for name in ("diagonal", "right") if name in vars(value)]
    return not all(torch.equal(getattr(value, name), getattr(fresh, name)) for name in held)


def _each(value: Any, change: Any) -> Any:
    """A tensor or Transition with its tensors changed; itself where none is."""
    parts = _parts(value)
    changed = tuple(map(change, parts))
    if all(new is old for new, old in zip(changed, parts, strict=True)):
        return value
    return Transition(*changed) if isinstance(value, Transition) else changed[0]
