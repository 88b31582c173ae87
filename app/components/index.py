"""What there is in the folder of runs, read again only where a manifest has changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ...probe.runs.lock import LOCK, is_locked
from ...probe.runs.manifest import FILE, DamagedRunError, Manifest
from ...probe.runs.progress import read_progress
from ..environment import runs_folder

STATUSES = ("finished", "running", "interrupted", "failed", "damaged")


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run that one line of a list of runs shows.

    status: one of STATUSES. study: with its seeds where the run has several; `seed` is None then. done: the share of the stage
    under way that is behind, of a running run that says it. note: the stage, or why the run is not finished. kinds: name and kind
    of each result.
    """

    name: str
    status: str
    study: str = ""
    created: str = ""
    seed: int | None = None
    seconds: float = 0.0
    results: int = 0
    done: float | None = None
    note: str = ""
    kinds: tuple[tuple[str, str], ...] = ()


def runs_there_are(folder: Path | None = None) -> list[RunFacts]:
    """Every run in the folder that the app was started with, or in another, newest first, damaged ones last."""
    folder = folder or runs_folder()
    found = [_facts(Path(entry.path)) for entry in os.scandir(folder) if entry.is_dir()] if folder.is_dir() else []
    return sorted((facts for facts in found if facts is not None), key=lambda facts: (facts.created, facts.name), reverse=True)


def _facts(path: Path) -> RunFacts | None:
    """A run in a line, or None for a folder that is none."""
    try:
        stamp = (path / FILE).stat()
    except OSError as error:
        return RunFacts(path.name, "damaged", note=f"no {FILE}: {error.strerror}") if os.path.lexists(path / LOCK) else None
    facts = _read(path, stamp.st_mtime_ns, stamp.st_size, stamp.st_ino)
    if facts.status != "interrupted" or not is_locked(path):
        return facts
    progress = read_progress(path) or {}
    total = progress.get("total")
    done = min(1.0, progress["done"] / total) if total else None
    return replace(facts, status="running", note=str(progress.get("stage", "starting")), done=done)


@lru_cache(maxsize=4096)
def _read(path: Path, changed: int, size: int, inode: int) -> RunFacts:
    """What a manifest says of its run, as it was when its file had this time and size. One that has not ended is interrupted."""
    try:
        read = Manifest.read(path)
    except DamagedRunError as error:
        return RunFacts(path.name, "damaged", note=str(error))
    status = "interrupted" if read.outcome == "unfinished" else read.outcome
    results = sum(name.startswith("results/") for name in read.files)
    kinds = tuple((name, record.kind) for name, record in read.results.items() if f"results/{name}.parquet" in read.files)
    seconds = sum(read.seconds.values())
    seed = read.subject[1][0] if len(read.subject[1]) == 1 else None
    return RunFacts(path.name, status, read.title, read.created, seed, seconds, results, note=read.error or "", kinds=kinds)
