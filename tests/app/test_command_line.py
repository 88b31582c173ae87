"""The command line: a sentence for whatever a user or a file can cause, text as text, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import hostile
import pandas as pd
import pytest

from statescope import Run, Study
from statescope.app.cli import main
from statescope.app.study_arguments import study_from_file
from statescope.probe.configuration import from_plain, to_plain
from statescope.probe.declarations import declarations, settings
from statescope.probe.errors import StatescopeError
from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import Result
from statescope.probe.runs.run import list_runs
from statescope.probe.runs.study import list_studies, study_named


@dataclass(frozen=True)
class Counts(Result, kind="command_line_counts"):
    columns: ClassVar[dict[str, str]] = {"x": "a number"}

    def summary(self) -> str:
        return "[/x] [red]three\x1b[31m[/red]"

    def specification(self) -> Figure:
        x = self.table["x"].to_numpy()
        return Figure("Counts", [Panel([Line(x, x)], "x", "y")])


@dataclass(frozen=True)
class Counting(Study, kind="command_line_counting"):
    upto: int = 3
    fails: str = ""

    def execute(self, run: Run) -> None:
        if self.fails:
            raise RuntimeError(self.fails)
        run.compute("counts", self.counts)

    def counts(self) -> Counts:
        return Counts(pd.DataFrame({"x": range(self.upto)}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Counting().run(tmp_path_factory.mktemp("made") / "one").path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "runs" / "one")
    return tmp_path / "runs" / "one"


@dataclass(frozen=True)
class Printed:
    code: int
    out: str
    err: str

    def is_a_sentence(self) -> bool:
        """No traceback, no control character but the end of a line."""
        text = self.out + self.err
        return "Traceback" not in text and all(one == "\n" or one.isprintable() for one in text)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Printed:
    """What a command prints, and its exit code. What it raises, a user would see as a traceback."""
    capsys.readouterr()
    code = 0
    try:
        main(arguments)
    except SystemExit as error:
        code = int(error.code or 0)
    printed = capsys.readouterr()
    return Printed(code, printed.out, printed.err)


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
    assert "RuntimeError: [/x] \\x1b[31m" in told.err and "test_command_line.py, line" in told.err and "--debug" in told.err
    assert "Traceback" in call(capsys, "--debug", *arguments).err
    monkeypatch.setenv("STATESCOPE_DEBUG", "1")
    assert "Traceback" in call(capsys, *arguments).err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--width", "0"], "ParityStudy.width must be at least 1, got 0"),
        (["--heads", "-1"], "ParityStudy.heads must be at least 1, got -1"),
        (["--training.learning-rate", "nan"], "Training.learning_rate must be a finite number, got nan"),
        (["--training.clip", "inf"], "Training.clip must be a finite number, got inf"),
        (["--seed", "9" * 30], "ParityStudy.seed must lie within"),
        (["--seed", "9" * 5000], "seed"),
        (["--test-lengths"], "test"),
        (["--width", "30"], "30 is not a multiple of 4 heads"),
    ],
)
def test_settings_are_refused_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    told = call(capsys, "run", "parity", *settings, "--out", str(tmp_path / "run"))
    assert told.code in (1, 2)
    words = (told.out + told.err).replace("│", " ").split()
    assert " ".join(message.split()) in " ".join(words)
    assert "Traceback" not in told.out + told.err
    assert not (tmp_path / "run").exists()


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('study = "parity"\nseed = ' + "9" * 5000, "cannot be read as a study"),
        ('study = "parity"\nseed = ' + "9" * 400, "seed must lie within"),
        ('study = "parity"\nseed = ' + "[" * 100_000, "cannot be read as a study"),
        ('study = "parity"\nseed = ' + "[" * 200 + "]" * 200, "nested more than 32 deep|needs int"),
        ('study = "parity"\n[training]\nlearning_rate = nan', "learning_rate must be a finite number"),
        ('study = "parity"\nkind = "hybrid"', "needs a ParityStudy|'hybrid' is none"),
        ('study = "parity"\nkind = 5', "needs a name"),
        ("study = 5", "needs a line such as"),
        ("study = \x00", "cannot be read as a study"),
    ],
)
def test_a_strange_study_file_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    told = call(capsys, "run", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "run"))
    assert told.code == 1 and told.is_a_sentence()
    assert any(part in told.err for part in message.split("|")), told.err
    assert not (tmp_path / "run").exists()


def test_a_file_of_another_encoding_or_none_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_bytes('study = "parity"'.encode("utf-16"))
    assert "cannot be read as a study" in call(capsys, "run", str(tmp_path / "mine.toml")).err
    assert "No such file" in call(capsys, "run", str(tmp_path / "none.toml")).err
    (tmp_path / "folder.toml").mkdir()
    assert "Is a directory" in call(capsys, "run", str(tmp_path / "folder.toml")).err


def test_an_unknown_study_says_what_there_is_and_how_to_run_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = call(capsys, "run", "unknown")
    assert told.code == 1
    for part in (
        "'unknown' is not known",
        "parity-small",
        "statescope list",
        "statescope run my_study.py",
        "settings.toml",
        "runs/",
    ):
        assert part in told.err
    (tmp_path / "empty").mkdir()
    assert "a folder without a manifest.json: no run" in call(capsys, "run", str(tmp_path / "empty")).err


def test_printed_commands_quote_what_has_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my runs"
    told = call(capsys, "run", "command_line_counting", "--out", str(folder / "a run"))
    assert f"statescope show '{folder}/a run'" in told.out


# Fuzz


def test_2000_settings_are_read_or_refused_in_a_sentence() -> None:
    read = 0
    for sound, plain in hostile.settings(2000):
        for base in (None, sound):
            try:
                made = from_plain(type(sound), plain, base=base)
            except StatescopeError as error:
                assert str(error) and len(str(error)) < 2000
                continue
            read += 1
            assert from_plain(type(made), json.loads(json.dumps(to_plain(made)))) == made
    assert 50 < read < 3900


def test_files_of_settings_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text in hostile.settings_files(500):
        path.write_text(text)
        try:
            assert isinstance(study_from_file(path), Study)
        except StatescopeError as error:
            assert str(error)


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


def flat(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(plain, dict):
        for name, item in plain.items():
            yield from flat(item, f"{path}.{name}" if path else name)
    else:
        yield path, plain


@pytest.mark.parametrize("name", [study.name for study in list_studies()])
def test_the_help_of_a_study_has_every_setting_with_its_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is read from the source; the object says what is true."""
    (declared,) = [one for one in declarations("study") if one.kind == name]
    found = {one.path: one.default for one in settings(declared)}
    true = dict(flat(to_plain(study_named(name))))
    kept = {path: value for path, value in true.items() if path.rpartition(".")[2] != "kind"}
    assert {path.split(".")[0] for path in found} == {path.split(".")[0] for path in true} - {"kind"}
    for path in kept.keys() & found.keys():
        with contextlib.suppress(ValueError):  # a default that is an expression
            shown = ast.literal_eval(found[path] or "None")
            assert (list(shown) if isinstance(shown, tuple) else shown) == kept[path], path
    told = call(capsys, "run", name, "--help")
    assert told.code == 0 and told.is_a_sentence()
    assert all("--" + path.replace("_", "-") in told.out for path in found)
    assert "--seeds 0..4" in told.out and "--out DIR" in told.out


@pytest.mark.parametrize("workers", ["0", "-1", "x", "1e9", "9" * 5000])
def test_a_count_of_workers_that_is_none_is_a_sentence(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    told = call(capsys, "run", "command_line_counting", "--workers", workers)
    assert told.code == 1 and told.is_a_sentence() and "--workers needs a number from 1 to 99" in told.err


def test_seeds_on_the_command_line_make_one_run_that_goes_on_by_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(capsys, "run", "command_line_counting", "--upto", "2", "--seeds", "0..2")
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("command_line_counting-seeds0-2-")
    assert "command_line_counting (seeds 0-2) finished in" in " ".join(done.out.split())
    (listed,) = json.loads(call(capsys, "list", "--json").out)
    assert listed["study"] == "command_line_counting (seeds 0-2)"
    assert " ".join(call(capsys, "show", str(folder)).out.split()).count("0-2") >= 2, "the study with its seeds, and the seeds"
    table = Run(folder).result("counts").table
    assert table["seed"].tolist() == [0, 0, 1, 1, 2, 2] and table["x"].tolist() == [0, 1, 0, 1, 0, 1]
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert call(capsys, "run", str(folder)).code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == times
    assert "seeds are a range" in call(capsys, "run", "command_line_counting", "--seeds", "a..b").err


# A study in a file of one's own

MINE = """
from dataclasses import dataclass
from typing import ClassVar
import pandas as pd
from statescope import Run, Study
from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import Result

@dataclass(frozen=True)
class Squares(Result, kind="my_squares"):
    columns: ClassVar[dict[str, str]] = {"x": "a number", "square": "its square"}

    def summary(self) -> str:
        return f"the last square is {self.table['square'].iloc[-1]}"

    def specification(self) -> Figure:
        return Figure("Squares", [Panel([Line(self.table["x"].to_numpy(), self.table["square"].to_numpy())], "x", "y")])

@dataclass(frozen=True)
class Sweep(Study, kind="my-sweep"):
    upto: int = 4
    question = "What are the squares?"

    def execute(self, run: Run) -> None:
        run.compute("squares", squares, upto=self.upto)

def squares(upto: int) -> Squares:
    return Squares(pd.DataFrame({"x": range(upto), "square": [value * value for value in range(upto)]}))
"""


@pytest.fixture
def afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Printed]:
    """A command in a folder, as in a process of its own: what it imports of the user's files is forgotten."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Printed:
        modules, known = set(sys.modules), {base: dict(base.known) for base in (Study, Result)}
        try:
            return call(capsys, *arguments)
        finally:
            for name in [name for name in set(sys.modules) - modules if name.startswith("my_study")]:
                del sys.modules[name]
            for base, before in known.items():
                base.known.clear()
                base.known.update(before)

    return command


def test_a_study_in_a_file_of_ones_own_runs_resumes_and_is_shown(tmp_path: Path, afresh: Callable[..., Printed]) -> None:
    (tmp_path / "my_study.py").write_text(MINE)
    done = afresh("run", "my_study.py", "--upto", "3", "--out", "runs/mine")
    assert done.code == 0, done.err
    assert "the last square is 4" in done.out
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.parquet")}
    for again in (["my_study.py:Sweep", "runs/mine"], ["my_study.py:my-sweep", "--upto", "3", "--out", "runs/mine"]):
        assert afresh("run", *again).code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.parquet")} == times
    other = afresh("run", "my_study.py", "--out", "runs/mine")
    assert other.code == 1 and "other settings (upto)" in other.err
    assert "the last square is 4" in afresh("show", "mine").out  # without the file, from the manifest
    assert afresh("run", "my_study.py:Sweep", "--seeds", "0..1", "--out", "runs/seeds").code == 0
    assert {path.parent.name for path in (tmp_path / "runs/seeds").rglob("squares.parquet")} == {"results", "seed-0", "seed-1"}


def test_a_run_names_no_file_to_run(tmp_path: Path, afresh: Callable[..., Printed]) -> None:
    """Going on by the folder alone: of a study that is not installed, the user has to name the file."""
    (tmp_path / "my_study.py").write_text(MINE)
    assert afresh("run", "my_study.py", "--out", "runs/mine").code == 0
    (tmp_path / "my_study.py").write_text(MINE + "\nopen('it-was-run', 'w')\n")
    told = afresh("run", "runs/mine")
    assert told.code == 1
    assert "a run of 'my-sweep', a study that neither" in told.err and "statescope run my_study.py runs/mine" in told.err
    assert not (tmp_path / "it-was-run").exists()
    assert afresh("run", "my_study.py", "runs/mine").code == 0
    assert (tmp_path / "it-was-run").exists()


@pytest.mark.parametrize(
    ("text", "argument", "message"),
    [
        (None, "", "does not exist"),
        ("x = 1\n", "", "holds no study"),
        ("x = 1 / 0\n", "", "line 1: ZeroDivisionError"),
        (MINE + MINE.replace("Sweep", "Other").replace("my-", "your-").replace("my_", "your_"), "", ":Sweep, "),
        (MINE, ":Sweeep", "did you mean 'Sweep'"),
        (
            MINE.replace("upto: int = 4", "upto: int").replace("(Study, kind", "(Study, kw_only=True, kind"),
            "",
            "cannot be imported",
        ),
    ],
)
def test_a_file_without_the_study_says_so(
    tmp_path: Path, afresh: Callable[..., Printed], text: str | None, argument: str, message: str
) -> None:
    if text is not None:
        (tmp_path / "my_study.py").write_text(text)
    told = afresh("run", f"my_study.py{argument}")
    assert told.code == 1 and told.is_a_sentence() and message in told.err, told.err


def test_a_study_of_ones_own_cannot_take_a_name_of_ours(tmp_path: Path, afresh: Callable[..., Printed]) -> None:
    (tmp_path / "my_study.py").write_text(MINE.replace("my-sweep", "hybrid"))
    told = afresh("run", "my_study.py")
    assert told.code == 1 and "the study 'hybrid' is declared by" in told.err and "rename one" in told.err
    assert not (tmp_path / "runs").exists()
