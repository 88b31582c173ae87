"""Tasks with ground truth at every position, and how batches of them are drawn."""

from __future__ import annotations

from .probe.tasks import (
    AssociativeRecall,
    Batch,
    InContextRegression,
    InductionHeads,
    Match,
    ModularArithmetic,
    Othello,
    Parity,
    Repeat,
    Reviews,
    SelectiveCopying,
    Sentiment,
    SourceCode,
    SparseAveraging,
    Split,
    Table,
    Task,
    Text,
    WordProblem,
    generator_for,
)
from .probe.tasks.base import draw_split
from .probe.tasks.check import check_task

__all__ = [
    "AssociativeRecall",
    "Batch",
    "InContextRegression",
    "InductionHeads",
    "Match",
    "ModularArithmetic",
    "Othello",
    "Parity",
    "Repeat",
    "Reviews",
    "SelectiveCopying",
    "Sentiment",
    "SourceCode",
    "SparseAveraging",
    "Split",
    "Table",
    "Task",
    "Text",
    "WordProblem",
    "check_task",
    "draw_split",
    "generator_for",
]
