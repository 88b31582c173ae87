"""A study that leaves everything a run can hold, and how to look at a run folder and to damage it; several tests share them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch

from statescope import DeltaNet, Direction, ModelConfig, Parity, Run, Study, Training, generator_for
from statescope.probe.configuration import Count
from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import Result
from statescope.probe.runs.checkpoint_file import Progress


@dataclass(frozen=True)
class Losses(Result, kind="folder_losses"):
    columns: ClassVar[dict[str, str]] = {"loss": "a number"}
    broken: ClassVar[bool] = False

    def summary(self) -> str:
        return f"{len(self.table)} losses"

    def specification(self) -> Figure:
        if self.broken:
            raise ZeroDivisionError("a fault of the figure")
        x = self.table["loss"].to_numpy()
        return Figure("Losses", [Panel([Line(x, x)], "x", "y")])


@dataclass(frozen=True)
class Learning(Study, kind="folder_learning"):
    """Everything a run can hold: checkpoints, a capture, a direction, a result."""

    width: Count = 8
    heads: Count = 2
    steps: Count = 4

    def models(self) -> dict[str, ModelConfig]:
        return {"model": ModelConfig(2, self.width, 1, DeltaNet(heads=self.heads), seed=self.seed)}

    def execute(self, run: Run) -> None:
        training = Training(steps=self.steps, batch=2, length=6, checkpoint_every=2)
        model, history = run.train("model", self.models()["model"], Parity(), training, self.seed)
        batches = [Parity().batch(8, 6, "test", generator_for(self.seed, stream)) for stream in range(3)]
        found = run.capture("states", model, batches, ["blocks.0.hook_resid_post"], [2, 5])
        features = found.features("blocks.0.hook_resid_post")
        present = torch.arange(len(features)) % 2 > 0
        run.keep_direction("odd", Direction.difference_of_means(features, present, hook="blocks.0.hook_resid_post", name="odd"))
        run.compute("losses", losses_of, history=history)


def losses_of(history: Progress) -> Losses:
    return Losses(pd.DataFrame({"loss": history.losses}))


def loss(value: float = 1.0) -> Losses:
    return Losses(pd.DataFrame({"loss": [value]}))


FILES = [
    "checkpoints/model/step-0000004.safetensors",
    "captures/states.zarr",
    "directions/odd.safetensors",
    "results/losses.parquet",
]


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every entry of a folder, as it is."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


def digests(path: Path) -> dict[str, str]:
    return {name: record.sha256 for name, record in Run(path).manifest.files.items()}


def flip(path: Path) -> None:
    """One bit of a file, or of the largest file of a folder."""
    if path.is_dir():
        path = max((inner for inner in path.rglob("*") if inner.is_file()), key=lambda inner: inner.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
