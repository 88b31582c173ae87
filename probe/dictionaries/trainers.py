"""Training of sparse dictionaries, by kind of sparsity, with features that have died brought back."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..configuration import Configuration, Count, NotNegative, Positive
from ..plugins import Kinds
from .dictionary import Dictionary, DictionaryError, sparse

Advance = Callable[[int, float], None]


@dataclass
class _Weights:
    """What is trained: encoder [D, F], decoder [F, D_out] with rows of length 1, their biases, and the log of the thresholds."""

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    log_threshold: Tensor

    def leaves(self) -> list[Tensor]:
        return [self.encoder, self.encoder_bias, self.decoder, self.decoder_bias, self.log_threshold]


@dataclass(frozen=True)
class DictionaryTrainer(Configuration, Kinds, family="dictionary"):
    """Base of what trains dictionaries by Adam on |x - reconstruction|^2 and a cost of what is not sparse.

    The data is scaled so that its mean squared distance from the mean is 1 a number, and the dictionary is given back in the
    data's own scale. A feature that was silent for `dead_after` samples is taken for dead: the dead ones together then explain
    what the others leave (Gao et al. 2024, arXiv:2406.04093), and are drawn up to 0 from below, which brings them back.
    """

    features: Count = 256
    """The dictionary has this many directions."""
    steps: Count = 1000
    """Each step takes one batch."""
    batch_size: Count = 256
    """A batch has this many samples, drawn with replacement."""
    learning_rate: Positive = 3e-3
    """The step size falls to 0 over the last fifth of the steps."""
    dead_after: Count = 20_000
    """A feature that fired in none of so many samples counts as dead."""
    revival: NotNegative = 1 / 32
    """The error that dead features leave of the others' error has this weight."""
    seed: int = 0
    """The start and the batches are drawn from this seed."""

    @abstractmethod
    def activate(self, pre: Tensor, weights: Any) -> Tensor:
        """The features [B, F] of pre-activations."""

    def cost(self, pre: Tensor, features: Tensor, weights: Any, share: float) -> Tensor:
        """What is added to the error. share: of the training that is done."""
        return pre.new_zeros(())

    def sparsity(self, x: Tensor, weights: Any) -> dict[str, Any]:
        """The k or threshold of the finished dictionary, from samples x."""
        return {}

    def fit(
        self,
        samples: Tensor,
        targets: Tensor | None = None,
        *,
        hook: str = "",
        target: str = "",
        advance: Advance = lambda step, loss: None,
    ) -> Dictionary:
        """Train a dictionary of samples [N, D], or a transcoder from them to targets [N, D_out].

        hook, target: the activations that they are of. advance: called with each step and its error, a share of the variance.
        Raises DictionaryError for samples that are not finite, do not differ, or do not fit their targets.
        """
        y = samples if targets is None else targets
        _check(samples, y)
        generator = torch.Generator().manual_seed(self.seed)
        dtype = torch.promote_types(samples.dtype, torch.float32)
        mean_x, mean_y = samples.mean(0, dtype=torch.float64).to(dtype), y.mean(0, dtype=torch.float64).to(dtype)
        scale_x, scale_y = _spread(samples, mean_x), _spread(y, mean_y)
        weights = self._start(samples.shape[1], y.shape[1], targets is None, dtype, generator)
        leaves = weights.leaves()
        optimizer = torch.optim.Adam(leaves, lr=self.learning_rate, betas=(0.9, 0.999))
        silent = torch.zeros(self.features)
        for step in range(self.steps):
            drawn = torch.randint(len(samples), (self.batch_size,), generator=generator)
            x = (samples[drawn].to(dtype) - mean_x) / scale_x
            wanted = x if targets is None else (y[drawn].to(dtype) - mean_y) / scale_y
            pre = _pre(x, weights, targets is None)
            features = self.activate(pre, weights)
            left = wanted - features @ weights.decoder - weights.decoder_bias
            error = left.square().sum(-1).mean()
            loss = error + self.cost(pre, features, weights, step / self.steps)
            loss = loss + self.revival * self._revived(left, pre, silent > self.dead_after, weights)
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * min(1.0, 5 * (1 - step / self.steps))
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient
            self._along_the_sphere(weights)
            optimizer.step()
            with torch.no_grad():
                weights.decoder.div_(weights.decoder.norm(dim=1, keepdim=True))
                silent = torch.where((features > 0).any(0).cpu(), 0.0, silent + self.batch_size)
            advance(step, float(error.detach()) / y.shape[1])
        dead = int((silent > self.dead_after).sum())
        return self._finished(weights, (mean_x, scale_x, mean_y, scale_y), samples, targets is None, (hook, target, dead))

    def _start(self, inputs: int, outputs: int, tied: bool, dtype: torch.dtype, generator: torch.Generator) -> _Weights:
        decoder = torch.randn(self.features, outputs, generator=generator, dtype=dtype)
        decoder = decoder / decoder.norm(dim=1, keepdim=True)
        if tied:
            encoder = decoder.T.clone()
        else:
            encoder = torch.randn(inputs, self.features, generator=generator, dtype=dtype) / math.sqrt(inputs)
        zero = torch.zeros(self.features, dtype=dtype)
        weights = _Weights(encoder, zero, decoder, torch.zeros(outputs, dtype=dtype), torch.full_like(zero, math.log(0.1)))
        for name, value in vars(weights).items():
            setattr(weights, name, value.clone().requires_grad_())
        return weights

    def _revived(self, left: Tensor, pre: Tensor, dead: Tensor, weights: _Weights) -> Tensor:
        """The error that the dead features leave of the others' error, as a share of it, and how far below 0 they are."""
        count = int(dead.sum())
        if not count or not self.revival:
            return left.new_zeros(())
        mask = dead.to(pre.device)
        own = sparse(pre[:, mask], min(count, max(1, pre.shape[1] // 2)), None)
        remains = left.detach() - own @ weights.decoder[mask]
        share = remains.square().sum(-1).mean() / left.detach().square().sum(-1).mean().clamp(min=1e-12)
        return share + (-pre[:, mask]).relu().sum(-1).mean()

    def _along_the_sphere(self, weights: _Weights) -> None:
        """Take out of the decoder's gradient what only changes the length of its rows."""
        gradient, rows = weights.decoder.grad, weights.decoder.detach()
        if gradient is not None:
            weights.decoder.grad = gradient - (gradient * rows).sum(1, keepdim=True) * rows

    @torch.no_grad()
    def _finished(self, weights: _Weights, scales: Any, samples: Tensor, tied: bool, named: Any) -> Dictionary:
        """The dictionary in the data's own scale, where x is read as (x - mean) / scale."""
        mean_x, scale_x, mean_y, scale_y = scales
        seen = samples[:: max(1, len(samples) // (8 * self.batch_size))]  # from all of them: neighbours may be alike
        x = (seen.to(mean_x) - mean_x) / scale_x
        made = self.sparsity(_pre(x, weights, tied), weights)
        encoder = weights.encoder.detach() / scale_x * scale_y
        bias = (
            weights.encoder_bias.detach() - (weights.decoder_bias.detach() @ weights.encoder.detach() if tied else 0)
        ) * scale_y
        if "threshold" in made:
            made["threshold"] = made["threshold"] * scale_y
        hook, target, dead = named
        return Dictionary(
            encoder,
            bias - mean_x @ encoder,
            weights.decoder.detach().clone(),
            weights.decoder_bias.detach() * scale_y + mean_y,
            subtract=False,
            hook=hook,
            target=target or hook,
            about={"trainer": self.kind, "steps": self.steps, "samples": len(samples), "dead_at_end": dead, "seed": self.seed},
            **made,
        )


@dataclass(frozen=True)
class TopK(DictionaryTrainer, kind="topk"):
    """The k largest features of each sample (Makhzani and Frey 2013; Gao et al. 2024, arXiv:2406.04093)."""

    k: Count = 8
    """So many features of a sample are kept."""

    def activate(self, pre: Tensor, weights: Any) -> Tensor:
        return sparse(pre, min(self.k, pre.shape[1]), None)

    def sparsity(self, x: Tensor, weights: Any) -> dict[str, Any]:
        return {"k": min(self.k, self.features)}


@dataclass(frozen=True)
class BatchTopK(DictionaryTrainer, kind="batch_topk"):
    """The k B largest features of a batch of B samples, so that each sample has as many as it needs (Bussmann et al. 2024,
    arXiv:2412.06410). The finished dictionary has one threshold for all, at which k features of a sample fire in the mean.
    """

    k: Count = 8
    """So many features of a sample are kept in the mean."""

    def activate(self, pre: Tensor, weights: Any) -> Tensor:
        positive = pre.relu()
        count = min(self.k * len(pre), positive.numel())
        least = positive.flatten().topk(count).values[-1]
        return positive * (positive >= least)

    def sparsity(self, x: Tensor, weights: Any) -> dict[str, Any]:
        positive = x.relu().flatten()
        count = min(self.k * len(x), positive.numel() - 1)
        edge = positive.topk(count + 1).values
        return {"threshold": ((edge[-1] + edge[-2]) / 2).expand(self.features).clone()}


@dataclass(frozen=True)
class L1(DictionaryTrainer, kind="l1"):
    """ReLU features with their sum as cost, under decoder rows of length 1 (Bricken et al. 2023)."""

    penalty: NotNegative = 1.0
    """The sum of a sample's features has this weight; it grows from 0 over the first tenth of the steps."""

    def activate(self, pre: Tensor, weights: Any) -> Tensor:
        return pre.relu()

    def cost(self, pre: Tensor, features: Tensor, weights: Any, share: float) -> Tensor:
        return self.penalty * min(1.0, 10 * share) * features.sum(-1).mean()


@dataclass(frozen=True)
class JumpReLU(DictionaryTrainer, kind="jump_relu"):
    """Features above a threshold of their own, with their number as cost (Rajamanoharan et al. 2024, arXiv:2407.14435).

    The thresholds learn through a rectangle of a width `bandwidth` about them, in the place of the step's own gradient, which is
    0.
    """

    penalty: NotNegative = 1.0
    """Each feature of a sample costs this much; it grows from 0 over the first tenth of the steps."""
    bandwidth: Positive = 0.1
    """The rectangle through which the thresholds learn has this width."""

    def activate(self, pre: Tensor, weights: Any) -> Tensor:
        found: Tensor = _Jump.apply(pre.relu(), weights.log_threshold.exp(), self.bandwidth)  # type: ignore[no-untyped-call]
        return found

    def cost(self, pre: Tensor, features: Tensor, weights: Any, share: float) -> Tensor:
        count: Tensor = _Step.apply(pre.relu(), weights.log_threshold.exp(), self.bandwidth)  # type: ignore[no-untyped-call]
        return self.penalty * min(1.0, 10 * share) * count.sum(-1).mean()

    def sparsity(self, x: Tensor, weights: Any) -> dict[str, Any]:
        return {"threshold": weights.log_threshold.detach().exp()}


class _Jump(torch.autograd.Function):
    """z H(z - threshold), with the gradient -threshold / width in |z - threshold| < width / 2 for the threshold."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        z, threshold = ctx.saved_tensors
        near = ((z - threshold).abs() < ctx.width / 2).to(z)
        return gradient * (z > threshold), (-threshold / ctx.width * near * gradient).sum(0), None


class _Step(torch.autograd.Function):
    """H(z - threshold), with the gradient -1 / width in |z - threshold| < width / 2 for the threshold."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return (z > threshold).to(z)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        z, threshold = ctx.saved_tensors
        near = ((z - threshold).abs() < ctx.width / 2).to(z)
        return None, (-near / ctx.width * gradient).sum(0), None


def _pre(x: Tensor, weights: _Weights, tied: bool) -> Tensor:
    return (x - weights.decoder_bias if tied else x) @ weights.encoder + weights.encoder_bias


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise DictionaryError(f"samples are [N, D] and targets [N, D_out]; got {tuple(x.shape)} and {tuple(y.shape)}")
    for name, values in (("samples", x), ("targets", y)):
        if values.is_complex():
            raise DictionaryError(f"{name} are complex; give real and imaginary parts side by side, as Capture.features does")
        if not bool(values.isfinite().all()):
            raise DictionaryError(f"{name} hold numbers that are not finite")
        if float(values.double().var(0, correction=0).sum()) == 0:
            raise DictionaryError(f"all {name} are alike: there is nothing to take apart")


def _spread(values: Tensor, mean: Tensor) -> Tensor:
    """The root of the mean squared distance from the mean, a number."""
    squared: Iterable[Tensor] = ((part.to(mean) - mean).double().square().sum() for part in values.split(8192))
    total = sum(squared, torch.zeros((), dtype=torch.float64))
    return (total / values.numel()).sqrt().to(mean)
