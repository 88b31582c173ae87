"""Tangent kernel: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import SHARE, Figure, Line, Panel
from ....probe.results.result import Result


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
                    bounds=SHARE,
                ),
            ],
            alt=f"Spectrum of the tangent kernel and the share of the targets in its leading eigenvectors. {self.summary()}",
        )
