"""The task of docs/extending.md, in a file of a user's own: found by its kind, checked, trained on and captured."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recipes import forgotten_afterwards, recipe

from statescope import DeltaNet, Model, ModelConfig, Parity, Task, generator_for, state_trajectory
from statescope.analyses.behaviour.accuracy_by_length import accuracy_by_length
from statescope.probe.captures.collect import capture
from statescope.probe.configuration import from_plain, to_plain
from statescope.probe.plugins import import_file
from statescope.probe.tasks.base import Batch
from statescope.probe.tasks.check import UnfitTaskError, check_task

SOURCE = recipe("A task").files["open_bracket.py"]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = tmp_path_factory.mktemp("outside") / "open_bracket.py"
    path.write_text(SOURCE)
    with forgotten_afterwards():
        yield import_file(path)


def test_it_is_known_by_its_kind(module: Any) -> None:
    assert Task.of_kind("open_bracket") is module.OpenBracket and "open_bracket" in Task.kinds()
    task = from_plain(Task, {"kind": "open_bracket", "kinds": 2})
    assert task == module.OpenBracket(kinds=2) and to_plain(task) == {"kind": "open_bracket", "kinds": 2}
    check_task(task)


def test_it_is_trained_on_captured_and_measured(module: Any) -> None:
    task = module.OpenBracket(kinds=2)
    model = Model(ModelConfig(vocabulary=task.vocabulary, width=16, layers=1, mixer=DeltaNet(heads=2))).eval()
    result = accuracy_by_length({"m": model}, task, [8, 16], sequences=20, seed=0)
    assert 0 <= result.value("accuracy", model="m", length=16) <= 1 and result.about["chance"] == 1 / 3
    batch = task.batch(4, 12, "test", generator_for(0), labels=True)
    kept = capture(model, [batch], ["blocks.0.attn.hook_state"], positions="last")
    assert kept.label("depth").tolist() == batch.labels["depth"][:, -1].tolist()
    texts = [str(token) for token in batch.tokens[0].tolist()]
    path = state_trajectory(model, batch.tokens[0], texts=texts, labels=batch.labels["depth"][0], label="depth")
    assert path.select(head=1).table["label"].tolist() == batch.labels["depth"][0].tolist()


def test_the_check_says_what_a_task_breaks(module: Any) -> None:
    class Broken(module.OpenBracket):  # type: ignore[misc]
        def batch(self, *args: Any, **named: Any) -> Batch:
            return self.spoil(super().batch(*args, **named), *args)

        def spoil(self, batch: Batch, size: int, length: int, split: str, generator: Any) -> Batch:
            raise NotImplementedError

    def unseeded(self: Any, batch: Batch, *_: Any) -> Batch:
        return dataclasses.replace(batch, tokens=torch.randint(0, 3, batch.tokens.shape))

    def constant(self: Any, batch: Batch, *_: Any) -> Batch:
        return dataclasses.replace(batch, tokens=torch.zeros_like(batch.tokens))

    def leaking(self: Any, batch: Batch, size: int, length: int, split: str, generator: Any) -> Batch:
        return Parity().batch(size, length, "train", generator)

    for spoil, reason in (
        (unseeded, "two batches of one generator differ"),
        (constant, "batches of two generators are equal"),
        (lambda self, batch, *_: dataclasses.replace(batch, tokens=batch.tokens + 1), r"tokens range over \[1, 4\]"),
        (lambda self, batch, *_: dataclasses.replace(batch, targets=batch.targets * 0 - 100), "no position has a target"),
        (lambda self, batch, *_: dataclasses.replace(batch, labels={}), "label_names holds depth, which no batch has"),
        (lambda self, batch, *_: dataclasses.replace(batch, labels={"depth": batch.tokens[..., None]}), r"is \[50, 20, 1\], not"),
        (lambda self, batch, *_: dataclasses.replace(batch, labels={"depth": batch.tokens / 2}), "whole numbers"),
        (lambda self, batch, *_: dataclasses.replace(batch, tokens=batch.tokens.double()), "say `inputs`"),
    ):
        Broken.spoil = spoil  # type: ignore[method-assign,assignment]
        with pytest.raises(UnfitTaskError, match=reason):
            check_task(Broken())
    Leaking = type("Leaking", (Broken,), {"spoil": leaking, "label_names": ("parity",)})
    with pytest.raises(UnfitTaskError, match="sequences are in the train split and in the validation split"):
        check_task(Leaking(), length=10)


def test_an_installed_package_brings_a_task(tmp_path: Path) -> None:
    """By an entry point, in a process that imports nothing of it."""
    (tmp_path / "brackets.py").write_text(SOURCE)
    information = tmp_path / "brackets-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: brackets\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[statescope.plugins]\nbrackets = brackets\n")
    program = "from statescope import Task; print(Task.of_kind('open_bracket')(kinds=4).vocabulary)"
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    done = subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "5", done.stderr
