"""Parts of a user's own on the command line: `--plugins FILE.py` makes them known to any command, and to its workers."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
from printed import Printed, call
from recipes import forgotten_afterwards, recipe

from statescope import Model, ModelConfig, Run
from statescope.probe.mixers import MixerConfig
from statescope.probe.plugins import import_file, own_files
from statescope.probe.runs import seeds
from statescope.probe.runs.job import Job

PARTS = ("relaxing", "write_sizes", "user_of")
FAST = "A mixer on a fast call"
COMPARISON = """
study = "comparison"
names = ["mine"]
mixers = [{kind = "relaxing", heads = 2}]
width = 8
sequences = 8
training.steps = 2
training.length = 6
training.batch = 4
test_lengths = [6]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """With the user's files; what is imported of them is forgotten afterwards."""
    for title in (FAST, "An analysis with its page"):
        recipe(title).write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    with forgotten_afterwards():
        yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(PARTS):
            del sys.modules[name]


@pytest.fixture
def afresh(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Printed]:
    """A command, as in a process that has imported nothing of the user's."""

    def command(*arguments: str) -> Printed:
        before = set(sys.modules)
        with forgotten_afterwards():
            told = call(capsys, *arguments)
        for name in set(sys.modules) - before:
            if name.startswith(PARTS):
                del sys.modules[name]
        return told

    return command


def test_a_model_with_a_mixer_of_ones_own_is_inspected(folder: Path, afresh: Callable[..., Printed]) -> None:
    with forgotten_afterwards():
        made = import_file(folder / "relaxing.py")
        Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=made.Relaxing(heads=2))).save(folder / "model")
        del sys.modules[made.__name__]
    told = afresh("inspect", "model")
    assert told.code == 1 and "mixer 'relaxing' is not known" in told.err and "name it behind --plugins" in told.err
    for order in (["inspect", "model", "--plugins", "relaxing.py"], ["inspect", "--plugins", "./relaxing.py", "model"]):
        told = afresh(*order)
        assert told.code == 0 and "hooks of relaxing" in told.out, told.err
    told = afresh("inspect", "model", "--plugins")
    assert told.code == 2 and "--plugins needs one or more Python files" in told.err


STUDY = """
    from dataclasses import dataclass

    import pandas as pd
    from write_sizes import WriteSizes

    from statescope import Study


    @dataclass(frozen=True)
    class Writing(Study, kind="user-of-writes"):
        question = "How much is written?"

        def execute(self, run):
            run.compute("writes", sizes)


    def sizes():
        return WriteSizes(pd.DataFrame({"layer": [0, 0], "position": [1, 2], "size": [0.5, 1.5]}))
"""


def test_a_result_of_ones_own_is_drawn_and_its_run_goes_on(folder: Path, afresh: Callable[..., Printed]) -> None:
    (folder / "user_of_writes.py").write_text(textwrap.dedent(STUDY))
    assert afresh("run", "user_of_writes.py", "--out", "runs/mine").code == 0
    told = afresh("figure", "mine", "writes", "--format", "svg")
    assert told.code == 1 and "on the command line is --plugins FILE.py" in told.err
    for files in (["write_sizes.py"], ["write_sizes.py", "user_of_writes.py"], ["user_of_writes.py", "write_sizes.py"]):
        told = afresh("figure", "mine", "writes", "--format", "csv", "--out", "writes.csv", "--plugins", *files)
        assert told.code == 0 and "1.5" in (folder / "writes.csv").read_text(), told.err
        (folder / "writes.csv").unlink()
    assert afresh("run", "runs/mine", "--plugins", "user_of_writes.py").code == 0


class Here:
    """A worker in this process, which begins without what was imported of the user's."""

    def __init__(self, *given: Any) -> None:
        before = {name: module for name, module in sys.modules.items() if name.startswith(PARTS)}
        kept = MixerConfig.known.pop("relaxing")
        for name in before:
            del sys.modules[name]
        self.told: list[str] = []
        try:
            seeds.do_seed(*given, self.told.append)
        finally:
            MixerConfig.known["relaxing"] = kept
            sys.modules.update(before)

    def has_ended(self) -> bool:
        return True

    def check(self) -> None:
        assert not self.told

    def stop(self) -> None:
        raise AssertionError


def test_workers_know_the_parts_too(folder: Path, afresh: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.toml").write_text(COMPARISON)
    told = afresh("run", "mine.toml", "--out", "runs/mine")
    assert told.code == 1 and "name it behind --plugins" in told.err
    monkeypatch.setattr(seeds, "_Worker", Here)
    monkeypatch.setattr(seeds, "_end_with", lambda parent: None)
    command = ["run", "mine.toml", "--plugins", "relaxing.py", "--seeds", "0..1", "--workers", "2", "--out", "runs/mine"]
    told = afresh(*command)
    assert told.code == 0 and "seed 1: mine: " in told.out, told.err
    assert afresh("run", "runs/mine", "--plugins", "relaxing.py").code == 0


MEASURED = """
    import pandas as pd
    from statescope.probe.mixers import MixerConfig
    from statescope.probe.results.result import Result


    def sizes(mixer, kind):
        heads = [mixer.heads, MixerConfig.of_kind(kind)().heads]
        return Result.of_kind("write_sizes")(pd.DataFrame({"layer": [0, 0], "position": [1, 2], "size": heads}))
"""


def test_a_job_carries_every_file_of_ones_own(folder: Path) -> None:
    """Its function stands in one, a setting in another, and it looks up a kind of a third. Packed here, it is unpacked and
    done where nothing of them is known.
    """
    (folder / "user_of_all.py").write_text(textwrap.dedent(MEASURED))
    names = ("relaxing", "write_sizes", "user_of_all")
    with forgotten_afterwards():
        made = {name: import_file(folder / f"{name}.py") for name in names}
        inputs = {"mixer": made["relaxing"].Relaxing(heads=3), "kind": "relaxing"}
        job = Job.of(("writes",), made["user_of_all"].sizes, inputs, lambda thing: None)
        packed = ForkingPickler.dumps(job)
    assert {path.name for path in job.files if path.parent == folder.resolve()} == {f"{name}.py" for name in names}
    for module in made.values():
        del sys.modules[module.__name__]
    with forgotten_afterwards():
        unpacked = ForkingPickler.loads(packed)
        found = unpacked.perform(Run)["writes"]
    assert found.table["size"].tolist() == [3, type(job.inputs["mixer"])().heads]
    assert unpacked.files == job.files and type(unpacked.inputs["mixer"]) is not made["relaxing"].Relaxing


USER = """
    from relaxing import Relaxing
    MIXER = Relaxing(heads=2)
"""


@pytest.mark.parametrize("order", [("relaxing", "user_of_it"), ("user_of_it", "relaxing")])
def test_a_file_that_another_one_imports_is_one_module(folder: Path, order: tuple[str, ...]) -> None:
    """Before, its kinds were declared twice, and refused."""
    (folder / "user_of_it.py").write_text(textwrap.dedent(USER))
    found = {name: import_file(folder / f"{name}.py") for name in order}
    assert found["user_of_it"].Relaxing is found["relaxing"].Relaxing is MixerConfig.of_kind("relaxing")
    assert [import_file(folder / f"{name}.py") for name in order] == list(found.values())
    import relaxing  # type: ignore[import-not-found]

    assert relaxing is found["relaxing"] and relaxing.__spec__.name == relaxing.__name__
    imported = [path for path in own_files() if path.parent == folder.resolve()]
    assert imported[-1] == (folder / "user_of_it.py").resolve()
