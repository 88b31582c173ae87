"""What a family's transitions may be, beside what the trained ones are on data, head by head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from ...probe.models.model import Model
from ...probe.results.figure import Figure, Intervals, Panel
from ...probe.results.result import Result
from ..models import Models, named_models, transitions_of
from .allowed_groups import WORDS, group_verdict

TURNED = 1e-6


@dataclass(frozen=True)
class AllowedAndRealised(Result, kind="allowed_and_realised"):
    """The range of the eigenvalues of each head that its family allows, and the range of those seen."""

    title: ClassVar[str] = "What the family allows, and what is realised"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "low": "least real part of an eigenvalue that the family allows; nan where it does not say",
        "high": "largest",
        "turns": "whether the family allows complex eigenvalues of one token",
        "reflections": "dimensions that a token may reflect",
        "chosen": "whether tokens choose the transition",
        "least": "least real part seen",
        "largest": "largest real part seen",
        "angle": "largest angle of a complex eigenvalue seen, in radians; 0 where there is none",
        "modulus": "largest modulus seen",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            said = self.about["allowed"].get(f"{model}, layer {layer}", "the family does not say what it allows")
            turned = f", turning by up to {own['angle'].max():.2f} rad" if own["angle"].max() > 0 else ""
            seen = f"{own['least'].min():.3f} to {own['largest'].max():.3f}{turned}"
            lines.append(f"{model}, layer {layer}: allowed {said}; seen from {seen}")
        for model, verdicts in self.about["groups"].items():
            by_word = {word: [group for group, found in verdicts.items() if found == word] for word in WORDS}
            told = "; ".join(f"{word} {', '.join(groups)}" for word, groups in by_word.items() if groups)
            lines.append(f"{model}: of the groups, {told}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Both ranges of each head along the real line."""
        panels = []
        for model, own in self.table.groupby("model", sort=False):
            names = [f"layer {row.layer}, head {row.head}" for row in own.itertuples()]
            marks = []
            if own["low"].notna().all():
                low, high = own["low"].to_numpy(), own["high"].to_numpy()
                marks.append(Intervals(names, (low + high) / 2, "allowed", low, high))
            least, largest = own["least"].to_numpy(), own["largest"].to_numpy()
            marks.append(Intervals(names, (least + largest) / 2, "seen", least, largest))
            panels.append(Panel(marks, "real part of the eigenvalues", "", str(model), level=(0.0, "0")))
        return Figure(self.title, panels, alt=f"Ranges of eigenvalues, allowed and seen. {self.summary()}")


GROUPS = ("Z2", "Z3", "Z5", "S3", "A4", "S4", "A5", "S5")


def allowed_and_realised(models: Models, tokens: Tensor) -> AllowedAndRealised:
    """Compare the eigenvalues that each head shows on some tokens with those that its family allows.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].

    `about["groups"]` has the verdict of theory on word problems, for models of this package (see `group_verdict`). Raises
    ValueError for a model without linear transitions.
    """
    rows, allowed, groups = [], {}, {}
    for name, model in named_models(models).items():
        pattern = [model.config.mixer_of(layer) for layer in range(model.layers)] if isinstance(model, Model) else []
        if pattern:
            groups[name] = {group: group_verdict(pattern, group).word for group in GROUPS}
        for layer, transition in transitions_of(model, tokens):
            spectrum = pattern[layer].allowed if pattern else None
            if spectrum is None:
                bounds = (np.nan, np.nan, False, 0, False)
            else:
                allowed[f"{name}, layer {layer}"] = str(spectrum)
                bounds = (spectrum.low, spectrum.high, spectrum.turns, spectrum.reflections, spectrum.chosen)
            values, _ = transition.distinct_eigenvalues()
            for head in range(transition.shape[2]):
                own = values[:, :, head].flatten()
                off = own.imag.abs() > TURNED
                angle = float(own[off].angle().abs().max()) if bool(off.any()) else 0.0
                seen = (float(own.real.min()), float(own.real.max()), angle, float(own.abs().max()))
                rows.append((name, layer, head, *bounds, *seen))
    about = {"allowed": allowed, "groups": groups, "sequences": len(tokens), "tokens": tokens.shape[1]}
    return AllowedAndRealised(pd.DataFrame(rows, columns=list(AllowedAndRealised.columns)), about)
