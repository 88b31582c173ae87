"""The tensor that enters a module, and the one that leaves it, among whatever else it takes and gives."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def entering(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The first argument where that is a tensor, else the first keyword that is one."""
    if args:
        return args[0] if isinstance(args[0], Tensor) else None
    return next((value for value in kwargs.values() if isinstance(value, Tensor)), None)


def with_entering(args: tuple[Any, ...], kwargs: Mapping[str, Any], new: Tensor) -> Arguments:
    """The same arguments with another tensor in the place of `entering`."""
    if args:
        return (new, *args[1:]), dict(kwargs)
    name = next(name for name, value in kwargs.items() if isinstance(value, Tensor))
    return (), {**kwargs, name: new}


def leaving(out: Any) -> Tensor | None:
    """The output, or the first entry of a tuple or list where that is a tensor, or the first tensor of a table of outputs."""
    if isinstance(out, Tensor):
        return out
    if isinstance(out, tuple | list):
        return out[0] if out and isinstance(out[0], Tensor) else None
    if isinstance(out, Mapping):
        return next((value for value in out.values() if isinstance(value, Tensor)), None)
    return None


def with_leaving(out: Any, new: Tensor) -> Any:
    """The same output with another tensor in the place of `leaving`."""
    if isinstance(out, Tensor):
        return new
    if isinstance(out, tuple):
        return rebuilt(out, (new, *out[1:]))
    if isinstance(out, list):
        return [new, *out[1:]]
    changed = copy.copy(out)
    changed[next(name for name, value in out.items() if isinstance(value, Tensor))] = new
    return changed


def rebuilt(like: Any, entries: Iterable[Any]) -> Any:
    """A tuple of the same class, named or not, with other entries."""
    return like._make(entries) if hasattr(like, "_make") else type(like)(entries)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and tables."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from tensors_in(entry)
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
