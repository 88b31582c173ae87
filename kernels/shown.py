"""What an object says of itself at a prompt: the shape and the type of what it holds, and never thousands of numbers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

MOST_SAID = 80  # letters of a value that has no shape


def with_shapes(self: Any) -> str:
    """The `__repr__` of a dataclass that holds arrays: "Edit(position=3, verb=scale, value=float32 [])".

    A class writes `__repr__ = with_shapes` among its fields; `dataclass` would write every number.
    """
    said = ", ".join(f"{one.name}={_in_short(getattr(self, one.name))}" for one in fields(self) if one.repr)
    return f"{type(self).__name__}({said})"


def _in_short(value: Any) -> str:
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None:
        return f"{'' if kind is None else str(kind).removeprefix('torch.') + ' '}{list(shape)}"
    if isinstance(value, list | tuple | dict) and len(value) > 0 and len(repr_of_plain(value)) > MOST_SAID:
        return f"{type(value).__name__} of {len(value)}"
    said = repr_of_plain(value)
    return said if len(said) <= MOST_SAID else f"<{type(value).__name__}>"


def repr_of_plain(value: Any) -> str:
    """The text of a value whose parts have no shape; of others, of their shapes."""
    if isinstance(value, list | tuple):
        inside = ", ".join(map(_in_short, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_in_short(part)}" for key, part in value.items()) + "}"
    return repr(value)
