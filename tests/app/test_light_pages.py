"""What shows stored results imports nothing that computes them: torch alone takes longer than to draw a page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "transformer_lens", "sklearn", "scipy", "zarr", "safetensors", "matplotlib")
ROOT = Path(__file__).resolve().parents[2]
SAY = "import json, sys; print(json.dumps([name for name in {heavy} if name in sys.modules]))"


def imported_by(lines: str, *arguments: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of the heavy packages a process of its own has imported once it has run these lines."""
    code = f"{lines}\n{SAY.format(heavy=heavy)}"
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_kind_of_result_is_known_without_what_measures_it() -> None:
    lines = "from statescope import Result\nkinds = [Result.of_kind(kind) for kind in Result.kinds()]\nassert len(kinds) > 60"
    assert imported_by(lines) == []


PAGES = """
import sys
import pytest
from pathlib import Path
from opened_app import open_app
from statescope.probe.declarations import declarations

patch = pytest.MonkeyPatch()
pages = [page.kind for family in ("page", "folder page") for page in declarations(family)]
pages.remove("new_run")  # which builds the study that it asks the settings of
for run, shown in (("parity", pages), ("source", ["tangent", "directions"])):
    for page in shown:
        app = open_app(Path(sys.argv[1]), patch, page, run=run)
        assert not app.exception and not app.error, (page, app.exception, app.error)
"""


def test_every_page_of_stored_results_is_shown_without_what_measures_them(finished: Path) -> None:
    assert imported_by(PAGES, str(finished)) == []


@pytest.mark.parametrize(
    "command",
    [
        ["figure", "parity", "probes", "--format", "csv"],
        ["figure", "parity", "accuracy_by_length", "--format", "html"],
        ["list"],
        ["show", "parity"],
        ["verify", "parity"],
    ],
    ids=" ".join,
)
def test_the_command_line_shows_runs_without_what_computes(command: list[str], finished: Path, tmp_path: Path) -> None:
    given = [*command, "--folder", str(finished), *(["--out", str(tmp_path / "figure")] if command[0] == "figure" else [])]
    assert imported_by("import sys\nfrom statescope.app.cli import main\nmain(sys.argv[1:])", *given) == []


def test_a_figure_for_print_takes_matplotlib_alone(finished: Path, tmp_path: Path) -> None:
    given = ["figure", "parity", "probes", "--folder", str(finished), "--out", str(tmp_path / "probes.pdf")]
    assert imported_by("import sys\nfrom statescope.app.cli import main\nmain(sys.argv[1:])", *given) == ["matplotlib"]
    assert (tmp_path / "probes.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "command", [["atlas", "list"], ["atlas", "list", "--help"], ["run", "parity", "--help"], ["app", "--help"]]
)
def test_help_and_lists_import_no_tables_either(command: list[str]) -> None:
    lines = (
        "import sys\nfrom statescope.app.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert imported_by(lines, *command, heavy=(*HEAVY, "streamlit", "plotly", "pandas")) == []


def test_what_runs_models_is_imported_only_once_a_page_is_shown() -> None:
    """The server imports pages and results at once, and waits with the rest."""
    lines = (
        "import time\nfrom statescope.app.server import warm_up\nwarm_up._for_pages()\n"
        "import sys\nassert 'torch' not in sys.modules and 'plotly' in sys.modules\n"
        "import statescope.app.pages.overview as seen\nwarm_up._for_models()\nassert 'torch' in sys.modules"
    )
    assert "torch" in imported_by(lines)
