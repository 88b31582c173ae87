"""A run: the folder of a study, and what has been computed in it so far."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import StatescopeError, unknown_name
from ..files import UnwritableError, is_leftover, remove_leftovers
from .ledger import Entry, Ledger
from .lock import LOCK, WORKERS, is_locked, locked
from .manifest import FILE, DamagedRunError, Manifest, ResultRecord
from .progress import ProgressFile, Reporter, Silent

if TYPE_CHECKING:
    from ...kernels.recurrence import TapRequest
    from ..captures.capture import Capture
    from ..models.config import ModelConfig
    from ..models.model import Model
    from ..results.result import Result
    from ..subspaces.direction import Direction
    from ..tasks.base import Batch, Task
    from .checkpoint import Checkpoints, Progress
    from .training import Training

    R = TypeVar("R", bound=Result)

FIGURES = ("svg", "png")
LONGEST_ERROR = 2000


class OtherRunError(StatescopeError, ValueError):
    """The folder holds the run of a different study or configuration, or something that is no run."""


class Run:
    """A run folder: manifest.json, checkpoints/<model>/, captures/, results/<name>.parquet, figures/<name>.svg and .png.

    Every file is compared with the digest in the manifest before it is read; one that is not as it was written is an
    AlteredFileError that says how to go on.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a run to read. Raises DamagedRunError naming the file if its manifest cannot be read."""
        self.path = Path(path)
        self.ledger = Ledger(self.path)
        self.reporter: Reporter = Silent()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self.manifest.study}, {self.status})"

    @property
    def manifest(self) -> Manifest:
        """What the run says of itself."""
        return self.ledger.manifest

    @classmethod
    @contextmanager
    def working(
        cls, path: str | Path, study: str, configuration: Mapping[str, object], seed: int, reporter: Reporter | None = None
    ) -> Iterator[Run]:
        """Work in a run folder: make it, or go on where an earlier process stopped.

        Raises RunInUseError while another process works in it, OtherRunError if it holds another configuration or no run (then
        nothing in it is touched), UnwritableError where no folder can be made. A run in which nothing was finished gives way to
        other settings.
        """
        path = Path(path)
        _refuse_other(path, study, configuration)
        _make_folder(path)
        with locked(path):
            manifest = _refuse_other(path, study, configuration)
            with locked(path, WORKERS):
                remove_leftovers(path)
            if manifest is None or not _is_of(manifest, study, configuration):
                Manifest.new(study, configuration, seed).write(path)
            run = cls(path)
            run.ledger.merge()
            run.reporter = ProgressFile(path, reporter or Silent())
            if run.manifest.outcome != "finished":
                run.ledger.update(outcome="unfinished", error=None)
            try:
                yield run
            except Exception as error:
                with contextlib.suppress(StatescopeError):  # the disk may be full; the first error is the one to tell
                    run.ledger.update(outcome="failed", error=f"{type(error).__name__}: {error}"[:LONGEST_ERROR])
                raise
            run.ledger.update(outcome="finished")

    @classmethod
    @contextmanager
    def worker(cls, path: str | Path, reporter: Reporter | None = None) -> Iterator[Run]:
        """Work in a run for the process that holds it, beside other workers.

        What this one finishes is recorded in the folder, and listed once that process merges the records.
        """
        run = cls(path)
        with locked(run.path, WORKERS, shared=True):
            run.ledger = Ledger(run.path, worker=True)
            run.reporter = reporter or Silent()
            yield run

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
        """A result by name.

        Raises UnknownNameError for a name the run does not have, AlteredFileError where the file is not as it was written,
        DamagedResultError if it cannot be read.
        """
        from ..results.result import Result

        if name not in self.result_names:
            raise unknown_name(f"result of {self.path}", name, self.result_names)
        return Result.load(self.ledger.checked(f"results/{name}.parquet"))

    def summary(self, name: str) -> str:
        """What a result says in words, without opening it where the manifest knows; its file is compared all the same."""
        known = self.manifest.results.get(name)
        if known is None:
            return self.result(name).summary()
        self.ledger.checked(f"results/{name}.parquet")
        return known.summary

    def direction(self, name: str) -> Direction:
        """A direction that was kept in the run. Raises AlteredFileError where the file is not as it was written."""
        from ..subspaces.direction import Direction

        return Direction.load(self.ledger.checked(f"directions/{name}.safetensors"))

    def problems(self) -> list[str]:
        """Files that are missing, cut short or altered."""
        return self.manifest.problems(self.path)

    def compute(self, name: str, analysis: Callable[[], R]) -> R:
        """The result `name`: read if it is there already, else computed and saved; then drawn for paper.

        A figure that cannot be drawn is told, does not end the run, and is tried again when the run goes on.
        """
        path = self.path / "results" / f"{name}.parquet"
        if self.ledger.holds(path):
            result: R = self.result(name)  # type: ignore[assignment]
        else:
            with self.stage(f"analysis: {name}"):
                result = analysis()
                result.save(self.ledger.clear(path))
                self.ledger.record([path], results={name: ResultRecord(result.kind, result.summary())})
        self._draw(name, result)
        return result

    def _draw(self, name: str, result: Result) -> None:
        base = self.path / "figures" / name
        wanted = [base.with_name(f"{base.name}.{suffix}") for suffix in FIGURES]
        if all(self.ledger.name_of(path) in self.manifest.files and path.exists() for path in wanted):
            return
        from ..results.print import save_for_print

        self.ledger.refuse_links(base)
        try:
            drawn = save_for_print(result.specification(), base)
        except StatescopeError:
            raise
        except Exception as error:
            self.reporter.warn(
                f"the figure of {name} could not be drawn ({type(error).__name__}: {error}); its numbers are kept, and it is "
                "drawn when the same command runs again"
            )
        else:
            self.ledger.record(drawn)

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
        if self.ledger.holds(path):
            return open_capture(path)
        found = capture(model, batches, hooks, positions=positions, store=self.ledger.clear(path))
        self.ledger.record([path])
        return found

    def keep_direction(self, name: str, direction: Direction) -> None:
        """Save a direction in the run, under directions/."""
        path = self.path / "directions" / name
        self.ledger.refuse_links(path)
        self.ledger.record([direction.save(path)])

    def checkpoints(self, label: str) -> Checkpoints:
        """The checkpoints of a model of the run."""
        from .checkpoint import Checkpoints

        return Checkpoints(self.path / "checkpoints" / label, self.ledger)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[None]:
        """A named part of the work, whose progress is shown and whose time is recorded."""
        self.reporter.stage(name, total)
        begin = time.monotonic()
        yield
        self.ledger.enter(Entry(seconds={name: time.monotonic() - begin}))


def _refuse_other(path: Path, study: str, configuration: Mapping[str, object]) -> Manifest | None:
    """The manifest of the folder, if there is one; raise where work in it is refused. Nothing is written."""
    try:
        if not os.path.lexists(path):
            return None
        if not path.is_dir():
            raise OtherRunError(f"{path} is a file and no folder; choose another place for the run")
        if not os.path.lexists(path / FILE):
            own = {LOCK, WORKERS}
            others = [entry.name for entry in path.iterdir() if entry.name not in own and not is_leftover(entry)]
            if others:
                raise OtherRunError(f"{path} is not empty and holds no run; choose another folder")
            return None
    except OSError as error:
        raise UnwritableError(error.errno or 0, f"{path} cannot hold a run: {error.strerror}") from error
    manifest = Manifest.read(path)
    if manifest.files and not _is_of(manifest, study, configuration):
        raise OtherRunError(f"{path} holds a run of {_difference(manifest, study, configuration)}; choose another folder")
    return manifest


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise UnwritableError(getattr(error, "errno", None) or 0, f"{path} cannot be made: {text}") from error


def _is_of(manifest: Manifest, study: str, configuration: Mapping[str, object]) -> bool:
    return (manifest.study, manifest.configuration) == (study, configuration)


def _difference(found: Manifest, study: str, configuration: Mapping[str, object]) -> str:
    if found.study != study:
        return f"the study {found.study}, not {study}"
    differing = [key for key in {*found.configuration, *configuration} if found.configuration.get(key) != configuration.get(key)]
    return f"the same study with other settings ({', '.join(sorted(differing))})"


def list_runs(folder: str | Path) -> list[Run | DamagedRunError]:
    """The runs in a folder, newest first; a damaged one stands as the error that says why, and hides no other."""
    found: list[tuple[str, Run | DamagedRunError]] = []
    root = Path(folder)
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        try:
            if path.is_dir() and (os.path.lexists(path / FILE) or os.path.lexists(path / LOCK)):
                run = Run(path)
                found.append((run.manifest.created, run))
        except DamagedRunError as error:
            found.append(("", error))
        except OSError as error:
            found.append(("", DamagedRunError(f"{path} cannot be read: {error.strerror}")))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0], reverse=True)]
