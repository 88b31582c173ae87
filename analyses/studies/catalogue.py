"""The studies that come with statescope, by name. Importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ...probe.errors import unknown_name

if TYPE_CHECKING:
    from ...probe.runs.study import Study


@dataclass(frozen=True)
class Entry:
    """A study by name. module, factory: where it is made; time: what it takes on two cores."""

    name: str
    question: str
    module: str
    factory: str
    time: str

    def make(self) -> Study:
        study: Study = getattr(import_module(self.module, __package__), self.factory)()
        return study


ENTRIES = (
    Entry(
        "parity-small",
        "The parity study at a third of its length: a first run to look at.",
        ".parity",
        "small",
        "20 s",
    ),
    Entry(
        "parity",
        "Can a linear RNN track parity? Only with a transition whose eigenvalue can be negative.",
        ".parity",
        "ParityStudy",
        "1 min",
    ),
    Entry(
        "source-code",
        "What does a model of Python source keep in its state: brackets, strings, comments, indentation?",
        ".source_code",
        "SourceCodeStudy",
        "6 min",
    ),
    Entry(
        "linearization",
        "How much of a softmax model survives when its attention becomes a state?",
        ".linearization",
        "LinearizationStudy",
        "2 min",
    ),
    Entry(
        "hybrid",
        "How many softmax layers does a linear model need to recall?",
        ".hybrid",
        "HybridStudy",
        "6 min",
    ),
)
STUDIES = {entry.name: entry for entry in ENTRIES}
FLAGSHIPS = ("parity", "source-code")
SMALLEST = "parity-small"


def study_of_kind(kind: str) -> Study:
    """A study of the kind that a run's manifest names, with its default settings. Raises UnknownNameError for no such kind."""
    from ...probe.runs.study import Study

    made: Study = Study.of_kind(kind)()
    return made


def study_named(name: str) -> Study:
    """The study of this name with its default settings. Raises UnknownNameError with the nearest name."""
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    return STUDIES[name].make()
