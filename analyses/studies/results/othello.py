"""The board, square by square and turning a square over inside the model: tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import SHARE, Figure, Intervals, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class BoardFrames(Result, kind="board_frames"):
    """How well the squares of a board are read in each frame, over all squares, by layer."""

    title: ClassVar[str] = "The board, square by square"
    columns: ClassVar[dict[str, str]] = {
        "frame": "mine and yours, as the player to move sees it; or black and white",
        "hook": "the probed activation",
        "accuracy": "held-out share of squares that are read right, empty ones too; a mean over squares, as what follows",
        "accuracy_majority": "the same of always answering each square's most frequent value",
        "colour": "share of the taken squares whose colour is read right, by probes of these alone",
        "colour_majority": "the same of always answering each square's most frequent colour",
        "low": "lowest `colour` of a square",
        "high": "highest `colour` of a square",
        "squares": "how many were probed",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("frame", "hook")

    def summary(self) -> str:
        return "\n".join(
            f"{row.frame} at {row.hook}: the colours of {row.colour:.1%} of the taken squares (majority "
            f"{row.colour_majority:.1%}), and {row.accuracy:.1%} of all squares (majority {row.accuracy_majority:.1%})"
            for row in self.table.itertuples()
        )

    def specification(self) -> Figure:
        marks = []
        for frame, own in self.table.groupby("frame", sort=False):
            values, low, high = (own[name].to_numpy() for name in ("colour", "low", "high"))
            marks.append(Intervals(own["hook"].tolist(), values, str(frame), low, high))
        level = (float(self.table["colour_majority"].mean()), "majority")
        panel = Panel(marks, "colours read right", "", level=level, bounds=SHARE)
        caption = "Of the squares that are taken: the mean over squares, and the worst to the best."
        return Figure(self.title, [panel], columns=1, alt=self.summary(), caption=caption)


@dataclass(frozen=True)
class BoardEdits(Result, kind="board_edits"):
    """Errors of the moves that a model thinks legal, against the board on which one square was turned over."""

    title: ClassVar[str] = "Turning a square over inside the model"
    columns: ClassVar[dict[str, str]] = {
        "edit": "along the probe's direction, or a random one as far; none; 'played board': none, against the board as played",
        "strength": "how far, 1 makes the probe's scores those of the other colour; 0 without an edit",
        "errors": "moves that are wrongly thought legal or illegal, a position, among as many likeliest moves as are legal",
        "low": "lower end of its 95% interval over games",
        "high": "upper end",
        "fewer": "errors without an edit less those with this one, of the same games",
        "fewer_low": "lower end of its 95% interval over games",
        "fewer_high": "upper end",
        "positions": "that were edited",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("edit",)

    def summary(self) -> str:
        lines = [
            f"{row.edit} x {row.strength:g}: {row.errors:.2f} [{row.low:.2f}, {row.high:.2f}] errors a position"
            for row in self.table.itertuples()
        ]
        probe = self.table[self.table["edit"] == "probe"]
        if len(probe):
            best = probe.loc[probe["errors"].idxmin()]
            interval = f"{best['fewer']:.2f} [{best['fewer_low']:.2f}, {best['fewer_high']:.2f}] errors fewer than without it"
            said = "plays by the turned square" if best["fewer_low"] > 0 else "does not play by it, as far as these games tell"
            lines.append(f"After the best edit the model {said}: {interval}.")
        return "\n".join(lines)

    def specification(self) -> Figure:
        values, low, high = (self.table[name].to_numpy() for name in ("errors", "low", "high"))
        names = [f"{row.edit} x {row.strength:g}" for row in self.table.itertuples()]
        marks = [Intervals(names, values, "", low, high)]
        return Figure(self.title, [Panel(marks, "errors a position", "")], columns=1, alt=self.summary())
