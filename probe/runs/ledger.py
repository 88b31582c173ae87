"""The record of a run folder while one works in it: what is listed is there, as it was written; what is not was not finished.

A file is first written whole, then listed, and only then is what it replaces deleted. So whenever a process is killed, the
manifest tells every state of the folder: a file that it does not list is written again, one that it lists and that is not as it
was written is an error.

One process, which holds the run's lock, writes the manifest. Others that work for it leave their records in `records/`, one
file a record, which that process merges.

Whatever writes, deletes or looks for files in a folder of a run asks `refuse_links` first: nothing is touched through a link.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..configuration import Configuration, from_plain
from ..errors import StatescopeError
from ..files import DamagedFileError, read_json, write_text
from .manifest import AlteredFileError, DamagedRunError, FileRecord, Manifest, ResultRecord, check_name

RECORDS = "records"


@dataclass(frozen=True)
class Entry(Configuration):
    """One change of a run's record: files that appeared, files that are about to go, results in words, seconds of stages.

    Raises ValueError for one that changes nothing, which no process writes.
    """

    added: Mapping[str, FileRecord] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    results: Mapping[str, ResultRecord] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.added, *self.removed):
            check_name(name)
        if not (self.added or self.removed or self.results or self.seconds):
            raise ValueError("a record changes nothing")

    def applied_to(self, manifest: Manifest) -> Manifest:
        """Give the manifest as it is with the change."""
        files = {name: record for name, record in manifest.files.items() if name not in self.removed} | dict(self.added)
        seconds = dict(manifest.seconds)
        for name, spent in self.seconds.items():
            seconds[name] = round(seconds.get(name, 0.0) + spent, 2)
        return replace(manifest, files=files, results={**manifest.results, **self.results}, seconds=seconds)


class Ledger:
    """The manifest of a folder, and the one way to change it.

    worker: whether this process works for the one that writes the manifest, and leaves records for it.
    """

    def __init__(self, folder: Path, *, worker: bool = False) -> None:
        self.folder = folder
        self.manifest = Manifest.read(folder)
        self.worker = worker
        self.count = itertools.count()

    def name_of(self, path: Path) -> str:
        """The name under which a path of the folder is listed."""
        return path.relative_to(self.folder).as_posix()

    def holds(self, path: Path) -> bool:
        """Whether a file (or a capture's folder) is listed and there, as it was written.

        Raises AlteredFileError where it is not as it was written, or its folder leads out of the run by a link.
        """
        name = self.name_of(path)
        record = self.manifest.files.get(name) or self._record_of_parts(name)
        if record is None or not (path.exists() or path.is_symlink()):
            return False
        self.refuse_links(path)
        difference = record.difference(path)
        if difference is not None:
            raise AlteredFileError(
                f"{path} {difference}. Put back what was written, or delete it: the command that made it then makes it again"
            )
        return True

    def refuse_links(self, path: Path) -> None:
        """Raise AlteredFileError for a path whose folder is not in this run, by a link: nothing is read or changed there."""
        if not path.parent.resolve().is_relative_to(self.folder.resolve()):
            raise AlteredFileError(f"{path.parent} leads out of the run by a link; put a folder in its place")

    def clear(self, path: Path) -> Path:
        """A path to write to in this run, once nothing stands there: neither what was left unfinished nor a link."""
        self.refuse_links(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return path

    def _record_of_parts(self, name: str) -> FileRecord | None:
        """Of a capture in a manifest of the first schema, which lists each of its files, once each is found right."""
        parts = {file: record for file, record in self.manifest.files.items() if file.startswith(f"{name}/")}
        if not parts:
            return None
        for file, record in parts.items():
            difference = record.difference(self.folder / file)
            if difference is not None:
                raise AlteredFileError(f"{self.folder / file} {difference}. Delete {name} to make it again")
        return FileRecord.of(self.folder / name)

    def checked(self, name: str) -> Path:
        """The path of a listed file, once it is known to be as it was written. Raises AlteredFileError."""
        path = self.folder / name
        if not self.holds(path):
            raise AlteredFileError(f"{path} is missing; the command that made it makes it again")
        return path

    def record(
        self, added: Sequence[Path] = (), removed: Sequence[Path] = (), results: Mapping[str, ResultRecord] | None = None
    ) -> None:
        """List files that are written, and results in words; forget files that are about to be deleted."""
        files = {self.name_of(path): FileRecord.of(path) for path in added}
        self.enter(Entry(files, tuple(map(self.name_of, removed)), results or {}))

    def enter(self, entry: Entry) -> None:
        """Make a change: in the manifest, or as a record for the process that writes it."""
        self.manifest = entry.applied_to(self.manifest)
        if self.worker:
            path = self.folder / RECORDS / f"{time.time_ns():020d}-{os.getpid()}-{next(self.count):06d}.json"
            self.refuse_links(path)
            write_text(path, json.dumps(asdict(entry), sort_keys=True))
        else:
            self.manifest.write(self.folder)

    def update(self, **changes: Any) -> None:
        """Change fields of the manifest, and write it unless this is a worker's."""
        self.manifest = replace(self.manifest, **changes)
        if not self.worker:
            self.manifest.write(self.folder)

    def merge(self) -> None:
        """Take over the records that workers left, in the order of their making; a worker leaves that to the one that writes.

        Raises DamagedRunError for what is no record, AlteredFileError where `records/` leads out of the run by a link.
        """
        if self.worker:
            return
        self.refuse_links(self.folder / RECORDS / "*.json")
        found = sorted((self.folder / RECORDS).glob("*.json"))
        for path in found:
            try:
                self.manifest = from_plain(Entry, read_json(path), path=path.name).applied_to(self.manifest)
            except DamagedFileError as error:
                raise DamagedRunError(str(error)) from error
            except StatescopeError as error:
                raise DamagedRunError(f"{path} cannot be read: {error}; delete it to go on without what it records") from error
        if found:
            self.manifest.write(self.folder)
        for path in found:
            path.unlink()
