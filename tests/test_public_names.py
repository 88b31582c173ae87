"""A public name means one thing, is explained by a sentence, and stands in docs/reference.md."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import statescope
from statescope.analyses.automata.allowed_groups import GroupVerdict
from statescope.app.reference import first_sentence, public_names, reference_page, sentence_of

ROOT = Path(__file__).parents[1]
ROOMS = ("kernels", "probe", "analyses", "app")
CLAIMS = "analyses/atlas/papers"  # a claim is found by its kind, and its class named after what its paper speaks of


def public_classes(source: str) -> list[str]:
    """The public classes at the top of a file."""
    return [one.name for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and not one.name.startswith("_")]


def test_no_two_public_classes_have_one_name() -> None:
    homes = defaultdict(list)
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            home = path.relative_to(ROOT).as_posix()
            if not home.startswith(CLAIMS):
                for name in public_classes(path.read_text("utf-8")):
                    homes[name].append(home)
    assert len(homes) > 300
    assert not {name: found for name, found in homes.items() if len(found) > 1}


def test_a_class_that_is_there_twice_is_seen() -> None:
    assert public_classes("class Cell:\n    class Inner:\n        pass\n\nclass _Own:\n    pass\n") == ["Cell"]


def test_a_name_of_two_subjects_is_one_thing() -> None:
    """`from statescope import NAME` takes it from the first subject that has it."""
    found: dict[str, object] = {}
    for subject in statescope.SUBJECTS:
        module = import_module(f"statescope.{subject}")
        assert len(set(module.__all__)) == len(module.__all__), f"{subject} lists a name twice"
        for name in module.__all__:
            assert found.setdefault(name, getattr(module, name)) is getattr(module, name), f"{subject}.{name} is another"
            assert getattr(statescope, name) is getattr(module, name), f"statescope.{name} is not that of {subject}"


def test_what_holds_arrays_shows_their_shapes_at_a_prompt() -> None:
    """The text that `dataclass` makes of an object has every number of its arrays: pages of them."""
    holding = [
        thing
        for _, _, thing in public_names()
        if isinstance(thing, type)
        and dataclasses.is_dataclass(thing)
        and any(re.search("Tensor|Array|ndarray|Values|DataFrame", str(one.type)) for one in dataclasses.fields(thing))
    ]
    assert len(holding) > 20
    assert not [thing.__name__ for thing in holding if hasattr(thing.__repr__, "__wrapped__")]


# What such calls give that one computes with, or looks at, and does not read.
GONE_ON_WITH = {
    "Capture",
    "Direction",
    "HookedModel",
    "HookedModule",
    "Jacobians",
    "Model",
    "Observation",
    "StateCache",
    "StateView",
    "Subspace",
}


def test_what_a_public_call_finds_is_told_in_words() -> None:
    """Of a model, a direction or a probe: each class of ours that a call gives has `summary()`, as every result has."""
    given = {}
    for module, _, thing in public_names():
        if module in ("statescope", "statescope.directions", "statescope.estimators") and inspect.isfunction(thing):
            names = re.findall(r"[A-Z]\w+", str(thing.__annotations__["return"]))
            given |= {name: thing.__globals__[name] for name in names if isinstance(thing.__globals__.get(name), type)}
    ours = {name: kind for name, kind in given.items() if kind.__module__.startswith("statescope")} | {
        "GroupVerdict": GroupVerdict
    }
    assert {"CapturePlan", "Patching", "Progress", "Unlearned", "DirectionInterval"} <= set(ours)
    assert {name for name, kind in ours.items() if not hasattr(kind, "summary")} <= GONE_ON_WITH
    assert not {name for name in GONE_ON_WITH & set(ours) if hasattr(ours[name], "summary")}


def is_sentence(text: str) -> bool:
    """Whether a text begins as a sentence or an equation does, ends as one, and is long enough to say something."""
    return not re.match(r"[a-z]{2,}\s", text) and bool(re.search(r"[^.\s]\.?$", text)) and len(text.split()) >= 4


def test_what_is_written_of_every_public_name_begins_with_a_sentence() -> None:
    said = {f"{module}.{name}": sentence_of(thing) for module, name, thing in public_names()}
    assert len(said) > 250
    assert not {name: text for name, text in said.items() if not is_sentence(text)}


def test_first_sentences() -> None:
    assert first_sentence("S_t = a S_{t-1} (Zhang et al. 2024, arXiv:2402.04347), which learns.\nIt is more.") == (
        "S_t = a S_{t-1} (Zhang et al. 2024, arXiv:2402.04347), which learns."
    )
    assert first_sentence("0, 1, ... and so on: two of\n    them. More.") == "0, 1, ... and so on: two of them."
    assert first_sentence("A sweep over\n    two lines.\n\n    More.") == "A sweep over two lines."
    assert first_sentence("Settings, in this form:\n\n    x = 1") == "Settings, in this form"
    assert first_sentence("") == ""


def test_the_page_of_public_names_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert written == reference_page(), "python -m statescope.app.reference > docs/reference.md"
