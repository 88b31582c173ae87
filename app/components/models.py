"""The models that pages look into while one waits: those in folders that the command line names, and those of the chosen run."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from ...probe.errors import StatescopeError
from ...probe.files import sha256
from ...probe.runs.run import Run
from ...probe.tasks.base import Task
from ...probe.tasks.spelling import Bytes, Spelling, UnreadableTextError, WholeNumbers
from ..environment import model_folders, runs_folder
from ..model_folders import models_in
from .choose import choose
from .text import literal

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

TRIED = 16  # tokens
WORDS = "The keys of the cabinet are on the table. The table stands in the hall."


@dataclass(frozen=True)
class OfTokenizer(Spelling):
    """The tokens are those of a model's tokenizer."""

    model: HookedModel

    def read(self, text: str) -> list[int]:
        """The tokens of a text. Raises UnreadableTextError for one that the model has no embedding of."""
        try:
            found: list[int] = self.model.to_tokens(text)[0].tolist()
        except ValueError as error:
            raise UnreadableTextError(str(error)) from error
        return found

    def write(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.model.to_string(list(tokens)))

    def show(self, tokens: Sequence[int]) -> list[str]:
        """Each token as text, without a break of the line."""
        return [text.replace("\n", "\\n") or "·" for text in self.model.texts_of(tokens)]


@dataclass
class LiveModel:
    """A model that is open, how its tokens are written, and the lines of Python that open it.

    task: what it was trained on, where that is known. lock: one thread at a time runs it, for hooks hang on it meanwhile.
    """

    name: str
    key: str
    model: HookedModel
    spelling: Spelling
    example: str
    code: str
    about: Callable[[], dict[str, Any]]
    task: Task | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    second_a_token: float = 0.0

    def __post_init__(self) -> None:
        """Take the time of a short run, after one that warms up."""
        import torch

        tokens = torch.zeros(1, TRIED, dtype=torch.long)
        with torch.no_grad():
            self.model(tokens)
            begin = time.monotonic()
            self.model(tokens)
        self.second_a_token = (time.monotonic() - begin) / TRIED


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
        return ";".join(f"{file.name}:{(at := file.stat()).st_mtime_ns}:{at.st_size}" for file in files)

    def open(self) -> LiveModel:
        from ...probe.loaders import load

        model = load(self.path)
        spelling, example = _spelling_of(model)
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
        return f"{self.run.path.name}: {self.label}"

    @property
    def stamp(self) -> str:
        start = f"checkpoints/{self.label}/"
        return ";".join(record.sha256 for name, record in self.run.manifest.files.items() if name.startswith(start))

    def open(self) -> LiveModel:
        found = self.run.model(self.label)
        code = f"from statescope import Run\n\nmodel = Run({str(self.run.path)!r}).model({self.label!r}).model"
        spelling, task = found.task.spelling, found.task
        model: HookedModel = found.model
        return LiveModel(
            self.name, f"{self.name}:{self.stamp}", model, spelling, _example(task, found.length), code, self._about, task
        )

    def _about(self) -> dict[str, Any]:
        manifest = self.run.manifest
        more = {"study": manifest.study, "seed": manifest.seed, "configuration": dict(manifest.configuration)}
        return {"run": self.run.path.name, "model": self.label, "files": self.stamp.split(";"), **more}


def _spelling_of(model: HookedModel) -> tuple[Spelling, str]:
    """How a model is written to: without a tokenizer one of 256 tokens reads bytes, and another one numbers."""
    if model.tokenizer is not None:
        return OfTokenizer(model), WORDS
    if model.cfg.d_vocab == 256:
        return Bytes(), WORDS
    numbers = WholeNumbers(model.cfg.d_vocab)
    return numbers, numbers.write([index % numbers.vocabulary for index in range(24)])


def _example(task: Task, length: int) -> str:
    try:
        return task.example(length)
    except (StatescopeError, ValueError, OSError):  # such as a corpus that is elsewhere
        return task.spelling.write([index % max(task.vocabulary, 1) for index in range(min(length, 24))])


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
    return open_model(named[name])


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
