"""What a state says if it is read now: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...results.figure import Figure, Line, Panel
from ...results.result import Result


@dataclass(frozen=True)
class StateReading(Result, kind="state_reading"):
    """What the model would say at one position if a layer read there the state that it had after an earlier token.

    The query, the layers above and all else are those of the position; only what the state holds is older.
    """

    title: ClassVar[str] = "What a state says if it is read now"
    columns: ClassVar[dict[str, str]] = {
        "layer": "block",
        "head": "head whose state is read; -1 for all",
        "position": "token after which the state is read",
        "query": "position that reads it",
        "target": "token that is asked for",
        "log_probability": "of the target in nats",
        "own": "of the target, read from the position's own state, in nats",
        "divergence": "KL in nats from the model's own answer there",
        "says": "likeliest next token",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("layer", "head", "query")

    def summary(self) -> str:
        lines = []
        for (layer, head), own in self.table.groupby(["layer", "head"], sort=True):
            jump = own.sort_values("position")["log_probability"].diff()
            where = f"layer {layer}" if head < 0 else f"layer {layer}, head {head}"
            first, last = own.loc[own["position"].idxmin()], own.loc[own["position"].idxmax()]
            said = f"{where}: log p of the target from {first.log_probability:.3g} to {last.log_probability:.3g} nats"
            if jump.notna().any() and float(jump.max()) > 0:
                said += f"; most is learnt at position {int(own.loc[jump.idxmax(), 'position'])}"
            lines.append(said)
        return "\n".join(lines)

    def specification(self) -> Figure:
        marks = []
        for (layer, head), own in self.table.sort_values("position").groupby(["layer", "head"], sort=True):
            label = f"layer {layer}" if head < 0 else f"layer {layer}, head {head}"
            marks.append(Line(own["position"].to_numpy(), own["log_probability"].to_numpy(), label, markers=True))
        level = float(self.table["own"].iloc[0]), "own state"
        panel = Panel(marks, "position of the state", "log probability of the target", level=level)
        return Figure(self.title, [panel], columns=1, alt=f"Log probability of the target from older states. {self.summary()}")
