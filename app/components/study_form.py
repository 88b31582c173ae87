"""The settings of a study as texts to change, and the study that the texts describe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...probe.configuration import BadSettingError, from_plain, to_plain
from ...probe.declarations import declarations, settings
from ...probe.errors import StatescopeError
from ...probe.files import UnwritableError
from ...probe.runs.manifest import Manifest
from ...probe.runs.run_folder import is_run
from ...probe.runs.study import Study, study_named

PATHS = ("folder", "file", "path")  # settings that name files are given on the command line alone
LISTS = ("tuple", "Lengths", "list")
LONGEST = 2000


@dataclass(frozen=True)
class Field:
    """A setting: its path such as "training.steps", its value as text, what it means, and whether it is text or a list."""

    path: str
    value: str
    text: str
    is_text: bool
    is_list: bool

    def read(self, given: str) -> Any:
        """A value in plain form. Raises BadSettingError for what is too long to be one, and for what names a file."""
        value = self._read(given.strip())
        if names_a_file(value):
            raise BadSettingError(f"{self.path} names a folder or a file; those are given on the command line alone")
        return value

    def _read(self, given: str) -> Any:
        if len(given) > LONGEST:
            raise BadSettingError(f"{self.path} has {len(given)} letters; a setting has {LONGEST} at most")
        if given in ("None", "null"):
            return None
        if self.is_text:
            return given
        bracketed = f"[{given}]" if self.is_list and not given.startswith(("[", "{")) else given
        try:
            return json.loads(bracketed)
        except (ValueError, RecursionError):
            return [part.strip() for part in given.split(",")] if self.is_list else given


def names_a_file(value: Any) -> bool:
    """Whether a setting with the name of one that names files stands somewhere in a plain value."""
    if isinstance(value, Mapping):
        return any((name in PATHS and item is not None) or names_a_file(item) for name, item in value.items())
    return isinstance(value, list) and any(map(names_a_file, value))


@cache
def fields_of(name: str) -> tuple[Field, ...]:
    """The settings of a study, but for its seed and for those that name files."""
    (declaration,) = [found for found in declarations(Study.family) if found.kind == name]
    plain = to_plain(study_named(name))
    found = []
    for setting in settings(declaration):
        if setting.path == "seed" or setting.path.rpartition(".")[2] in PATHS:
            continue
        value: Any = plain
        for part in setting.path.split("."):
            value = value[part]
        bare = setting.type.removeprefix("Annotated[")
        is_text, is_list = bare.startswith("str"), bare.startswith(LISTS)
        found.append(Field(setting.path, _shown(value), setting.text, is_text, is_list))
    return tuple(found)


def _shown(value: Any) -> str:
    """A plain value as text: text as it is, of a kind with nothing else its name, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, int | float | str) for item in value):
        return ", ".join(map(str, value))
    return "None" if value is None else json.dumps(value)


def study_of(name: str, seed: int, texts: Mapping[str, str]) -> Study:
    """The study with these settings, those by path whose text differs from the default; it is looked at, not run.

    Raises BadSettingError or UnknownNameError, with the setting's path, for what does not fit.
    """
    fields, plain = {field.path: field for field in fields_of(name)}, {"seed": seed}
    for path, given in texts.items():
        if given.strip() == fields[path].value:
            continue
        inner: dict[str, Any] = plain
        *above, last = path.split(".")
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = fields[path].read(given)
    base = study_named(name)
    study = from_plain(type(base), plain, base=base)
    study.check()
    return study


def prepare(study: Study, folder: Path) -> Path:
    """The folder of a study's run, which `statescope run FOLDER` then works in. Nothing is changed in one that is there already.

    Raises StatescopeError where no folder can be made.
    """
    out = folder / study.run_name
    if Path(study.run_name).name != study.run_name or study.run_name.startswith("."):
        raise BadSettingError(f"a run cannot be called {study.run_name!r}; take a name of letters and digits")
    if out.is_symlink() or (out.exists() and not is_run(out)):
        raise StatescopeError(f"{out.name} is there already, and is no run; rename it")
    if not out.exists():
        try:
            out.mkdir(parents=True)
        except OSError as error:
            raise UnwritableError(error.errno or 0, f"{out} cannot be made: {error.strerror}") from error
        Manifest.new(study.kind, to_plain(study), study.seed).write(out)
    return out
