"""What a user installs: the rooms and nothing else, beside a foreign package called `kernels`."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("kernels", "probe", "analyses", "app")
SUBJECTS = ("mixers", "tasks", "estimators", "spectra", "geometry", "directions", "lenses", "dictionaries", "theory")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of what git tracks, as a release would be."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_a_wheel_holds_the_four_rooms_and_nothing_else(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    tops = {name.split("/")[1] for name in names}
    assert {name.split("/")[0] for name in names} == {"statescope"}
    assert tops == {"__init__.py", "__init__.pyi", "__main__.py", "py.typed", *ROOMS, *(f"{name}.py" for name in SUBJECTS)}
    tracked = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    modules = {f"statescope/{name}" for name in tracked if name.endswith(".py") and (ROOT / name).is_file()}
    assert modules <= set(names), "a folder with code is missing from the wheel"
    assert "statescope/analyses/atlas/papers.toml" in names, (
        "data that a module reads is missing from [tool.setuptools.package-data]"
    )


def test_it_imports_beside_hugging_faces_kernels(wheel: Path, tmp_path: Path) -> None:
    """In an interpreter that knows the wheel and third-party packages only, with no checkout in sight."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)]
    subprocess.run(install, check=True)
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path / "site")!r}]
sys.path.append({sysconfig.get_path("purelib")!r})
import kernels
assert "site-packages/kernels" in kernels.__file__, kernels.__file__
import statescope
assert statescope.__file__.startswith({str(tmp_path)!r}), statescope.__file__
from statescope import Model, ModelConfig, GatedDeltaNet
import torch
Model(ModelConfig(vocabulary=3, width=8, layers=1, mixer=GatedDeltaNet(heads=2)))(torch.zeros(1, 4, dtype=torch.long))
from transformers import MambaForCausalLM, Qwen3NextForCausalLM
print("ok")
"""
    # -S keeps the editable install of this checkout out.
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("ok"), done.stderr[-2000:]


def test_a_type_checker_sees_the_types_of_an_installed_package(wheel: Path, tmp_path: Path) -> None:
    """It finds what is wrong in a user's script, a plug-in among it, and nothing else; the cache is that of `make types`."""
    script = ROOT / "tests" / "packaging" / "users_script.py"
    (tmp_path / "mine.py").write_bytes(script.read_bytes())
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    command = ["-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"), "mine.py"]
    where = os.environ | {"MYPYPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=where, capture_output=True, text=True)
    wrong = [number for number, line in enumerate(script.read_text().splitlines(), start=1) if line.endswith("# wrong")]
    found = re.findall(r"^(.*):(\d+): error", done.stdout, re.M)
    assert len(wrong) == 6 and found == [("mine.py", str(number)) for number in wrong], done.stdout + done.stderr


def test_a_checkout_as_the_working_folder_does_not_shadow_it() -> None:
    """A regular package found later on the path wins over a folder without __init__.py found first."""
    assert not (ROOT / "kernels" / "__init__.py").exists()
    code = "import kernels; print(kernels.__file__); from transformers import MambaForCausalLM"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "site-packages" in done.stdout


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > len(path.relative_to(ROOT / "kernels").parts):
            found.add("outside the room")
    return found


def test_kernels_stand_alone() -> None:
    """torch, triton, numpy and the standard library; nothing of the other rooms."""
    allowed = {"torch", "triton", "numpy"} | sys.stdlib_module_names
    for path in (ROOT / "kernels").rglob("*.py"):
        assert _imports(path) <= allowed, path


def test_kernels_run_with_the_others_away(tmp_path: Path) -> None:
    code = """
import sys
class Away:
    def find_spec(self, name, path=None, target=None):
        away = ("transformer_lens", "transformers", "sklearn", "pandas", "scipy", "zarr", "streamlit", "plotly")
        if name.partition(".")[0] in away:
            raise ImportError(name + " is away")
sys.meta_path.insert(0, Away())
import torch
from statescope import delta_rule, Tap
q = torch.randn(1, 5, 2, 4); k = torch.nn.functional.normalize(q, dim=-1)
print(delta_rule(q, k, q, torch.rand(1, 5, 2), taps=Tap(last=True)).states.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "torch.Size([1, 1, 2, 4, 4])" in done.stdout, done.stderr[-2000:]


def test_importing_statescope_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, statescope; print(sorted({'torch', 'numpy', 'transformer_lens', 'pandas', 'tyro'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_imported() -> None:
    import statescope

    assert statescope.SUBJECTS == SUBJECTS
    for name in statescope.__all__:
        assert getattr(statescope, name) is not None
    everything: dict[str, object] = {}
    exec("from statescope import *", everything)
    assert {"Model", "DeltaNet", "Parity", "generator_for", "mixers"} <= set(everything)
    assert "DeltaNet" not in dir(statescope)
    for subject in SUBJECTS:
        module = import_module(f"statescope.{subject}")
        assert module is getattr(statescope, subject) and module.__doc__
        for name in module.__all__:
            assert getattr(module, name) is not None
            assert getattr(statescope, name) is getattr(module, name), "a part is found by its name alone too"
    for name in ("nothing", "_nothing", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(statescope, name)


def test_the_top_is_short_and_its_stub_has_the_same_names() -> None:
    import statescope

    assert 20 <= len(statescope._HOME) <= 24
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    homes = {
        alias.asname: "." + (node.module or "") for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert homes == statescope._HOME | dict.fromkeys(SUBJECTS, ".")


def test_no_unsafe_loading() -> None:
    """No pickle, no arbitrary code from files, no raw HTML with data."""
    banned = re.compile(
        r"\bpickle\b|allow_pickle=True|weights_only=False|trust_remote_code=True|unsafe_allow_html|\beval\(|\bexec\("
    )
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            code = re.sub(r"model\.eval\(|\.eval\(\)", "", _code(path))
            found = [line for line in code.splitlines() if banned.search(line)]
            assert not found, (path, found)


def _code(path: Path) -> str:
    """A file without its comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
