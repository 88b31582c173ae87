"""What `statescope run` is told: settings, files of them, seeds and workers, and its help."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
from printed import call

from statescope import Run, Study
from statescope.app.study_arguments import study_from_file
from statescope.probe.configuration import from_plain, to_plain
from statescope.probe.declarations import declarations, settings
from statescope.probe.errors import StatescopeError
from statescope.probe.runs.study import list_studies, study_named


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


@pytest.mark.parametrize("flag", ["--seeds", "--out", "--keep", "--workers", "--device"])
def test_a_second_value_never_goes_to_the_setting_before(capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str) -> None:
    """`--widths 16 32 --seeds 0 1` once measured widths 16, 32 and 1."""
    given = ["run", "lazy-or-rich", "--widths", "16", "32", flag, "1"]
    for more, said in (["2"], "takes one value, got '1' and '2'"), ([f"{flag}=2"], "is given twice"):
        told = call(capsys, *given, *more)
        assert told.code == 1 and told.is_a_sentence() and f"{flag} {said}" in told.err
    assert "--seeds 0..4 " in call(capsys, "run", "lazy-or-rich", "--help").out.partition("settings:")[2]


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
