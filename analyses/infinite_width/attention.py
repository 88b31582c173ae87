"""Self-attention of infinitely many channels, in the two scalings whose limits are Gaussian processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .network import InfiniteNetwork, Kernels, NTKLinear

NUMBERS = 2**20  # of an intermediate, which bounds how many matrices are drawn together


@dataclass(frozen=True)
class AttentionNetwork(InfiniteNetwork, kind="attention"):
    """One layer of self-attention over the tokens of a sequence, the mean over tokens, and a read-out.

    Scores are q . k / d, divided by the number of channels d and not by its root: then they have a limit in width, and the layer
    one that is a Gaussian process with any number of heads (Hron et al. 2020, arXiv:2006.10540). With queries and keys
    of the same weights the scores become sharpness x_a . x_b / features and attend to similar tokens; with weights of their own
    they become zero, and attention the mean over all tokens. For A the softmax of these scores,
    S = w^2 mean_{a, a'} (A X X'^T A'^T)_{a a'} / features.

    Weights of queries and keys move the scores by d^{-1/2} alone, so that only values and read-out train: T = 2 S. With scores
    divided by the root of d a layer of finitely many heads has no Gaussian limit; `ManyHeadedAttention` is that of many.

    tied: whether queries and keys have the same weights. sharpness: their variance. weight_variance: w, of values and read-out.
    """

    axes = ("sample", "token", "features")

    tied: bool = True
    sharpness: float = 2.0
    weight_variance: float = 1.0

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        one, other = (self._attended(inputs) for inputs in (first, second))
        nngp = self.weight_variance**2 / first.shape[2] * (one @ other.T)
        return Kernels(nngp, 2 * nngp)

    def _attended(self, x: Tensor) -> Tensor:
        """The mean over tokens of what each attends to: [N, features]."""
        scores = self.sharpness / x.shape[2] * (x @ x.mT) if self.tied else torch.zeros_like(x @ x.mT)
        mean: Tensor = (scores.softmax(-1) @ x).mean(1)
        return mean

    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        return _Attention(self, inputs[1], width, generator)


class _Attention(nn.Module):
    def __init__(self, network: AttentionNetwork, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.query = NTKLinear(inputs, width, network.sharpness, 0.0, generator)
        self.key = self.query if network.tied else NTKLinear(inputs, width, network.sharpness, 0.0, generator)
        self.value = NTKLinear(inputs, width, network.weight_variance, 0.0, generator)
        self.read = NTKLinear(width, 1, network.weight_variance, 0.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).mT / self.query.weight.shape[0]
        read: Tensor = self.read((scores.softmax(-1) @ self.value(x)).mean(1))
        return read


@dataclass(frozen=True)
class ManyHeadedAttention(InfiniteNetwork, kind="many-headed attention"):
    """Self-attention as it is used, with scores q . k / sqrt(d), of infinitely many heads, the mean over tokens, and a read-out.

    For many channels the scores of a head are G = (sharpness / features) X W X^T with one Gaussian matrix W of features^2
    numbers for all sequences, and only the sum over many heads is Gaussian (Hron et al. 2020, arXiv:2006.10540). With
    m_W(x) = mean_a (softmax(G) X)_a the kernels are expectations over W,

        S = w^2 E[m_W . m_W'] / features,    T = 2 S + 2 w^2 E[<dm_W / dW, dm_W' / dW>] / features,

    the second term of T from queries and keys, which train here. Expectations are means over `draws` matrices from `seed`: both
    kernels are positive whatever the draws, and err by draws^{-1/2}.

    sharpness: the variance of queries' and keys' weights. weight_variance: w, of values and read-out.
    """

    axes = ("sample", "token", "features")

    least: ClassVar[dict[str, int]] = {"draws": 1}

    sharpness: float = 2.0
    weight_variance: float = 1.0
    draws: int = 4096
    seed: int = 0

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        generator, size = torch.Generator().manual_seed(self.seed), first.shape[2]
        nngp, moved = (torch.zeros(len(first), len(second), dtype=torch.float64) for _ in range(2))
        together = max(1, NUMBERS // (max(len(first), len(second)) * size**2 * max(first.shape[1], size)))
        for few in torch.arange(self.draws).split(together):
            mixing = torch.stack([torch.randn(size, size, generator=generator, dtype=torch.float64) for _ in few])
            one, one_slope = self._attended(first, mixing)
            other, other_slope = (one, one_slope) if second is first else self._attended(second, mixing)
            nngp += one.flatten(1) @ other.flatten(1).T
            moved += one_slope.flatten(1) @ other_slope.flatten(1).T
        nngp, moved = (self.weight_variance**2 / (size * self.draws) * sums for sums in (nngp, moved))
        return Kernels(nngp, 2 * nngp + 2 * moved)

    def _attended(self, x: Tensor, mixing: Tensor) -> tuple[Tensor, Tensor]:
        """m_W [N, m, f] and dm_W / dW [N, m, f, f, f] of m matrices W [m, f, f], the latter of output channel c, query feature i
        and key feature j in this order.

        dm_c / dW_ij = (sharpness / f) mean_a x_ai Cov_a(c, j), the covariance of x_b under what token a attends to.
        """
        scale = self.sharpness / x.shape[2]
        each = x[:, None]
        pattern = (scale * each @ mixing @ each.mT).softmax(-1)  # [N, m, T, T]
        means = pattern @ each
        pairs = (x[..., :, None] * x[..., None, :]).flatten(2)
        seen = (pattern @ pairs[:, None]).unflatten(-1, (x.shape[2], x.shape[2]))
        spread = seen - means[..., :, None] * means[..., None, :]
        return means.mean(2), scale * torch.einsum("nai,nmacj->nmcij", x, spread) / x.shape[1]

    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        """As many heads as channels a head: `width` of each."""
        return _ManyHeads(self, inputs[1], width, generator)


class _ManyHeads(nn.Module):
    def __init__(self, network: ManyHeadedAttention, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        query, key, value = (network.sharpness, network.sharpness, network.weight_variance)
        maps = [NTKLinear(inputs, width * width, variance, 0.0, generator) for variance in (query, key, value)]
        self.query, self.key, self.value = maps
        self.read, self.width = NTKLinear(width * width, 1, network.weight_variance, 0.0, generator), width

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.width, self.width)).transpose(1, 2) for part in (self.query, self.key, self.value))
        pattern = (q @ k.mT / self.width**0.5).softmax(-1)
        read: Tensor = self.read((pattern @ v).mean(2).flatten(1))
        return read
