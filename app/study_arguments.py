"""A study from its name, its file or its run, and the flags behind it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

import tyro

from ..probe.configuration import BadSettingError, from_plain
from ..probe.errors import StatescopeError, UnknownNameError, unknown_name
from ..probe.plugins import import_file
from ..probe.runs.manifest import FILE as MANIFEST
from ..probe.runs.manifest import Manifest
from ..probe.runs.run_folder import is_run
from ..probe.runs.study import Study, list_studies, study_named
from .seeds import parse_seeds, parse_steps

WAYS = """
studies: {names}; `statescope list` says what each of them asks
a study of your own: statescope run my_study.py (or my_study.py:NAME), a file with a class made from statescope.Study
settings in a file: statescope run settings.toml, with a line such as study = "parity"
a run to go on with: statescope run runs/parity-seed0"""


class BadStudyFileError(StatescopeError, ValueError):
    """A study file that cannot be read, holds no study, or settings that do not fit."""


class UnknownStudyError(UnknownNameError):
    """A name that is no study; the text says what there is, and how to run one's own."""


def read_study(name: str, given: list[str], options: str = "") -> tuple[Study, Path | None]:
    """The study and the folder of --out. Settings: the study's own < the file's or the run's < flags.

    name: of a study; a TOML file; a Python file, with `:NAME` of the class or the kind where it holds several studies; or a run
        folder. Behind a Python file a run folder may stand, whose settings are gone on with: no file is run that a run names.
    options: what the help says beside the settings.

    Raises UnknownNameError for an unknown study or setting, BadStudyFileError for a file that cannot be read as a study. A
    flag that does not fit ends the program with the nearest one that would.
    """
    flags, out = take_out("--out", given)
    flags, seeds = take_out("--seeds", flags)
    file, _, wanted = name.partition(":")
    base: Study | None = study_from_python(Path(file), wanted) if file.endswith(".py") else None
    behind = base is not None and bool(flags) and not flags[0].startswith("-")
    held = Path(flags.pop(0) if behind else name)
    if is_run(held):
        base, out = study_of_run(held), out or (None if flags else str(held))
    elif behind:
        raise unknown_name("run", str(held), ())
    if base is None:
        base = study_from_file(Path(name)) if name.endswith(".toml") else _named(name)
    base, held_seeds = base.split()
    study = tyro.cli(
        type(base),
        default=base,
        args=flags,
        prog=f"statescope run {quote(name)}",
        description=f"{base.question}\n\n{options.format(run=base.run_name)}",
        config=(tyro.conf.AvoidSubcommands,),
    )
    chosen = held_seeds if seeds is None else parse_seeds(seeds)
    study = study if chosen is None else study.over(chosen)
    return study, None if out is None else Path(out)


def _named(name: str) -> Study:
    try:
        return study_named(name)
    except UnknownNameError as error:
        what = " (it is a folder without a manifest.json: no run)" if Path(name).is_dir() else ""
        names = ", ".join(study.name for study in list_studies())
        raise UnknownStudyError(f"{error}{what}{WAYS.format(names=names)}") from error


def study_of_run(path: Path) -> Study:
    """The study of a run folder, with the settings it was run with.

    Its class is one of ours, of an installed package, or of a file that has been imported: a run names no file to import.
    """
    manifest = Manifest.read(path)
    try:
        kind = Study.of_kind(manifest.study)
    except UnknownNameError as error:
        raise UnknownStudyError(
            f"{path} is a run of {manifest.study!r}, a study that neither statescope nor an installed package has; name its "
            f"file too: statescope run my_study.py {quote(str(path))}"
        ) from error
    with told_of(path / MANIFEST):
        return from_plain(kind, dict(manifest.configuration))


def study_from_file(path: Path) -> Study:
    """The study a TOML file describes: `study = "NAME"`, and any of its settings."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except RecursionError as error:
        raise BadStudyFileError(f"{path} cannot be read as a study: it is nested without end") from error
    except OSError as error:
        raise BadStudyFileError(f"{path} cannot be read as a study: {error.strerror}") from error
    except ValueError as error:  # no UTF-8, no TOML, or a number of more digits than are ever read
        raise BadStudyFileError(f"{path} cannot be read as a study: {error}") from error
    name = table.pop("study", None)
    if not isinstance(name, str):
        raise BadStudyFileError(f'{path} needs a line such as study = "parity"')
    base = _named(name)
    with told_of(path):
        return from_plain(type(base), table, base=base)


def study_from_python(path: Path, wanted: str = "") -> Study:
    """The study in a Python file of the user's own, with its default settings: the only one, or the one whose class or kind is
    `wanted`. The file is run.
    """
    if not path.is_file():
        raise BadStudyFileError(f"{path} does not exist, or is no file")
    module = import_file(path)
    found = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Study)]
    own = {kind.__name__: kind for kind in found if kind.__module__ == module.__name__ and "kind" in vars(kind)}
    if not own:
        raise BadStudyFileError(f'{path} holds no study: a class such as class Mine(Study, kind="mine"), with a method execute')
    by_name = own | {kind.kind: kind for kind in own.values()}
    if not wanted and len(own) > 1:
        raise BadStudyFileError(f"{path} holds several studies; choose one: " + ", ".join(f"{path}:{name}" for name in own))
    if wanted and wanted not in by_name:
        raise unknown_name(f"study in {path}", wanted, own)
    chosen = by_name[wanted] if wanted else next(iter(own.values()))
    required = [field.name for field in dataclasses.fields(chosen) if _has_no_default(field)]
    if required:
        raise BadStudyFileError(f"{path}: {chosen.__name__} needs a default for {', '.join(required)}")
    return chosen()


def _has_no_default(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def read_workers(given: list[str]) -> tuple[list[str], int | None]:
    """Split --workers N from the other flags; None where it is not there. Raises BadSettingError for what is no count."""
    flags, text = take_out("--workers", given)
    if text is not None and not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= 99 and len(text) < 5):
        raise BadSettingError(f"--workers needs a number from 1 to 99, got {text[:40]!r}")
    return flags, None if text is None else int(text)


def read_keep(given: list[str]) -> tuple[list[str], tuple[int, ...] | None]:
    """Split --keep 0,10,100 from the other flags; None where it is not there. Raises BadSettingError for what are no steps."""
    flags, text = take_out("--keep", given)
    return flags, None if text is None else parse_steps(text)


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Name the file that settings came from, where they do not fit."""
    try:
        yield
    except StatescopeError as error:
        raise BadStudyFileError(f"{path}: {error}") from error


def take_out(flag: str, given: list[str]) -> tuple[list[str], str | None]:
    """Split a flag and its one value from the study's own flags.

    Raises BadSettingError for a second value, which would go to the setting before the flag, and for the flag given twice.
    """
    for index, word in enumerate(given):
        if word == flag and index + 1 < len(given):
            value, left, behind = given[index + 1], given[:index], given[index + 2 :]
        elif word.startswith(f"{flag}="):
            value, left, behind = word.removeprefix(f"{flag}="), given[:index], given[index + 1 :]
        else:
            continue
        if behind and not behind[0].startswith("-"):
            raise BadSettingError(f"{flag} takes one value, got {value!r} and {behind[0]!r}; several seeds or steps are 0,1")
        if any(other == flag or other.startswith(f"{flag}=") for other in behind):
            raise BadSettingError(f"{flag} is given twice")
        return left + behind, value
    return given, None
