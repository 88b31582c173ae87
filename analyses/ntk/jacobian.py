"""The Jacobian of a model's outputs in its parameters, sample by sample and one output at a time.

Its rows come by one of two routes:

    structured   One backward pass an output serves all samples: what enters a module and the gradient of what leaves it give each
                 sample's gradient (`per_sample`).
    alone        Each sample runs by itself and each of its outputs is differentiated: right for whatever a model does with a
                 parameter, at N times the passes.

Which route a parameter takes is decided by a check on this model and these samples, never by a list of modules. With random
weights w_i of the samples and r_o of the outputs, the structured rows of sum_io w_i r_o f_o(x_i) must be w_i times those of
sum_io r_o f_o(x_i), so that row i is of sample i alone, and must add up to the gradient that autograd has for the parameter.
All of it runs in float64, in a copy of the parameters: the Jacobian is that of the given numbers and not of their rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .per_sample import contract, rule_for

Route = Literal["structured", "alone", "unused"]
Read = Callable[[Any], Tensor]
Rows = dict[str, Tensor]  # parameter -> [N, ...]

TOLERANCE = 1e-9  # of the check, relative to the summed norms of the rows, which no cancellation makes small


def last_position(output: Tensor) -> Tensor:
    """The outputs at the last token of [N, T, O]; [N, O] as they are."""
    return output if output.ndim == 2 else output[:, -1]


class Jacobian:
    """The Jacobian of a model's outputs in its parameters at the samples x.

    leaves: the float64 copies of the parameters that are counted, by name. values: f(x), [N, O]. routes: each parameter's.
    """

    def __init__(self, model: nn.Module, x: Tensor, read: Read) -> None:
        own = dict(model.named_parameters())
        self.leaves = {name: _double(value).requires_grad_() for name, value in own.items() if value.requires_grad}
        if not self.leaves:
            raise ValueError("no parameter of the model has requires_grad, so its tangent kernel is of nothing")
        still = {name: value for name, value in own.items() if not value.requires_grad} | dict(model.named_buffers())
        tensors = self.leaves | {name: _double(value) for name, value in still.items()}
        self.names = {id(value): name for name, value in own.items()}

        def run(samples: Tensor) -> Tensor:
            return _outputs(read(functional_call(model, tensors, (samples,))), len(samples))

        try:
            with _recording(model) as records:
                self.values = run(x)
        except RuntimeError as error:
            raise ValueError(
                f"the model does not run in float64, in which tangent kernels are exact: {error}. Of transformers' mixtures of "
                'experts, set_experts_implementation("eager") of the foreign model does'
            ) from error
        self.records = [record for record in records if record.rows == len(x)]
        self.routes = self._routes()
        singly = len(x) if "alone" in self.routes.values() else 1  # one at least, to see that samples are independent
        self.singles = [run(x[i : i + 1])[0] for i in range(singly)]
        _refuse_coupled_values(self.values[:singly], torch.stack(self.singles))

    def rows(self, index: int) -> Rows:
        """The gradient of each sample's output of this index, [N, ...] of each parameter that it may depend on."""
        structured = self._structured(self.values[:, index].sum())
        found = {name: rows for name, rows in structured.items() if self.routes[name] == "structured"}
        alone = {name: self.leaves[name] for name, route in self.routes.items() if route == "alone"}
        if alone:
            each = [_gradients(single[index], alone) for single in self.singles]
            found |= {name: torch.stack([_filled(own[name], leaf) for own in each]) for name, leaf in alone.items()}
        return found

    def pulled_back(self, weights: Tensor) -> dict[str, Tensor]:
        """J^T w: the gradient of sum_io w_io f_o(x_i) in every counted parameter, by one backward pass. weights [N, O]."""
        found = _gradients((self.values * weights).sum(), self.leaves)
        return {name: _filled(gradient, self.leaves[name]) for name, gradient in found.items()}

    def slopes(self, index: int, directions: Mapping[str, Tensor]) -> Tensor:
        """J d: how each sample's output of this index moves along a direction in the parameters, [N].

        directions: of every counted parameter, by name. One backward pass, and no forward-mode differentiation: it goes through
        whatever has a gradient, custom kernels included.
        """
        outs = [record.out for record in self.records]
        total = self.values[:, index].sum()
        gradients = torch.autograd.grad(total, outs, retain_graph=True, allow_unused=True) if outs else ()
        found = self.values.new_zeros(len(self.values))
        for record, gradient in zip(self.records, gradients, strict=True):
            if gradient is not None:
                own = {local: self.names.get(id(value), "") for local, value in record.module.named_parameters(recurse=False)}
                along = {local: directions[name] for local, name in own.items() if self.routes.get(name) == "structured"}
                found = found + contract(record.module, record.inputs, gradient, along)
        for name, route in self.routes.items():
            if route == "alone":
                leaf = self.leaves[name]
                each = [_gradients(single[index], {name: leaf})[name] for single in self.singles]
                found = found + torch.stack([(_filled(own, leaf).conj() * directions[name]).sum().real for own in each])
        return found

    def _routes(self) -> dict[str, Route]:
        """The check of the module's docstring, parameter by parameter."""
        generator = torch.Generator().manual_seed(0)
        count, outputs = self.values.shape
        weight, mix = (torch.randn(size, generator=generator, dtype=torch.float64).to(self.values) for size in (count, outputs))
        plain = self._structured((self.values @ mix).sum())
        weighted = self._structured((self.values @ mix * weight).sum())
        whole = _gradients((self.values @ mix * weight).sum(), self.leaves)
        routes: dict[str, Route] = {}
        for name, gradient in whole.items():
            if gradient is None:
                routes[name] = "unused"
                continue
            held = name in plain and name in weighted and _hold(plain[name], weighted[name], weight, gradient)
            routes[name] = "structured" if held else "alone"
        return routes

    def _structured(self, total: Tensor) -> Rows:
        """What the rules say of each sample's gradient."""
        outs = [record.out for record in self.records]
        gradients = torch.autograd.grad(total, outs, retain_graph=True, allow_unused=True) if outs else ()
        found: Rows = {}
        for record, gradient in zip(self.records, gradients, strict=True):
            if gradient is None:
                continue
            for own, value in record.rule(gradient).items():
                name = self.names.get(id(getattr(record.module, own)))
                if name in self.leaves:
                    found[name] = found[name] + value if name in found else value
        return found


@dataclass(frozen=True)
class _Record:
    """One call of a module that has a rule."""

    module: nn.Module
    inputs: Any
    out: Tensor

    @property
    def rows(self) -> int:
        return len(self.out) if self.out.ndim > 1 else 0

    def rule(self, gradient: Tensor) -> Rows:
        rule = rule_for(self.module)
        assert rule is not None
        return rule(self.module, self.inputs, gradient)


@contextmanager
def _recording(model: nn.Module) -> Iterator[list[_Record]]:
    """Record every call of a module with a rule whose output has a gradient."""
    records: list[_Record] = []

    def record(first: str, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        inputs = args[0] if args else named[first]
        if isinstance(out, Tensor) and out.requires_grad:
            records.append(_Record(module, inputs.detach() if isinstance(inputs, Tensor) else inputs, out))

    with ExitStack() as stack:
        for module in model.modules():
            if rule_for(module) is not None:
                first = next(iter(inspect.signature(module.forward).parameters))
                hook = module.register_forward_hook(partial(record, first), with_kwargs=True)
                stack.callback(hook.remove)
        yield records


def _hold(plain: Tensor, weighted: Tensor, weight: Tensor, gradient: Tensor) -> bool:
    """Whether row i is w_i times that of the unweighted functional, and the rows add up to the parameter's gradient."""
    if weighted[0].numel() != gradient.numel():
        return False
    expected, found = as_real(plain) * weight[:, None], as_real(weighted)
    scale = found.norm(dim=1).sum() + expected.norm(dim=1).sum()
    apart = (found - expected).norm()
    missed = (found.sum(0) - as_real(gradient[None])[0]).norm()
    return bool(apart <= TOLERANCE * scale) and bool(missed <= TOLERANCE * scale)


def _gradients(total: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    found = torch.autograd.grad(total, list(leaves.values()), retain_graph=True, allow_unused=True)
    return {name: None if own is None else own.to_dense() for name, own in zip(leaves, found, strict=True)}


def _filled(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if gradient is None else gradient


def _double(value: Tensor) -> Tensor:
    """A copy in float64 or complex128; whole numbers as they are."""
    if value.is_floating_point() or value.is_complex():
        return value.detach().to(torch.promote_types(value.dtype, torch.float64), copy=True)
    return value.detach()


def as_real(rows: Tensor) -> Tensor:
    """Write rows as real numbers, [N, numbers]; a complex parameter becomes two of them."""
    return (torch.view_as_real(rows.resolve_conj()) if rows.is_complex() else rows).reshape(len(rows), -1)


def _outputs(values: Any, count: int) -> Tensor:
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != count:
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"read must give the outputs of each sample, [{count}, outputs]; it gave {found}")
    if not values.requires_grad:
        raise ValueError("the outputs depend on no parameter with requires_grad, or the model detaches them")
    return values.double()


def refuse_coupled_modules(model: nn.Module) -> None:
    """Raise ValueError, naming the module, for batch normalisation or dropout in training."""
    for name, module in model.named_modules():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
            raise ValueError(f"{name} ({type(module).__name__}) is in training mode, which couples samples; use model.eval()")


def _refuse_coupled_values(together: Tensor, alone: Tensor) -> None:
    together, alone = together.detach(), alone.detach()
    apart = float((together - alone).abs().max() / together.abs().max().clamp(min=1e-300))
    if not apart < 1e-4:
        raise ValueError(
            f"a sample alone has other outputs than in the batch (by {apart:.2g}, relative): the model couples samples or draws "
            "random numbers, so no kernel between samples exists; use model.eval(), and samples as the first axis"
        )
