"""A run: the folder of a study, and what has been computed in it so far."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ...kernels.notebook import titled_table
from ..configuration import to_plain
from ..errors import StatescopeError, unknown_name
from ..files import UnwritableError, remove_leftovers
from ..results.text import visible_lines
from .job import InRun, Job, StoredCapture, StoredDirection, StoredHistory, StoredModel, StoredResult, ThisRun
from .ledger import Entry, Ledger
from .lock import LOCK, WORKERS, is_locked, locked
from .manifest import FILE, DamagedRunError, Manifest, ResultRecord
from .notebook import reporter_here
from .progress import ProgressFile, Reporter, Silent
from .run_folder import is_of, make_folder, refuse_other, refuse_read_only

if TYPE_CHECKING:
    from ...kernels.recurrence import TapRequest
    from ..captures.capture import Capture
    from ..models.config import ModelConfig
    from ..models.model import Model
    from ..results.result import Result
    from ..subspaces.direction import Direction
    from ..tasks.base import Batch, Task
    from .checkpoint import Checkpoints
    from .checkpoint_file import Progress
    from .trained_model import TrainedModel
    from .training import Training

    R = TypeVar("R", bound=Result)

T = TypeVar("T")
Executor = Callable[["Run", Job], None]  # has a job done, in this process or another, before it returns
FIGURES = ("svg", "png")
LONGEST_ERROR = 2000


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
        self.executor: Executor = Run.perform
        self.workers = 1  # processes that may work at a time
        self.device = "cpu"  # where models train
        self.keep: tuple[int, ...] = ()  # steps of training whose checkpoints are kept
        self.prefix = ""
        self._stages: list[str] = []  # those under way, the outer one first
        self._things: dict[InRun, Any] = {}
        self._names: dict[int, InRun] = {}

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self.manifest.title}, {self.status})"

    def _repr_html_(self) -> str:
        """What a notebook shows: its state, what each result says, and the models and directions that it holds."""
        known = {name: self.manifest.results.get(self.prefix + name) for name in self.result_names}
        said = {name: "a result" if record is None else record.summary for name, record in known.items()}
        facts = {"folder": str(self.path), "state": self.status, "error": self.manifest.error or ""} | said
        facts |= {kind: ", ".join(names) for kind, names in (("models", self.model_names), ("directions", self.direction_names))}
        rows = [(visible_lines(name), visible_lines(value)) for name, value in facts.items() if value]
        return titled_table(visible_lines(f"Run of {self.manifest.title}"), rows)

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
        nothing in it is touched), UnwritableError where no folder can be made, or the one there is can only be read. A run in
        which nothing was finished gives way to other settings.
        """
        path = Path(path)
        refuse_other(path, study, configuration)
        make_folder(path)
        refuse_read_only(path)
        with locked(path):
            manifest = refuse_other(path, study, configuration)
            with locked(path, WORKERS):
                remove_leftovers(path)
            if manifest is None or not is_of(manifest, study, configuration):
                Manifest.new(study, configuration, seed).write(path)
            run = cls(path)
            run.ledger.merge()
            run.reporter = ProgressFile(path, reporter or reporter_here())
            if run.manifest.outcome != "finished":
                run.ledger.update(outcome="unfinished", error=None)
            try:
                yield run
            except Exception as error:
                with contextlib.suppress(StatescopeError):  # the disk may be full; the first error is the one to tell
                    run.ledger.update(outcome="failed", error=f"{type(error).__name__}: {error}"[:LONGEST_ERROR])
                raise
            finally:
                run.reporter.end()
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
        start = f"results/{self.prefix}"
        names = [name.removeprefix(start).removesuffix(".parquet") for name in self.manifest.files if name.startswith(start)]
        return [name for name in names if "/" not in name]

    def result(self, name: str) -> Result:
        """A result by name.

        Raises UnknownNameError for a name the run does not have, AlteredFileError where the file is not as it was written,
        DamagedResultError if it cannot be read.
        """
        from ..results.result import Result

        return Result.load(self.result_file(name))

    def result_file(self, name: str) -> Path:
        """The file of a result. Raises UnknownNameError for a name the run does not have, AlteredFileError where the file is not
        as it was written.
        """
        if f"results/{self.prefix}{name}.parquet" not in self.manifest.files:
            raise unknown_name(f"result of {self.path}", name, self.result_names)
        return self.ledger.checked(f"results/{self.prefix}{name}.parquet")

    def summary(self, name: str) -> str:
        """What a result says in words, without opening it where the manifest knows; its file is compared all the same."""
        known = self.manifest.results.get(self.prefix + name)
        if known is None:
            return self.result(name).summary()
        self.ledger.checked(f"results/{self.prefix}{name}.parquet")
        return known.summary

    def direction(self, name: str) -> Direction:
        """A direction that was kept in the run. Raises AlteredFileError where the file is not as it was written."""
        from ..subspaces.direction import Direction

        return Direction.load(self.ledger.checked(f"directions/{self.prefix}{name}.safetensors"))

    @property
    def model_names(self) -> list[str]:
        """The names of the models that the run has trained so far; of a study over seeds such as "seed-3/positive"."""
        start = f"checkpoints/{self.prefix}"
        names = (name.removeprefix(start).rpartition("/")[0] for name in self.manifest.files if name.startswith(start))
        return list(dict.fromkeys(filter(None, names)))

    def model(self, name: str, step: int | None = None) -> TrainedModel:
        """A model that the run has trained, as its last checkpoint has it or that of a step, and the task it was trained on.

        Raises UnknownNameError for a name the run does not have and a step of which it kept no checkpoint, AlteredFileError where
        the file is not as it was written, UndescribedModelError where it does not say which model it is.
        """
        from .trained_model import trained_model

        return trained_model(self._checkpoints_of(name), step)

    def steps(self, name: str) -> list[int]:
        """The steps of a model's training of which the run has a checkpoint. Raises UnknownNameError as `model` does."""
        return self._checkpoints_of(name).steps

    def _checkpoints_of(self, name: str) -> Checkpoints:
        if name not in self.model_names:
            raise unknown_name(f"model of {self.path}", name, self.model_names)
        return self.checkpoints(name)

    @property
    def direction_names(self) -> list[str]:
        """The names of the directions that are kept in the run."""
        start = f"directions/{self.prefix}"
        return [name.removeprefix(start).removesuffix(".safetensors") for name in self.manifest.files if name.startswith(start)]

    def problems(self) -> list[str]:
        """Files that are missing, cut short or altered."""
        return self.manifest.problems(self.path)

    @overload
    def compute(self, names: str, function: Callable[..., R], /, **inputs: Any) -> R: ...

    @overload
    def compute(
        self, names: tuple[str, ...], function: Callable[..., Mapping[str, Result]], /, **inputs: Any
    ) -> dict[str, Result]: ...

    def compute(self, names: str | tuple[str, ...], function: Callable[..., Any], /, **inputs: Any) -> Any:
        """A result, or several that one function gives: read where they are there already, else computed, saved, and then drawn.

            run.compute("spectrum", spectrum_of, models=models, task=self.task, seed=self.seed)
            run.compute(("numbers", "curves"), self.measure, teacher=teacher)

        names: of the result; or of all that the function gives, as a dict by these names.
        function: one that stands in a module, or a method of the study; so that another process finds it by name.
        inputs: its arguments: settings, and what `train`, `capture` and `compute` of this run gave; `run` itself for work that
            reports its progress.

        Raises UnnamedWorkError for a function or an input without a name. A figure that cannot be drawn is told, does not end the
        run, and is tried again when the run goes on.
        """
        wanted = (names,) if isinstance(names, str) else tuple(names)
        if not all(self.ledger.holds(self._result_path(name)) for name in wanted):
            self.executor(self, Job.of(wanted, function, inputs, self._named))
            self.ledger.merge()
        found = {name: self.opened(StoredResult(name)) for name in wanted}
        for name, result in found.items():
            self._draw(name, result)
        return found[names] if isinstance(names, str) else found

    def perform(self, job: Job) -> None:
        """Do a job in this process, and save what it gives."""
        with self.stage(f"analysis: {self.prefix}{', '.join(job.names)}"):
            for name, result in job.perform(self).items():
                path = self._result_path(name)
                if not self.ledger.holds(path):
                    result.save(self.ledger.clear(path))
                    self.ledger.record([path], results={self.prefix + name: ResultRecord(result.kind, result.summary())})

    def opened(self, stored: InRun) -> Any:
        """A thing of the run by its name, read once."""
        if stored not in self._things:
            self._remember(stored, stored.open(self))
        return self._things[stored]

    def _remember(self, stored: InRun, thing: T) -> T:
        self._things[stored] = thing
        self._names[id(thing)] = stored
        return thing

    def _named(self, thing: Any) -> InRun | None:
        return ThisRun() if thing is self else self._names.get(id(thing))

    def _result_path(self, name: str) -> Path:
        return self.path / "results" / f"{self.prefix}{name}.parquet"

    def _draw(self, name: str, result: Result) -> None:
        base = self.path / "figures" / f"{self.prefix}{name}"
        wanted = [base.with_name(f"{base.name}.{suffix}") for suffix in FIGURES]
        if all(self.ledger.name_of(path) in self.manifest.files and path.exists() for path in wanted):
            return
        from ..results.print import save_for_print

        self.ledger.refuse_links(base)
        try:
            drawn = save_for_print(result.specification(), base)
        except UnwritableError:
            raise
        except Exception as error:
            self.reporter.warn(
                f"the figure of {name} could not be drawn ({type(error).__name__}: {error}); its numbers are kept, and it is "
                "drawn when the same command runs again"
            )
        else:
            self.ledger.record(drawn)

    def train(self, label: str, config: ModelConfig, task: Task, training: Training, seed: int) -> tuple[Model, Progress]:
        """The model `label`, trained on the run's device, from its last checkpoint if there is one; it comes back to the CPU."""
        from ..models.model import Model
        from .training import train

        model = Model(config)
        about = {"config": to_plain(config), "task": to_plain(task), "length": training.length}
        checkpoints = replace(self.checkpoints(label), about=about, keep=self.keep)
        checkpoints.remove_leftovers()
        progress = checkpoints.restore(model)
        gone = [step for step in self.keep if step < progress.step and step not in checkpoints.steps]
        if gone:
            said = f"no checkpoint of step {', '.join(map(str, gone))} can be kept any more, for it is at step {progress.step}"
            self.reporter.warn(f"{label}: {said}; another folder trains it anew")
        beyond = [step for step in self.keep if step > training.steps]
        if beyond:
            self.reporter.warn(
                f"{label}: no checkpoint of step {', '.join(map(str, beyond))} is kept, for it trains for {training.steps} steps"
            )
        if progress.step < training.steps:
            with self.stage(f"training: {self.prefix}{label}", training.steps):

                def report(step: int, _: int, loss: float) -> None:
                    self.reporter.advance(step, f"loss {loss:.4f}")

                model.to(self.device)
                progress = train(model, task, training, seed=seed, checkpoints=checkpoints, report=report)
        return self._remember(StoredModel(label, config), model.cpu().eval()), self._remember(StoredHistory(label), progress)

    def capture(self, name: str, model: Model, batches: Sequence[Batch], hooks: Sequence[str], positions: TapRequest) -> Capture:
        """A capture stored in the run: read if it is there already, else captured."""
        from ..captures.collect import capture

        path = self._capture_path(name)
        if not self.ledger.holds(path):
            capture(model, batches, hooks, positions=positions, store=self.ledger.clear(path))
            self.ledger.record([path])
        found: Capture = self.opened(StoredCapture(name))
        return found

    def open_capture(self, name: str) -> Capture:
        """A capture of the run by its name. Raises AlteredFileError where it is not as it was written."""
        from ..captures.store import open_capture

        return open_capture(self.ledger.checked(self.ledger.name_of(self._capture_path(name))))

    def _capture_path(self, name: str) -> Path:
        return self.path / "captures" / f"{self.prefix}{name}.zarr"

    def keep_direction(self, name: str, direction: Direction) -> None:
        """Save a direction in the run, under directions/."""
        path = self.path / "directions" / f"{self.prefix}{name}"
        self.ledger.refuse_links(path)
        self.ledger.record([direction.save(path)])
        self._remember(StoredDirection(name), direction)

    def checkpoints(self, label: str) -> Checkpoints:
        """The checkpoints of a model of the run."""
        from .checkpoint import Checkpoints

        return Checkpoints(self.path / "checkpoints" / f"{self.prefix}{label}", self.ledger)

    def part(self, name: str) -> Run:
        """The same run, where whatever is made stands under a name of its own: a study in a study, such as one seed of it."""
        part = copy.copy(self)
        part.prefix = f"{self.prefix}{name}/"
        part._things, part._names = {}, {}
        return part

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[None]:
        """A named part of the work, whose progress is shown and whose time is recorded.

        The time of a stage within another is part of that of the outer one, and recorded there alone: times of stages add up.
        """
        self.reporter.stage(name, total)
        begin = time.monotonic()
        self._stages.append(name)
        try:
            yield
        finally:
            self._stages.pop()
        if not self._stages:
            self.ledger.enter(Entry(seconds={name: time.monotonic() - begin}))


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
