"""Memory, measured and predicted: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result

FADED = 1e-9  # of the disturbance: what rounding makes of the rest


@dataclass(frozen=True)
class MeasuredHorizon(Result, kind="measured_horizon"):
    """The distance of disturbed states by tokens since, and the distance that the exponents predict."""

    title: ClassVar[str] = "Memory, measured and predicted"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "tokens": "since the disturbance",
        "distance": "of the disturbed state from the other, beside the disturbance; mean of the logs over sequences",
        "predicted": "e^(n l_1), from the largest finite-time exponent of these tokens",
        "measured_exponent": "slope of the log of the distance over the second half, in nats a token; nan where it has faded",
        "exponent": "of the direction that lasts longest, over the second half, in nats a token",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            heads = own.groupby("head")[["measured_exponent", "exponent"]].first().itertuples()
            said = ", ".join(
                "faded before the second half"
                if np.isnan(head.measured_exponent)
                else f"{head.measured_exponent:.2g} ({head.exponent:.2g})"
                for head in heads
            )
            lines.append(f"{model}, layer {layer}, nats a token by head, measured (predicted): {said}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The distance of each head by tokens, and the prediction dashed; one panel a model."""
        panels = []
        for model, of_model in self.table.groupby("model", sort=False):
            lines = []
            for (layer, head), own in of_model[of_model["distance"] > FADED].groupby(["layer", "head"], sort=False):
                x = own["tokens"].to_numpy()
                lines.append(Line(x, own["distance"].to_numpy(), f"layer {layer}, head {head}"))
                lines.append(Line(x, own["predicted"].to_numpy(), "predicted", dashed=True))
            panels.append(Panel(lines, "tokens since the disturbance", "distance", str(model), y_log=True))
        return Figure(
            self.title,
            panels,
            alt=f"Fading of a disturbance of the state. {self.summary()}",
            caption="Beside the disturbance, mean of the logs over sequences. A random one loses its other directions at first, "
            "and falls as steeply as predicted in the end.",
        )
