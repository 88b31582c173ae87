"""Eigenvalues by token: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Figure, Intervals, Panel, Points
from ....probe.results.palette import SERIES
from ....probe.results.result import Result
from .transition_measures import ROUNDING

SHOWN = 400  # eigenvalues of a class in a figure
COLOURED = len(SERIES)  # classes in the complex plane: no two share a colour
ANGLES = (-0.1, np.pi + 0.1)  # on one range, so that heads compare
CLASSES = 24  # classes by name


@dataclass(frozen=True)
class SpectrumByLabel(Result, kind="spectrum_by_label"):
    """The eigenvalues of A_t, each with the classes of its token."""

    title: ClassVar[str] = "Eigenvalues by token"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "label": "what tokens are told apart by",
        "class": "its value at the token",
        "sequence": "sequence of the batch",
        "position": "token position",
        "real": "real part of an eigenvalue of A_t",
        "imaginary": "imaginary part",
        "multiplicity": "how many of the K eigenvalues are this one",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "label", "class")

    def by_class(self) -> pd.DataFrame:
        """For each model, layer, head, label and class: the tokens, the shares of eigenvalues that are negative, complex and of
        modulus above 1, and the mean over tokens of the largest angle in radians.
        """
        places = ["model", "layer", "head", "label", "class"]
        value, weight = (self.table["real"] + 1j * self.table["imaginary"]).to_numpy(), self.table["multiplicity"].to_numpy()
        turning = np.abs(value.imag) > ROUNDING
        negative = ~turning & (value.real < -ROUNDING)
        kinds = {"negative": negative, "turning": turning, "growing": np.abs(value) > 1 + ROUNDING}
        weighed = self.table.assign(**{name: weight * kind for name, kind in kinds.items()})
        sums = weighed.groupby(places, sort=False)[[*kinds, "multiplicity"]].sum()
        largest = (
            self.table.assign(angle=_angles(self.table)).groupby([*places, "sequence", "position"], sort=False)["angle"].max()
        )
        tokens = largest.groupby(level=places, sort=False)
        shares = sums[list(kinds)].div(sums["multiplicity"], axis=0)
        return shares.assign(tokens=tokens.size(), angle=tokens.mean()).reset_index()

    def liveliest(self, model: str, label: str) -> tuple[int, int]:
        """The layer and head of a model whose mean largest angle differs most between the classes of a label."""
        table = self.by_class()
        own = table[(table["model"] == model) & (table["label"] == label)]
        layer, head = own.groupby(["layer", "head"])["angle"].agg(lambda angles: angles.max() - angles.min()).idxmax()
        return int(layer), int(head)

    def summary(self) -> str:
        lines = []
        for (model, label), own in self.by_class().groupby(["model", "label"], sort=False):
            layer, head = self.liveliest(str(model), str(label))
            chosen = own[(own["layer"] == layer) & (own["head"] == head)].head(CLASSES)
            alike: dict[str, list[str]] = {}
            for value, negative, turning, angle in chosen[["class", "negative", "turning", "angle"]].itertuples(index=False):
                said = f"{negative:.0%} negative, {turning:.0%} complex, angle {angle:.2f} rad"
                alike.setdefault(said, []).append(str(value))
            lines.append(f"{model}, layer {layer}, head {head}")
            lines += [f"    {label} {', '.join(values)}: {said}" for said, values in alike.items()]
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Draw the head that tells the classes best apart, for each model and label: the complex plane, a colour for each of the
        most frequent classes; and by the names of more of them how far the eigenvalues of a token turn.
        """
        panels = []
        for (model, label), own in self.table.groupby(["model", "label"], sort=False):
            layer, head = self.liveliest(str(model), str(label))
            rows = own[(own["layer"] == layer) & (own["head"] == head)]
            title = f"{model}, layer {layer}, head {head}"
            classes = _most_frequent(rows, CLASSES)
            coloured = set(_most_frequent(rows, COLOURED))
            clouds = []
            for value in (value for value in classes if value in coloured):
                cloud = rows[rows["class"] == value]
                cloud = cloud.sample(min(len(cloud), SHOWN), random_state=0)
                clouds.append(Points(cloud["real"].to_numpy(), cloud["imaginary"].to_numpy(), f"{label} {value}"))
            panels.append(Panel(clouds, "real part", "imaginary part", title, equal=True, unit_circle=True))
            turns = [_turns(rows, label, classes)]
            panels.append(Panel(turns, "largest angle of a token (rad)", "", title, x_range=ANGLES, bounds=(0.0, np.pi)))
        return Figure(
            self.title,
            panels,
            alt=f"Eigenvalues of transitions in the complex plane by class of the token. {self.summary()}",
            caption=f"The head whose rotation differs most between classes. In the plane: the {COLOURED} most frequent classes "
            f"at most, and {SHOWN} eigenvalues of each. Angles: {CLASSES} classes at most, means over tokens with their range.",
        )


def _most_frequent(rows: pd.DataFrame, count: int) -> list[str]:
    """The classes with most tokens, in the order in which they stand."""
    tokens = rows.drop_duplicates(["sequence", "position"])["class"].value_counts(sort=False)
    chosen = set(tokens.sort_values(ascending=False, kind="stable").index[:count])
    return [str(value) for value in dict.fromkeys(rows["class"]) if value in chosen]


def _turns(rows: pd.DataFrame, label: str, classes: list[str]) -> Intervals:
    """The mean over the tokens of a class of the largest angle that one's eigenvalues have, with the least and the largest."""
    largest = rows.assign(angle=_angles(rows)).groupby(["class", "sequence", "position"], sort=False)["angle"].max()
    by = largest.groupby(level="class")
    middle, low, high = (getattr(by, how)()[classes].to_numpy() for how in ("mean", "min", "max"))
    return Intervals([f"{label} {value}" for value in classes], middle, "", low, high)


def _angles(rows: pd.DataFrame) -> np.ndarray:
    """How far each eigenvalue turns, in radians: pi of a negative one, and 0 of one that is not negative but for rounding."""
    value = (rows["real"] + 1j * rows["imaginary"]).to_numpy()
    turning = np.abs(value.imag) > ROUNDING
    return np.where(turning | (value.real < -ROUNDING), np.abs(np.angle(value)), 0.0)
