"""A run by its path or its name."""

from __future__ import annotations

from pathlib import Path


def find_run(name: str, folder: Path) -> Path:
    """The folder of a run that is named by its path, or by its name in the folder of runs. Raises UnknownNameError."""
    path = folder / name if not Path(name).exists() else Path(name)
    if not path.is_dir():
        from ..probe.errors import unknown_name

        known = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir()] if folder.is_dir() else []
        raise unknown_name(f"run in {folder}/", name, known)
    return path
