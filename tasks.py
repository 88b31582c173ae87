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
    "SelectiveCopying",
    "Sentiment",
    "SourceCode",
    "SparseAveraging",
    "Split",
    "Table",
    "Task",
    "Text",
    "WordProblem",
    "generator_for",
]
