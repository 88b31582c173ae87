"""What shows stored results imports nothing that computes them: torch alone takes longer than to draw a page."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from opened_app import open_app

from statescope.app.pages.live_page import LivePage
from statescope.app.pages.page import FolderPage
from statescope.app.server import navigation, warm_up
from statescope.app.server.once import Once

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
from statescope.app.pages.page import FolderPage, Page
from statescope.app.server.warm_up import import_for_pages

import_for_pages()
there = set(sys.modules)
patch = pytest.MonkeyPatch()
pages = [*Page.kinds(), *(kind for kind in FolderPage.kinds() if not FolderPage.of_kind(kind).runs_models)]
for run, shown in (("parity", pages), ("source", ["tangent", "directions"])):
    for page in shown:
        app = open_app(Path(sys.argv[1]), patch, page, run=run)
        assert not app.exception and not app.error, (page, app.exception, app.error)
late = [name for name in sys.modules if name.startswith("statescope.") and name not in there]
assert not late, f"a page imports {late} while another thread imports what runs models"
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


ABOUT_MODELS = """
import sys
import pytest
from pathlib import Path
from opened_app import open_app
from statescope.app.pages.live_page import LivePage
from statescope.app.server.import_models import import_for_models
from statescope.app.server.warm_up import import_for_pages

import_for_pages()
import_for_models()
there = set(sys.modules)
for page in LivePage.kinds():
    app = open_app(Path(sys.argv[1]), pytest.MonkeyPatch(), page, run="parity")
    assert not app.exception and not app.error, (page, app.exception, app.error)
late = [name for name in sys.modules if name.startswith("statescope.") and name not in there]
assert not late, f"a page imports {late} by itself"
"""


def test_what_runs_models_is_all_there_before_a_page_about_a_model_is_drawn(finished: Path) -> None:
    assert "torch" in imported_by(ABOUT_MODELS, str(finished))


def test_of_two_threads_that_need_an_import_one_does_it_and_the_other_waits() -> None:
    """Else each may hold a module that the other waits for, and Python gives one of them a module that is half there."""
    begun, end, seen = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        assert end.wait(20)
        seen.append("imported")

    once = Once(work)
    first, second = threading.Thread(target=once), threading.Thread(target=lambda: (once(), seen.append("page")))
    first.start()
    assert begun.wait(20)
    second.start()
    second.join(0.2)
    assert second.is_alive() and not seen
    end.set()
    for thread in (first, second):
        thread.join(20)
    assert seen == ["imported", "page"]


def test_an_import_that_failed_is_tried_again_and_one_that_succeeded_is_not() -> None:
    tried: list[int] = []

    def work() -> None:
        tried.append(len(tried))
        if len(tried) == 1:
            raise ImportError("the disk was away")

    once = Once(work)
    with pytest.raises(ImportError, match="the disk was away"):
        once()
    once()
    once()
    assert tried == [0, 1]


@pytest.mark.parametrize("page", [*LivePage.kinds(), "new_run"])
def test_a_page_that_runs_models_waits_for_them(page: str, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    family = LivePage if page in LivePage.kinds() else FolderPage
    shown = family.of_kind(page)
    monkeypatch.setattr(navigation, "import_for_models", lambda: seen.append("imported"))
    monkeypatch.setattr(shown, "show" if family is LivePage else "draw", lambda page: seen.append("drawn"))
    assert not open_app(finished, monkeypatch, page).exception
    assert seen == ["imported", "drawn"]


def test_what_streamlit_runs_imports_nothing_else_before_what_pages_need() -> None:
    """Its other imports would run beside those of the server's own thread."""
    tree = ast.parse((ROOT / "app" / "server" / "main.py").read_text())
    assert [node.module for node in tree.body if isinstance(node, ast.ImportFrom)] == ["__future__", warm_up.__name__]
    started = [ast.unparse(line) for line in tree.body[-1].body]
    assert started[0] == "import_for_pages()" and started[-2:] == ["main()", "SHOWN.set()"]


def test_what_runs_models_is_imported_only_once_a_page_is_shown() -> None:
    """The server imports pages and results at once, and waits with the rest."""
    lines = (
        "import time\nfrom statescope.app.server import warm_up\nwarm_up.import_for_pages()\n"
        "import sys\nassert 'torch' not in sys.modules and 'plotly' in sys.modules\n"
        "import statescope.app.pages.overview as seen\nwarm_up.import_for_models()\nassert 'torch' in sys.modules"
    )
    assert "torch" in imported_by(lines)
