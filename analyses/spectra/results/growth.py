"""Products that grow: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class ProductGrowth(Result, kind="product_growth"):
    """The norm of a product that repeats the tokens of the largest spectral radius found, by tokens."""

    title: ClassVar[str] = "Products that grow"
    columns: ClassVar[dict[str, str]] = {
        "family": "rwkv7, or delta rule: one rate for all channels and one decay",
        "channels": "key channels K",
        "period": "tokens that are repeated",
        "tokens": "how many were multiplied",
        "norm": "spectral norm of the product",
        "radius": "spectral radius of the period's product, a token",
        "single": "largest spectral radius of one of them",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("family", "channels", "period")

    def summary(self) -> str:
        lines = []
        for (family, channels, period), own in self.table.groupby(["family", "channels", "period"], sort=False):
            last = own.loc[own["tokens"].idxmax()]
            lines.append(
                f"{family}, {channels} channels, {period} tokens repeated: single radii up to {last['single']:.4f}, the "
                f"product's {last['radius']:.4f} a token; norm {last['norm']:.3g} after {last['tokens']:g} tokens"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The norm by tokens, a panel for each number of channels."""
        panels = []
        for channels, of_size in self.table.groupby("channels", sort=False):
            lines = [
                Line(own["tokens"].to_numpy(), own["norm"].to_numpy(), f"{family}, {period} tokens repeated")
                for (family, period), own in of_size.groupby(["family", "period"], sort=False)
            ]
            title = f"{channels} channels"
            panels.append(Panel(lines, "tokens", "norm of the product", title, y_log=True, level=(1.0, "no growth")))
        return Figure(self.title, panels, columns=3, alt=f"Norms of repeated products of transitions. {self.summary()}")
