"""Where a pass of a model meets its parameters, function by function, so that one pass gives the gradient of each sample.

While a `Watch` is entered, every call of a torch function is looked at. What is computed from parameters alone (an exponential, a
transpose, a multiplier before a weight) is followed; where such a weight meets the data, the rule of that function notes what the
gradient there says of each sample:

    x W^T, x W, einsum      what was multiplied, and the gradient of the product
    a table looked up       the numbers that were looked up, and the gradient of the rows
    a convolution           what was convolved, and the gradient of the result
    sums, products, where   the weight is taken once a sample, so that the gradient of each copy is that of its sample
    norms                   normalise first, then multiply by the gain and add the shift, by the rule above

It is the function that has a rule and not the module, so modules of other libraries are covered as ours are. A weight that meets
the data elsewhere (inside a custom kernel, say) is not noted, and nothing noted is trusted unseen: `Jacobian` checks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from .factors import Dense, Factor, Outer, Scattered


@dataclass(frozen=True)
class Weight:
    """A tensor computed from parameters alone, from none of them if it is a constant.

    leaves: the parameters that it depends on, by name.
    straight: (scale, turned) where it is scale times the one parameter, a matrix, or its transpose.
    version: of the tensor when it was seen; a later one says that something was written into it.
    """

    tensor: Tensor
    leaves: Mapping[str, Tensor]
    straight: tuple[float, bool] | None
    version: int

    def pull(self, rows: Tensor) -> Iterator[tuple[str, Factor]]:
        """Gradients [N, ...] in this tensor as gradients in the parameters behind it."""
        if self.straight is not None:
            scale, turned = self.straight
            yield next(iter(self.leaves)), Dense(scale * (rows.mT if turned else rows))
            return
        names, tensors = list(self.leaves), list(self.leaves.values())
        if self.tensor is tensors[0]:
            yield names[0], Dense(rows)
            return
        try:
            found = torch.autograd.grad(
                self.tensor, tensors, rows, retain_graph=True, allow_unused=True, is_grads_batched=True, materialize_grads=True
            )
        except RuntimeError:  # a backward pass that knows no batches
            each = [torch.autograd.grad(self.tensor, tensors, row, retain_graph=True, materialize_grads=True) for row in rows]
            found = tuple(map(torch.stack, zip(*each, strict=True)))
        for name, value in zip(names, found, strict=True):
            yield name, Dense(value)


@dataclass(frozen=True)
class Use(ABC):
    """One place where a weight meets the data.

    edge: of the autograd graph, at which the gradient is asked for. size: the numbers of that gradient.
    """

    weight: Weight
    edge: GradientEdge
    size: int

    @abstractmethod
    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        """What the gradient at the edge says of each sample, in the parameters behind the weight."""


@dataclass(frozen=True)
class Multiplied(Use):
    """inputs [..., m] @ weight [m, n]."""

    inputs: Tensor

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        into, out = (side.reshape(samples, -1, side.shape[-1]) for side in (self.inputs, gradient))
        straight = self.weight.straight
        if straight is None or into.is_complex() or out.is_complex():
            yield from self.weight.pull(into.mH @ out)
        else:
            scale, turned = straight
            into = into.to(out.dtype) if scale == 1 else scale * into.to(out.dtype)
            yield next(iter(self.weight.leaves)), Outer(out, into) if turned else Outer(into, out)


@dataclass(frozen=True)
class LookedUp(Use):
    """Rows `ids` of a table; those of `padding` have no gradient."""

    ids: Tensor
    padding: int | None

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        ids, size = self.ids.reshape(samples, -1), self.weight.tensor.shape[-1]
        gradient = gradient.reshape(samples, -1, size)
        if self.padding is not None:
            gradient = gradient * (ids != self.padding)[..., None]
        found = Scattered(ids, gradient, len(self.weight.tensor))
        if self.weight.straight == (1.0, False):
            yield next(iter(self.weight.leaves)), found
        else:
            yield from self.weight.pull(found.dense().unflatten(1, tuple(self.weight.tensor.shape)))


@dataclass(frozen=True)
class Copied(Use):
    """The weight taken once for each entry of the first axis."""

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        shape = self.weight.tensor.shape
        rows = gradient.reshape(samples, -1, *gradient.shape[1:]).sum(1)
        if len(shape) == gradient.ndim:
            rows = rows[:, None]
        if rows.ndim > len(shape) + 1:
            rows = rows.flatten(1, rows.ndim - len(shape) - 1).sum(1)
        for axis, size in enumerate(shape):
            if rows.shape[axis + 1] != size:
                rows = rows.sum(axis + 1, keepdim=True)
        yield from self.weight.pull(rows)


@dataclass(frozen=True)
class Convolved(Use):
    """inputs [N, C, ...] convolved with weight [O, C / groups, ...]: one more grouping of them makes a weight of each sample."""

    inputs: Tensor
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        weight, count = self.weight.tensor.detach(), len(self.inputs)
        of_each = weight.repeat(count, *[1] * (weight.ndim - 1))
        plain, zeros = self.inputs.reshape(1, -1, *self.inputs.shape[2:]), [0] * len(self.stride)
        _, rows, _ = torch.ops.aten.convolution_backward(
            gradient.reshape(1, -1, *gradient.shape[2:]),
            plain.to(gradient.dtype),
            of_each,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            zeros,
            count * self.groups,
            [False, True, False],
        )
        yield from self.weight.pull(rows.reshape(samples, -1, *weight.shape).sum(1))


@dataclass(frozen=True)
class Contracted(Use):
    """An einsum of one weight with the data. pattern: the einsum that gives each sample's rows from the data and the gradient."""

    pattern: str
    data: tuple[Tensor, ...]

    def factors(self, gradient: Tensor, samples: int) -> Iterator[tuple[str, Factor]]:
        rows = torch.einsum(self.pattern, *(value.conj() for value in self.data), gradient)
        yield from self.weight.pull(rows.reshape(samples, -1, *rows.shape[1:]).sum(1))


Function = Callable[..., Any]
Rule = Callable[["Watch", Function, tuple[Any, ...], dict[str, Any]], Any]


class Watch(TorchFunctionMode):
    """Note every use of the leaves while it is entered.

    leaves: the parameters, by name. samples: N; the first axis of what the model computes is N, or a multiple of it where samples
    and tokens share one axis. constants: tensors that are no data, such as buffers.
    """

    def __init__(self, leaves: Mapping[str, Tensor], samples: int, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.samples, self.uses = samples, list[Use]()
        self._known: dict[int, Weight] = {}
        for name, leaf in leaves.items():
            self._remember(leaf, {name: leaf}, (1.0, False) if leaf.ndim == 2 else None)
        for value in constants.values():
            self._remember(value, {}, None)

    def weight(self, value: Any) -> Weight | None:
        """What is known of a tensor that comes of parameters and constants alone; None of anything else."""
        known = self._known.get(id(value))
        if known is not None and known.version != known.tensor._version:
            del self._known[id(value)]
            return None
        return known

    def note(self, use: type[Use], weight: Weight, out: Tensor, *what: Any) -> None:
        if weight.leaves and out.requires_grad:
            still = tree_map_only(Tensor, Tensor.detach, what)
            self.uses.append(use(weight, get_gradient_edge(out), out.numel(), *still))

    def once_a_sample(self, weight: Weight, dimensions: int, length: int) -> Tensor | None:
        """The weight before `dimensions` axes, copied for each entry of the first, of this length; None if it has that axis."""
        value = weight.tensor
        lead = value.ndim < dimensions or (value.ndim == dimensions and value.ndim > 0 and len(value) == 1)
        if not lead or length % self.samples:
            return None
        filled = value.reshape(*[1] * (dimensions - value.ndim), *value.shape)
        copied = filled.expand(length, *filled.shape[1:]).clone()
        self.note(Copied, weight, copied)
        return copied

    def __torch_function__(
        self, func: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        weights = [self.weight(value) for value in tensors]
        if all(weight is not None for weight in weights):
            return self._followed(func, args, kwargs, [weight for weight in weights if weight is not None])
        if any(weight is not None and weight.leaves for weight in weights):
            rule = RULES.get(func.__name__.strip("_"))
            out = NotImplemented if rule is None else rule(self, func, args, kwargs)
            if out is not NotImplemented:
                return out
        return func(*args, **kwargs)

    def _followed(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], weights: list[Weight]) -> Any:
        out = func(*args, **kwargs)
        leaves = {name: leaf for weight in weights for name, leaf in weight.leaves.items()}
        name = func.__name__.strip("_")
        if name in ("expand", "expand_as", "broadcast_to", "repeat", "tile") and leaves and isinstance(out, Tensor):
            weight, value = weights[0], weights[0].tensor
            if len(out) == self.samples and (value.ndim < out.ndim or len(value) == 1):
                copied = out.clone()
                self.note(Copied, weight, copied)
                return copied
        straight = _straight(name, args, out, weights) if len(leaves) == 1 else None
        tree_map_only(Tensor, lambda value: self._remember(value, leaves if value.requires_grad else {}, straight), out)
        return out

    def _remember(self, value: Tensor, leaves: Mapping[str, Tensor], straight: tuple[float, bool] | None) -> None:
        self._known[id(value)] = Weight(value, leaves, straight, value._version)


def _straight(name: str, args: tuple[Any, ...], out: Any, weights: list[Weight]) -> tuple[float, bool] | None:
    """How a result comes of a matrix, where it is a multiple of it or of its transpose."""
    known = [weight for weight in weights if weight.leaves]
    if not isinstance(out, Tensor) or out.ndim != 2 or len(known) != 1 or known[0].straight is None:
        return None
    before, (scale, turned) = known[0].tensor, known[0].straight
    if name in ("to", "clone", "contiguous", "double", "float", "type_as") and not out.is_complex():
        return scale, turned
    if name in ("t", "transpose", "permute", "adjoint", "swapaxes") or (name == "get" and out._base is not None):
        as_before = out.shape == before.shape and out.stride() == before.stride()
        is_turned = out.shape == before.T.shape and out.stride() == before.T.stride()
        return (scale, not turned) if is_turned and not as_before else None
    if name in ("mul", "rmul", "div", "truediv") and out.shape == before.shape:
        others = [value for value in args if value is not before]
        if len(others) == 1 and not isinstance(others[0], Tensor) and (args[0] is before or "mul" in name):
            return (scale * others[0] if "mul" in name else scale / others[0]), turned
    return None


def _linear(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """x W^T + b; the bias is added by its own rule."""
    x, weight, bias = _arguments(args, kwargs, "input", "weight", "bias")
    known = watch.weight(weight)
    if known is None or weight.ndim != 2:
        return NotImplemented if watch.weight(bias) is None or weight.ndim != 2 else _add(watch, func(x, weight), bias)
    if watch.weight(x) is not None:
        return NotImplemented if bias is None else _add(watch, func(x, weight), bias)
    out = func(x, weight)
    turned = None if known.straight is None else (known.straight[0], not known.straight[1])
    transposed = Weight(weight.mT, known.leaves, turned, weight._version) if turned is None else _turned(known)
    watch.note(Multiplied, transposed, out, x)
    return out if bias is None else _add(watch, out, bias)


def _turned(weight: Weight) -> Weight:
    assert weight.straight is not None
    return Weight(weight.tensor, weight.leaves, (weight.straight[0], not weight.straight[1]), weight.version)


def _add(watch: Watch, out: Tensor, bias: Any) -> Any:
    with watch:
        return out + bias


def _matmul(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """x W with a matrix W, or W x with columns x."""
    if len(args) != 2 or kwargs:
        return NotImplemented
    first, second = args if func.__name__ != "__rmatmul__" else args[::-1]
    left, right = watch.weight(first), watch.weight(second)
    out = func(*args)
    if right is not None and second.ndim == 2 and first.ndim >= 2:
        watch.note(Multiplied, right, out, first)
    elif left is not None and left.straight is not None and first.ndim == 2 and second.ndim >= 3:
        moved = out.mT  # so that positions come before channels; what follows must be computed from it
        watch.note(Multiplied, _turned(left), moved, second.mT)
        return moved.mT
    return out


def _addmm(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """b + x W, as transformers' Conv1D has it."""
    if len(args) != 3 or kwargs:
        return NotImplemented
    bias, x, weight = args
    with watch:
        return bias + x @ weight


def _embedding(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if func is functional.embedding:
        ids, table, padding, most = _arguments(args, kwargs, "input", "weight", "padding_idx", "max_norm")
    else:
        table, ids, padding = _arguments(args, kwargs, "weight", "indices", "padding_idx")
        most = None
    known = watch.weight(table)
    if known is None or most is not None:
        return NotImplemented
    out = func(*args, **kwargs)
    padding = None if padding is None or padding == -1 else padding % len(table)
    watch.note(LookedUp, known, out, ids, padding)
    return out


def _index(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A table's rows by a tensor of whole numbers."""
    table, ids = (args[0], args[-1]) if len(args) == 2 or (len(args) == 3 and args[1] == 0) else (None, None)
    known = watch.weight(table)
    if known is None or not isinstance(ids, Tensor) or ids.dtype not in (torch.int32, torch.int64) or known.tensor.ndim != 2:
        return NotImplemented
    out = func(*args, **kwargs)
    watch.note(LookedUp, known, out, ids % len(known.tensor), None)
    return out


def _elementwise(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Copy each weight once a sample."""
    if kwargs.get("out") is not None or (isinstance(args[0], Tensor) and _in_place(func) and watch.weight(args[0]) is not None):
        return NotImplemented
    tensors = [value for value in args if isinstance(value, Tensor)]
    shape = torch.broadcast_shapes(*(value.shape for value in tensors))
    changed = []
    for value in args:
        known = watch.weight(value) if isinstance(value, Tensor) else None
        if known is not None and known.leaves:
            value = watch.once_a_sample(known, len(shape), shape[0]) if shape else None
            if value is None:
                return NotImplemented
        changed.append(value)
    return func(*changed, **kwargs)


def _in_place(func: Function) -> bool:
    name = func.__name__
    return (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def _layer_norm(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, shape, weight, bias, eps = _arguments(args, kwargs, "input", "normalized_shape", "weight", "bias", "eps", eps=1e-5)
    return _affine(watch, functional.layer_norm(x, shape, None, None, eps), weight, bias)


def _rms_norm(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, shape, weight, eps = _arguments(args, kwargs, "input", "normalized_shape", "weight", "eps")
    return _affine(watch, functional.rms_norm(x, shape, None, eps), weight, None)


def _group_norm(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, groups, weight, bias, eps = _arguments(args, kwargs, "input", "num_groups", "weight", "bias", "eps", eps=1e-5)
    return _affine(watch, functional.group_norm(x, groups, None, None, eps), weight, bias, trailing=x.ndim - 2)


def _batch_norm(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    x, mean, variance, weight, bias, training, _, eps = _arguments(args, kwargs, *names, training=False, momentum=0.1, eps=1e-5)
    if training:
        return NotImplemented
    normalised = functional.batch_norm(x, mean, variance, None, None, False, 0.0, eps)
    return _affine(watch, normalised, weight, bias, trailing=x.ndim - 2)


def _affine(watch: Watch, x: Tensor, weight: Any, bias: Any, trailing: int = 0) -> Any:
    with watch:
        for value, apply in ((weight, torch.mul), (bias, torch.add)):
            if value is not None:
                x = apply(x, value.reshape(*value.shape, *[1] * trailing) if trailing else value)
    return x


def _convolution(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    x, weight, bias, stride, padding, dilation, groups = _arguments(
        args, kwargs, *names, stride=1, padding=0, dilation=1, groups=1
    )
    known, space = watch.weight(weight), weight.ndim - 2
    if isinstance(padding, str) or x.ndim != weight.ndim or watch.weight(x) is not None:
        return NotImplemented
    sides = [[side] * space if isinstance(side, int) else list(side) for side in (stride, padding, dilation)]
    out = func(x, weight, None, *sides, groups)
    if known is not None:
        watch.note(Convolved, known, out, x, *sides, groups)
    if bias is None:
        return out
    return _affine(watch, out, None, bias, trailing=space)


def _einsum(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if not isinstance(equation, str) or "->" not in equation or "." in equation or kwargs:
        return NotImplemented
    sides, out_side = (part.replace(" ", "") for part in equation.split("->"))
    letters = sides.split(",")
    weights = [watch.weight(value) for value in operands]
    trained = [index for index, weight in enumerate(weights) if weight is not None and weight.leaves]
    if len(trained) != 1 or not out_side:
        return NotImplemented
    (place,) = trained
    known, own = weights[place], letters[place]
    rest = [side for index, side in enumerate(letters) if index != place]
    sample = out_side[0]
    if sample in own or len(set(own)) < len(own) or set(own) - set("".join([*rest, out_side])):
        return NotImplemented
    out = func(equation, *operands)
    if len(out) % watch.samples:
        return out
    pattern = f"{','.join([*rest, out_side])}->{sample}{own}"
    assert known is not None
    watch.note(Contracted, known, out, pattern, tuple(value for index, value in enumerate(operands) if index != place))
    return out


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any], *names: str, **defaults: Any) -> tuple[Any, ...]:
    """Arguments by the names of their places; None, or their default, where left out."""
    given = dict(zip(names, args, strict=False)) | kwargs
    return tuple(given.get(name, defaults.get(name)) for name in names)


ELEMENTWISE = (
    *("add", "radd", "iadd", "sub", "subtract", "rsub", "isub", "mul", "multiply", "rmul", "imul"),
    *("div", "divide", "true_divide", "truediv", "rtruediv", "rdiv", "itruediv", "pow", "rpow"),
    *("maximum", "minimum", "where", "lerp", "addcmul", "addcdiv", "logaddexp"),
)
RULES: dict[str, Rule] = dict.fromkeys(ELEMENTWISE, _elementwise) | {
    "linear": _linear,
    "matmul": _matmul,
    "rmatmul": _matmul,
    "mm": _matmul,
    "addmm": _addmm,
    "embedding": _embedding,
    "getitem": _index,
    "index_select": _index,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "einsum": _einsum,
}
