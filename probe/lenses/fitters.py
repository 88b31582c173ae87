"""How lenses are found: as they stand, by least squares, or trained to say what the model says."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...kernels.recurrence import TapRequest
from ..configuration import Configuration, Count, NotNegative, Positive
from ..erasure.moments import Moments
from ..plugins import Kinds
from .lens import Lens, LensError, Translator, activations_of, batches_of, last_stream

if TYPE_CHECKING:
    from ..models.hooked import HookedModel

LARGEST = 16_384  # features of a hook: its Gram matrix is 2 GB
STREAMS = ("blocks.*.hook_resid_post",)


@dataclass(frozen=True)
class LensFitter(Configuration, Kinds, family="lens"):
    """Base of what finds lenses. A lens of one's own is a class `class Mine(LensFitter, kind="mine")` with `fit`."""

    batch_size: Count = 16
    """So many sequences run together at most."""

    @abstractmethod
    def fit(
        self,
        model: HookedModel,
        tokens: Tensor | Iterable[Tensor],
        hooks: Sequence[str] = STREAMS,
        *,
        positions: TapRequest = "all",
    ) -> Lens:
        """Find a lens for each hook of a model, on tokens [N, T] at some positions; they are read batch by batch."""


@dataclass(frozen=True)
class LogitLens(LensFitter, kind="logit"):
    """The stream as it is (nostalgebraist 2020): what the model would say if its remaining layers did nothing."""

    def fit(
        self,
        model: HookedModel,
        tokens: Tensor | Iterable[Tensor],
        hooks: Sequence[str] = STREAMS,
        *,
        positions: TapRequest = "all",
    ) -> Lens:
        first = batches_of(tokens, 1)[0]
        found, _ = activations_of(model, first, [*hooks, last_stream(model)], "last")
        width = found[last_stream(model)].shape[-1]
        names = model.matching_hooks(list(hooks), taps="last")
        for name in names:
            if found[name].shape[-1] != width:
                raise LensError(
                    f"{name} has {found[name].shape[-1]} numbers and the stream {width}: the logit lens reads the stream alone; "
                    "take ShortcutLens or TunedLens"
                )
        return Lens(self.kind, {name: Translator(None, None) for name in names}, type(model).__name__)


@dataclass(frozen=True)
class ShortcutLens(LensFitter, kind="shortcut"):
    """The least-squares map from a hook, a state too, to the stream leaving the last block (Din et al. 2023, arXiv:2303.09435).

    W = (S_xx + penalty s I)^{-1} S_xz with covariances S about the means, and s the mean variance of x. Sums are gathered batch
    by batch.
    """

    penalty: NotNegative = 1e-6
    """The ridge has this strength, relative to the mean variance of the features."""
    target: str = ""
    """The map leads to this hook; empty for the stream leaving the last block."""

    def fit(
        self,
        model: HookedModel,
        tokens: Tensor | Iterable[Tensor],
        hooks: Sequence[str] = STREAMS,
        *,
        positions: TapRequest = "all",
    ) -> Lens:
        """Fit the maps. Raises LensError for a hook of more features than a Gram matrix of 2 GB has."""
        target = self.target or last_stream(model)
        names = model.matching_hooks(list(hooks), taps="last")
        moments: dict[str, list[Moments]] = {name: [] for name in names}
        for batch in batches_of(tokens, self.batch_size):
            found, _ = activations_of(model, batch, [*names, target], positions)
            for name in names:
                if found[name].shape[-1] > LARGEST:
                    raise LensError(f"{name} has {found[name].shape[-1]} features; least squares takes {LARGEST} at most")
                moments[name].append(Moments.of(found[name].flatten(0, 1), found[target].flatten(0, 1)))
                moments[name] = [reduce(add, moments[name])]
        return Lens(self.kind, {name: self._solved(own[0]) for name, own in moments.items()}, type(model).__name__)

    def _solved(self, moments: Moments) -> Translator:
        gram = moments.covariance_xx
        ridge = self.penalty * float(gram.diagonal().mean())
        values, vectors = torch.linalg.eigh(gram)
        held = values > 1e-12 * values[-1]  # directions that no sample moves along
        vectors, values = vectors[:, held], values[held] + ridge
        weight = vectors @ ((vectors.T @ moments.covariance_xz) / values[:, None])
        return Translator(weight, moments.mean_z - moments.mean_x @ weight)


@dataclass(frozen=True)
class TunedLens(LensFitter, kind="tuned"):
    """An affine map for each hook, trained to say what the model says (Belrose et al. 2023, arXiv:2303.08112).

    It minimises KL(p_model || p_lens) in nats, by Adam, from the least-squares map. The model is not changed, and its parameters
    gather no gradients.
    """

    steps: Count = 200
    """Each step takes one batch of sequences."""
    learning_rate: Positive = 2e-3
    """The step size falls linearly to 0 over the steps."""
    seed: int = 0
    """The order of the batches is drawn from this seed."""

    def fit(
        self,
        model: HookedModel,
        tokens: Tensor | Iterable[Tensor],
        hooks: Sequence[str] = STREAMS,
        *,
        positions: TapRequest = "all",
        advance: Callable[[int, float], None] = lambda step, loss: None,
    ) -> Lens:
        """Train the maps. advance: called with each step and the mean loss in nats over the hooks."""
        batches = batches_of(tokens, self.batch_size)
        start = ShortcutLens(batch_size=self.batch_size).fit(model, batches, hooks, positions=positions)
        dtype = torch.promote_types(next(model.parameters()).dtype, torch.float32)
        device = next(model.parameters()).device
        trained = {
            name: [_leaf(translator.weight, dtype, device), _leaf(translator.bias, dtype, device)]
            for name, translator in start.translators.items()
        }
        leaves = [leaf for own in trained.values() for leaf in own]
        optimizer = torch.optim.Adam(leaves, lr=self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        for step in range(self.steps):
            batch = batches[int(torch.randint(len(batches), (), generator=generator))]
            found, logits = activations_of(model, batch, list(trained), positions)
            own = logits.to(dtype).log_softmax(-1)
            losses = torch.stack(
                [
                    divergence(own, model.logits_of(Translator(weight, bias)(found[name].to(dtype)))).mean()
                    for name, (weight, bias) in trained.items()
                ]
            )
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (1 - step / self.steps)
            for leaf, gradient in zip(leaves, torch.autograd.grad(losses.sum(), leaves), strict=True):
                leaf.grad = gradient
            optimizer.step()
            advance(step, float(losses.mean().detach()))
        fitted = {name: Translator(weight.detach(), bias.detach()) for name, (weight, bias) in trained.items()}
        return Lens(self.kind, fitted, type(model).__name__)


def divergence(own: Tensor, logits: Tensor) -> Tensor:
    """KL(p || q) in nats, [...], of log-probabilities [..., vocabulary] of p and logits of q.

    Tokens that p never says, as those that a model masks, count for nothing.
    """
    each = own.exp() * (own - logits.to(own).log_softmax(-1))
    return each.masked_fill(own == -torch.inf, 0.0).sum(-1)


def _leaf(value: Tensor | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    assert value is not None
    return value.to(device, dtype).clone().requires_grad_()
