"""Edits of a stored sequence, and the layers it is stored in: tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import SHARE, Figure, Intervals, Line, Panel
from ....probe.results.result import Result

SEVERAL = -1  # in the place of a position


@dataclass(frozen=True)
class SequenceEdits(Result, kind="sequence_edits"):
    """How often a network repeats the sequence that an edit of its state stands for, beside edits that should not work."""

    title: ClassVar[str] = "Replacing a stored token"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the network",
        "edit": "how the state is changed; 'nothing' has the sequence as it was told, unchanged",
        "position": "of the token that is replaced, from 0; -1 where each is with a chance of a half",
        "exact": "share of sequences that are then repeated as they were edited, every token right",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "sequences": "held-out sequences that were edited",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "edit", "position")

    def summary(self) -> str:
        """Give the share of each edit over the networks, and say which kind of edit replaces a token."""
        lines, found = [], {}
        for edit, own in self.table[self.table["position"] != SEVERAL].groupby("edit", sort=False):
            each = own.groupby("model")["exact"].mean()
            found[str(edit)] = float(each.mean())
            networks = "" if len(each) == 1 else f" ({each.min():.3f} to {each.max():.3f} over {len(each)} networks)"
            lines.append(f"{edit}: {each.mean():.3f} of the sequences are repeated as edited{networks}")
        return "\n".join([*lines, *_verdict(found)])

    def specification(self) -> Figure:
        """One panel by position, and one of edits at several positions at once."""
        one, several = (self.table[(self.table["position"] == SEVERAL) == held] for held in (False, True))
        panels, marks = [], []
        for edit, own in one.groupby("edit", sort=False):
            means = own.groupby("position")[["exact", "low", "high"]].mean()
            x, low, high = means.index.to_numpy(), means["low"].to_numpy(), means["high"].to_numpy()
            marks.append(Line(x, means["exact"].to_numpy(), str(edit), low, high, markers=True))
        if marks:
            panels.append(
                Panel(marks, "position of the token", "repeated as edited", "One token", y_range=(-0.03, 1.03), bounds=SHARE)
            )
        if len(several):
            means = several.groupby("edit", sort=False)[["exact", "low", "high"]].mean()
            values, low, high = (means[name].to_numpy() for name in ("exact", "low", "high"))
            bars = [Intervals([str(edit) for edit in means.index], values, "", low, high)]
            panels.append(Panel(bars, "repeated as edited", "", "Half of the tokens", x_range=(-0.03, 1.03), bounds=SHARE))
        return Figure(self.title, panels, alt=f"Edits of a stored sequence. {self.summary()}")


@dataclass(frozen=True)
class StoredLayers(Result, kind="stored_layers"):
    """Where a network keeps the token of each position: along which directions, and how large."""

    title: ClassVar[str] = "The layers of the onion"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the network",
        "position": "of the token in the sequence, from 0",
        "size": "root mean square, over tokens, of how far the mean state with a token lies from the mean of all states",
        "cosine": "mean over tokens of the cosine between that token's offset here and at the last position",
        "scale": "root mean square of the scale that the fitted magnitude edit has for this position",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model",)

    def summary(self) -> str:
        lines = []
        for model, own in self.table.groupby("model", sort=False):
            sizes, others = own["size"], own["cosine"].iloc[:-1]
            lines.append(
                f"{model}: the offsets of tokens are {sizes.min():.3g} to {sizes.max():.3g} long by position, with a mean cosine "
                f"of {others.mean():.2f} to those of the last position"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels = []
        for column, label, log in (
            ("size", "size of a token's offset", True),
            ("cosine", "cosine with the last position", False),
        ):
            lines = [
                Line(own["position"].to_numpy(), own[column].to_numpy(), str(model), markers=True)
                for model, own in self.table.groupby("model", sort=False)
            ]
            panels.append(Panel(lines, "position of the token", label, y_log=log))
        return Figure(self.title, panels, alt=f"Where tokens are stored. {self.summary()}")


def _verdict(found: dict[str, float]) -> list[str]:
    if not {"magnitude", "subspace swap", "nothing"} <= set(found):
        return []
    if found["nothing"] < 0.9:
        return ["The networks do not repeat their sequences yet, so that no edit of them says how they store one."]
    works = {edit: found[edit] >= 0.5 for edit in ("magnitude", "subspace swap")}
    if works["magnitude"] and not works["subspace swap"]:
        return ["A stored token is replaced by its magnitude, and not by swapping a linear subspace: the code is an onion."]
    if works["subspace swap"]:
        return ["A stored token is replaced by swapping a linear subspace: the code is not an onion."]
    return ["Neither edit replaces a stored token; how it is stored is not known."]
