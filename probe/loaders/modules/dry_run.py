"""What first runs of a module show: which submodules it calls, how often, and what runs along each axis of their tensors.

An axis that is one longer for one more sequence is that of the batch; one that is one shorter for one position less is that of
positions. So three runs tell the axes of any module, whichever way round it keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .tensors import entering, leaving, tensors_in

Run = Callable[[nn.Module, Tensor], Any]
Side = Literal["in", "out"]
Key = tuple[str, Side]


@dataclass(frozen=True)
class Value:
    """A tensor that entered or left a module, as often changed in place by then as `version` says; None for anything else."""

    tensor: Tensor | None
    version: int = 0

    @classmethod
    def of(cls, tensor: Tensor | None) -> Value:
        usable = tensor is not None and (tensor.is_floating_point() or tensor.is_complex())
        return cls(tensor, tensor._version) if usable and tensor is not None else cls(None)

    @property
    def overwritten(self) -> bool:
        """Whether it was changed in place since."""
        return self.tensor is not None and self.tensor._version != self.version


@dataclass
class Record:
    """What one run has shown, by module ("" is the whole) and side, call by call.

    inputs, outputs: all tensors of each call of a module.
    """

    values: dict[Key, list[Value]] = field(default_factory=dict)
    inputs: dict[str, list[list[Tensor]]] = field(default_factory=dict)
    outputs: dict[str, list[list[Tensor]]] = field(default_factory=dict)

    def shapes(self, key: Key) -> list[tuple[int, ...] | None]:
        """The shape of each call's tensor; None for what is no tensor of real or complex numbers."""
        return [None if value.tensor is None else tuple(value.tensor.shape) for value in self.values.get(key, [])]


@torch.no_grad()
def recorded(module: nn.Module, run: Run, tokens: Tensor) -> Record:
    """Run a module once, in evaluation mode, and record every call of its submodules."""
    record = Record()

    def enter(path: str, own: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        record.values.setdefault((path, "in"), []).append(Value.of(entering(args, kwargs)))
        record.inputs.setdefault(path, []).append(list(tensors_in([args, kwargs])))

    def leave(path: str, own: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        record.values.setdefault((path, "out"), []).append(Value.of(leaving(out)))
        record.outputs.setdefault(path, []).append(list(tensors_in(out)))

    handles = []
    for path, own in module.named_modules():
        handles.append(own.register_forward_pre_hook(partial(enter, path), with_kwargs=True))
        handles.append(own.register_forward_hook(partial(leave, path)))
    try:
        with evaluating(module):
            run(module, tokens)
    finally:
        for handle in handles:
            handle.remove()
    return record


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, so that a first run leaves running means and dropout as they were."""
    training = [own for own in module.modules() if own.training]
    module.eval()
    try:
        yield
    finally:
        for own in training:
            own.training = True


@dataclass(frozen=True)
class Site:
    """Where a hook fires.

    name: of the hook. module, side: whose tensor it shows. call: which of several calls in a run; None where there is one, or one
        a position. steps: whether the module is called once a position, in order, and the hook with it.
    batch_axis: of the tensor as the module has it; hooks show it first. axes: of what the hook shows, sizes by their number.
    overwritten: whether the module's own code changes the tensor in place afterwards.
    """

    name: str
    module: str
    side: Side
    call: int | None
    steps: bool
    batch_axis: int
    axes: tuple[str, ...]
    overwritten: bool
    is_complex: bool


@dataclass(frozen=True)
class Dry:
    """Three runs: of the example, of one sequence more, and of one position less; None where the module takes no fewer."""

    base: Record
    taller: Record
    shorter: Record | None
    length: int

    @property
    def one_length(self) -> bool:
        """Whether the module takes no other length, as one of images does: positions are then those of its recurrences."""
        return self.shorter is None

    @classmethod
    def of(cls, module: nn.Module, run: Run, example: Tensor) -> Dry:
        """Run a module on an example [B, T, ...]."""
        taller = torch.cat([example, example[:1]])
        shorter = None
        if example.ndim > 1 and example.shape[1] > 1:
            try:
                shorter = recorded(module, run, example[:, :-1])
            except (RuntimeError, ValueError, IndexError, AssertionError):  # a module of one length
                shorter = None
        length = example.shape[1] if example.ndim > 1 else 1
        return cls(recorded(module, run, example), recorded(module, run, taller), shorter, length)

    def sites(self, prefix: str = "") -> tuple[list[Site], dict[str, str]]:
        """Where hooks fire, and for each tensor that has none the reason."""
        sites, refused = [], {}
        for (path, side), values in self.base.values.items():
            name = f"{prefix}{path}.hook_{side}".removeprefix(".")
            if all(value.tensor is None for value in values):
                continue  # token ids, settings: nothing to hook
            found = self._sites(name, path, side, values)
            if isinstance(found, str):
                refused[name] = found
            else:
                sites += found
        return sites, refused

    def calls_are_positions(self, path: str) -> bool:
        """Whether a module is called once for each position, as a cell in a loop is."""
        counts = [len(record.inputs.get(path, [])) for record in (self.base, self.taller, self.shorter) if record is not None]
        return len(counts) == 3 and counts == [self.length, self.length, self.length - 1] and self.length > 1

    def _sites(self, name: str, path: str, side: Side, values: Sequence[Value]) -> list[Site] | str:
        key = (path, side)
        others = [record.shapes(key) for record in (self.taller, self.shorter) if record is not None]
        steps = self.calls_are_positions(path)
        if not steps and any(len(shapes) != len(values) for shapes in others):
            counts = ", ".join(str(len(shapes)) for shapes in others)
            return (
                f"{path} is called {len(values)} times for the example and {counts} times for one sequence more and one position "
                "less; a hook needs a module that is called once, once a position, or always as often"
            )
        if steps and len({value.tensor.shape if value.tensor is not None else None for value in values}) > 1:
            return f"{path} is called once a position with tensors of different shapes, which no hook can show side by side"
        found = []
        for call, value in enumerate(values[:1] if steps else values):
            if value.tensor is None:
                continue
            shapes = [shapes[call] for shapes in others]
            axes = axes_of(tuple(value.tensor.shape), shapes[0], shapes[1] if len(shapes) > 1 else None)
            if "batch" not in axes:
                return (
                    f"the tensor {tuple(value.tensor.shape)} of {path} has no axis of sequences alone (its axes: "
                    f"{', '.join(axes) or 'none'}); hook a module before it is flattened, or behind"
                )
            if steps and "position" in axes:
                return f"{path} is called once a position, with tensors that hold several"
            batch = axes.index("batch")
            shown = ["batch", *(["position"] if steps else []), *axes[:batch], *axes[batch + 1 :]]
            own = name if steps or len(values) == 1 else f"{name}.{call}"
            overwritten = any(one.overwritten for one in values) if steps else value.overwritten
            number = None if steps or len(values) == 1 else call
            complex_ = value.tensor.is_complex()
            found.append(Site(own, path, side, number, steps, batch, tuple(shown), overwritten, complex_))
        return found


def axes_of(base: tuple[int, ...], taller: tuple[int, ...] | None, shorter: tuple[int, ...] | None) -> list[str]:
    """What runs along each axis: "batch", "position", a number that is its size in every run, or "varies".

    Shapes: of the example, of one sequence more, and of one position less; None where that was not run.
    """
    if taller is None or len(taller) != len(base) or (shorter is not None and len(shorter) != len(base)):
        return ["varies"] * len(base)
    axes: list[str] = []
    for axis, size in enumerate(base):
        by_batch = taller[axis] - size
        by_position = 0 if shorter is None else size - shorter[axis]
        kind = {(1, 0): "batch", (0, 1): "position", (0, 0): str(size)}.get((by_batch, by_position), "varies")
        axes.append("varies" if kind in ("batch", "position") and kind in axes else kind)
    return axes
