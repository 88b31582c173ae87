"""Words that a reader puts on runs. They stand beside the runs, in one file of the folder, for a run itself is never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...probe.errors import StatescopeError
from ...probe.files import DamagedFileError, read_json, write_text
from ..environment import runs_folder

FILE = ".tags.json"
MOST, LONGEST = 20, 40


def tags_there_are(folder: Path | None = None) -> Mapping[str, tuple[str, ...]]:
    """The tags of each run that has some, by its name; what is no tag is left out."""
    try:
        return _read((folder or runs_folder()) / FILE)
    except StatescopeError:
        return {}


def tag(run: str, words: Sequence[str], folder: Path | None = None) -> None:
    """Put these tags on a run, in the place of those it had; the file appears whole or not at all.

    Raises DamagedFileError for a file that cannot be read, which would be lost, and UnwritableError for a folder that takes none.
    """
    file = (folder or runs_folder()) / FILE
    try:
        before = _read(file)
    except StatescopeError as error:
        raise DamagedFileError(f"the tags of other runs cannot be read, and would be lost ({error}); move {file} away") from error
    kept = {**before, run: _proper(words)}
    write_text(file, json.dumps({name: list(own) for name, own in sorted(kept.items()) if own}, indent=1) + "\n")


def _read(file: Path) -> Mapping[str, tuple[str, ...]]:
    plain = read_json(file) if file.exists() else {}
    if not isinstance(plain, dict):
        raise DamagedFileError(f"{file} holds no tags by the names of runs")
    return {name: _proper(words) for name, words in plain.items() if isinstance(words, list)}


def _proper(words: Sequence[object]) -> tuple[str, ...]:
    """Words of at most 40 letters, each once, 20 at most."""
    given = [word.strip() for word in words if isinstance(word, str)]
    return tuple(dict.fromkeys(word for word in given if 0 < len(word) <= LONGEST))[:MOST]
