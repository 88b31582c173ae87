"""A study over several seeds, as one run: each result has the rows of all seeds, and its figure means and intervals over them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..configuration import Natural, NotEmpty, from_plain, to_plain
from ..errors import StatescopeError
from ..plugins import import_file, own_files
from .job import StoredResult
from .manifest import in_short
from .run import Run
from .study import Study

if TYPE_CHECKING:
    from ..models.config import ModelConfig

WAIT = 0.2  # seconds between two looks at what workers have finished


class WorkerError(StatescopeError, RuntimeError):
    """A process that did a part of the work failed; the text says which part and why."""


@dataclass(frozen=True)
class Seeds(Study, kind="seeds"):
    """A study for each of several seeds.

    What one seed makes stands under its own name in the run (`results/seed-3/...`), and is made once, as in a run of its own. The
    results of all seeds are joined under the study's own names. With workers several seeds are under way at a time, each in a
    process of its own; the numbers are the same.
    """

    study: Study | None = None
    """This study is run for each of the seeds."""
    seeds: Annotated[tuple[Natural, ...], NotEmpty()] = (0, 1, 2)
    """Each of these seeds draws its own models, batches and folds."""

    def __post_init__(self) -> None:
        if self.study is None:
            raise ValueError("a study over seeds needs a study")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are given twice: {', '.join(map(str, self.seeds))}")

    @property
    def run_name(self) -> str:
        """The name of the study, with the seeds in the place of its seed."""
        assert self.study is not None
        first, seeds = self.seeds[0], in_short(self.seeds, "-")
        name = replace(self.study, seed=first).run_name
        return name.replace(f"seed{first}", f"seeds{seeds}", 1) if f"seed{first}" in name else f"{name}-seeds{seeds}"

    def split(self) -> tuple[Study, tuple[int, ...] | None]:
        assert self.study is not None
        return self.study, self.seeds

    def of_seed(self, seed: int) -> Study:
        """Give the study that runs with one seed."""
        assert self.study is not None
        return replace(self.study, seed=seed)

    def models(self) -> dict[str, ModelConfig]:
        return dict(self.of_seed(self.seeds[0]).models())

    def execute(self, run: Run) -> None:
        from ..results.over_seeds import over_seeds

        parts = {seed: run.part(part_of(seed)) for seed in self.seeds}
        if run.workers > 1:
            self._share(run)
        for seed, part in parts.items():
            self.of_seed(seed).execute(part)
        common = [name for name in parts[self.seeds[0]].result_names if all(name in part.result_names for part in parts.values())]
        for name in common:
            results = {seed: run.opened(StoredResult(f"{part_of(seed)}/{name}")) for seed in self.seeds}
            run.compute(name, over_seeds, results=results)

    def _share(self, run: Run) -> None:
        """Have the seeds done by workers, and take over what each has finished."""
        files = own_files()
        waiting, running = list(self.seeds), dict[int, _Worker]()
        try:
            while waiting or running:
                while waiting and len(running) < run.workers:
                    seed = waiting.pop(0)
                    running[seed] = _Worker(run.path, files, to_plain(self.of_seed(seed)), seed, run.device, run.keep)
                for seed in [seed for seed, worker in running.items() if worker.has_ended()]:
                    running.pop(seed).check()
                run.ledger.merge()
                run.reporter.advance(len(self.seeds) - len(waiting) - len(running), "seeds done")
        finally:
            for worker in running.values():
                worker.stop()


def part_of(seed: int) -> str:
    """The name under which what one seed makes stands."""
    return f"seed-{seed}"


class _Worker:
    """A process that does one seed."""

    def __init__(
        self, folder: Path, files: Sequence[Path], study: Mapping[str, Any], seed: int, device: str, keep: tuple[int, ...]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.seed = seed
        self.told, telling = context.Pipe(duplex=False)
        arguments = (folder, files, study, seed, device, keep, telling.send)
        self.process = context.Process(target=do_seed, args=arguments, daemon=True)
        self.process.start()
        telling.close()

    def has_ended(self) -> bool:
        self.process.join(WAIT)
        return self.process.exitcode is not None

    def check(self) -> None:
        """Raise WorkerError where it failed."""
        if self.process.exitcode:
            try:
                why = self.told.recv() if self.told.poll() else f"its process ended with {self.process.exitcode}"
            except EOFError:
                why = f"its process ended with {self.process.exitcode}"
            raise WorkerError(f"seed {self.seed}: {why}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()


def do_seed(
    folder: Path,
    files: Sequence[Path],
    study: Mapping[str, Any],
    seed: int,
    device: str,
    keep: tuple[int, ...],
    tell: Callable[[str], object],
) -> None:
    """Do one seed of a study as a worker of the run in a folder: what a process starts with.

    files: the user's own, in which the study and its parts stand. device, keep: as of `Study.run`. tell: takes why it failed.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        import torch

        torch.set_num_threads(1)
        for file in files:
            import_file(file)
        made = from_plain(Study, dict(study))  # type: ignore[type-abstract]
        with Run.worker(folder) as run:
            run.device, run.keep = device, keep
            made.execute(run.part(part_of(seed)))
    except Exception as error:
        tell(str(error) if isinstance(error, StatescopeError) else f"{type(error).__name__}: {error}")
        sys.exit(1)


def _end_with(parent: int) -> None:
    """End this process once its parent has: nobody would take over what it finishes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
