"""The models that pages look into while one waits: those in folders that the command line names, and those of the chosen run.

Which there are is known without opening one, so that a menu imports nothing that runs models.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from ...probe.errors import StatescopeError
from ...probe.files import sha256
from ...probe.runs.run import Run
from ..environment import model_folders, runs_folder
from ..model_folders import models_in
from .choose import choose
from .text import in_words, literal

if TYPE_CHECKING:
    from .live_model import LiveModel


class ModelSource:
    """Base of the places that a model comes from.

    stamp: differs where the model does, so that what was computed from an older one is never shown.
    """

    name: str

    @property
    @abstractmethod
    def stamp(self) -> str:
        """What the files are now, without reading them whole."""

    @abstractmethod
    def open(self) -> LiveModel:
        """Read the model, and what is known of how to write to it."""


@dataclass(frozen=True)
class ModelInFolder(ModelSource):
    """A model in a folder with config.json and safetensors."""

    name: str
    path: Path

    @property
    def stamp(self) -> str:
        files = [*sorted(self.path.glob("*.safetensors")), self.path / "config.json"]
        there = [(file.name, file.stat() if file.exists() else file.lstat()) for file in files]  # a link may lead nowhere
        return ";".join(f"{name}:{at.st_mtime_ns}:{at.st_size}" for name, at in there)

    def open(self) -> LiveModel:
        from ...probe.loaders import load
        from .live_model import LiveModel, spelling_of

        model = load(self.path)
        spelling, example = spelling_of(model)
        code = f"from statescope import load\n\nmodel = load({str(self.path)!r})"
        return LiveModel(self.name, f"{self.name}:{self.stamp}", model, spelling, example, code, self._about)

    def _about(self) -> dict[str, Any]:
        files = [*sorted(self.path.glob("*.safetensors")), self.path / "config.json"]
        return {"model": self.name, "files": {file.name: sha256(file) for file in files}}


@dataclass(frozen=True)
class ModelInRun(ModelSource):
    """A model that a run has trained."""

    run: Run
    label: str

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.run.path.name}: {in_words(self.label)}"

    @property
    def stamp(self) -> str:
        start = f"checkpoints/{self.label}/"
        return ";".join(record.sha256 for name, record in self.run.manifest.files.items() if name.startswith(start))

    def open(self) -> LiveModel:
        from .live_model import LiveModel, example_of

        found = self.run.model(self.label)
        trained = f"Run({str(self.run.path)!r}).model({self.label!r})"
        code = f"from statescope import Run\n\nmodel = {trained}.model"
        key, task = f"{self.name}:{self.stamp}", found.task
        shown = (task.spelling, example_of(task, found.length), code, self.about)
        return LiveModel(self.name, key, found.model, *shown, task=task, task_code=f"{trained}.task")

    def about(self) -> dict[str, Any]:
        """What a reader needs to know which model it is, as JSON."""
        manifest = self.run.manifest
        more = {"study": manifest.study, "seed": manifest.seed, "configuration": dict(manifest.configuration)}
        return {"run": self.run.path.name, "model": self.label, "files": self.stamp.split(";"), **more}


def current_models() -> dict[str, ModelSource]:
    """The models there are to look into, by name."""
    named: dict[str, ModelSource] = {name: ModelInFolder(name, path) for name, path in models_in(model_folders()).items()}
    chosen = st.session_state.get("run")
    if chosen is not None:
        run = Run(runs_folder() / chosen)
        named |= {source.name: source for source in (ModelInRun(run, label) for label in run.model_names)}
    return named


def choose_model(where: Any = st) -> LiveModel | None:
    """A select box of models; the chosen one, opened, or None with the reason on the page."""
    named = current_models()
    if not named:
        st.info(
            "No model is here to look into: the chosen run keeps none. Give folders with one when you start the app: "
            "`statescope app FOLDER`",
            icon=":material/info:",
        )
        return None
    name = choose("model", list(named), "live", where=where)
    if len(named) > 1:
        where.caption(f"This is model {list(named).index(name) + 1} of {len(named)}{_whence(list(named.values()))}.")
    return open_model(named[name])


def _whence(sources: Sequence[ModelSource]) -> str:
    """Where models come from, the run by its name; how many from which place, where that is not one."""
    in_run = [source for source in sources if isinstance(source, ModelInRun)]
    of_run = f"of the run {literal(in_run[0].run.path.name)}" if in_run else ""
    here, count = "in the folders that the app was started with", len(sources) - len(in_run)
    return f": {count} {here} and {len(in_run)} {of_run}" if count and in_run else f" {of_run or here}"


def open_model(source: ModelSource) -> LiveModel | None:
    """A model, opened once; None with the reason on the page where it cannot be."""
    try:
        return _opened(source, source.name, source.stamp)
    except (StatescopeError, OSError, ValueError, MemoryError, RuntimeError) as error:
        st.error(f"{literal(source.name)} cannot be opened: {literal(error)}")
        return None


@st.cache_resource(max_entries=3, show_spinner="opening the model")
def _opened(_source: ModelSource, name: str, stamp: str) -> LiveModel:
    return _source.open()
