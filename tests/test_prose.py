"""What people read in `--help` and in the reference is whole sentences: found in the source, so that nothing is left out.

The text of a field is the string that stands after it in the body of its class. It is a sentence with a verb. The docstring of
what is public says what it is before it says its shape or whose it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipes import recipes

from statescope.probe.declarations import declarations, settings

ROOT = Path(__file__).parents[1]
FEWEST_WORDS = 4
PACKAGES = ("probe", "analyses", "app")


def field_texts(source: str) -> Iterator[tuple[str, str]]:
    """(class.field, its text) of each annotated field that a string follows."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                match field, text:
                    case ast.AnnAssign(target=target), ast.Expr(value=ast.Constant(value=str(said))):
                        yield f"{node.name}.{ast.unparse(target)}", said


def is_sentence(text: str) -> bool:
    """Whether a text begins with a capital or a symbol, ends with a full stop, and has words enough for a verb."""
    return not text[:1].islower() and not text[:1].isspace() and text.endswith(".") and len(text.split()) >= FEWEST_WORDS


def texts_of_package(package: str) -> dict[str, str]:
    return {
        f"{path.relative_to(ROOT)}: {field}": text
        for path in sorted((ROOT / package).rglob("*.py"))
        for field, text in field_texts(path.read_text("utf-8"))
    }


def public_docstrings(body: list[ast.stmt], within: str = "") -> Iterator[tuple[str, str]]:
    """(name, its docstring) of the public classes and functions, and of their public methods."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if text := ast.get_docstring(node):
                yield within + node.name, text
            if isinstance(node, ast.ClassDef):
                yield from public_docstrings(node.body, f"{node.name}.")


def is_clipped(text: str) -> bool:
    """Whether a docstring is a word or two, or begins with a shape or with whose it is."""
    return len(text.split()) < FEWEST_WORDS or text.startswith(("[", "Of ", "That of ", "Those "))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_text_of_every_field_is_a_sentence(package: str) -> None:
    texts = texts_of_package(package)
    assert texts, f"no field of {package} has a text"
    assert not {field: text for field, text in texts.items() if not is_sentence(text)}


def test_the_text_of_every_field_of_a_recipe_is_a_sentence() -> None:
    files = [source for recipe in recipes() for source in recipe.files.values()]
    texts = dict(pair for source in files for pair in field_texts(source))
    assert texts, "no field of a recipe has a text"
    assert not {field: text for field, text in texts.items() if not is_sentence(text)}


@pytest.mark.parametrize(
    "family",
    (
        *("study", "task", "mixer", "channel_mixer", "estimator", "eraser", "labelled_eraser", "lens", "direction_finder"),
        "subspace_finder",
    ),
)
def test_every_setting_has_a_text(family: str) -> None:
    """What `--help` shows of a study, and what a form would show of a part."""
    declared = declarations(family)
    texts = {f"{one.name}.{setting.path}": setting.text for one in declared for setting in settings(one)}
    assert declared and not [path for path, text in texts.items() if not is_sentence(text)]


@pytest.mark.parametrize("package", ("kernels", *PACKAGES))
def test_no_public_docstring_is_clipped(package: str) -> None:
    texts = {
        f"{path.relative_to(ROOT)}: {name}": text
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, text in public_docstrings(ast.parse(path.read_text("utf-8")).body)
    }
    assert texts, f"nothing public of {package} has a docstring"
    assert not {name: text for name, text in texts.items() if is_clipped(text)}


def test_a_clipped_text_is_found() -> None:
    source = '''
class Settings:
    """A class."""

    steps: int = 3
    """batches in all"""
    clip: float = 1.0
    """Gradients with a larger norm are scaled down to this."""
    shape: tuple[int, ...] = ()
    """[batch, width] is the shape of the input."""
    width: int = 2
    """Of the stream."""
    bare: int = 1
'''
    found = dict(field_texts(source))
    assert list(found) == ["Settings.steps", "Settings.clip", "Settings.shape", "Settings.width"]
    assert [field for field, text in found.items() if not is_sentence(text)] == ["Settings.steps", "Settings.width"]


def test_a_clipped_docstring_is_found() -> None:
    source = '''
class Operator:
    """A linear map of vectors."""

    def shape(self):
        """[..., rows, columns]."""

    def dtype(self):
        """Of all that comes out."""

    def size(self):
        """K."""

    def _own(self):
        """K."""
'''
    found = dict(public_docstrings(ast.parse(source).body))
    assert [name for name, text in found.items() if is_clipped(text)] == ["Operator.shape", "Operator.dtype", "Operator.size"]
