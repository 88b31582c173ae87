"""What a run folder says of itself, in manifest.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from ..errors import StatescopeError
from ..files import sha256, write_text

SCHEMA_VERSION = 1
FILE = "manifest.json"
PACKAGES = ("statescope", "torch", "triton", "transformer-lens", "scikit-learn", "scipy", "numpy", "pandas", "pyarrow", "zarr")

Outcome = Literal["unfinished", "finished", "failed"]


class DamagedRunError(StatescopeError, ValueError):
    """A run folder that cannot be read: the text names the file and what is wrong with it."""


@dataclass(frozen=True)
class Manifest:
    """The record of a run.

    outcome: "unfinished" until the study has ended. Whether an unfinished run goes on or was interrupted is not stored but
    seen from its lock. files: path in the folder -> {"sha256", "bytes"}. seconds: time spent in each stage.
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
    seconds: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def new(cls, study: str, configuration: Mapping[str, Any], seed: int) -> Manifest:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(study, configuration, seed, created, packages=_packages(), source=_source(), hardware=_hardware())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's manifest. Raises DamagedRunError naming the file for one that is missing, cut short or foreign."""
        path = folder / FILE
        try:
            plain = json.loads(path.read_text("utf-8"))
            if plain["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {plain['schema_version']}, this program reads {SCHEMA_VERSION}")
            return cls(**plain)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedRunError(f"{path} cannot be read: {error}") from error

    def write(self, folder: Path) -> None:
        write_text(folder / FILE, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    def with_files(self, folder: Path, added: list[Path], removed: list[Path]) -> Manifest:
        """With digests of new files and without those removed."""
        gone = {path.relative_to(folder).as_posix() for path in removed}
        files = {name: entry for name, entry in self.files.items() if name not in gone}
        for path in added:
            files[path.relative_to(folder).as_posix()] = {"sha256": sha256(path), "bytes": path.stat().st_size}
        return replace(self, files=files)

    def problems(self, folder: Path) -> list[str]:
        """What differs between the folder and its record: files missing, cut short or altered, each named."""
        found = []
        for name, entry in sorted(self.files.items()):
            path = folder / name
            if not path.is_file():
                found.append(f"{name} is missing")
            elif path.stat().st_size != entry["bytes"]:
                found.append(f"{name} has {path.stat().st_size} bytes, {entry['bytes']} were written")
            elif sha256(path) != entry["sha256"]:
                found.append(f"{name} was altered: its sha256 differs")
        return found


def _packages() -> dict[str, str]:
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
