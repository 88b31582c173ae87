"""What the launcher tells the pages: they run in the server's process, and take it from the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

RUNS_VARIABLE = "STATESCOPE_RUNS"
PLUGINS_VARIABLE = "STATESCOPE_PLUGINS"
MODELS_VARIABLE = "STATESCOPE_MODELS"


def tell(folder: Path, plugins: Sequence[Path], models: Sequence[Path] = ()) -> None:
    """Set the folder of runs, the files of the user's own that are imported, and the folders of models."""
    os.environ[RUNS_VARIABLE] = str(folder.resolve())
    os.environ[PLUGINS_VARIABLE] = os.pathsep.join(str(path.resolve()) for path in plugins)
    os.environ[MODELS_VARIABLE] = os.pathsep.join(str(path.resolve()) for path in models)


def runs_folder() -> Path:
    """Tell the folder in which runs are."""
    return Path(os.environ.get(RUNS_VARIABLE, "runs"))


def plugin_files() -> list[Path]:
    """Tell which Python files hold the user's own results and pages."""
    return _paths(PLUGINS_VARIABLE)


def model_folders() -> list[Path]:
    """Tell which folders hold a model, or several in folders of their own."""
    return _paths(MODELS_VARIABLE)


def _paths(variable: str) -> list[Path]:
    return [Path(path) for path in os.environ.get(variable, "").split(os.pathsep) if path]
