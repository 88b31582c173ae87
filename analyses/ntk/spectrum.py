"""The spectrum of a tangent kernel, and how the targets lie in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..operators.precise import positive_eigenvalues
from .measures import centred, check_classes, effective_rank, kernel_target_alignment
from .results.spectrum import TangentSpectrum


def tangent_spectrum(kernels: Mapping[tuple[str, str], Tensor], targets: Tensor) -> TangentSpectrum:
    """Decompose kernels by (model, when).

    kernels: each [N, N], the trace over outputs. targets: [N], the class of each sample; one-hot and centred they are Y, and
    the alignment is <K_c, Y Y^T> / (|K_c| |Y Y^T|) with K_c the centred kernel (Cortes et al. 2012). The share of the
    targets up to eigenvector i of K_c is sum_{j<=i} |u_j^T Y|^2 / |Y|^2. Both are NaN where there is one class alone.

    Raises ValueError for targets that are not a class from 0 for each sample, and what `positive_eigenvalues` raises.
    """
    targets, found = targets.cpu(), dict[tuple[str, str], Tensor]()
    for (model, when), given in kernels.items():
        found[model, when] = positive_eigenvalues(given.cpu(), f"the kernel of {model} ({when})").flip(0)
        check_classes(targets, len(given))
    one_hot = torch.nn.functional.one_hot(targets, int(targets.max()) + 1).double()
    own = one_hot - one_hot.mean(0)
    tables = []
    for (model, when), values in found.items():
        kernel = kernels[model, when].cpu().double()
        vectors = torch.linalg.eigh(centred(kernel)).eigenvectors.flip(1)
        share = (vectors.T @ own).square().sum(1).cumsum(0) / own.square().sum()
        tables.append(
            pd.DataFrame(
                {
                    "model": model,
                    "when": when,
                    "index": np.arange(1, len(kernel) + 1),
                    "eigenvalue": values.numpy(),
                    "share": (values / values.sum()).numpy(),
                    "target_share": share.numpy(),
                    "alignment": kernel_target_alignment(kernel, targets),
                    "effective_rank": effective_rank(kernel),
                }
            )
        )
    return TangentSpectrum(pd.concat(tables, ignore_index=True), {"samples": len(targets), "classes": one_hot.shape[1]})
