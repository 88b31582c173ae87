"""The studies end to end at tiny settings: seeded, resumable, and read by the atlas and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from printed import call

from statescope import Run, SourceCode, Training
from statescope.analyses.studies.parity import ParityStudy
from statescope.analyses.studies.source_code import SourceCodeStudy
from statescope.probe.errors import UnknownNameError
from statescope.probe.runs.study import list_studies, study_named

TINY = ("--training.steps", "12", "--training.checkpoint-every", "4", "--training.batch", "4", "--test-lengths", "8", "256")
TINY += ("--sequences", "8", "--width", "16", "--heads", "2", "--probe-sequences", "24", "--probe-length", "12")


def statescope(*arguments: str, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "statescope", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload, no-any-return]


def digests(path: Path) -> dict[str, str]:
    """Of results, checkpoints and figures; the time of day is in none."""
    return {name: entry.sha256 for name, entry in Run(path).manifest.files.items()}


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    done = statescope("run", "parity", *TINY, "--out", "run", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_the_same_seed_gives_the_same_numbers(parity: Path, tmp_path: Path) -> None:
    again = statescope("run", "parity", *TINY, "--out", "again", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert digests(tmp_path / "again") == digests(parity)


def test_every_result_is_drawn_for_print(parity: Path, source: Path) -> None:
    """One that cannot be is a warning in its run, which ends well without it."""
    for path in (parity, source):
        run = Run(path)
        drawn = {name for name in run.manifest.files if name.startswith("figures/")}
        assert drawn == {f"figures/{name}.{suffix}" for name in run.result_names for suffix in ("svg", "png")}


@pytest.mark.usefixtures("undrawn")
def test_another_seed_gives_other_numbers(parity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "run", "parity", *TINY, "--seed", "1", "--out", str(tmp_path / "other")).code == 0
    assert digests(tmp_path / "other")["results/training.parquet"] != digests(parity)["results/training.parquet"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_killed_and_run_again_it_ends_with_the_same_numbers(
    parity: Path, tmp_path: Path, sign: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process goes on; a figure, which is drawn of the numbers alone, is not drawn again."""
    command = [sys.executable, "-m", "statescope", "run", "parity", *TINY, "--out", "run"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs inherit that it is ignored
    )
    checkpoints = tmp_path / "run" / "checkpoints" / "negative"
    deadline = time.monotonic() + 120
    while not (checkpoints.is_dir() and any(checkpoints.glob("step-*"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, sign)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "the same command goes on" in errors or sign == signal.SIGKILL
    assert Run(tmp_path / "run").status == "interrupted"
    assert Run(tmp_path / "run").result_names == []
    assert call(capsys, "run", "parity", *TINY, "--out", str(tmp_path / "run")).code == 0
    whole = {name: digest for name, digest in digests(parity).items() if not name.startswith("figures/")}
    assert digests(tmp_path / "run") == whole


def test_a_run_is_shown_listed_and_verified(
    parity: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(parity.parent)
    shown = call(capsys, "show", "run", "--folder", ".").out
    assert "accuracy_by_length" in shown and "positions right at length 256" in shown
    facts = json.loads(call(capsys, "show", "run", "--json").out)
    assert facts["status"] == "finished"
    of_behaviour = {"accuracy_by_length", "probes", "training"}
    of_transitions = {"transition_spectrum", "spectrum_by_label", "memory_horizon", "tracking_requirements"}
    of_transitions |= {"allowed_and_realised"}
    of_states = {"state_trajectory", "state_geometry", "state_projection", "recovered_automaton"}
    assert set(facts["results"]) == of_behaviour | of_transitions | of_states
    listed = json.loads(call(capsys, "list", "--folder", ".", "--json").out)
    assert [(entry["run"], entry["status"]) for entry in listed] == [("run", "finished")]
    verified = call(capsys, "verify", "run")
    assert verified.code == 0 and "files as they were written" in verified.out


def test_an_altered_run_fails_verification(
    parity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(parity, copy)
    (copy / "figures" / "probes.svg").write_text("<svg/>")
    (copy / "results" / "training.parquet").unlink()
    monkeypatch.chdir(tmp_path)
    verified = call(capsys, "verify", "run")
    assert verified.code == 1
    assert "figures/probes.svg has 6 bytes" in verified.err
    assert "results/training.parquet is missing" in verified.err
    shown = call(capsys, "show", "run")
    assert shown.code == 0 and "damaged" in shown.out


def test_a_file_and_flags_change_settings_in_this_order(tmp_path: Path) -> None:
    from statescope.app.study_arguments import read_study

    (tmp_path / "mine.toml").write_text('study = "parity"\nseed = 5\n[training]\nsteps = 70\nbatch = 3\n')
    study, out = read_study(str(tmp_path / "mine.toml"), ["--training.steps", "9", "--out", "x"])
    assert out == Path("x")
    assert study == replace(ParityStudy(seed=5), training=replace(ParityStudy().training, steps=9, batch=3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('study = "paritty"', "did you mean 'parity'"),
        ('study = "parity"\n[training]\nstep = 3', "field of training 'step' is not known; did you mean 'steps'"),
        ('study = "parity"\n[training]\nsteps = "x"', "training.steps needs int"),
        ("seed = 3", 'needs a line such as study = "parity"'),
        ("study = ", "cannot be read as a study"),
    ],
)
def test_a_bad_study_file_is_explained(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(text)
    done = call(capsys, "run", str(tmp_path / "mine.toml"))
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "parityy"], 1, "did you mean 'parity'"),
        (["run", "parity", "--trainin.steps", "3"], 2, "--training.steps"),
        (["run", "parity", "--training.steps", "none"], 2, "training.steps"),
        (["show", "nothing"], 1, "is not known"),
        (["verify", "nothing"], 1, "is not known"),
        (["atlas", "verify", "P999"], 1, "paper 'P999' is not known"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_wrong_usage_is_explained(
    tmp_path: Path,
    arguments: Sequence[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(capsys, *arguments)
    assert done.code == code
    assert message in done.err + done.out
    assert "Traceback" not in done.err


def test_help_is_quick_and_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys; from statescope.app.cli import main\ntry: main(['--help'])\n"
    code += "except SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("False")
    assert "run" in done.stdout and "atlas" in done.stdout


def test_every_study_that_is_listed_can_be_made_and_says_what_it_asks() -> None:
    assert {"parity", "parity-small", "source-code", "hybrid", "linearization"} <= {study.name for study in list_studies()}
    for listed in list_studies():
        assert study_named(listed.name).question == listed.question
        assert listed.time
    with pytest.raises(UnknownNameError, match="did you mean 'source-code'"):
        study_named("source_code")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source-code study on a small folder of generated files."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = [
        "def f{i}(a, b=({i}, [1])):",
        "    # note {i}",
        "    if a:",
        "        return {{'x': g(\"text {i}\")}}",
        "    return b",
        "",
    ]
    for index in range(120):
        (folder / f"m{index}.py").write_text("\n".join(lines).format(i=index) * 6)
    study = SourceCodeStudy(
        task=SourceCode(folder=str(folder)),
        training=Training(steps=6, batch=2, length=96, checkpoint_every=3, warm_up=2),
        width=16,
        heads=2,
        key_size=4,
        value_size=4,
        probe_windows=16,
        probe_positions=12,
        tangent_samples=6,
        tangent_length=12,
        randoms=3,
        steered_windows=8,
        steered_length=24,
    )
    return study.run(folder / "run").path


def test_the_source_code_study_leaves_all_its_results(source: Path) -> None:
    run = Run(source)
    assert run.status == "finished"
    read = ["probes", "probe_comparison", "sample_curve", "survival", "direction_projection", "direction_cosines"]
    steered = ["direction_choice", "causal_check"]
    models = ["training", "held_out_cost", "transition_spectrum", "state_trajectory", "tangent_kernel"]
    assert sorted(run.result_names) == sorted([*read, *steered, *models])
    for name in run.result_names:
        assert run.result(name).summary()
        assert run.result(name).figure().to_plotly().data
        assert run.result(name).specification().alt
    assert {path.split("/")[0] for path in run.manifest.files} == {"checkpoints", "captures", "results", "figures", "directions"}
    assert run.problems() == []


def test_its_probes_cover_both_models_every_label_and_site(source: Path) -> None:
    table = Run(source).result("probes").table
    assert set(table["site"]) == {"resid_mid", "resid_post", "state"}
    assert table.groupby("model")["label"].nunique().min() >= 5 and (table["metric"] == "balanced accuracy").all()
    assert set(table.loc[table["site"] == "state", "model"]) == {"Gated DeltaNet"}
    assert table[["accuracy", "low", "high", "majority", "control", "selectivity"]].notna().all().all()


def test_what_it_chooses_is_chosen_on_validation_data(source: Path) -> None:
    """The choice is the largest ratio there; what is checked is what was chosen, against random directions on the same inputs."""
    run = Run(source)
    choice, check = run.result("direction_choice"), run.result("causal_check")
    assert choice.about["split"] == "validation"
    own = choice.table[choice.table["chosen"]].set_index(["place", "direction"])
    assert (own["ratio"] == choice.table.groupby(["place", "direction"], sort=False)["ratio"].max()).all()
    checked = check.table.drop_duplicates(["model", "direction"]).set_index(["model", "direction"])["hook"]
    assert (checked == own["hook"].reindex(checked.index)).all()
    assert check.about["randoms"] == 3 and check.about["spread"] and check.about["measure"] == "score_of_the_concept"
    compared = run.result("probe_comparison").table
    inputs = run.result("probes").table.set_index(["model", "hook"])["features"]
    state = compared["first_hook"].iloc[0]
    assert compared["first_inputs"].iloc[0] == inputs["Gated DeltaNet", state].iloc[0] <= 128


def test_stored_captures_read_back(source: Path) -> None:
    from statescope.probe.captures.store import open_capture

    found = open_capture(source / "captures" / "gated_deltanet.zarr")
    assert found.features("blocks.1.attn.hook_state").shape == (16 * 12, 2 * 4 * 4)
