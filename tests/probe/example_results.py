"""A figure of every sort of panel, one whose every text is hostile, and results; several tests share them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from statescope.probe.results.figure import Bars, Figure, Heatmap, Histogram, Intervals, Line, Panel, Points
from statescope.probe.results.result import Result


def example_figure() -> Figure:
    x = np.array([1.0, 2.0, 4.0])
    values = np.array([0.2, 0.5, 0.9])
    low, high = values - 0.1, values + 0.05
    return Figure(
        "A figure",
        [
            Panel([Line(x, values, "curve", low, high, markers=True)], "x", "y", "lines", level=(0.5, "chance"), x_log=True),
            Panel(
                [Points(np.cos(x), np.sin(x), "values", color=x, color_label="phase")], "re", "im", equal=True, unit_circle=True
            ),
            Panel([Histogram(np.array([0.0, 1.0, 2.0, 3.0]), np.array([2, 0, 5]), "counts")], "value", "count"),
            Panel([Bars(["a", "b", "c"], values, "bars", low, high)], "", "y"),
            Panel([Intervals(["a", "b", "c"], values, "rows", low, high)], "y", "", level=(0.3, "majority")),
            Panel([Heatmap(np.array([[-1.0, 0.5], [0.2, 3.0]]), ["r", "s"], ["c", "d"], "z", diverging=True)], "", ""),
        ],
        columns=3,
        alt="Six panels.",
    )


HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<b>bold</b>",
    '<a href="http://host/">x</a>',
    "$x^2$",
    "$\\unknown$",
    "a $ b",
    r"\$5",
    "&lt;",
    "%{x}",
    "![x](http://host/y.png)",
    "_hidden",
    "new\nline\ttab\x00nul",
    "\ud800",
    "2020-01-01",
    "1e5",
)


def hostile_figure(text: str) -> Figure:
    x = np.array([0.0, 1.0])
    names = [text, text]
    return Figure(
        text,
        [
            Panel([Line(x, x, text), Line(x, x, "other")], text, text, text, level=(0.5, text)),
            Panel([Points(x, x, text, color=x, color_label=text, text=names)], text, text),
            Panel([Bars(names, x, text), Bars(names, x, "other")], text, text),
            Panel([Intervals(names, x, text)], text, text, level=(0.5, text)),
            Panel([Heatmap(np.eye(2), names, names, text)], text, text),
        ],
        alt=text,
    )


def example_curve() -> Result:
    from statescope.analyses.behaviour.results.training_curve import TrainingCurve

    return TrainingCurve(pd.DataFrame({"model": ["a"], "step": [1], "loss": [0.5]}))


def example_scores() -> Result:
    from statescope.probe.statistics.scores import ProbeScores

    rest = {
        "metric": "accuracy",
        "low": 0.4,
        "high": 0.8,
        "majority": 0.5,
        "control": 0.5,
        "control_low": 0.4,
        "control_high": 0.6,
    }
    rest |= {
        "selectivity": 0.1,
        "null": 0.5,
        "p_value": 0.2,
        "penalty": 1.0,
        "validation": 0.6,
        "code_length": 0.9,
        "uniform_length": 1.0,
        "features": 8,
        "samples": 100,
    }
    rows = [
        {"model": model, "hook": f"blocks.{layer}.attn.hook_state", "layer": layer, "site": "state", "position": -1}
        | {"label": label, "classes": 2, "accuracy": 0.5 + layer / 10, "note": ""}
        | rest
        for model in ("one", "two")
        for layer in (0, 1, 2)
        for label in ("depth", "in_string")
    ]
    return ProbeScores.of(rows, {"control": "by context"})
