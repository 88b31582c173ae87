"""What the family allows, and what is realised: the table and the figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ....probe.results.figure import Figure, Panel, Ranges
from ....probe.results.result import Result

Word = Literal["possible", "impossible", "open"]  # what theory says of a group and a family
WORDS: tuple[Word, ...] = get_args(Word)


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
            lines.append(f"{model}: of the groups its family makes {_by_word(verdicts)}")
            for statement in dict.fromkeys(self.about["statements"][model].values()):
                named = [group for group, own in self.about["statements"][model].items() if own == statement]
                lines.append(f"    {', '.join(named)}: {statement}")
            lines.append(f"{model}: as trained, on these tokens, {_by_word(self.about['trained'][model])}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Both ranges of each head along the real line."""
        panels = []
        for model, own in self.table.groupby("model", sort=False):
            names = [f"layer {row.layer}, head {row.head}" for row in own.itertuples()]
            marks = []
            if own["low"].notna().all():
                marks.append(Ranges.between(names, own["low"].to_numpy(), own["high"].to_numpy(), "allowed"))
            marks.append(Ranges.between(names, own["least"].to_numpy(), own["largest"].to_numpy(), "seen"))
            panels.append(Panel(marks, "real part of the eigenvalues", "", str(model), level=(0.0, "0")))
        return Figure(self.title, panels, alt=f"Ranges of eigenvalues, allowed and seen. {self.summary()}")


def _by_word(verdicts: Mapping[str, Word]) -> str:
    by_word = {word: [group for group, found in verdicts.items() if found == word] for word in WORDS}
    return "; ".join(f"{word} {', '.join(groups)}" for word, groups in by_word.items() if groups)
