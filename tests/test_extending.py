"""Every recipe of docs/extending.md runs as it is written, from a folder outside the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from recipes import Recipe, forgotten_afterwards, recipes

LONGEST = 60  # lines of a recipe's files: a part is small


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_a_recipe_runs(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with forgotten_afterwards():
        namespace: dict[str, object] = {"__name__": "recipe"}
        for script in recipe.scripts:
            exec(compile(script, f"{recipe.title} in docs/extending.md", "exec"), namespace)
    for name in recipe.files:
        sys.modules.pop(name.removesuffix(".py"), None)
    assert recipe.scripts


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_a_recipe_is_short(recipe: Recipe) -> None:
    assert sum(text.count("\n") for text in recipe.files.values()) <= LONGEST
