"""What a notebook shows, in a real kernel: bars while a study runs, results, figures, and the state viewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    """
from dataclasses import dataclass
import torch
from statescope import Model, ModelConfig, Training, capture, state_view, train
from statescope.analyses.behaviour.results.training_curve import TrainingCurve
from statescope.directions import Direction
from statescope.mixers import DeltaNet
from statescope.probe.runs.study import Study
from statescope.tasks import Parity

@dataclass(frozen=True)
class Mine(Study, kind="mine"):
    def execute(self, run):
        _, history = run.train("model", config, Parity(), Training(steps=3, batch=4, length=6), self.seed)
        run.compute("training", TrainingCurve.of, histories={"model": history})

config = ModelConfig(2, 16, 1, DeltaNet(heads=1, key_size=8, value_size=8))
run = Mine().run("run")
""",
    """
model = Model(config)
_ = train(model, Parity(), Training(steps=5, batch=4, length=6))
""",
    "run",
    "run.result(run.result_names[-1])",
    "run.result(run.result_names[-1]).figure()",
    "capture(model, [Parity().batch(3, 6, 'test', torch.Generator())], ['blocks.0.hook_resid_post'])",
    "Direction(torch.eye(16)[0], 'blocks.0.hook_resid_post', 'a')",
    "model.run_with_cache(torch.tensor([[0, 1, 1]]), names_filter=['*.hook_transition'], taps=[1, 2])[1]['transition', 0]",
    "state_view(model, [0, 1, 1, 0])",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """What each cell displays, by kind of content."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return [[output["data"] for output in cell.outputs if "data" in output] for cell in notebook.cells]


def test_a_study_shows_a_bar_a_stage_which_are_full_at_the_end(outputs: list[list[dict[str, Any]]]) -> None:
    (shown,) = outputs[0]
    bars = re.findall(r'<progress value="(\d+)" max="(\d+)"', shown["text/html"])
    assert bars and all(done == total == "3" for done, total in bars)
    assert "<progress aria" not in shown["text/html"], "no stage goes on after the end"
    assert re.search(r"training: .*loss \d.*\d\.\d s", shown["text/html"])


def test_training_shows_a_bar(outputs: list[list[dict[str, Any]]]) -> None:
    (shown,) = outputs[1]
    assert re.search(r'<progress value="5" max="5".*loss', shown["text/html"])


@pytest.mark.parametrize("cell", range(2, len(CELLS)))
def test_what_stands_in_a_cell_is_drawn(outputs: list[list[dict[str, Any]]], cell: int) -> None:
    """A table, a picture or a page, and never thousands of numbers."""
    (shown,) = outputs[cell]
    assert "application/vnd.plotly.v1+json" in shown or re.search("<(table|pre|svg|iframe)", shown["text/html"])
    assert len(shown["text/plain"]) < 2000
