"""`make gpu`, as far as a CPU can hold it: the dry run walks every part, and what fails takes nothing else with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from importlib import metadata
from pathlib import Path

import gpu
import pytest

SCRIPT = Path(gpu.__file__)
TITLES = [
    "Default configurations against float64",
    "Compiled ahead of the times",
    "Times",
    "Every configuration",
    "Runs that agree to the bit",
]


def read(folder: Path) -> dict[str, dict[str, dict[str, object]]]:
    return json.loads((folder / "results.json").read_text())["parts"]


def link_packages(folder: Path, *names: str) -> None:
    """A folder that has these packages, what they need, and nothing else."""
    for name in names:
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # what they need on other machines
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            link, target = folder / top, Path(str(package.locate_file(top)))
            if not link.exists():
                link.symlink_to(target, target_is_directory=target.is_dir())
        needs = [re.split(r"[^\w.-]", need)[0] for need in package.requires or () if "extra ==" not in need]
        link_packages(folder, *(need for need in needs if not list(folder.glob(f"{need.replace('-', '_')}-*.dist-info"))))


def test_a_dry_run_from_a_bare_checkout(tmp_path: Path) -> None:
    """In a process that finds the script, torch, Triton and numpy, and nothing else that is installed here."""
    packages = tmp_path / "packages"
    packages.mkdir()
    link_packages(packages, "torch", "triton", "numpy")
    assert (packages / "torch").is_dir()
    assert not {"pandas", "scipy", "pytest", "transformer_lens"} & {path.name for path in packages.iterdir()}
    bare = os.environ | {"PYTHONPATH": str(packages)}
    bare.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-S", str(SCRIPT), "--dry", "--out", str(tmp_path / "out"), "--workers", "2"]
    done = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = read(tmp_path / "out")
    assert list(parts) == TITLES
    for rows in parts.values():
        assert rows
        for name, result in rows.items():
            assert result.get("entries"), (name, result)
            assert all(entry.get("holds", True) for entry in result["entries"]), name
    tables = (tmp_path / "out" / "results.md").read_text()
    assert all(f"## {title}" in tables for title in TITLES)
    assert "a dry run" in tables and "ratio" in tables
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix == ".part"]


def arguments(folder: Path, **changes: object) -> Namespace:
    found = gpu.read_arguments(["--dry", "--out", str(folder), "--workers", "1"])
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_a_row_that_fails_hangs_or_ends_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    known = next(row for row in gpu.parts(True)[3].rows if row.name.startswith("inverse"))
    rows = tuple(gpu.Row(known.part, name, known.run) for name in ("no such row", known.name))
    monkeypatch.setattr(gpu, "parts", lambda _: (gpu.Part("first", rows), gpu.Part("second", rows[1:], together=False)))
    report = gpu.run_all(arguments(tmp_path))
    assert "StopIteration" in report["parts"]["first"]["no such row"]["error"]
    assert report["parts"]["first"][known.name]["entries"] == report["parts"]["second"][known.name]["entries"]
    assert read(tmp_path) == report["parts"]
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "run_row", os.abort)  # called with arguments that it does not take
        report = gpu.run_all(arguments(tmp_path))
    assert report["parts"]["first"][known.name]["error"] == "the process ended with 1"
    monkeypatch.setattr(gpu, "ROW_LIMIT", 1e-3)
    assert gpu.run_all(arguments(tmp_path))["parts"]["second"][known.name]["error"] == "stopped after 0 seconds"


def test_rows_that_no_time_is_left_for_are_named(tmp_path: Path) -> None:
    report = gpu.run_all(arguments(tmp_path, seconds=0.0))
    results = [result for rows in report["parts"].values() for result in rows.values()]
    assert results and all(result == {"error": "not run: the time was used up"} for result in results)
    assert "not run: the time was used up" in (tmp_path / "results.md").read_text()


def test_a_wrong_result_and_a_nan_are_no_success() -> None:
    right = {"what": "output", "found": 1e-7, "allowed": 1e-4, "holds": True}
    wrong = {"what": "d q", "found": float("nan"), "allowed": 1e-4, "holds": False}
    assert gpu.verdict({"entries": [right]}) == "1 right (worst 1.0e-07 of 1e-04)"
    assert gpu.verdict({"entries": [right, wrong]}).startswith("1 of 2 wrong: d q: nan")


def test_wheels_are_unpacked_beside_the_checkout(tmp_path: Path) -> None:
    import zipfile

    wheels, folder = tmp_path / "wheels", tmp_path / "paths"
    wheels.mkdir()
    folder.mkdir()
    with zipfile.ZipFile(wheels / "peer-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("peer/__init__.py", "value = 3")
    paths = gpu.import_paths(folder, wheels)
    code = "import peer, statescope.kernels.recurrence, recurrences, peers, gpu_checks; print(peer.value)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "3", done.stderr
    with pytest.raises(SystemExit):
        gpu.read_arguments(["--wheels", str(folder / "statescope")])
