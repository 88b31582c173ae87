"""Self-attention of infinitely many channels, in the scaling whose limit is a Gaussian process."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .network import InfiniteNetwork, Kernels, NTKLinear


@dataclass(frozen=True)
class AttentionNetwork(InfiniteNetwork, kind="attention"):
    """One layer of self-attention over the tokens of a sequence, the mean over tokens, and a read-out.

    Scores are q . k / d, divided by the number of channels d and not by its root: then they have a limit in width, and the layer
    one that is a Gaussian process with any number of heads (Hron et al. 2020, arXiv:2006.10540). With queries and keys
    of the same weights the scores become sharpness x_a . x_b / features and attend to similar tokens; with weights of their own
    they become zero, and attention the mean over all tokens. For A the softmax of these scores,
    S = w^2 mean_{a, a'} (A X X'^T A'^T)_{a a'} / features.

    Weights of queries and keys move the scores by d^{-1/2} alone, so that only values and read-out train: T = 2 S. With scores
    divided by the root of d a layer of finitely many heads has no Gaussian limit, and none is given here.

    tied: whether queries and keys have the same weights. sharpness: their variance. weight_variance: w, of values and read-out.
    """

    tied: bool = True
    sharpness: float = 2.0
    weight_variance: float = 1.0

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        if first.ndim != 3:
            raise ValueError(f"attention takes inputs [sample, token, features], got {tuple(first.shape)}")
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
