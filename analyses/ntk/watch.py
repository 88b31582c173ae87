"""Follow a pass of a model, function by function, and note where its parameters meet the data.

While a `Watch` is entered, every call of a torch function is looked at. What is computed from parameters alone (an exponential, a
transpose, a multiplier before a weight) is followed; where such a weight meets the data, the rule of that function (`rules`)
notes what the gradient there says of each sample (`uses`). A weight that meets the data in a function without a rule (a custom
kernel, say) is not noted, and nothing noted is trusted unseen: `Jacobian` checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from .uses import Copied, Use, Weight

Function = Callable[..., Any]
Rule = Callable[["Watch", Function, tuple[Any, ...], dict[str, Any]], Any]


class Watch(TorchFunctionMode):
    """Note every use of the leaves while it is entered.

    leaves: the parameters, by name. samples: N; the first axis of what the model computes is N, or a multiple of it where samples
    and tokens share one axis. constants: tensors that are no data, such as buffers. rules: of functions, by name.
    """

    def __init__(
        self, leaves: Mapping[str, Tensor], samples: int, constants: Mapping[str, Tensor], rules: Mapping[str, Rule]
    ) -> None:
        super().__init__()
        self.samples, self.uses, self._rules = samples, list[Use](), rules
        self._known: dict[int, Weight] = {}
        for name, leaf in leaves.items():
            self._remember(leaf, {name: leaf}, (1.0, False) if leaf.ndim == 2 and not leaf.is_complex() else None)
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
        """Note a use, but for one without numbers, as of layers of no width, whose axes do not say which is that of samples."""
        if weight.leaves and out.requires_grad and out.numel() and weight.tensor.numel():
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
        weights = [self.weight(value) for value in _tensors((args, kwargs))]
        if all(weight is not None for weight in weights):
            return self._followed(func, args, kwargs, [weight for weight in weights if weight is not None])
        if any(weight is not None and weight.leaves for weight in weights):
            rule = self._rules.get(func.__name__.strip("_"))
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


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors among the arguments of a function, which stand in lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for own in value.values() if isinstance(value, dict) else value:
            yield from _tensors(own)


def _straight(name: str, args: tuple[Any, ...], out: Any, weights: list[Weight]) -> tuple[float, bool] | None:
    """How a result comes of a real matrix, where it is a real multiple of it or of its transpose."""
    known = [weight for weight in weights if weight.leaves]
    if not isinstance(out, Tensor) or out.ndim != 2 or out.is_complex() or len(known) != 1 or known[0].straight is None:
        return None
    before, (scale, turned) = known[0].tensor, known[0].straight
    if name in ("to", "clone", "contiguous", "double", "float", "type_as"):
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
