"""What a run folder says of itself, in manifest.json."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ..configuration import Configuration, Count, Natural, from_plain
from ..errors import StatescopeError, other_version
from ..files import DamagedFileError, read_json, sha256, write_text

SCHEMA_VERSION = 3
READABLE = (1, 2, 3)
FILE = "manifest.json"
PACKAGES = ("statescope", "torch", "triton", "transformer-lens", "scikit-learn", "scipy", "numpy", "pandas", "pyarrow", "zarr")

Outcome = Literal["unfinished", "finished", "failed"]


class DamagedRunError(DamagedFileError):
    """A run folder that cannot be read: the text names the file and what is wrong with it."""


class AlteredFileError(DamagedFileError):
    """A file of a run that is not as it was written; the text says how to go on."""


@dataclass(frozen=True)
class FileRecord(Configuration):
    """A file, or a folder of files that belong together, as it was written."""

    sha256: str
    """This is the digest of the file; that of a folder is of lines `<sha256>  <name>`, sorted by the names of its files."""
    bytes: Natural
    """The file, or the files of the folder together, have this many bytes."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.sha256[:80]!r} is no sha256")

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Make the record of a file as it is now. Raises OSError for what is missing or not a file or folder of files."""
        if path.is_symlink() or not path.is_dir():
            return cls(sha256(path), path.stat().st_size)
        inner = {one.relative_to(path).as_posix(): one for one in path.rglob("*") if one.is_symlink() or not one.is_dir()}
        lines = "".join(f"{sha256(inner[name])}  {name}\n" for name in sorted(inner))
        return cls(hashlib.sha256(lines.encode()).hexdigest(), sum(one.stat().st_size for one in inner.values()))

    def difference(self, path: Path) -> str | None:
        """What a file has become since, or None."""
        if not path.exists() and not path.is_symlink():
            return "is missing"
        try:
            now = FileRecord.of(path)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if now.bytes != self.bytes:
            return f"has {now.bytes} bytes, {self.bytes} were written"
        return None if now.sha256 == self.sha256 else "was altered: its sha256 differs"


@dataclass(frozen=True)
class ResultRecord(Configuration):
    """What is known of a result without opening its file: its kind, and what its summary says."""

    kind: str
    summary: str


@dataclass(frozen=True)
class Execution(Configuration):
    """How a run is carried out, which is none of its settings: whoever goes on with it does so in the same way."""

    workers: Count = 1
    """So many processes may work at a time."""
    device: str = "cpu"
    """This is where models train."""
    keep: tuple[Natural, ...] = ()
    """Checkpoints of these steps of training stay beside the newest."""


@dataclass(frozen=True)
class Manifest(Configuration):
    """The record of a run.

    outcome: "unfinished" until the study has ended. Whether an unfinished run goes on or was interrupted is not stored but
    seen from its lock. files: path in the folder -> its record; a capture is one entry. results: name -> what is known of it.
    execution: how it was carried out last. seconds: time spent in each stage that is within no other, so that they add up.
    """

    study: str
    configuration: Mapping[str, Any]
    seed: int
    created: str
    outcome: Outcome = "unfinished"
    error: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    execution: Execution = Execution()
    seconds: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    results: Mapping[str, ResultRecord] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.created)
        for name in self.files:
            check_name(name)

    @property
    def subject(self) -> tuple[str, tuple[int, ...]]:
        """The study and its seeds; of one that runs another for each of several seeds, that other and these."""
        inner, seeds = self.configuration.get("study"), self.configuration.get("seeds")
        kind = inner.get("kind") if isinstance(inner, Mapping) else None
        if isinstance(kind, str) and isinstance(seeds, list | tuple) and seeds and all(type(seed) is int for seed in seeds):
            return kind, tuple(seeds)
        return self.study, (self.seed,)

    @property
    def title(self) -> str:
        """The study as lists show it, such as "parity", or "parity (seeds 0-4)" where one run has several seeds."""
        study, seeds = self.subject
        return study if len(seeds) == 1 else f"{study} (seeds {in_short(seeds)})"

    @classmethod
    def new(cls, study: str, configuration: Mapping[str, Any], seed: int) -> Manifest:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(study, configuration, seed, created, packages=installed_packages(), source=_source(), hardware=_hardware())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's manifest, held against its schema.

        Raises DamagedRunError naming the file for one that is missing, cut short, foreign, or holds what does not belong there.
        """
        path = folder / FILE
        try:
            plain = read_json(path)
        except DamagedFileError as error:
            raise DamagedRunError(str(error)) from error
        found = plain.get("schema_version") if isinstance(plain, dict) else None
        if isinstance(plain, dict) and found not in READABLE:
            raise DamagedRunError(f"{path} cannot be read: {other_version(found, SCHEMA_VERSION)}")
        try:
            return from_plain(cls, plain, path="manifest")
        except StatescopeError as error:
            raise DamagedRunError(f"{path} cannot be read: {error}") from error

    def write(self, folder: Path) -> None:
        plain = asdict(replace(self, schema_version=SCHEMA_VERSION))
        write_text(folder / FILE, json.dumps(plain, indent=2, sort_keys=True) + "\n")

    def problems(self, folder: Path) -> list[str]:
        """What differs between the folder and its record: files missing, cut short or altered, each named."""
        found = ((name, record.difference(folder / name)) for name, record in sorted(self.files.items()))
        return [f"{name} {difference}" for name, difference in found if difference is not None]


def in_short(seeds: Sequence[int], between: str = ", ") -> str:
    """Seeds as text: "0-4" where they are all from 0 to 4 in order, else each of them."""
    whole = len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}-{seeds[-1]}" if whole else between.join(map(str, seeds))


def check_name(name: str) -> None:
    """Raise ValueError for what is no plain path inside a folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ".." in parts or "/".join(parts) != name or not name.isprintable():
        raise ValueError(f"{name[:80]!r} is no path inside the run")


@cache
def installed_packages() -> dict[str, str]:
    """Tell the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _source() -> dict[str, Any]:
    """The commit of the program, where it runs from a checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=5, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return run.stdout.strip()

    if git("rev-parse", "--show-toplevel") != str(root):
        return {}
    return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}


def _hardware() -> dict[str, Any]:
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform(), "gpu": gpu, "threads": torch.get_num_threads()}
