"""The command line: a sentence for whatever a file or a place can cause, text as text, and nothing heavy before it is needed."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
from printed import Counting, call

from statescope import Run
from statescope.app.cli import main
from statescope.probe.runs.provenance import provenance_of
from statescope.probe.runs.run import list_runs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Counting().run(tmp_path_factory.mktemp("made") / "one").path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "runs" / "one")
    return tmp_path / "runs" / "one"


# Text is text

MARKUP = "[/x] [bold]name[/bold] \x1b[31mred\x1b]0;title\x07 \u202eback"


def test_names_from_files_are_printed_as_they_are(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = json.loads((run / "manifest.json").read_text())
    plain |= {"study": MARKUP, "error": MARKUP, "outcome": "failed", "created": plain["created"]}
    (run / "manifest.json").write_text(json.dumps(plain | {"source": {"commit": MARKUP}, "hardware": {"cpu": [MARKUP]}}))
    run.rename(run.parent / "[red]one")
    listed = call(capsys, "list", "--folder", str(run.parent))
    shown = call(capsys, "show", str(run.parent / "[red]one"))
    assert (listed.code, shown.code) == (0, 0)
    assert listed.is_a_sentence() and shown.is_a_sentence()
    assert "[red]one" in listed.out and "[bold]" in listed.out
    assert "[/x] [bold]name[/bold]" in shown.out
    assert "[/x] [red]three\\x1b[31m[/red]" in shown.out
    verified = call(capsys, "verify", str(run.parent / "[red]one"))
    assert verified.code == 0 and "[red]one" in verified.out
    unknown = call(capsys, "show", MARKUP)
    assert unknown.code == 1 and unknown.is_a_sentence() and "[bold]name" in unknown.err


ODD = {
    "a number as created": lambda plain: plain | {"created": 5},
    "no date as created": lambda plain: plain | {"created": "yesterday [/x]"},
    "no files": lambda plain: plain | {"files": None},
    "files as a list": lambda plain: plain | {"files": []},
    "a file without a digest": lambda plain: plain | {"files": {"results/counts.parquet": {}}},
    "a file elsewhere": lambda plain: plain | {"files": {"../../etc/passwd": {"sha256": "0" * 64, "bytes": 1}}},
    "an absolute file": lambda plain: plain | {"files": {"/etc/passwd": {"sha256": "0" * 64, "bytes": 1}}},
    "a digest that is none": lambda plain: plain | {"files": {"x": {"sha256": "xyz", "bytes": 1}}},
    "a negative size": lambda plain: plain | {"files": {"x": {"sha256": "0" * 64, "bytes": -1}}},
    "another outcome": lambda plain: plain | {"outcome": "[bold]fine"},
    "seconds as text": lambda plain: plain | {"seconds": {"stage": "long"}},
    "no seconds": lambda plain: plain | {"seconds": {"stage": math.nan}},
    "endless seconds": lambda plain: plain | {"seconds": {"stage": 10**400}},
    "an unknown field": lambda plain: plain | {"[/x]": 1},
    "no study": lambda plain: {key: value for key, value in plain.items() if key != "study"},
    "a list": lambda plain: [plain],
    "null": lambda plain: None,
    "another schema": lambda plain: plain | {"schema_version": "[/x]"},
    "a true schema": lambda plain: plain | {"schema_version": True},
    "nested": lambda plain: plain | {"configuration": json.loads("[" * 60 + "]" * 60)},
    "a result that is none": lambda plain: plain | {"results": {"counts": "three"}},
}


@pytest.mark.parametrize("what", ODD)
def test_one_odd_manifest_is_named_and_hides_no_other_run(run: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    shutil.copytree(run, run.parent / "odd")
    changed = ODD[what](json.loads((run / "manifest.json").read_text()))
    (run.parent / "odd" / "manifest.json").write_text(json.dumps(changed))
    listed = call(capsys, "list", "--folder", str(run.parent), "--json")
    assert listed.code == 0
    facts = json.loads(listed.out)
    assert [entry["run"] for entry in facts] == ["one", "?"]
    assert f"{run.parent}/odd/manifest.json cannot be read" in facts[1]["status"]
    for command in ("show", "verify", "run"):
        told = call(capsys, command, str(run.parent / "odd"))
        assert told.code == 1 and told.is_a_sentence() and "odd/manifest.json cannot be read" in told.err


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe\x00", b"[" * 200_000, b'{"a": ' * 5000, b'{"seed": ' + b"9" * 5000 + b"}", b"\0" * 9]
)
def test_bytes_that_are_no_manifest_are_named(run: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    (run / "manifest.json").write_bytes(data)
    assert (
        "one/manifest.json cannot be read"
        in json.loads(call(capsys, "list", "--folder", str(run.parent), "--json").out)[0]["status"]
    )
    assert call(capsys, "show", str(run)).code == 1


def test_a_manifest_that_is_a_link_a_folder_or_a_pipe_is_no_manifest(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = run / "manifest.json"
    manifest.rename(run / "real.json")
    for make in (lambda: manifest.symlink_to(run / "real.json"), manifest.mkdir, lambda: os.mkfifo(manifest)):
        make()
        assert "cannot be read" in call(capsys, "show", str(run)).err
        manifest.rmdir() if manifest.is_dir() and not manifest.is_symlink() else manifest.unlink()


# Sentences


def test_an_error_says_where_it_came_from_and_debug_shows_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("run", "command_line_counting", "--fails", "[/x] \x1b[31m", "--out", str(tmp_path / "run"))
    told = call(capsys, *arguments)
    assert told.code == 1 and told.is_a_sentence()
    assert "RuntimeError: [/x] \\x1b[31m" in told.err and "printed.py, line" in told.err and "--debug" in told.err
    assert "Traceback" in call(capsys, "--debug", *arguments).err
    monkeypatch.setenv("STATESCOPE_DEBUG", "1")
    assert "Traceback" in call(capsys, *arguments).err


@pytest.mark.parametrize("place", ["file", "file/inside", "x" * 300, "/proc/statescope"])
def test_a_place_where_no_run_can_be_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    (tmp_path / "file").write_text("keep me")
    told = call(capsys, "run", "command_line_counting", "--out", str(tmp_path / place))
    assert told.code == 1 and told.is_a_sentence() and told.err
    assert "Errno" not in told.err


def test_a_full_disk_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        told = call(capsys, "run", "command_line_counting", "--out", str(tmp_path / "run"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.code == 1 and told.is_a_sentence() and "no room to write" in told.err
    assert call(capsys, "run", "command_line_counting", "--out", str(tmp_path / "run")).code == 0


def test_printed_commands_quote_what_has_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my runs"
    told = call(capsys, "run", "command_line_counting", "--out", str(folder / "a run"))
    assert f"statescope show '{folder}/a run'" in told.out


def test_a_long_name_is_listed_to_its_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is what `show`, `figure` and `verify` take; before, 80 columns ended it with an ellipsis."""
    name = "one-" + "-".join(f"{number:02}" for number in range(30))
    run.rename(run.parent / name)
    listed = call(capsys, "list", "--folder", str(run.parent)).out
    assert "\u2026" not in listed
    shown = "".join(
        line.split("\u2502")[1].strip() for line in listed.split("studies:")[0].splitlines() if line.startswith("\u2502")
    )
    assert shown == name


def test_500_manifests_are_listed_or_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every one is listed with the sound run beside it; none ends a command in a traceback."""
    odd = run.parent / "odd"
    odd.mkdir()
    damaged = 0
    for turn, data in enumerate(hostile.manifests(json.loads((run / "manifest.json").read_text()), 500)):
        (odd / "manifest.json").write_bytes(data)
        entries = list_runs(run.parent)
        assert len(entries) == 2 and any(isinstance(entry, Run) and entry.path == run for entry in entries)
        damaged += not all(isinstance(entry, Run) for entry in entries)
        if turn % 20 == 0:
            listed, shown = call(capsys, "list", "--folder", str(run.parent)), call(capsys, "show", str(odd))
            assert listed.code == 0 and listed.is_a_sentence() and shown.is_a_sentence()
            assert call(capsys, "verify", str(odd)).is_a_sentence() and call(capsys, "run", str(odd), "--x").is_a_sentence()
    assert 250 < damaged < 500


# What is imported

HEAVY = {"torch", "streamlit", "transformers", "transformer_lens", "sklearn", "scipy", "matplotlib", "plotly", "zarr", "pandas"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([command, "--help"] for command in ("run", "list", "show", "verify", "demo", "inspect", "probe", "app", "atlas")),
        *(["atlas", command, "--help"] for command in ("list", "verify", "measure")),
        *(["run", study, "--help"] for study in ("parity", "source-code", "comparison")),
        ["list"],
        ["list", "--json"],
        ["show", "runs/one"],
        ["show", "runs/one", "--json"],
        ["verify", "runs/one"],
        ["atlas", "list"],
        ["run", "unknown"],
    ],
    ids=" ".join,
)
def test_a_command_that_computes_nothing_imports_nothing_heavy(run: Path, arguments: list[str]) -> None:
    code = f"""
import sys
from statescope.app.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print("imported", sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=run.parents[1])
    assert done.stdout.splitlines()[-1] == "imported []", done.stdout[-500:] + done.stderr[-500:]


def test_the_help_names_what_stands_behind_a_command_and_breaks_no_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Two things behind one command are told apart by their names; the lines of the source are none of the help."""
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    said = capsys.readouterr().out
    assert "probe [-h] CHECKPOINT DATA" in said
    told = said.partition("CSV or Parquet")[2].partition("--label")[0]
    lines = [" ".join(line.strip("│╭╮╰╯─").split()) for line in told.splitlines()]
    assert "sequence" in told and min(map(len, lines[1 : next(at for at, line in enumerate(lines) if "together" in line)])) > 30


def test_the_record_of_a_figure_names_every_seed_of_its_run(tmp_path: Path) -> None:
    run = Counting().over((0, 1)).run(tmp_path / "both")
    record = provenance_of(run, "counts", {})
    assert record["seed"] == "0-1" and record["study"] == "command_line_counting"
    assert provenance_of(Counting().run(tmp_path / "one"), "counts", {})["seed"] == 0
