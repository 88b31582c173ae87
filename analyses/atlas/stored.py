"""The verdicts that run folders hold, and what a file must hold to be one. Importing this imports neither torch nor pandas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from ...probe.errors import StatescopeError
from ...probe.results.stored import DamagedResultError, read_stored
from ...probe.runs.run import Run
from .measurement import Over, Relation, Scope, Verdict, weakest

KIND = "verdicts"
NAME = "verdicts"  # of the result in a claim's run
FILE = Path("results") / f"{NAME}.parquet"
DAMAGED = "damaged"
WORDS: dict[str, tuple[str, ...]] = {
    "what": (),
    "unit": (),
    "relation": get_args(Relation),
    "over": get_args(Over),
    "verdict": get_args(Verdict),
}
NUMBERS = ("expected", "tolerance", "found", "low", "high")

T = TypeVar("T")


@dataclass(frozen=True)
class Judged:
    """What a list says of a claim that was measured: the paper it is of, and the verdict on the whole of it."""

    paper: str
    claim: str
    verdict: Verdict

    @classmethod
    def of(cls, run: Run) -> Judged:
        """From the run of a claim, held against its digest and against what verdicts are, as they are where all of it is shown.

        Raises DamagedResultError naming the file for what is no verdict.
        """
        path = run.result_file(NAME)
        header, table = read_stored(path)
        if header.kind != KIND:
            raise DamagedResultError(f"{path} holds a result of the kind {header.kind!r:.80} and no verdicts")
        try:
            missing = [name for name in (*WORDS, *NUMBERS) if name not in table.column_names]
            if missing:
                raise ValueError(f"it lacks the columns {', '.join(missing)}")
            columns = {name: table.column(name).to_pylist() for name in (*WORDS, *NUMBERS)}
            check(columns, header.about)
        except ValueError as error:
            raise DamagedResultError(f"{path} cannot be read as a result: {error}") from error
        return cls(header.about["paper"], header.about["claim"], weakest(columns["verdict"]))


def check(columns: Mapping[str, Sequence[Any]], about: Mapping[str, Any]) -> None:
    """Raise ValueError for what is no verdict: another word than there are, a number that is not finite, an `about` that lacks
    what it has to say.
    """
    if not columns["what"]:
        raise ValueError("there is no verdict in it")
    for name, words in WORDS.items():
        for value in columns[name]:
            if not isinstance(value, str) or (words and value not in words):
                raise ValueError(f"{name} is {value!r:.80}, and not {'one of ' + ', '.join(words) if words else 'text'}")
    for name in NUMBERS:
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in columns[name]):
            raise ValueError(f"{name} holds what is no finite number")
    for name in ("claim", "paper", "statement", "note"):
        if not isinstance(about.get(name), str):
            raise ValueError(f"it does not say its {name} as text")
    if about.get("scope") not in list(Scope):
        raise ValueError(f"its scope is {about.get('scope')!r:.80}, and not one of {', '.join(Scope)}")
    seeds = about.get("seeds")
    if not isinstance(seeds, list | tuple) or not seeds or not all(type(seed) is int for seed in seeds):
        raise ValueError("it does not say its seeds as a list of whole numbers")


@dataclass(frozen=True)
class Damaged:
    """Verdicts in a run folder that are not as they were written, or are none; they count for nothing.

    claim: whose run it is, where its manifest can be read. why: in a sentence that names the file or the folder.
    """

    claim: str | None
    why: str


def in_folder(folder: Path, read: Callable[[Run], T]) -> tuple[list[tuple[T, Path]], list[Damaged]]:
    """What `read` makes of each run in `folder` that has verdicts, with the run's path, the newest last; and those that cannot be
    shown, which hide no other.
    """
    found: list[tuple[T, Path]] = []
    damaged: list[Damaged] = []
    for path in sorted(folder.glob(f"*/{FILE}"), key=lambda path: path.lstat().st_mtime) if folder.is_dir() else []:
        claim = None
        try:
            run = Run(path.parents[1])
            claim = run.manifest.study
            found.append((read(run), run.path))
        except StatescopeError as error:
            damaged.append(Damaged(claim, str(error)))
    return found, damaged


def judged_claims(folder: Path) -> tuple[dict[str, Judged], list[Damaged]]:
    """The verdict on each claim that was measured in a run of `folder`, the newest of each; and those that cannot be shown."""
    found, damaged = in_folder(folder, Judged.of)
    return {judged.claim: judged for judged, _ in found}, damaged
