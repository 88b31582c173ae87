"""A run: the folder of a study, and what has been computed in it so far."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from ..errors import StatescopeError
from ..files import remove_leftovers
from ..results.result import Result
from .checkpoint import Checkpoints, Progress
from .manifest import DamagedRunError, Manifest
from .progress import ProgressFile, Reporter, Silent

if TYPE_CHECKING:
    from ...kernels.recurrence import TapRequest
    from ..captures.capture import Capture
    from ..models.config import ModelConfig
    from ..models.model import Model
    from ..subspaces.direction import Direction
    from ..tasks.base import Batch, Task
    from .training import Training

R = TypeVar("R", bound=Result)
LOCK = ".lock"


class RunInUseError(StatescopeError, RuntimeError):
    """Another process works in the run folder."""


class OtherRunError(StatescopeError, ValueError):
    """The folder holds the run of a different study or configuration."""


class Run:
    """A run folder: manifest.json, checkpoints/<model>/, captures/, results/<name>.parquet, figures/<name>.svg and .png."""

    def __init__(self, path: str | Path) -> None:
        """Open a run to read. Raises DamagedRunError naming the file if its manifest cannot be read."""
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        self.reporter: Reporter = Silent()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self.manifest.study}, {self.status})"

    @classmethod
    @contextmanager
    def working(
        cls, path: str | Path, study: str, configuration: Mapping[str, Any], seed: int, reporter: Reporter | None = None
    ) -> Iterator[Run]:
        """Work in a run folder: make it, or go on where an earlier process stopped.

        Raises RunInUseError while another process works in it, OtherRunError if it holds another configuration.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            remove_leftovers(path)
            if not (path / "manifest.json").exists():
                if any(entry.name != LOCK for entry in path.iterdir()):
                    raise OtherRunError(f"{path} is not empty and holds no run; choose another folder")
                Manifest.new(study, configuration, seed).write(path)
            run = cls(path)
            if (run.manifest.study, run.manifest.configuration) != (study, configuration):
                raise OtherRunError(
                    f"{path} holds a run of {_difference(run.manifest, study, configuration)}; choose another folder"
                )
            run.reporter = ProgressFile(path, reporter or Silent())
            if run.manifest.outcome != "finished":
                run._update(outcome="unfinished", error=None)
            try:
                yield run
            except Exception as error:
                run._update(outcome="failed", error=f"{type(error).__name__}: {error}")
                raise
            run._update(outcome="finished")

    @property
    def status(self) -> str:
        """One of "finished", "failed", "running" (a process works in it), "interrupted" (the same command goes on)."""
        if self.manifest.outcome != "unfinished":
            return self.manifest.outcome
        return "running" if is_locked(self.path) else "interrupted"

    @property
    def result_names(self) -> list[str]:
        """The names of the results there are."""
        names = [Path(name) for name in self.manifest.files]
        return [name.stem for name in names if name.parent.as_posix() == "results"]

    def result(self, name: str) -> Result:
        """A result by name. Raises DamagedResultError if its file cannot be read."""
        return Result.load(self.path / "results" / f"{name}.parquet")

    def problems(self) -> list[str]:
        """Files that are missing, cut short or altered."""
        return self.manifest.problems(self.path)

    def compute(self, name: str, analysis: Callable[[], R]) -> R:
        """The result `name`: read if it is there already, else computed, saved, and drawn for paper."""
        path = self.path / "results" / f"{name}.parquet"
        if path.relative_to(self.path).as_posix() in self.manifest.files:
            return Result.load(path)  # type: ignore[return-value]
        with self.stage(f"analysis: {name}"):
            result = analysis()
            from ..results.print import save_for_print

            figures = save_for_print(result.specification(), self.path / "figures" / name)
            result.save(path)
            self._record([path, *figures])
        return result

    def train(self, label: str, config: ModelConfig, task: Task, training: Training, seed: int) -> tuple[Model, Progress]:
        """The model `label`, trained: from its last checkpoint if there is one."""
        from ..models.model import Model
        from .training import train

        model = Model(config)
        checkpoints = self.checkpoints(label)
        done = checkpoints.restore(model)
        if done.step >= training.steps:
            return model.eval(), done
        with self.stage(f"training: {label}", training.steps):

            def report(step: int, _: int, loss: float) -> None:
                self.reporter.advance(step, f"loss {loss:.4f}")

            progress = train(model, task, training, seed=seed, checkpoints=checkpoints, report=report)
        return model, progress

    def capture(self, name: str, model: Model, batches: Sequence[Batch], hooks: Sequence[str], positions: TapRequest) -> Capture:
        """A capture stored in the run: read if it is there already, else captured."""
        from ..captures.collect import capture
        from ..captures.store import open_capture

        path = self.path / "captures" / f"{name}.zarr"
        if any(file.startswith(f"captures/{name}.zarr/") for file in self.manifest.files):
            return open_capture(path)
        shutil.rmtree(path, ignore_errors=True)  # what a process that was killed left unfinished
        found = capture(model, batches, hooks, positions=positions, store=path)
        self._record([file for file in sorted(path.rglob("*")) if file.is_file()])
        return found

    def keep_direction(self, name: str, direction: Direction) -> None:
        """Save a direction in the run, under directions/."""
        self._record([direction.save(self.path / "directions" / name)])

    def checkpoints(self, label: str) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints" / label, self._record)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[None]:
        """A named part of the work, whose progress is shown and whose time is recorded."""
        self.reporter.stage(name, total)
        begin = time.monotonic()
        yield
        spent = self.manifest.seconds.get(name, 0.0) + time.monotonic() - begin
        self._update(seconds={**self.manifest.seconds, name: round(spent, 2)})

    def _record(self, added: Sequence[Path], removed: Sequence[Path] = ()) -> None:
        self.manifest = self.manifest.with_files(self.path, list(added), list(removed))
        self.manifest.write(self.path)

    def _update(self, **changes: Any) -> None:
        self.manifest = replace(self.manifest, **changes)
        self.manifest.write(self.path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with (path / LOCK).open("w") as lock:
        _take(lock, path)
        yield


def _take(lock: IO[str], path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunInUseError(f"another process works in {path}; wait for it, or give another folder with --out") from error


def is_locked(path: Path) -> bool:
    """Whether a process works in the folder. The lock goes with the process, however it ends."""
    try:
        with (path / LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _difference(found: Manifest, study: str, configuration: Mapping[str, Any]) -> str:
    if found.study != study:
        return f"the study {found.study}, not {study}"
    differing = [key for key in {*found.configuration, *configuration} if found.configuration.get(key) != configuration.get(key)]
    return f"the same study with other settings ({', '.join(sorted(differing))})"


def list_runs(folder: str | Path) -> list[Run | DamagedRunError]:
    """The runs in a folder, newest first; a damaged one stands as the error that says why, and hides no other."""
    found: list[tuple[str, Run | DamagedRunError]] = []
    root = Path(folder)
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_dir() and ((path / "manifest.json").exists() or (path / LOCK).exists()):
            try:
                run = Run(path)
                found.append((run.manifest.created, run))
            except DamagedRunError as error:
                found.append(("", error))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0], reverse=True)]
