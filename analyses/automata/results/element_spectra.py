"""Eigenvalues by group element: the table and the figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....probe.results.figure import Figure, Line, Panel, Points
from ....probe.results.result import Result

SHOWN = 200  # eigenvalues of an element in a figure
ELEMENTS = 8  # elements in a panel


@dataclass(frozen=True)
class ElementSpectra(Result, kind="element_spectra"):
    """The eigenvalues of A_t, each with the group element that its token is, and the order of that element."""

    title: ClassVar[str] = "Eigenvalues by group element"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "element": "the token's element: in cycles, or the number of steps of a cyclic group",
        "order": "the least power of the element that is the identity",
        "sequence": "sequence of the batch",
        "position": "token position",
        "real": "real part of an eigenvalue of A_t",
        "imaginary": "imaginary part",
        "multiplicity": "how many of the K eigenvalues are this one",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "element", "order")

    def by_element(self) -> pd.DataFrame:
        """For each model, layer, head and element: its order, and how far its eigenvalues are from having that order.

        A map of order m has for each prime power q that divides m, and is not divided by the prime once more in m, an eigenvalue
        among those m-th roots of unity whose own order q divides. "distance" is that of the eigenvalue nearest to them, the
        largest over q, and the mean over tokens. It says nothing of the other eigenvalues, which may decay.
        """
        places = ["model", "layer", "head", "element", "order"]
        table = self.table.assign(value=self.table["real"] + 1j * self.table["imaginary"])
        rows = []
        for (*where, order), own in table.groupby(places, sort=False):
            token = own.groupby(["sequence", "position"], sort=False).ngroup().to_numpy()
            largest = np.zeros(token.max() + 1)
            for roots in _needed(int(order)):
                nearest = np.full(len(largest), np.inf)
                np.minimum.at(nearest, token, np.abs(own["value"].to_numpy()[:, None] - roots).min(1))
                largest = np.maximum(largest, nearest)
            rows.append((*where, order, len(largest), float(largest.mean())))
        return pd.DataFrame(rows, columns=[*places, "tokens", "distance"])

    def best(self, model: str) -> tuple[int, int]:
        """The layer and head of a model whose eigenvalues are nearest to the orders of the elements, on the mean over them."""
        own = self.by_element()
        layer, head = own[own["model"] == model].groupby(["layer", "head"])["distance"].mean().idxmin()
        return int(layer), int(head)

    def summary(self) -> str:
        lines, found = [], self.by_element()
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.best(model)
            own = found[(found["model"] == model) & (found["layer"] == layer) & (found["head"] == head)]
            said = [
                f"order {order}, {distance.min():.2g} to {distance.max():.2g}"
                for order, distance in own.groupby("order")["distance"]
                if order > 1
            ]
            lines.append(
                f"{model}, layer {layer}, head {head}: distance of the eigenvalues from the roots of unity that an element has, "
                f"over elements: {'; '.join(said)}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For the head of each model nearest to the group, one complex plane an order: its elements in colours, and the roots."""
        panels = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.best(model)
            of_head = self.select(model=model, layer=layer, head=head).table
            for order, own in of_head[of_head["order"] > 1].groupby("order"):
                marks: list[Line | Points] = [_spokes(int(order))]
                for element in list(dict.fromkeys(own["element"].sort_values()))[:ELEMENTS]:
                    cloud = own[own["element"] == element]
                    cloud = cloud.sample(min(len(cloud), SHOWN), random_state=0)
                    marks.append(Points(cloud["real"].to_numpy(), cloud["imaginary"].to_numpy(), str(element)))
                title = f"{model}, layer {layer}, head {head}: order {order}"
                panels.append(Panel(marks, "real part", "imaginary part", title, equal=True, unit_circle=True))
        return Figure(
            self.title,
            panels,
            alt=f"Eigenvalues of transitions in the complex plane by group element. {self.summary()}",
            caption=f"The head nearest to the group; {ELEMENTS} elements of an order and {SHOWN} eigenvalues of each at most.",
        )


def _spokes(order: int) -> Line:
    """A line from 0 to each root of unity of an order."""
    roots = np.exp(2j * np.pi * np.arange(order) / order)
    ends = np.column_stack([np.zeros(order), roots, np.full(order, np.nan)]).ravel()
    return Line(ends.real, np.where(np.isnan(ends.real), np.nan, ends.imag), "to the roots of unity", dashed=True)


def _needed(order: int) -> Iterator[NDArray[np.complex128]]:
    """For each prime power that divides an order and its cofactor does not: the roots of unity whose own order it divides."""
    turns = np.arange(order)
    own = np.array([order // gcd(order, int(turn)) for turn in turns])
    for power in _prime_powers(order):
        yield np.exp(2j * np.pi * turns[own % power == 0] / order)


def _prime_powers(number: int) -> list[int]:
    """The largest power of each prime that divides a number; 1 of 1."""
    found, prime = [], 2
    while number > 1:
        power = 1
        while number % prime == 0:
            number, power = number // prime, power * prime
        found += [power] if power > 1 else []
        prime += 1
    return found or [1]
