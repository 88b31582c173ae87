"""Progress in a notebook: bars in the output of the cell, of HTML alone, which every notebook shows."""

from __future__ import annotations

import html
import importlib
import sys
import time
from dataclasses import replace
from typing import Any

from ..results.text import visible, visible_lines
from .progress import Reporter, Silent, Stage

EVERY = 0.2  # seconds between two drawings


def reporter_here() -> Reporter:
    """What shows progress where this process runs: bars in the cell of a notebook, elsewhere nothing."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return NotebookReporter() if hasattr(shell, "kernel") else Silent()


class NotebookReporter:
    """A line for each stage, which stays: a bar, steps done, a note such as the loss, seconds. Warnings stand below."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.current: str | None = None
        self.begun = self.drawn = 0.0
        self.handle: Any = None

    def stage(self, name: str, total: int | None) -> None:
        self._leave()
        self.current, self.begun = name, time.monotonic()
        self.stages[name] = Stage(name, total=total)
        self._draw()

    def advance(self, done: int, note: str) -> None:
        if self.current is not None:
            self.stages[self.current] = replace(self.stages[self.current], done=done, note=note)
            if time.monotonic() - self.drawn > EVERY:
                self._draw()

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._draw()

    def end(self) -> None:
        self._leave()
        self._draw()

    def _leave(self) -> None:
        if self.current is not None:
            spent = time.monotonic() - self.begun
            self.seconds[self.current] = self.seconds.get(self.current, 0.0) + spent
            self.current = None

    def _draw(self) -> None:
        output = importlib.import_module("IPython.display")  # which is there, since this runs in its kernel
        self.drawn = time.monotonic()
        rows = "".join(f"<tr>{self._row(stage)}</tr>" for stage in self.stages.values())
        warned = "".join(f"<pre>{html.escape(visible_lines(text))}</pre>" for text in self.warnings)
        shown = output.HTML(f"<table>{rows}</table>{warned}")
        if self.handle is None:
            self.handle = output.display(shown, display_id=True)
        else:
            self.handle.update(shown)

    def _row(self, stage: Stage) -> str:
        """The cells of a stage: its name, how far it is, its note, and its seconds once it is left."""
        name, note = (html.escape(visible(text)) for text in (stage.stage, stage.note))
        now = stage.stage == self.current
        bar, counted = "", ""
        if stage.total is not None:
            bar = f'<progress value="{stage.done}" max="{stage.total}" aria-label="{name}"></progress>'
            counted = f"{stage.done} of {stage.total}"
        elif now:
            bar = f'<progress aria-label="{name}"></progress>'
        spent = "" if now else f"{self.seconds[stage.stage]:.1f} s"
        return "".join(f'<td style="text-align:left">{cell}</td>' for cell in (name, bar, counted, note, spent))
