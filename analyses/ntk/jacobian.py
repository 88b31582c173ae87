"""The Jacobian of a model's outputs in its parameters, sample by sample and one output at a time.

Its rows come by one of two routes:

    structured   One backward pass an output serves all samples: where a parameter meets the data, the gradient says what is of
                 each sample (`uses`).
    alone        Each sample runs by itself and each of its outputs is differentiated: right for whatever a model does with a
                 parameter, at N times the passes.

Which route a parameter takes is decided by a check on this model and these samples, never by a list of modules. With random
weights w_i of the samples and r_o of the outputs, the gradients at each use, of sum_io w_i r_o f_o(x_i), must be w_i times those
of sum_io r_o f_o(x_i), so that row i is of sample i alone; and the rows must add up to the gradient that autograd has for the
parameter. All of it runs in float64, in a copy of the parameters: the Jacobian is that of the given numbers and not of their
rounding. A model that rounds to float32 on its way, as some of other libraries do, is checked as closely as that rounding allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ...kernels.arguments import check_finite
from ...probe.errors import unknown_name
from ..operators.evaluation_mode import refuse_training_mode
from ..operators.not_finite import finite_call, refuse_gradients, refuse_outputs
from ..operators.precise import precise
from .factors import Dense, Factor, as_real
from .pieces import together
from .rules import watching
from .samples import Read, Samples, read_outputs
from .uses import Use

Route = Literal["structured", "alone", "unused", "whole"]
Parameters = str | list[str] | tuple[str, ...] | Callable[[str], bool] | None

TOLERANCE = 1e-9  # of the check, relative to bounds of the rows' norms, which no cancellation makes small
LOOSEST = 1e-4  # the same for a model that rounds: it never passes for what is off by more
NOTHING = 1e-13  # of the largest gradient: what one that is zero but for rounding may be off by, as that of a softmax's shift


class Jacobian:
    """The Jacobian of a model's outputs in its parameters at samples.

    leaves: the float64 copies of the parameters that are counted, by name. values: f(x), [N, O]. routes: each parameter's.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        read: Read,
        parameters: Parameters = None,
        routes: Mapping[str, Route] | None = None,
        *,
        checked: bool = False,
        tensors: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None,
    ) -> None:
        """Run the model once over all samples, once over the first alone, and find the routes.

        routes: those found with other samples of the same model; what was "alone" stays so, and each "structured" one is checked
            again. checked: whether they were found with these very samples, and stand.
        tensors: what `double_tensors` gave, for several passes to share; left out, they are copied anew.
        """
        refuse_training_mode(model)
        self.samples, count = samples.double(), len(samples)
        self.leaves, held = double_tensors(model, parameters) if tensors is None else tensors

        def run(these: Samples) -> Tensor:
            return run_model(model, self.leaves | held, these, read)

        with watching(self.leaves, count, held) if count > 1 else nullcontext() as watch:
            self.values = run(self.samples)
        self.uses: list[Use] = [] if watch is None else watch.uses
        self.routes = dict(routes or {}) if checked else self._routes(routes or {})
        singly = count if "alone" in self.routes.values() else 1  # one at least, to see that samples are independent
        self.singles = [run(self.samples[i : i + 1])[0] for i in range(singly)] if count > 1 else [self.values[0]]
        _refuse_coupled_values(self.values[:singly], torch.stack(self.singles))

    def rows(self, index: int) -> Iterator[tuple[str, Factor]]:
        """The gradient of each sample's output of this index, in each parameter that it may depend on.

        One parameter comes after another, so that the rows of only one need be formed at a time. One backward pass, and no
        forward-mode differentiation: it goes through whatever has a gradient, custom kernels included.
        """
        others = {name for name, route in self.routes.items() if route != "structured"}
        for name, factors in self._by_parameter(self._at_uses(self.values[:, index].sum()), others).items():
            if name not in others:
                yield name, together(factors)
        alone = {name: self.leaves[name] for name, route in self.routes.items() if route == "alone"}
        if alone:
            each = [_gradients(single[index], alone) for single in self.singles]
            for name, leaf in alone.items():
                yield name, Dense(torch.stack([_filled(own[name], leaf) for own in each]))

    def pulled_back(self, weights: Tensor) -> dict[str, Tensor]:
        """J^T w: the gradient of sum_io w_io f_o(x_i) in each counted parameter that it depends on, as real numbers [numbers].

        weights: [N, O]. It takes one backward pass.
        """
        found = _gradients((self.values * weights).sum(), self.leaves)
        return {name: as_real(gradient[None])[0] for name, gradient in found.items() if gradient is not None}

    def _at_uses(self, total: Tensor) -> list[Tensor | None]:
        edges = [use.edge for use in self.uses]
        return list(torch.autograd.grad(total, edges, retain_graph=True, allow_unused=True)) if edges else []

    def _at_uses_and_whole(self, total: Tensor) -> tuple[list[Tensor | None], dict[str, Tensor | None]]:
        """The gradients at the uses and those that autograd has for the parameters, by one backward pass."""
        places: list[Any] = [*(use.edge for use in self.uses), *self.leaves.values()]
        found = torch.autograd.grad(total, places, retain_graph=True, allow_unused=True)
        return list(found[: len(self.uses)]), _by_name(self.leaves, found[len(self.uses) :])

    def _by_parameter(self, gradients: list[Tensor | None], others: set[str]) -> dict[str, list[Factor]]:
        """What the uses say of each parameter; those of the others alone are not asked, whose first axis may be anything."""
        found: dict[str, list[Factor]] = {}
        for use, gradient in zip(self.uses, gradients, strict=True):
            if gradient is not None and not use.weight.leaves.keys() <= others:
                for name, factor in use.factors(gradient, len(self.samples)):
                    found.setdefault(name, []).append(factor)
        return found

    def _routes(self, known: Mapping[str, Route]) -> dict[str, Route]:
        """The check of the module's docstring, parameter by parameter."""
        generator = torch.Generator().manual_seed(0)
        count, outputs = self.values.shape
        weight, mix = (torch.randn(size, generator=generator, dtype=torch.float64).to(self.values) for size in (count, outputs))
        plain = self._rows_seen(self._at_uses((self.values @ mix).sum())) if count > 1 else []
        weighted = (self.values @ mix * weight).sum()
        at_uses, whole = self._at_uses_and_whole(weighted)
        refuse_gradients(whole)
        if count == 1:
            return {name: "unused" if gradient is None else "alone" for name, gradient in whole.items()}
        rounding = _Rounding(lambda: self._tolerance(weighted, whole))
        mixed = self._mixed(plain, self._rows_seen(at_uses), weight, rounding)
        factors = self._by_parameter(at_uses, mixed)
        scales = {name: sum(float(factor.bound()) for factor in own) for name, own in factors.items()}
        floor = NOTHING * max(scales.values(), default=0.0)
        routes: dict[str, Route] = {}
        for name, gradient in whole.items():
            if gradient is None:
                routes[name] = "unused"
            elif name in mixed or name not in factors or known.get(name) == "alone":
                routes[name] = "alone"
            else:
                missed = self._missed(factors[name], gradient, generator)
                routes[name] = "structured" if rounding.explains(missed, scales[name], floor) else "alone"
        return routes

    def _missed(self, factors: Sequence[Factor], gradient: Tensor, generator: torch.Generator) -> float:
        """What the rows add up to but for the whole gradient, between two random vectors of unit variance.

        What is missing lies between these with its own norm in the mean square; and the sums need not be formed.
        """
        whole = Dense(gradient[None])
        shape = torch.atleast_1d(gradient).shape
        sizes = (shape[0], math.prod(shape[1:]) * (2 if gradient.is_complex() else 1))
        left, right = (torch.randn(size, generator=generator, dtype=torch.float64).to(self.values.device) for size in sizes)
        summed = torch.stack([factor.between(left, right).sum() for factor in factors]).sum()
        return abs(float(summed - whole.between(left, right)[0]))

    def _rows_seen(self, gradients: list[Tensor | None]) -> list[_RowsSeen | None]:
        """The rows of each use's gradient as a check needs them; None where there is no gradient."""
        count = len(self.values)
        longest = max((gradient.numel() for gradient in gradients if gradient is not None), default=0)
        direction = torch.randn(2 * -(-longest // count), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        direction = direction.to(self.values.device)
        return [None if gradient is None else _RowsSeen.of(gradient, count, direction) for gradient in gradients]

    def _mixed(
        self, plain: list[_RowsSeen | None], weighted: list[_RowsSeen | None], weight: Tensor, rounding: _Rounding
    ) -> set[str]:
        """Parameters at some use of which the first axis is not that of samples."""
        found = set[str]()
        floor = NOTHING * max((float(other.norms.norm()) for other in weighted if other is not None), default=0.0)
        for use, one, other in zip(self.uses, plain, weighted, strict=True):
            if one is None or other is None:
                continue
            if len(one.norms) != len(weight):
                found |= set(use.weight.leaves)
                continue
            apart = float((one.along * weight - other.along).norm())
            if not rounding.explains(apart, float((one.norms * weight).norm() + other.norms.norm()), floor):
                found |= set(use.weight.leaves)
        return found

    def _tolerance(self, total: Tensor, whole: Mapping[str, Tensor | None]) -> float:
        """How closely the check can hold: backward passes are linear, so a third of the sum has a third of the gradient."""
        third, worst = _gradients(total / 3, self.leaves), 0.0
        for name, gradient in whole.items():
            own = third[name]
            if gradient is not None and own is not None and bool(gradient.any()):
                worst = max(worst, float((3 * own - gradient).norm() / gradient.norm()))
        return min(max(TOLERANCE, 30 * worst), LOOSEST)


class _RowsSeen(NamedTuple):
    """What a check keeps of rows: their products with one random vector of unit variance, and their norms, [N] each.

    What two rows differ by has a product with that vector as large as its norm, in the mean square; and the rows themselves, as
    many numbers as all activations of a pass, need not be held.
    """

    along: Tensor
    norms: Tensor

    @staticmethod
    def of(gradient: Tensor, count: int, direction: Tensor) -> _RowsSeen:
        """The first axis holds the `count` samples; one row in all where it cannot."""
        rows = as_real(gradient.reshape(1 if len(gradient) % count else count, -1)).double()
        norms = rows.norm(dim=1)
        return _RowsSeen(rows @ direction[: rows.shape[1]] if len(rows) == count else norms, norms)


class _Rounding:
    """How much of what a check misses is rounding: the pass that says it of a model is made where float64 does not explain it."""

    def __init__(self, tolerance: Callable[[], float]) -> None:
        self._tolerance = cache(tolerance)

    def explains(self, missed: float, scale: float, floor: float) -> bool:
        return missed <= max(TOLERANCE * scale, floor) or missed <= self._tolerance() * scale


def run_model(model: nn.Module, tensors: Mapping[str, Tensor], samples: Samples, read: Read) -> Tensor:
    """The outputs f [N, O] of a model with these parameters and buffers.

    Raises ValueError for a model without float64, and NonFiniteError, with where it arose, for NaN or infinity.
    """
    try:
        output = finite_call(model, tensors, samples.inputs, samples.numbers)
    except RuntimeError as error:
        raise ValueError(
            f"the model does not run in float64, in which tangent kernels are exact: {error}. Of transformers' mixtures of "
            'experts, set_experts_implementation("eager") of the foreign model does'
        ) from error
    values = read_outputs(output, samples, read)
    refuse_outputs(values, model, tensors, samples.inputs, numbers=samples.numbers)
    return values


def chosen(model: nn.Module, parameters: Parameters) -> list[str]:
    """The names of the parameters that are counted: those with requires_grad that the selection takes.

    parameters: patterns such as "blocks.0.*", or a function of the name; None takes all.
    Raises ValueError where nothing is left, and UnknownNameError for a pattern that no parameter has.
    """
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    if not trained:
        raise ValueError("no parameter of the model has requires_grad, so its tangent kernel is of nothing")
    if parameters is None:
        return trained
    if callable(parameters):
        found = [name for name in trained if parameters(name)]
        if not found:
            raise ValueError("`parameters` takes none of the model's parameters")
        return found
    patterns = [parameters] if isinstance(parameters, str) else list(parameters)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in trained):
            raise unknown_name("parameter", pattern, trained)
    return [name for name in trained if any(fnmatchcase(name, pattern) for pattern in patterns)]


def double_tensors(model: nn.Module, parameters: Parameters) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Float64 copies of the parameters that are counted, which take gradients, and of all else that a model holds.

    Raises NonFiniteError for a parameter with NaN or infinity, ValueError for one that has no values yet. Buffers may hold
    infinity, as masks of attention do.
    """
    refuse_without_values(model)
    own = dict(model.named_parameters())
    check_finite(**own)
    leaves = {name: precise(own[name]).requires_grad_() for name in chosen(model, parameters)}
    still = {name: value for name, value in own.items() if name not in leaves} | dict(model.named_buffers())
    return leaves, {name: precise(value) for name, value in still.items()}


def refuse_without_values(model: nn.Module) -> None:
    """Raise ValueError for a model with a parameter that has no values yet."""
    for name, value in model.named_parameters():
        if is_lazy(value) or value.is_meta:
            how = "run the model once on its inputs" if is_lazy(value) else "load its weights first"
            raise ValueError(f"{name} has no values yet: {how}")


def _gradients(total: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    found = torch.autograd.grad(total, list(leaves.values()), retain_graph=True, allow_unused=True)
    return _by_name(leaves, found)


def _by_name(leaves: Mapping[str, Tensor], found: Sequence[Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if own is None else own.to_dense() for name, own in zip(leaves, found, strict=True)}


def _filled(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if gradient is None else gradient


def _refuse_coupled_values(together: Tensor, alone: Tensor) -> None:
    together, alone = together.detach(), alone.detach()
    apart = float((together - alone).abs().max() / together.abs().max().clamp(min=1e-300))
    if not apart < 1e-4:
        raise ValueError(
            f"a sample alone has other outputs than in the batch (by {apart:.2g}, relative): the model couples samples or draws "
            "random numbers, so no kernel between samples exists; use model.eval(), and samples as the first axis"
        )
