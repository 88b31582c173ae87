"""Ideal words: representations of combinations of factors as a sum of one vector a factor's value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from ..captures.capture import labelled
from ..estimators.standardisation import varying
from .subspace import Subspace


@dataclass(frozen=True, eq=False)
class IdealWords:
    """The decomposition u(z) = u_0 + sum_i u_i(z_i) (Trager et al. 2023, arXiv:2302.14383), by least squares.

    Where every combination is there as often, u_0 is the mean and u_i(a) the mean over z_i = a, less u_0. Other samples may lack
    combinations; then the least of the solutions for features less their mean is taken, which adding a
    constant to the features does not change. The vectors of a factor have mean 0 over its values.

    centre: u_0 [D], in float64. words: factor -> its vectors [values, D]. values: factor -> the values they belong to, ascending.
    hook: the activation that was taken apart.
    """

    centre: Tensor
    words: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    hook: str = ""

    __repr__ = with_shapes

    @classmethod
    def fit(cls, features: Tensor, factors: Mapping[str, Tensor], *, hook: str = "") -> Self:
        """Take apart real features [N, D] by the value that each factor has in each sample, name -> whole numbers [N].

        Samples that lack a factor (-100) are left out. Raises ValueError for no factor, one of another length, of real numbers or
        with one value alone, and for features that are not finite; TypeError for complex features.
        """
        wide, mean = varying(features), features.double().mean(0)
        if not factors:
            raise ValueError("ideal words need factors")
        for name, own in factors.items():
            if own.shape != (len(wide),) or own.is_floating_point():
                raise ValueError(
                    f"factor {name} is {tuple(own.shape)}, {own.dtype}; {len(wide)} samples need one value each, a whole number"
                )
        held = torch.stack([labelled(own) for own in factors.values()]).all(0)
        wide, factors = wide[held], {name: own[held] for name, own in factors.items()}
        values, columns = {}, []
        for name, own in factors.items():
            values[name], index = own.unique(return_inverse=True)
            if len(values[name]) < 2:
                raise ValueError(f"factor {name} has one value in all samples, of which nothing can be taken apart")
            columns.append(torch.nn.functional.one_hot(index).double())
        design = torch.cat([torch.ones(len(wide), 1, dtype=torch.float64), *columns], 1)
        solution = torch.linalg.pinv(design) @ wide
        parts = solution[1:].split([column.shape[1] for column in columns])
        centre = mean + solution[0] + sum(part.mean(0) for part in parts)
        return cls(centre, {name: part - part.mean(0) for name, part in zip(factors, parts, strict=True)}, values, hook)

    def __call__(self, factors: Mapping[str, Tensor]) -> Tensor:
        """The sum of ideal words [n, D] for values of every factor, name -> [n], also of combinations that no sample had.

        Raises KeyError for a factor that is missing, ValueError for a value that no sample had and for several lengths.
        """
        parts: list[Tensor] = []
        for name, words in self.words.items():
            own, known = factors[name], self.values[name]
            place = torch.searchsorted(known, own.contiguous()).clamp(max=len(known) - 1)
            if not bool((known[place] == own).all()):
                raise ValueError(f"factor {name} has values {known.tolist()}; others have no ideal word")
            if own.ndim != 1 or (parts and len(own) != len(parts[0])):
                raise ValueError(f"factor {name} is {tuple(own.shape)}; every factor has one value a sample, [n]")
            parts.append(words[place])
        return self.centre + torch.stack(parts).sum(0)

    def residual(self, features: Tensor, factors: Mapping[str, Tensor]) -> float:
        """The share of the variance of features [n, D] that the sums of ideal words leave.

        Raises ValueError for features that do not vary, of which there is no share, and otherwise as a call does.
        """
        spread = float(varying(features).square().sum())
        if not spread:
            raise ValueError("the features do not vary; there is no share of their variance")
        return float((features.double() - self(factors)).square().sum()) / spread

    def subspace(self, factor: str) -> Subspace:
        """The span of a factor's ideal words, to take out of activations: of as many dimensions as it has values, less one.

        Raises ValueError for a factor whose values all have the same word, 0.
        """
        if not bool(self.words[factor].any()):
            raise ValueError(f"the values of {factor} have one ideal word, 0; there is nothing to take out")
        left, sizes, _ = torch.linalg.svd(self.words[factor].mT, full_matrices=False)
        held = sizes > 1e-10 * sizes[0]
        return Subspace(left[:, held], self.hook, factor, about={"method": "ideal words"})
