"""The command that draws a result to a file, and the archive that the app hands out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from statescope import Run
from statescope.app.cli import main
from statescope.app.figures import read_selection
from statescope.probe.runs.provenance import provenance_of


def test_a_figure_in_a_style_is_one_command(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["figure", "parity", "training", "--folder", str(finished)])
    assert (tmp_path / "parity-training.pdf").read_bytes().startswith(b"%PDF")
    main(["figure", str(finished / "parity"), "training", "--format", "svg", "--style", "icml", "--out", "one.svg"])
    assert b'width="234pt"' in (tmp_path / "one.svg").read_bytes()
    main(
        [
            "figure",
            "parity",
            "transition_spectrum",
            "--folder",
            str(finished),
            "--format",
            "csv",
            "--where",
            "head=1",
            "model=[0, 1]",
        ]
    )
    assert "[0, 1]" in (tmp_path / "parity-transition_spectrum.csv").read_text()
    assert "[-1, 1]" not in (tmp_path / "parity-transition_spectrum.csv").read_text()


def test_the_archive_says_where_it_comes_from_and_draws_itself(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.zip"
    main(["figure", "source", "tangent_kernel", "--folder", str(finished), "--format", "zip", "--out", str(out)])
    with zipfile.ZipFile(io.BytesIO(out.read_bytes())) as archive:
        archive.extractall(tmp_path / "all")
    found = json.loads((tmp_path / "all" / "provenance.json").read_text())
    run = Run(finished / "source")
    assert found == json.loads(json.dumps(provenance_of(run, "tangent_kernel", {})))
    assert found["sha256"] == run.manifest.files["results/tangent_kernel.parquet"].sha256
    assert found["seed"] == 0 and found["packages"]["torch"] and found["configuration"]["width"] == 16
    assert str(finished) not in json.dumps(found), "a path of this machine"
    subprocess.run([sys.executable, str(tmp_path / "all" / "figure.py")], check=True, cwd=tmp_path)
    assert (tmp_path / "all" / "redrawn.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["parity", "trainin"], "did you mean 'training'"),
        (["party", "training"], "did you mean 'parity'"),
        (["parity", "training", "--format", "pfd"], "did you mean 'pdf'"),
        (["parity", "training", "--style", "neurip"], "did you mean 'neurips'"),
        (["parity", "training", "--where", "model"], "write column=value"),
        (["parity", "training", "--where", "modle=a"], "did you mean 'model'"),
        (["parity", "training", "--where", "model=[0, 2]"], "did you mean '[0, 1]'"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest_name(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["figure", *arguments, "--folder", str(finished)])
    assert end.value.code == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_selection_has_the_types_of_its_columns(finished: Path) -> None:
    result = Run(finished / "source").result("state_trajectory")
    assert read_selection(result, ["layer=1", "model=Gated DeltaNet"]) == {"layer": 1, "model": "Gated DeltaNet"}
