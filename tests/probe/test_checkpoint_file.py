"""A checkpoint that somebody else wrote, or that was altered, is refused in a sentence before anything is filled or made."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from statescope import DeltaNet, Model, ModelConfig, Parity, Training
from statescope.probe.checkpoint_folder import UnreadableCheckpointError
from statescope.probe.configuration import to_plain
from statescope.probe.runs.checkpoint import Checkpoints
from statescope.probe.runs.checkpoint_file import DamagedCheckpointError, load_checkpoint, progress_of, read_about
from statescope.probe.runs.trained_model import UndescribedModelError, trained_model
from statescope.probe.runs.training import train

CONFIG = ModelConfig(vocabulary=2, width=8, layers=1, mixer=DeltaNet(heads=2))
ABOUT = {"config": to_plain(CONFIG), "task": to_plain(Parity()), "length": 4}
OWN = "optimizer.unembed.weight."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What stands in the checkpoint of two steps."""
    folder = tmp_path_factory.mktemp("made")
    train(Model(CONFIG), Parity(), Training(steps=2, batch=2, length=4), checkpoints=Checkpoints(folder))
    return load_file(folder / "step-0000002.safetensors")


def written(folder: Path, tensors: dict[str, Tensor], **changes: Any) -> Path:
    path = folder / "step-0000002.safetensors"
    save_file(tensors, path, {"statescope": json.dumps(ABOUT | {"format": 1, "step": 2} | changes)})
    return path


Change = Callable[[Tensor], Tensor | None]
CHANGES: list[tuple[str, Change]] = [
    *((f"{OWN}{key}", lambda value: None) for key in ("exp_avg", "exp_avg_sq", "step")),
    *((f"{OWN}{key}", lambda value: value[..., None]) for key in ("exp_avg", "exp_avg_sq", "step")),
    *((f"{OWN}{key}", lambda value: value.half()) for key in ("exp_avg", "exp_avg_sq", "step")),
    *((f"{OWN}{key}", lambda value: value * math.nan) for key in ("exp_avg", "exp_avg_sq", "step")),
    (f"{OWN}exp_avg", lambda value: value.sum()),
    (f"{OWN}exp_avg_sq", lambda value: -1 - value),
    (f"{OWN}step", lambda value: -value),
    (f"{OWN}step", lambda value: value + 1),
    (f"{OWN}momentum", lambda value: torch.zeros(2, 8)),
    ("optimizer.head.weight.step", lambda value: torch.tensor(1.0)),
    ("model.unembed.weight", lambda value: value * math.inf),
    ("losses", lambda value: value * math.nan),
    ("more", lambda value: torch.zeros(1)),
]


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_what_training_never_leaves_is_refused_and_nothing_is_filled(
    name: str, change: Change, made: dict[str, Tensor], tmp_path: Path
) -> None:
    changed = change(made.get(name, torch.zeros(1)))
    rest = {key: value for key, value in made.items() if key != name}
    path = written(tmp_path, rest if changed is None else rest | {name: changed})
    model = Model(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(DamagedCheckpointError, match=name.removesuffix("momentum").removesuffix("step")):
        load_checkpoint(path, model, optimizer)
    assert not optimizer.state and all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    load_checkpoint(written(tmp_path, made), model, optimizer)
    assert optimizer.state and torch.equal(model.state_dict()["unembed.weight"], made["model.unembed.weight"])


@pytest.mark.parametrize("change", [{"step": True}, {"step": -1}, {"step": "2"}, {"format": True}, {"format": 2}, {"step": 3}])
def test_a_header_that_is_none(change: dict[str, Any], made: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpointError, match="cannot be read as a checkpoint"):
        progress_of(written(tmp_path, made, **change))


def test_nested_without_end(made: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    save_file(made, path, {"statescope": "[" * 100_000})
    for read in (progress_of, read_about):
        with pytest.raises(DamagedCheckpointError, match=r"deep\.safetensors cannot be read"):
            read(path)


def test_a_pipe_and_a_link_are_no_checkpoints(made: dict[str, Tensor], tmp_path: Path) -> None:
    own = written(tmp_path, made)
    (tmp_path / "link.safetensors").symlink_to(own)
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("link", "pipe"):
        with pytest.raises(DamagedCheckpointError, match=f"{name}.*it is (a link|no file)"):
            load_checkpoint(tmp_path / f"{name}.safetensors", Model(CONFIG))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        *(({"config": config}, UndescribedModelError) for config in (None, 5, {}, {"vocabulary": 2, "heads": 2})),
        *(({"length": length}, UndescribedModelError) for length in (None, 0, 2.5)),
        *(({"task": task}, UndescribedModelError) for task in (None, {"kind": "nothing"})),
        *(
            ({"config": to_plain(CONFIG) | change}, UnreadableCheckpointError)
            for change in ({"vocabulary": 10**9}, {"vocabulary": 10**18}, {"width": 10**6}, {"layers": 10**9}, {"width": 7})
        ),
        ({"config": to_plain(CONFIG) | {"width": 16}}, DamagedCheckpointError),
    ],
)
def test_a_model_that_the_file_cannot_hold_is_not_made(
    change: dict[str, Any], error: type[Exception], made: dict[str, Tensor], tmp_path: Path
) -> None:
    written(tmp_path, made, **change)
    with pytest.raises(error, match=r"step-0000002\.safetensors"):
        trained_model(Checkpoints(tmp_path))
    written(tmp_path, made)
    assert trained_model(Checkpoints(tmp_path)).length == 4
