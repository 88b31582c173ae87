"""A study from its name or file and the flags behind it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import tyro

from ..analyses.studies.catalogue import study_named, study_of_kind
from ..probe.configuration import from_plain
from ..probe.errors import StatescopeError
from ..probe.runs.manifest import FILE as MANIFEST
from ..probe.runs.manifest import Manifest
from ..probe.runs.study import Study


class BadStudyFileError(StatescopeError, ValueError):
    """A study file that is no TOML, or holds settings that do not fit."""


def read_study(name: str, given: list[str]) -> tuple[Study, Path | None]:
    """The study and the folder of --out. Settings: the study's own < the file's or the run's < flags.

    Raises UnknownNameError for an unknown study or setting, BadStudyFileError for a file that cannot be read as a study. A
    flag that does not fit ends the program with the nearest one that would.
    """
    flags, out = _take_out(given)
    if (Path(name) / MANIFEST).exists():
        base, out = study_of_run(Path(name)), out or (None if flags else Path(name))
    else:
        base = study_from_file(Path(name)) if name.endswith(".toml") else study_named(name)
    study = tyro.cli(
        type(base),
        default=base,
        args=flags,
        prog=f"statescope run {name}",
        description=f"{base.question}\n\n--out DIR: the run folder (default runs/{base.run_name}).",
        config=(tyro.conf.AvoidSubcommands,),
    )
    return study, out


def study_of_run(path: Path) -> Study:
    """The study of a run folder, with the settings it was run with."""
    manifest = Manifest.read(path)
    base = study_of_kind(manifest.study)
    return from_plain(type(base), dict(manifest.configuration), base=base)


def study_from_file(path: Path) -> Study:
    """The study a TOML file describes: `study = "NAME"`, and any of its settings."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadStudyFileError(f"{path} cannot be read as a study: {error}") from error
    if "study" not in table:
        raise BadStudyFileError(f'{path} needs a line such as study = "parity"')
    base = study_named(str(table.pop("study")))
    try:
        return from_plain(type(base), table, base=base)
    except StatescopeError:
        raise
    except (TypeError, ValueError) as error:
        raise BadStudyFileError(f"{path}: {error}") from error


def _take_out(given: list[str]) -> tuple[list[str], Path | None]:
    """Split --out from the study's own flags."""
    for index, word in enumerate(given):
        if word == "--out" and index + 1 < len(given):
            return given[:index] + given[index + 2 :], Path(given[index + 1])
        if word.startswith("--out="):
            return given[:index] + given[index + 1 :], Path(word.removeprefix("--out="))
    return given, None
