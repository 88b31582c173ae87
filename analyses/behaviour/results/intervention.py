"""Next token and change of the states: tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import SHARE, Bars, Figure, Line, Panel
from ....probe.results.result import Result

PLAIN, CHANGED, RANDOM = "unchanged", "changed", "random"


@dataclass(frozen=True)
class Intervention(Result, kind="intervention"):
    """The next-token probabilities after one token: unchanged, changed, and under random changes of the same size."""

    title: ClassVar[str] = "Next token"
    columns: ClassVar[dict[str, str]] = {
        "run": "unchanged, changed, or random",
        "token": "a next token, as text",
        "probability": "of the token; of random changes the mean",
        "low": "the least over the random changes; the probability itself for the other runs",
        "high": "the largest over the random changes; the probability itself for the other runs",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("run",)

    def summary(self) -> str:
        """How far the distribution moved, and how far random changes move it."""
        about = self.about
        random = about["random_divergences"]
        spread = f"{len(random)} random ones {min(random):.4g} to {max(random):.4g}" if random else "no random one is possible"
        return (
            f"{about['change']}, read after token {about['position']}: KL divergence from the unchanged distribution "
            f"{about['divergence']:.4g} nats; {spread}"
        )

    def specification(self) -> Figure:
        """The tokens whose probability moved most."""
        bars = []
        for run, own in self.table.groupby("run", sort=False):
            values, low, high = (own[column].to_numpy() for column in ("probability", "low", "high"))
            ends = (low, high) if run == RANDOM else (None, None)
            bars.append(Bars(list(own["token"]), values, str(run), *ends))
        panel = Panel(bars, "next token", "probability", "Probabilities that moved most", bounds=SHARE)
        caption = self.summary() + ". Bars of random changes span their least and largest."
        return Figure(self.title, [panel], columns=1, alt=f"Next-token probabilities. {self.summary()}", caption=caption)


@dataclass(frozen=True)
class StateShift(Result, kind="state_shift"):
    """How far a change moves the states of each layer, token by token, as a share of their norm."""

    title: ClassVar[str] = "Change of the states"
    columns: ClassVar[dict[str, str]] = {
        "run": "changed or random",
        "layer": "block",
        "position": "token position",
        "share": "|S'_t - S_t|_F / |S_t|_F over all heads; of random changes the mean",
        "low": "the least over the random changes",
        "high": "the largest over the random changes",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("layer",)

    def summary(self) -> str:
        """The largest shift in each layer."""
        changed = self.table[self.table["run"] == CHANGED]
        lines = []
        for layer, own in changed.groupby("layer"):
            top = own.loc[own["share"].idxmax()]
            lines.append(f"layer {layer}: at most {top['share']:.3g} of the norm, after token {int(top['position'])}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """A panel a layer."""
        panels = []
        for layer, own in self.table.groupby("layer"):
            lines = []
            for run, rows in own.groupby("run", sort=False):
                position, share, low, high = (rows[name].to_numpy() for name in ("position", "share", "low", "high"))
                lines.append(Line(position, share, str(run), *((low, high) if run == RANDOM else (None, None))))
            panels.append(Panel(lines, "token position", "share of the state's norm", f"layer {layer}"))
        caption = "Bands of random changes span their least and largest."
        return Figure(self.title, panels, alt=f"Shift of the states over time. {self.summary()}", caption=caption)
