"""What a dictionary keeps: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from ...results.figure import Bars, Figure, Panel
from ...results.result import Result


@dataclass(frozen=True)
class DictionaryScores(Result, kind="dictionary_scores"):
    """What dictionaries keep, on tokens that they were not trained on.

    The controls reconstruct each sample from as many directions as the dictionary uses of it in the mean: of random unit vectors,
    as many as it has features, those that the sample points along most, with the coefficients of least squares; and the principal
    axes of these very samples. A dictionary that does not beat them has found no features.
    """

    title: ClassVar[str] = "What a dictionary keeps"
    columns: ClassVar[dict[str, str]] = {
        "dictionary": "its name, or that of a control with what it is a control of",
        "control": "whether it is a control",
        "hook": "activation that is reconstructed",
        "features": "directions that there are",
        "active": "features of a sample that are not 0, in the mean",
        "dead": "share of features that are 0 on all of these samples; nan for a control",
        "explained": "1 - squared error / squared distance from the mean",
        "loss": "the model's loss with the reconstruction in the place of the activation",
        "own_loss": "the model's own loss",
        "mean_loss": "with the mean activation in its place",
        "recovered": "(mean_loss - loss) / (mean_loss - own_loss); nan where the mean costs nothing",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("dictionary", "hook")

    def summary(self) -> str:
        return "\n".join(
            f"{row.dictionary}: {row.explained:.1%} of the variance and {_share(row.recovered)} with {row.active:.3g} of "
            f"{row.features} features" + ("" if row.control else f", {row.dead:.1%} of them dead")
            for row in self.table.itertuples()
        )

    def specification(self) -> Figure:
        names = self.table["dictionary"].tolist()
        low, high = self.table["low"].to_numpy(), self.table["high"].to_numpy()
        explained = Bars(names, self.table["explained"].to_numpy(), "variance")
        recovered = Bars(names, self.table["recovered"].to_numpy(), "loss", low, high)
        return Figure(
            self.title,
            [Panel([explained], "", "variance explained"), Panel([recovered], "", "loss recovered")],
            alt=f"Variance explained and loss recovered. {self.summary()}",
        )


def _share(recovered: float) -> str:
    return f"{recovered:.1%} of the loss" if isfinite(recovered) else "no loss to recover (the mean in its place costs none)"
