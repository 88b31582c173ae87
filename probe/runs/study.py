"""A study: a seeded description of an experiment that runs to a folder."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..configuration import BadSettingError, Configuration, Natural, from_plain, to_plain
from ..declarations import declarations
from ..plugins import Kinds
from .progress import Reporter
from .run import Run

if TYPE_CHECKING:
    from ..models.config import ModelConfig


@dataclass(frozen=True)
class Study(Configuration, Kinds, family="study"):
    """Base of the studies. A study is a frozen dataclass: its fields are its settings, `execute` is the experiment.

        @dataclass(frozen=True)
        class Mine(Study, kind="mine"):
            training: Training = Training(steps=500)

            def execute(self, run: Run) -> None:
                model, _ = run.train("model", ModelConfig(...), Parity(), self.training, self.seed)
                run.compute("spectrum", self.spectrum, model=model)

            def spectrum(self, model: Model) -> TransitionSpectrum:
                return transition_spectrum(model, ...)

    The same seed gives the same numbers. `Mine(seed=1).run("runs/mine")` runs it, and goes on where it stopped.
    """

    seed: Natural = 0
    """Everything that is drawn follows from this number."""

    question: ClassVar[str] = ""
    time: ClassVar[str] = ""  # that it takes on two cores, such as "1 min"

    @abstractmethod
    def execute(self, run: Run) -> None:
        """Do the work, through `run.train` and `run.compute`, which do nothing twice."""

    def over(self, seeds: tuple[int, ...]) -> Study:
        """The study with several seeds, in one run: its own field `seeds` where it has one, else a run of each, joined."""
        own = {"seeds": seeds} if "seeds" in {field.name for field in fields(self)} else None
        if own is not None:
            return from_plain(type(self), own, base=self)
        plain = {"kind": "seeds", "study": self, "seeds": seeds}
        return from_plain(Study, plain)  # type: ignore[type-abstract]

    def split(self) -> tuple[Study, tuple[int, ...] | None]:
        """The study whose settings a user changes, and the seeds that it is run over, where those are no setting of its own."""
        return self, None

    def models(self) -> Mapping[str, ModelConfig]:
        """The models that the study trains, by label. Each is built once before a folder is made, so that settings which do not
        fit each other are told before anything is written.
        """
        return {}

    def check(self) -> None:
        """Raise BadSettingError for settings that do not fit each other."""
        from ..models.model import Model

        for label, config in self.models().items():
            try:
                Model(config)
            except (TypeError, ValueError, RuntimeError, MemoryError) as error:
                raise BadSettingError(f"the model {label!r} cannot be built: {error}") from error

    @property
    def run_name(self) -> str:
        """A folder name: the study and its seed, and a digest of the settings where they are not the default ones."""
        plain = to_plain(self)
        standard = to_plain(type(self)(seed=self.seed)) if not _has_required(type(self)) else None
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.kind}-seed{self.seed}" + ("" if plain == standard else f"-{digest}")

    def run(
        self,
        out: str | Path | None = None,
        reporter: Reporter | None = None,
        *,
        workers: int | None = None,
        device: str | None = None,
        keep: tuple[int, ...] | None = None,
    ) -> Run:
        """Run the study and return the run. What is not given of `workers`, `device` and `keep` is as it was when the run in the
        folder was last worked on; of a new run it is one process, the CPU, and no step.

        out: the folder (default runs/<name>). workers: processes that may work at a time, each on one math thread; the numbers do
            not depend on it. device: where models train, such as "cuda", on which the kernels run that are made for it; what is
            measured of them is measured on the CPU. Two devices round differently, so the numbers depend on it a little.
        keep: steps of training whose checkpoints are kept beside the newest, to look at how a model came to be what it is; 0 is
            the model before training. The numbers do not depend on it.

        Raises BadSettingError for a device that this machine does not have.
        """
        import torch

        torch.set_num_threads(1)
        _check_device(device or "cpu")
        self.check()
        configuration = to_plain(self)
        given: dict[str, Any] = {
            name: value for name, value in (("workers", workers), ("device", device), ("keep", keep)) if value is not None
        }
        with Run.working(out or Path("runs") / self.run_name, self.kind, configuration, self.seed, reporter) as run:
            execution = replace(run.manifest.execution, **given)
            _check_device(execution.device)
            run.workers, run.device, run.keep = execution.workers, execution.device, execution.keep
            if execution != run.manifest.execution:
                run.ledger.update(execution=execution)
            if run.device != "cpu":
                run.ledger.update(hardware={**run.manifest.hardware, "trained on": run.device})
            self.execute(run)
        return run


def _check_device(device: str) -> None:
    import torch

    try:
        if torch.device(device).type not in ("cpu", "cuda"):
            raise BadSettingError(f"device {device!r} is neither cpu nor cuda, and the kernels run on those alone")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled for a GPU
        raise BadSettingError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class Listing:
    """A study as a list shows it: its name, what it asks, and the time it takes."""

    name: str
    question: str
    time: str


def list_studies() -> tuple[Listing, ...]:
    """The studies that say what they ask, in our folders and in installed packages; none of them is imported."""
    found = ((declaration.kind, declaration.constants) for declaration in declarations(Study.family))
    return tuple(Listing(name, said["question"], said.get("time", "")) for name, said in found if said.get("question"))


def study_named(name: str) -> Study:
    """The study of this name with its default settings. Raises UnknownNameError with the nearest name."""
    made: Study = Study.of_kind(name)()
    return made


def _has_required(kind: type) -> bool:
    from ..configuration import is_required

    return any(is_required(field) for field in fields(kind))
