"""The spectrum of a tangent kernel, and how the targets lie in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ..operators.nystrom import NotPositiveError


@dataclass(frozen=True)
class TangentSpectrum(Result, kind="tangent_spectrum"):
    """Eigenvalues of empirical tangent kernels, and the share of the targets in their leading eigenvectors."""

    title: ClassVar[str] = "Tangent kernel"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "when": "initialisation or after training",
        "index": "rank of the eigenvalue, from 1",
        "eigenvalue": "of the kernel, in squared gradient units",
        "share": "eigenvalue / trace",
        "target_share": "share of the centred targets' variance in the eigenvectors up to this one",
        "alignment": "centred alignment of the kernel with the targets' own kernel",
        "effective_rank": "trace^2 / |K|_F^2",
    }

    def summary(self) -> str:
        rows = self.table.groupby(["model", "when"], sort=False)[["alignment", "effective_rank"]].first()
        return "\n".join(
            f"{model}, {when}: alignment with the targets {row['alignment']:.3f}, effective rank {row['effective_rank']:.1f}"
            for (model, when), row in rows.iterrows()
        )

    def specification(self) -> Figure:
        spectra, targets = [], []
        for (name, when), own in self.table.groupby(["model", "when"], sort=False):
            label, index = f"{name}, {when}", own["index"].to_numpy()
            spectra.append(Line(index, np.maximum(own["share"].to_numpy(), 1e-12), label))
            targets.append(Line(index, own["target_share"].to_numpy(), label))
        uniform = Line(index, index / index[-1], "even spread", dashed=True)
        return Figure(
            self.title,
            [
                Panel(spectra, "index", "eigenvalue / trace", "Spectrum", x_log=True, y_log=True),
                Panel(
                    [*targets, uniform],
                    "leading eigenvectors",
                    "share of the targets",
                    "Targets in the kernel",
                    y_range=(0.0, 1.02),
                ),
            ],
            alt=f"Spectrum of the tangent kernel and the share of the targets in its leading eigenvectors. {self.summary()}",
        )


def tangent_spectrum(kernels: Mapping[tuple[str, str], Tensor], targets: Tensor) -> TangentSpectrum:
    """Decompose kernels by (model, when).

    kernels: each [N, N], the trace over outputs. targets: [N], the class of each sample; one-hot and centred they are Y, and
    the alignment is <K_c, Y Y^T> / (|K_c| |Y Y^T|) with K_c the centred kernel (Cortes et al. 2012). The share of the
    targets up to eigenvector i of K_c is sum_{j<=i} |u_j^T Y|^2 / |Y|^2.

    Raises NotPositiveError for a kernel with an eigenvalue below -1e-6 of the largest.
    """
    targets = targets.cpu()
    one_hot = torch.nn.functional.one_hot(targets, int(targets.max()) + 1).double()
    centred = one_hot - one_hot.mean(0)
    gram = centred @ centred.T
    tables = []
    for (model, when), given in kernels.items():
        kernel = given.cpu()
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
