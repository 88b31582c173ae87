"""Bundles: a figure in all its forms with its numbers, and a script that draws it without statescope."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from example_results import HOSTILE, example_curve, example_figure, example_scores, hostile_figure

from statescope.probe.results.bundle import bundle, caption
from statescope.probe.results.drawn import DrawnFigure
from statescope.probe.results.figure import Figure, Intervals, Panel, Ranges
from statescope.probe.results.over_seeds import over_seeds
from statescope.probe.results.print import draw_for_print
from statescope.probe.results.script import script_of
from statescope.probe.results.style import STYLES


def _unpack(data: bytes, folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    return folder


REDRAW = """
import json, runpy, sys
assert "statescope" not in sys.modules
import matplotlib
script = runpy.run_path(sys.argv[1])
with matplotlib.rc_context(script["SETTINGS"]):
    drawn = script["draw"]()
    drawn.savefig(sys.argv[2], metadata={"CreationDate": None, "Title": None})
"""


def _of_ranges() -> Figure:
    ends = np.array([-1.0, 0.2]), np.array([1.0, 0.2])
    names = ["a", "b"]
    marks = [
        Ranges.between(names, *ends, "allowed"),
        Intervals(names, ends[1], "seen"),
        Ranges.between(["b"], *(end[1:] for end in ends), "far"),
    ]
    return Figure("Ranges", [Panel(marks, "eigenvalue", "", level=(0.0, "0"))])


def _with_long_texts() -> Figure:
    """Its texts are broken into lines, of which the script has to tell."""
    words = "many words that cost $5 and say what is measured in this panel"
    panels = [dataclasses.replace(panel, title=words) for panel in example_figure().panels]
    return dataclasses.replace(example_figure(), title=f"{words}, {words}", panels=panels)


@pytest.mark.parametrize(
    ("figure", "style"),
    [(example_figure(), "neurips"), (example_figure(), "icml"), (_with_long_texts(), "neurips"), (_of_ranges(), "neurips")],
)
def test_the_script_of_a_bundle_draws_the_same_figure_with_matplotlib_alone(tmp_path: Path, figure: Figure, style: str) -> None:
    """Not a number, a label or a limit differs: the PDF is the same to the byte."""
    drawn = DrawnFigure(figure, style)
    folder = _unpack(bundle(example_curve(), drawn, {"seed": 3}), tmp_path / "bundle")
    alone = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-c", REDRAW, str(folder / "figure.py"), str(tmp_path / "redrawn.pdf")]
    done = subprocess.run(command, capture_output=True, text=True, env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    held = io.BytesIO()
    with matplotlib.rc_context(STYLES[style].settings()):
        draw_for_print(figure, style).savefig(held, format="pdf", metadata={"CreationDate": None, "Title": None})
    assert (tmp_path / "redrawn.pdf").read_bytes() == held.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_script_is_a_string(text: str) -> None:
    marked = f"{text}') or open('x', 'w').close() or ('"
    tree = ast.parse(script_of(hostile_figure(marked), "neurips"))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert calls <= {
        "rows",
        "draw",
        "range",
        "zip",
        "len",
        "float",
        "Path",
        "Figure",
        "LogLocator",
        "MultipleLocator",
        "NullFormatter",
        "BoundaryNorm",
    }


def test_a_bundle_has_all_forms_the_numbers_and_where_they_come_from(tmp_path: Path) -> None:
    scores = example_scores().select(label="depth")
    provenance = {"run": "mine", "seed": 7, "sha256": "ab" * 32, "selection": {"label": "depth"}}
    data = bundle(scores, scores.figure(), provenance)
    assert data == bundle(scores, scores.figure(), provenance), "the same twice"
    folder = _unpack(data, tmp_path / "bundle")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("caption.txt", "data.csv", "data.parquet"),
        *("figure.html", "figure.pdf", "figure.png", "figure.py", "figure.svg", "provenance.json"),
    ]
    assert json.loads((folder / "provenance.json").read_text()) == provenance
    told = pd.read_csv(folder / "data.csv")
    kept = pd.read_parquet(folder / "data.parquet")
    assert told["value"].tolist() == kept["value"].tolist() == scores.figure().to_frame()["value"].tolist()
    words = (folder / "caption.txt").read_text()
    assert "lower end of its 95% interval" in words and "seed 7" in words and "control by context" in words


def test_a_caption_says_what_the_bands_over_seeds_are() -> None:
    """The columns of such a result hold no interval; its figure draws one."""
    both = over_seeds({0: example_scores(), 1: example_scores()})
    words = caption(both, both.figure(), {"seed": "0-1"})
    assert "Error bars and bands. mean and 95% interval over 2 seeds." in words and "seed 0-1" in words
    assert "No error bars" in caption(example_curve(), example_curve().figure(), {})
