"""Models trained side by side for a claim."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...probe.files import as_file_name
from ...probe.mixers import MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.training import Training
from ...probe.tasks.base import Task
from ..behaviour.accuracy_by_length import accuracy_by_length

SEQUENCES = 256


def learn_facts(model: Model, prompts: Tensor, answers: Tensor, steps: int) -> float:
    """Train a model, in place, to answer prompts [N, T] by a token each, [N], on all at each step; the share it has right."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(prompts)[:, -1], answers).backward()
        optimizer.step()
    with torch.no_grad():
        return float((model.eval()(prompts)[:, -1].argmax(-1) == answers).double().mean())


def accuracies_of(
    run: Run,
    seed: int,
    mixers: Mapping[str, MixerConfig | tuple[MixerConfig, ...]],
    task: Task,
    training: Training,
    *,
    width: int = 64,
    length: int | None = None,
) -> dict[str, float]:
    """Train one model a mixer on the task, in the claim's run, and give the share of positions that each has right.

    mixers: name -> the mixers of its layers, or that of its only one. length: of the sequences tested; that of training where it
    is None.
    """
    models = {}
    for name, layers in mixers.items():
        pattern = layers if isinstance(layers, tuple) else (layers,)
        config = ModelConfig(task.vocabulary, width, len(pattern), pattern, seed=seed)
        models[name], _ = run.train(f"seed{seed}-{as_file_name(name)}", config, task, training, seed)
    tested = training.length if length is None else length
    found = accuracy_by_length(models, task, (tested,), sequences=SEQUENCES, seed=seed)
    return {name: float(found.value("accuracy", model=name, length=tested)) for name in mixers}
