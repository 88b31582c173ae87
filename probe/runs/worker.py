"""Doing a job of a run in another process."""

from __future__ import annotations

from pathlib import Path

from .job import Job
from .run import Run


def do_in(folder: Path, job: Job, prefix: str = "") -> None:
    """Do a job in the folder of a run, as one of its workers: what an executor calls in another process.

    prefix: of the names, where the job is of a part of the run.
    """
    with Run.worker(folder) as run:
        run.prefix = prefix
        run.perform(job)
