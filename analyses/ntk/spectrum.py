"""The spectrum of a tangent kernel, and how the targets lie in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..operators.nystrom import NotPositiveError
from ..operators.precise import precise_numbers
from .results.spectrum import TangentSpectrum


def tangent_spectrum(kernels: Mapping[tuple[str, str], Tensor], targets: Tensor) -> TangentSpectrum:
    """Decompose kernels by (model, when).

    kernels: each [N, N], the trace over outputs. targets: [N], the class of each sample; one-hot and centred they are Y, and
    the alignment is <K_c, Y Y^T> / (|K_c| |Y Y^T|) with K_c the centred kernel (Cortes et al. 2012). The share of the
    targets up to eigenvector i of K_c is sum_{j<=i} |u_j^T Y|^2 / |Y|^2. Both are NaN where there is one class alone.

    Raises NotPositiveError for a kernel with an eigenvalue below -1e-6 of the largest, and what `precise_numbers` raises.
    """
    targets = targets.cpu()
    one_hot = torch.nn.functional.one_hot(targets, int(targets.max()) + 1).double()
    centred = one_hot - one_hot.mean(0)
    gram = centred @ centred.T
    tables = []
    for (model, when), given in kernels.items():
        (kernel,) = precise_numbers(**{f"the kernel of {model} ({when})": (given.cpu(), "N N")})
        values = torch.linalg.eigvalsh(kernel).flip(0)
        if float(values[-1]) < -1e-6 * float(values[0]):
            raise NotPositiveError(
                f"the kernel of {model} ({when}) has the eigenvalue {float(values[-1]):.3g}; compute it in float64"
            )
        middle = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
        vectors = torch.linalg.eigh(middle).eigenvectors.flip(1)
        share = (vectors.T @ centred).square().sum(1).cumsum(0) / centred.square().sum()
        alignment = float((middle * gram).sum() / (middle.norm() * gram.norm()))
        rank = float(kernel.diagonal().sum().square() / kernel.square().sum())
        tables.append(
            pd.DataFrame(
                {
                    "model": model,
                    "when": when,
                    "index": np.arange(1, len(kernel) + 1),
                    "eigenvalue": values.numpy(),
                    "share": (values / values.sum()).numpy(),
                    "target_share": share.numpy(),
                    "alignment": alignment,
                    "effective_rank": rank,
                }
            )
        )
    return TangentSpectrum(pd.concat(tables, ignore_index=True), {"samples": len(targets), "classes": one_hot.shape[1]})
