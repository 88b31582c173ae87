"""What each layer says of the next token and what each layer says, token by token: tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...results.figure import SHARE, Figure, Heatmap, Line, Panel
from ...results.result import Result
from ...statistics.scores import short_hook


@dataclass(frozen=True)
class LensScores(Result, kind="lens_scores"):
    """How far the answers of lenses are from the model's, hook by hook.

    The constant answer is the mean of the model's own probabilities on these tokens, which no answer that reads nothing beats.
    """

    title: ClassVar[str] = "What each layer says of the next token"
    columns: ClassVar[dict[str, str]] = {
        "lens": "kind of the lens",
        "hook": "activation that it reads",
        "layer": "block",
        "site": "last word of the hook's name",
        "divergence": "mean KL(model || lens) in nats",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "agreement": "share of positions whose likeliest token is the model's",
        "constant": "KL of the constant answer in nats",
        "constant_agreement": "agreement of the constant answer",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("lens", "site", "layer")

    def summary(self) -> str:
        lines = []
        for (lens, site), own in self.table.groupby(["lens", "site"], sort=False):
            first, last = own.iloc[0], own.iloc[-1]
            lines.append(
                f"{lens} lens of {site}: {first.divergence:.3g} nats from the model in layer {first.layer}, "
                f"{last.divergence:.3g} in layer {last.layer}; a constant is {first.constant:.3g} away"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        marks, agreements = [], []
        for (lens, site), own in self.table.groupby(["lens", "site"], sort=False):
            label = f"{lens}, {site}"
            x = own["layer"].to_numpy()
            low, high = own["low"].to_numpy(), own["high"].to_numpy()
            marks.append(Line(x, own["divergence"].to_numpy(), label, low, high, markers=True))
            agreements.append(Line(x, own["agreement"].to_numpy(), label, markers=True))
        constant = float(self.table["constant"].iloc[0]), "constant answer"
        agreed = float(self.table["constant_agreement"].iloc[0]), "constant answer"
        return Figure(
            self.title,
            [
                Panel(marks, "layer", "KL from the model in nats", level=constant),
                Panel(agreements, "layer", "same likeliest token", level=agreed, y_range=(0.0, 1.0), bounds=SHARE),
            ],
            alt=f"Divergence of each layer's answer from the model's. {self.summary()}",
        )


@dataclass(frozen=True)
class LensReading(Result, kind="lens_reading"):
    """What a lens says at each position of one prompt, hook by hook."""

    title: ClassVar[str] = "What each layer says, token by token"
    columns: ClassVar[dict[str, str]] = {
        "lens": "kind of the lens",
        "hook": 'activation that it reads; the model\'s own answer is the hook "model"',
        "position": "token position",
        "token": "token there, in words where there is a tokenizer",
        "says": "likeliest next token",
        "probability": "its probability",
        "entropy": "of the answer, in nats",
        "divergence": "KL(model || lens) in nats",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("lens", "hook")

    def summary(self) -> str:
        last = self.table[self.table["position"] == self.table["position"].max()]
        return "\n".join(f"{row.hook}: {row.says!r} with probability {row.probability:.2f}" for row in last.itertuples())

    def specification(self) -> Figure:
        """The divergence of each hook at each position, and the probability of what it says."""
        hooks = list(dict.fromkeys(self.table["hook"]))
        names = [short_hook(hook) for hook in hooks]
        positions = sorted(self.table["position"].unique())
        tokens = self.table.drop_duplicates("position").sort_values("position")["token"]
        columns = [f"{position} {token}" for position, token in zip(positions, tokens, strict=True)]
        panels = []
        for column, label in (("divergence", "KL from the model in nats"), ("probability", "probability of the likeliest")):
            grid = self.table.pivot(index="hook", columns="position", values=column).loc[hooks, positions]
            panels.append(Panel([Heatmap(grid.to_numpy(), names, columns, label)], "token", "activation", label))
        return Figure(self.title, panels, columns=1, alt=f"What each layer says. {self.summary()}")
