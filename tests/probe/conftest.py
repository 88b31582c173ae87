"""A finished run of `folder_learning.Learning`, and copies of it to go on with or to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from folder_learning import Learning


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run, which no test changes."""
    return Learning().run(tmp_path_factory.mktemp("made") / "run").path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the folder."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"
