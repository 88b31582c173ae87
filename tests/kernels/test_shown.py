"""What objects that hold arrays say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from statescope.kernels.recurrence import Edit
from statescope.kernels.shown import with_shapes


@dataclass
class Holder:
    """Something with parts of every sort."""

    values: Any
    parts: Any

    __repr__ = with_shapes


def test_arrays_are_said_by_type_and_shape_wherever_they_stand() -> None:
    held = Holder(torch.zeros(3, 4), [{"x": torch.zeros(2, dtype=torch.float64)}, None])
    assert repr(held) == "Holder(values=float32 [3, 4], parts=[{'x': float64 [2]}, None])"
    assert repr(Holder(list(range(1000)), "word")) == "Holder(values=list of 1000, parts='word')"
    assert "999" not in repr(Holder([torch.zeros(5)] * 1000, 0)) and len(repr(Holder([torch.zeros(5)] * 1000, 0))) < 60


def test_an_edit_does_not_print_its_state() -> None:
    assert "float32 [8, 8]" in repr(Edit(3, "set", torch.zeros(8, 8)))
