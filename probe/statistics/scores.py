"""The result of a probe sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ..hooks.names import site_of
from ..results.figure import EVERY, SHARE, Figure, Intervals, Line, Panel
from ..results.result import Result
from .corrections import false_discovery_rates

BOUNDS = {"accuracy": SHARE, "balanced accuracy": SHARE, "AUC": SHARE, "R2": (-np.inf, 1.0), "log-loss": (0.0, np.inf)}
"""What a score can be, by the name of its metric."""


@dataclass(frozen=True)
class ProbeScores(Result, kind="probe_scores"):
    """Held-out accuracy of linear probes by hook, position and label, beside what it is compared with."""

    title: ClassVar[str] = "Linear probes"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "hook": "the probed activation",
        "layer": "of the hook; -1 for the model's own",
        "site": "short name of the hook",
        "position": "token position of the probe; -1 for one probe for all positions",
        "label": "what is probed",
        "classes": "number of classes of the label among the held-out samples; 0 of a label that is a number",
        "metric": "what is measured: accuracy, the share of held-out samples that are right, or another score of classes; R2 of "
        "labels that are numbers",
        "accuracy": "the probe's held-out score by that metric",
        "low": "lower end of its 95% interval",
        "high": "upper end of its 95% interval",
        "majority": "score of always answering the most frequent class of the probe's training samples (of numbers, their mean)",
        "control": "score on the control task; undefined where `note` says so",
        "control_low": "lower end of its 95% interval",
        "control_high": "upper end of its 95% interval",
        "selectivity": "how much better than the control: accuracy - control, or of a loss the other way round",
        "null": "mean score where the labels of whole groups are dealt to other groups",
        "p_value": "share of such permutations that score as high, the true one counted in",
        "q_value": "smallest false discovery rate over the table (Benjamini-Hochberg) at which this is a discovery",
        "penalty": "chosen by grouped cross-validation of the training samples",
        "validation": "score of that choice in that cross-validation",
        "code_length": "online code of the training labels given the activations, bits a sample; needs probabilities",
        "uniform_length": "uniform code of the labels, in bits a sample",
        "features": "inputs of the probe",
        "parameters": "numbers that the probe was fitted by; undefined of the several probes of a cross-validation",
        "fitted_samples": "training samples that it was fitted to; of a cross-validation their mean",
        "samples": "held-out samples",
        "note": "what was left out, or why a number is missing",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "label", "layer", "site", "position")

    def __post_init__(self) -> None:
        """Results that were stored before probes said how large they were lack it."""
        lacking = [name for name in ("parameters", "fitted_samples") if name not in self.table.columns]
        if lacking:
            object.__setattr__(self, "table", self.table.assign(**dict.fromkeys(lacking, np.nan)))
        super().__post_init__()

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> ProbeScores:
        """A result from its rows, which lack the correction over the table."""
        return cls(_corrected(pd.DataFrame(rows)), about)

    @classmethod
    def join(cls, parts: Sequence[ProbeScores]) -> ProbeScores:
        """Scores of several models in one table, corrected as one; they must have been measured in the same way."""
        whole = cls.joined(parts)
        return replace(whole, table=_corrected(whole.table))

    def for_any_dependence(self) -> ProbeScores:
        """The same scores with the q-values of Benjamini and Yekutieli, which hold however the probes depend on each other.

        Those of Benjamini and Hochberg hold where probes are independent, or where one that does well by chance makes it likelier
        that others do, as labels and activations that are alike will.
        """
        return replace(self, table=_corrected(self.table, dependent=True))

    def summary(self) -> str:
        """For each model and label, the test score of the hook that did best in the validation inside the training samples.

        The best of all test scores would be too good: the largest of many is large by chance. Over positions, and where nothing
        was there to choose by, it is their whole range.
        """
        lines = []
        for (label, model), own in self.table.groupby(["label", "model"], sort=True):
            scored = own[own["accuracy"].notna()]
            if scored.empty:
                lines.append(f"{label}, {model}: not scored ({own['note'].iloc[0]})")
                continue
            by_hook = scored.groupby("hook", sort=False)["validation"].mean()
            chosen = scored[scored["hook"] == by_hook.idxmax()] if by_hook.notna().all() else scored
            said = f"{label}, {model}: {_range(chosen)}"
            if len(chosen) < len(scored):
                said += f"; all {len(scored)} probes: {_span(scored['accuracy'])}"
            lines.append(said)
        return "\n".join(lines)

    @property
    def chosen(self) -> pd.Series:
        """For each row, whether its hook did best in the validation inside the training samples, of its model's and label's."""
        best = self.table.groupby(["model", "label", "hook"])["validation"].transform("mean")
        return best.notna() & (best == best.groupby([self.table["model"], self.table["label"]]).transform("max"))

    def evidence(self) -> pd.DataFrame:
        """The table as it is read: each probe beside what it is compared with, in words. A mark shows what validation chose."""
        table = self.table
        found = pd.DataFrame(
            {
                "chosen": self.chosen,
                "label": table["label"].str.replace("_", " "),
                "model": table["model"],
                "activation": table["hook"].map(short_hook),
                "score": table["accuracy"],
                "95% interval": [_interval(*ends) for ends in zip(table["low"], table["high"], strict=True)],
                "majority": table["majority"],
                "control": table["control"],
                "selectivity": table["selectivity"],
                "null": table["null"],
                "p": table["p_value"],
                "q": table["q_value"],
                "code (bits)": table["code_length"],
                "uniform (bits)": table["uniform_length"],
                "inputs": table["features"],
                "samples": table["samples"],
                "note": table["note"],
            }
        )
        if (table["position"] >= 0).any():
            found.insert(4, "position", table["position"])
        return found

    def specification(self) -> Figure:
        """One panel a label: the score by hook with its interval, control and majority.

        Probes without a score are left out of the figure; the table says why they have none.
        """
        table = self.table[self.table["accuracy"].notna()]
        if (table["position"] >= 0).any():
            panels = [self._by_position(own, *map(str, where)) for where, own in table.groupby(["label", "model"], sort=False)]
        else:
            panels = [self._by_hook(own, str(name)) for name, own in table.groupby("label", sort=False)]
        return Figure(
            self.title,
            panels,
            alt=f"Scores of linear probes. {self.summary()}",
            caption=f"{self.about.get('interval', '')}; control: {self.about.get('control', '')}.",
        )

    def _by_hook(self, own: pd.DataFrame, label: str) -> Panel:
        own = own.sort_values(["model", "layer", "site"])
        several = own["model"].nunique() > 1
        pairs = zip(own["model"], own["hook"], strict=True)
        names = [f"{model}: {short_hook(hook)}" if several else short_hook(hook) for model, hook in pairs]
        values, low, high = (own[name].to_numpy() for name in ("accuracy", "low", "high"))
        probe = Intervals(names, values, "probe", low, high)
        values, low, high = (own[name].to_numpy() for name in ("control", "control_low", "control_high"))
        control = Intervals(names, values, "control task", low, high)
        majority = float(np.nanmean(own["majority"]))
        level, shown = (majority, "majority"), (_least(own) - 0.05, _most(own) + 0.02)
        return Panel(
            [probe, control], own["metric"].iloc[0], "", label.replace("_", " "), level=level, x_range=shown, bounds=_bounds(own)
        )

    def _by_position(self, own: pd.DataFrame, label: str, model: str) -> Panel:
        marks = []
        for hook, rows in own.groupby("hook", sort=False):
            rows = rows.sort_values("position")
            x, low, high = (rows[name].to_numpy() for name in ("position", "low", "high"))
            marks.append(Line(x, rows["accuracy"].to_numpy(), short_hook(str(hook)), low, high, markers=True))
            low, high = (rows[name].to_numpy() for name in ("control_low", "control_high"))
            marks.append(Line(x, rows["control"].to_numpy(), f"{short_hook(str(hook))}, control task", low, high))
        majority = own.groupby("position")["majority"].mean()
        marks.append(Line(majority.index.to_numpy(), majority.to_numpy(), "majority", dashed=True))
        title = f"{label.replace('_', ' ')}: {model}" if model else label.replace("_", " ")
        shown = (min(0.0, _least(own) - 0.05), _most(own) + 0.03)
        return Panel(marks, "token position", own["metric"].iloc[0], title, y_range=shown, bounds=_bounds(own))


def _bounds(rows: pd.DataFrame) -> tuple[float, float]:
    """What a score of the rows' metric can be at the least and at the most."""
    return BOUNDS.get(str(rows["metric"].iloc[0]), EVERY)


def _least(rows: pd.DataFrame) -> float:
    """The lowest end of what a figure of these rows shows."""
    return float(np.nanmin(rows[["accuracy", "low", "control", "control_low", "majority"]].to_numpy()))


def _most(rows: pd.DataFrame) -> float:
    """The highest end; at least 1, which most scores cannot exceed."""
    return max(1.0, float(np.nanmax(rows[["accuracy", "high", "control", "control_high", "majority"]].to_numpy())))


def _range(rows: pd.DataFrame) -> str:
    """What rows of one label found: the score with its interval, or the least and the largest of several, each with its own."""
    metric, beside = rows["metric"].iloc[0], f"(majority {_span(rows['majority'])}, control {_span(rows['control'])})"
    where = f"at {rows['hook'].iloc[0]}" if rows["hook"].nunique() == 1 else f"over {rows['hook'].nunique()} hooks"
    better = rows["low"] > rows["control"]
    if len(rows) == 1:
        no = ", no better than its control" if not better.any() and rows["control"].notna().all() else ""
        return f"{metric} {_with_interval(rows.iloc[0])} {where} {beside}{no}"
    none = ", none better than its control" if not better.any() and rows["control"].notna().all() else ""
    places = f" and {rows['position'].nunique()} positions" if rows["position"].nunique() > 1 else ""
    least, most = rows.loc[rows["accuracy"].idxmin()], rows.loc[rows["accuracy"].idxmax()]
    ends = dict.fromkeys(map(_with_interval, (least, most)))  # one where both are written alike
    return f"{metric} {' to '.join(ends)} {where}{places} {beside}{none}"


def _with_interval(row: pd.Series) -> str:
    interval = "without an interval" if np.isnan(row["low"]) else f"[{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['accuracy']:.3f} {interval}"


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.3f} to {high:.3f}"


def _span(values: pd.Series) -> str:
    if values.isna().all():
        return "undefined"
    low, high = f"{values.min():.3f}", f"{values.max():.3f}"
    return low if low == high else f"{low} to {high}"


def _corrected(table: pd.DataFrame, *, dependent: bool = False) -> pd.DataFrame:
    return table.assign(q_value=false_discovery_rates(table["p_value"].to_numpy(dtype=np.float64), dependent=dependent))


def short_hook(hook: str) -> str:
    """A hook's layer and site: "1 state" for "blocks.1.attn.hook_state"."""
    site = site_of(hook)
    return f"{hook.split('.')[1]} {site}" if hook.startswith("blocks.") else site
