"""Parts in kinds: found in our folders and in installed packages, and one class for each name."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from recipes import families, forgotten_afterwards

from statescope import Parity, Task
from statescope.analyses.atlas.catalogue import papers
from statescope.analyses.atlas.stored import KIND
from statescope.analyses.atlas.verdicts import Verdicts
from statescope.probe import declarations as declared
from statescope.probe.configuration import Configuration, from_plain
from statescope.probe.declarations import declarations
from statescope.probe.errors import UnknownNameError
from statescope.probe.mixers import MixerConfig
from statescope.probe.plugins import BrokenPluginError, DuplicateKindError, Kinds, import_file, module_name, own_files
from statescope.probe.results.result import Result
from statescope.probe.runs.study import Study, list_studies


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, searched from now on and forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    with forgotten_afterwards():
        yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("gardening", "weeds", "broken"):
            del sys.modules[name]
    declared.forget()


def install(site: Path, package: str, files: dict[str, str], value: str | None = None) -> None:
    """What pip leaves: the package, and its entry point in a dist-info folder."""
    for name, text in files.items():
        path = site / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[statescope.plugins]\n{package} = {value or package}\n")
    importlib.invalidate_caches()
    declared.forget()


GARDENING = {
    "__init__.py": "raise RuntimeError('imported too early')\n",
    "tasks.py": """
        from dataclasses import dataclass
        from statescope import Parity
        import statescope.probe.tasks.base as base

        @dataclass(frozen=True)
        class Weeding(Parity, kind="weeding"):
            beds: int = 3

        @dataclass(frozen=True)
        class Digging(
            base.Task,
            kind="digging",
        ):
            pass
    """,
}


def test_parts_of_an_installed_package_are_known_unimported_and_imported_when_asked_for(site: Path) -> None:
    install(site, "gardening", GARDENING | {"__init__.py": ""})
    assert {"weeding", "digging", "parity"} <= set(Task.kinds())
    assert "weeding" not in MixerConfig.kinds() + Study.kinds()
    assert "gardening" not in sys.modules
    weeding = Task.of_kind("weeding")
    assert issubclass(weeding, Parity) and weeding().beds == 3
    with pytest.raises(UnknownNameError, match="did you mean 'weeding'"):
        Task.of_kind("weedin")


OF_EACH_FAMILY = [
    ("statescope.probe.mixers.base.MixerConfig", "statescope", "DeltaNet"),
    ("statescope.probe.channel_mixers.base.ChannelMixerConfig", "statescope.probe.channel_mixers.mlp", "MLP"),
    ("statescope.probe.runs.study.Study", "statescope.analyses.studies.parity", "ParityStudy"),
    ("statescope.probe.estimators.estimator.Estimator", "statescope.estimators", "Ridge"),
    ("statescope.probe.erasure.eraser.EraserFitter", "statescope.probe.erasure.linear_erasers", "Leace"),
    ("statescope.probe.results.result.Result", "statescope.probe.results.result", "Result"),
    ("statescope.app.pages.page.Page", "statescope.app.pages.page", "Page"),
    ("statescope.analyses.atlas.claim.Claim", "statescope.analyses.atlas.claim", "Claim"),
]


@pytest.mark.parametrize(("base", "home", "parent"), OF_EACH_FAMILY, ids=lambda text: text.rpartition(".")[2])
def test_an_installed_package_offers_a_part_of_each_family(site: Path, base: str, home: str, parent: str) -> None:
    module, name = base.rsplit(".", 1)
    family = getattr(importlib.import_module(module), name)
    text = f"""
        from dataclasses import dataclass
        from {home} import {parent}

        @dataclass(frozen=True)
        class Own({parent}, kind="compost"):
            pass
    """
    text = text if parent != "Page" else text.replace("@dataclass(frozen=True)", "")
    install(site, "gardening", {"__init__.py": "", "parts.py": text})
    others = {other.family: other.kinds() for other in families() if other.family != family.family}
    assert "compost" in family.kinds() and not [other for other, kinds in others.items() if "compost" in kinds]
    assert "gardening" not in sys.modules
    found = family.of_kind("compost")
    assert (found.__module__, found.__name__) == ("gardening.parts", "Own")
    assert issubclass(found, getattr(importlib.import_module(home), parent)) and issubclass(found, family)
    if issubclass(found, Configuration) and not inspect.isabstract(found):
        assert type(from_plain(family, {"kind": "compost"})) is found


def test_what_a_class_statement_says_is_what_the_class_has(site: Path) -> None:
    """Also where one statement sets several names, a class inherits them, or what it computes stands before a base's literal."""
    text = """
        from statescope.probe.runs.study import Study

        class Bed(Study):
            question, time = "What grows?", "1 min"

        class Weeds(Bed, kind="weeds"):
            time = str(2)

        class Peas(Weeds, kind="peas"):
            "Peas."
            question: str = "Do peas?"
    """
    install(site, "gardening", {"__init__.py": "", "beds.py": text})
    said = {one.kind: one.constants for one in declarations("study") if one.module == "gardening.beds"}
    assert (said["weeds"]["question"], "time" in said["weeds"], said["weeds"]["__doc__"]) == ("What grows?", False, "")
    assert (said["peas"]["question"], "time" in said["peas"], said["peas"]["__doc__"]) == ("Do peas?", False, "Peas.")
    for kind in ("weeds", "peas"):
        assert Study.of_kind(kind).question == said[kind]["question"]


def test_a_file_with_an_error_of_syntax_hides_no_other(site: Path) -> None:
    text = """
        from statescope.analyses.atlas.claim import Claim

        class Weeds(Claim, kind="weeds"):
            paper = "P000"

        x = = 1
    """
    install(site, "weeds", {"__init__.py": text})
    assert papers()["P153"].has_claims and not papers()["P000"].has_claims
    assert "parity" in {one.name for one in list_studies()}
    with pytest.raises(BrokenPluginError, match="weeds cannot be imported: SyntaxError"):
        Study.of_kind("weeds")


def test_what_kinds_there_are_is_known_of_a_package_that_cannot_be_imported(site: Path) -> None:
    install(site, "broken", GARDENING)
    assert "weeding" in Task.kinds()
    with pytest.raises(BrokenPluginError, match=r"broken\.tasks cannot be imported: RuntimeError: imported too early"):
        Task.of_kind("weeding")
    assert Task.of_kind("parity") is Parity
    with pytest.raises(UnknownNameError, match=r"'pparity' is not known; did you mean 'parity'.*broken cannot be imported"):
        Task.of_kind("pparity")


def test_an_entry_point_may_name_a_module_and_a_class_in_it(site: Path) -> None:
    install(site, "gardening", GARDENING | {"__init__.py": ""}, "gardening.tasks:Weeding")
    assert Task.of_kind("weeding").__module__ == "gardening.tasks"


def test_a_class_that_no_statement_declares_is_found_by_importing_the_plug_in(site: Path) -> None:
    text = """
        from dataclasses import dataclass
        from statescope import Parity
        Made = dataclass(frozen=True)(type("Made", (Parity,), {}, kind="made"))
    """
    install(site, "gardening", {"__init__.py": text})
    assert Task.of_kind("made").__name__ == "Made"


@pytest.mark.parametrize("imported", [True, False])
def test_two_packages_cannot_claim_one_name(site: Path, imported: bool) -> None:
    install(site, "gardening", GARDENING | {"__init__.py": ""})
    if imported:
        Task.of_kind("weeding")
    install(site, "weeds", GARDENING | {"__init__.py": ""})
    with pytest.raises(DuplicateKindError, match=r"gardening\.tasks\.Weeding and by weeds\.tasks\.Weeding; rename one"):
        Task.of_kind("weeding")


def test_an_installed_package_cannot_take_a_name_of_ours(site: Path) -> None:
    text = 'from statescope import Task\n\nclass Mine(Task, kind="parity"):\n    pass\n'
    install(site, "weeds", {"__init__.py": text})
    with pytest.raises(DuplicateKindError, match=r"probe\.tasks\.parity\.Parity and by weeds\.Mine"):
        Task.of_kind("parity")
    with pytest.raises(DuplicateKindError, match="weeds"):
        importlib.import_module("weeds")


class Tool(Kinds, family="tool"):
    pass


def test_a_second_class_of_one_kind_is_refused_and_the_same_statement_run_again_is_not() -> None:
    def make() -> type[Tool]:
        class Spade(Tool, kind="spade"):
            pass

        return Spade

    make()
    again = make()
    assert Tool.of_kind("spade") is again
    with pytest.raises(DuplicateKindError, match=r"the tool 'spade' is declared by .*make.<locals>.Spade and by .*Shovel"):

        class Shovel(Tool, kind="spade"):
            pass

    assert Tool.of_kind("spade") is again


def test_every_declaration_of_ours_is_a_class_of_its_family() -> None:
    for base in (Task, Study, Result, MixerConfig):
        found_by_text = list(declarations(base.family))
        assert len({one.kind for one in found_by_text}) == len(found_by_text) > 5
        for one in found_by_text:
            found = base.of_kind(one.kind)
            assert (found.__module__, found.__name__, issubclass(found, base)) == (one.module, one.name, True)


def test_every_class_of_ours_that_names_a_kind_names_it_in_its_statement() -> None:
    """A name that stands for the kind is known only once the class is imported, so that nothing finds it before."""
    root = Path(declared.__file__).resolve().parents[1]
    named = [
        (source.name, node.name, ast.unparse(keyword.value))
        for room in declared.ROOMS
        for source in sorted((root / room).rglob("*.py"))
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        for keyword in node.keywords
        if keyword.arg in ("kind", "family") and not isinstance(keyword.value, ast.Constant)
    ]
    assert not named, f"no literal: {named}"


def test_the_kind_of_stored_verdicts_is_that_of_their_class() -> None:
    assert Result.of_kind(KIND) is Verdicts


def test_listing_kinds_imports_none_of_them(tmp_path: Path) -> None:
    code = """
import sys
from statescope.probe.declarations import declarations
names = [one.kind for one in declarations("study")]
(parity,) = [one for one in declarations("study") if one.kind == "parity"]
print("parity" in names, "negative" in parity.constants["question"], sorted({"torch", "numpy", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "True True []", done.stderr


def test_a_file_of_ones_own_is_imported_once_with_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("BEDS = 7\n")
    (tmp_path / "torch.py").write_text("raise RuntimeError('shadowed')\n")
    text = """
        from dataclasses import dataclass
        import torch
        from beside_it import BEDS
        from statescope import Parity

        @dataclass(frozen=True)
        class Planting(Parity, kind="planting"):
            beds: int = BEDS
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(text))
    module = import_file(tmp_path / "mine.py")
    assert import_file(tmp_path / "mine.py") is module
    assert Task.of_kind("planting")() == module.Planting(beds=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError"), ("def\n", "SyntaxError"), (None, "is not there, or is no file")],
)
def test_a_file_that_cannot_be_imported_says_where(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BrokenPluginError, match=message):
        import_file(path)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("raise SystemExit(2)", 'line 2: SystemExit: 2; what it does as a script belongs behind if __name__ == "__main__"'),
        ("raise KeyboardInterrupt", ""),
        ("1 / 0", "line 2: ZeroDivisionError"),
    ],
)
def test_a_file_that_ended_half_way_is_no_module(tmp_path: Path, end: str, told: str) -> None:
    """Named again it was there, with what stood above; and a job took it to processes that it ended."""
    path = tmp_path / "mine.py"
    path.write_text(f"above = 1\n{end}\n")
    for _ in range(2):
        with pytest.raises(BrokenPluginError if told else KeyboardInterrupt, match=re.escape(told) or None):
            import_file(path)
        assert path not in own_files()
    path.write_text("above = 1\nbelow = 2  # mended\n")
    assert import_file(path).below == 2 and path in own_files()
    del sys.modules[module_name(path)]


def test_a_kind_in_another_family_is_no_clash() -> None:
    @dataclass(frozen=True)
    class ParityResult(Result, kind="parity"):
        pass

    try:
        assert Result.of_kind("parity") is ParityResult
        assert Task.of_kind("parity") is Parity
    finally:
        del Result.known["parity"]
