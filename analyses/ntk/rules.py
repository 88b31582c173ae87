"""Which functions meet a weight in which way: the rules of a `Watch`.

    x W^T, x W, einsum      what was multiplied, and the gradient of the product
    a table looked up       the numbers that were looked up, and the gradient of the rows
    a convolution           what was convolved, and the gradient of the result
    sums, products, where   the weight is taken once a sample, so that the gradient of each copy is that of its sample
    norms                   normalise first, then multiply by the gain and add the shift, by the rule above
    attention               its projections are products, as above

It is the function that has a rule and not the module, so modules of other libraries are covered as ours are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .sparse_product import sparse_product
from .uses import Contracted, Convolved, LookedUp, Multiplied, Weight
from .watch import Function, Rule, Watch


def watching(leaves: Mapping[str, Tensor], samples: int, constants: Mapping[str, Tensor]) -> Watch:
    """A watch of these parameters with every rule there is; the arguments are those of `Watch`."""
    return Watch(leaves, samples, constants, RULES)


def _linear(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """x W^T + b; the bias is added by its own rule."""
    x, weight, bias = _arguments(args, kwargs, "input", "weight", "bias")
    known = watch.weight(weight)
    if known is None or weight.ndim != 2:
        return NotImplemented if watch.weight(bias) is None or weight.ndim != 2 else _add(watch, func(x, weight), bias)
    if watch.weight(x) is not None:
        return NotImplemented if bias is None else _add(watch, func(x, weight), bias)
    out = sparse_product(x, weight.mT)
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
    if first.ndim == second.ndim == 3:
        return _bmm(watch, func, args, kwargs)
    if right is not None and second.ndim == 2 and first.ndim >= 2:
        out = sparse_product(first, second)
        watch.note(Multiplied, right, out, first)
        return out
    out = func(*args)
    if left is not None and left.straight is not None and first.ndim == 2 and second.ndim >= 3:
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


def _bmm(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """x W or W x for a stack of matrices W [E, m, n], as of experts or heads; the samples are x's other axis."""
    if len(args) != 2 or kwargs:
        return NotImplemented
    first, second = args if func.__name__ != "__rmatmul__" else args[::-1]
    left, right = watch.weight(first), watch.weight(second)
    out = func(*args)
    if right is not None and left is None:
        moved = out.transpose(0, 1)
        watch.note(Contracted, right, moved, "erm,ren->remn", (first,))
        return moved.transpose(0, 1)
    if left is not None and right is None:
        moved = out.permute(2, 0, 1)
        watch.note(Contracted, left, moved, "enr,rem->remn", (second,))
        return moved.permute(1, 2, 0)
    return out


def _baddbmm(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """beta b + alpha x W of stacks of matrices; what beta = 0 multiplies is not read."""
    bias, first, second, beta, alpha = _arguments(args, kwargs, "input", "batch1", "batch2", "beta", "alpha", beta=1, alpha=1)
    if kwargs.get("out") is not None or _in_place(func):
        return NotImplemented
    with watch:
        product = torch.bmm(first, second)
        product = product if alpha == 1 else alpha * product
        if beta == 0:
            return product
        bias = bias if beta == 1 else beta * bias
        if bias.ndim < 3 or bias.shape[0] == 1 or bias.shape[1] > 1:
            return bias + product
        return (bias.transpose(0, 1) + product.transpose(0, 1)).transpose(0, 1)  # so that the samples come first


def _attention(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """torch's own multi-head attention, of queries [T, N, E] with samples second, in functions that have rules."""
    given = inspect.signature(functional.multi_head_attention_forward).bind(*args, **kwargs)
    given.apply_defaults()
    a = SimpleNamespace(**given.arguments)
    unusual = (a.bias_k, a.bias_v, a.static_k, a.static_v)
    random, maskless = a.training and a.dropout_p, a.is_causal and a.attn_mask is None
    if a.query.ndim != 3 or a.add_zero_attn or random or maskless or any(value is not None for value in unusual):
        return NotImplemented
    with watch:
        q, k, v = _in_projections(a)
        q, k, v = (x.unflatten(-1, (a.num_heads, -1)).transpose(1, 2) for x in (q, k, v))  # [N, H, T, E / H]
        mask = _attention_mask(a, q)
        if a.need_weights:
            scores = q @ k.mT * q.shape[-1] ** -0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            mixed = weights @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, mask)
        out = functional.linear(mixed.transpose(1, 2).flatten(2), a.out_proj_weight, a.out_proj_bias).transpose(0, 1)
        if not a.need_weights:
            return out, None
        return out, weights.mean(1) if a.average_attn_weights else weights


def _in_projections(a: SimpleNamespace) -> list[Tensor]:
    """The queries, keys and values [N, T, E], by one product where they are of the same tokens."""
    sides = [x.transpose(0, 1) for x in (a.query, a.key, a.value)]
    if not a.use_separate_proj_weight:
        if a.query is a.key and a.key is a.value:
            return list(functional.linear(sides[0], a.in_proj_weight, a.in_proj_bias).chunk(3, -1))
        matrices = a.in_proj_weight.chunk(3)
    else:
        matrices = (a.q_proj_weight, a.k_proj_weight, a.v_proj_weight)
    shifts = (None, None, None) if a.in_proj_bias is None else a.in_proj_bias.chunk(3)
    return [functional.linear(x, matrix, shift) for x, matrix, shift in zip(sides, matrices, shifts, strict=True)]


def _attention_mask(a: SimpleNamespace, q: Tensor) -> Tensor | None:
    """What is added to the scores [N, H, T, S]: 0 or -inf for masks of yes (hidden) and no; None without masks."""
    found = None
    if a.attn_mask is not None:
        found = a.attn_mask.unflatten(0, (len(q), -1)) if a.attn_mask.ndim == 3 else a.attn_mask
        found = _added(found, q)
    if a.key_padding_mask is not None:
        padding = _added(a.key_padding_mask[:, None, None], q)
        found = padding if found is None else found + padding
    return found


def _added(mask: Tensor, like: Tensor) -> Tensor:
    empty = like.new_zeros(mask.shape)
    return empty.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask.to(like)


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
    """The rows of a real table by a tensor of whole numbers."""
    table, ids = (args[0], args[-1]) if len(args) == 2 or (len(args) == 3 and args[1] == 0) else (None, None)
    known = watch.weight(table)
    if known is None or not isinstance(ids, Tensor) or ids.dtype not in (torch.int32, torch.int64):
        return NotImplemented
    if known.tensor.ndim != 2 or known.tensor.is_complex():
        return NotImplemented
    out = func(*args, **kwargs)
    watch.note(LookedUp, known, out, ids % len(known.tensor), None)
    return out


def _elementwise(watch: Watch, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Copy each weight once a sample."""
    if (
        not args
        or kwargs.get("out") is not None
        or (isinstance(args[0], Tensor) and _in_place(func) and watch.weight(args[0]) is not None)
    ):
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
    "bmm": _bmm,
    "baddbmm": _baddbmm,
    "multi_head_attention_forward": _attention,
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
