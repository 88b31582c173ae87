"""Checkpoints of chosen steps, and what is measured over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call

from statescope import Model, Run, Training
from statescope.analyses.dynamics.over_checkpoints import CheckpointAnalysis, OfSharpness, over_checkpoints
from statescope.analyses.dynamics.sharpness import sharpness
from statescope.analyses.studies.parity import ParityStudy
from statescope.probe.configuration import to_plain
from statescope.probe.errors import UnknownNameError
from statescope.probe.results.over_steps import OverSteps
from statescope.probe.results.result import Result
from statescope.probe.runs.seeds import do_seed
from statescope.probe.runs.training import task_loss
from statescope.probe.tasks.base import Batch, generator_for
from statescope.probe.tasks.parity import Parity

KEEP = (0, 2, 6)
TINY = Training(steps=6, batch=4, length=8, checkpoint_every=4)


class Only(ParityStudy, kind="only-training"):
    """Two tiny models, trained and no more."""

    def execute(self, run: Run) -> None:
        for label, config in self.models().items():
            run.train(label, config, Parity(), self.training, self.seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    study = replace(Only(), training=TINY, width=8, heads=2)
    return study.run(tmp_path_factory.mktemp("kept") / "run", keep=KEEP)


def test_the_checkpoints_of_chosen_steps_stay_and_are_what_training_was_there(run: Run, tmp_path: Path) -> None:
    assert run.steps("negative") == list(KEEP) and not run.problems()
    untrained = Model(Only(width=8, heads=2).models()["negative"])
    for name, value in run.model("negative", 0).model.state_dict().items():
        assert torch.equal(value, untrained.state_dict()[name])
    short = replace(Only(), training=replace(TINY, steps=2), width=8, heads=2)
    with pytest.raises(UnknownNameError, match="step"):
        run.model("negative", 3)
    unkept = short.run(tmp_path / "short")
    assert unkept.steps("negative") == [2]
    files = [name for name in run.manifest.files if name.startswith("checkpoints/negative/")]
    sizes = {name: run.manifest.files[name].bytes for name in files}
    assert min(sizes.values()) < 0.6 * max(sizes.values()), "the optimizer stands beside the newest alone"


def test_what_is_kept_changes_no_number(run: Run, tmp_path: Path) -> None:
    plain = replace(Only(), training=TINY, width=8, heads=2).run(tmp_path / "plain")
    for name, value in plain.model("negative").model.state_dict().items():
        assert torch.equal(value, run.model("negative").model.state_dict()[name])


def test_steps_that_are_behind_are_told(run: Run, tmp_path: Path) -> None:
    study = replace(Only(), training=TINY, width=8, heads=2)
    study.run(tmp_path / "late")
    with pytest.warns(UserWarning, match="no checkpoint of step 2 can be kept any more, for it is at step 6"):
        study.run(tmp_path / "late", keep=(2, 6))


def test_steps_that_are_never_reached_are_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no checkpoint of step 7, 99 is kept, for it trains for 6 steps"):
        replace(Only(), training=TINY, width=8, heads=2).run(tmp_path / "run", keep=(6, 7, 99))


def test_the_step_that_training_goes_on_from_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the newest when the run stopped, and is wanted only now."""
    study = replace(Only(), training=TINY, width=8, heads=2)
    with monkeypatch.context() as stopping:
        stopping.setattr(Training, "rate", lambda self, step: 1 / (5 - step))  # ends at step 5
        with pytest.raises(ZeroDivisionError):
            study.run(tmp_path / "run")
    assert Run(tmp_path / "run").steps("positive") == [4]
    run = study.run(tmp_path / "run", keep=(4,))
    assert run.steps("positive") == [4, 6] and not run.problems()


def test_seeds_keep_them_too_in_this_process_and_as_workers_do(tmp_path: Path) -> None:
    study = replace(Only(), training=TINY, width=8, heads=2).over((0, 1))
    run = study.run(tmp_path / "seeds", keep=(0,))
    assert run.steps("seed-1/negative") == [0, 6]
    plain = to_plain(study)
    with Run.working(tmp_path / "worked", study.kind, plain, 0) as worked:
        do_seed(worked.path, (), plain["study"] | {"seed": 1}, 1, "cpu", (2,), pytest.fail)
        worked.ledger.merge()
    assert Run(tmp_path / "worked").steps("seed-1/negative") == [2, 6]


def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian() -> None:
    model = Model(Only(width=4, heads=1).models()["negative"]).double().eval()
    batch = Parity().batch(4, 6, "test", generator_for(0, 5))
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    start = dict(model.named_parameters())
    sizes = [start[name].numel() for name in names]

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = {n: part.view_as(start[n]) for n, part in zip(names, vector.split(sizes), strict=True)}
        return task_loss(functional_call(model, parts, (batch.tokens,)), batch)

    at = torch.cat([start[name].detach().flatten() for name in names])
    expected = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, at)).flip(0)[:2]
    found = sharpness(model, batch, count=2, tolerance=1e-8)
    np.testing.assert_allclose(found.table["eigenvalue"], expected.numpy(), rtol=1e-6)
    assert found.about["loss"] == pytest.approx(float(loss(at)))
    with pytest.raises(ValueError, match="targets that count"):
        sharpness(model, Batch(batch.tokens, torch.full_like(batch.targets, -100)))


def test_an_analysis_over_checkpoints_is_that_of_each_of_them(run: Run) -> None:
    found = over_checkpoints(run, "negative", OfSharpness())
    assert found.steps == list(KEEP)
    batch = Parity().batch(8, TINY.length, "test", generator_for(0, 5))
    alone = sharpness(run.model("negative", 2).model, batch)
    assert found.at(2).table.equals(alone.table) and found.at(2).about == dict(alone.about)
    (line,) = [mark for mark in found.specification().panels[0].marks if mark.label == "place 1"]
    assert line.x.tolist() == list(KEEP)
    assert line.y[1] == alone.value("eigenvalue", place=1)


@pytest.mark.parametrize("kind", CheckpointAnalysis.kinds())
def test_every_analysis_is_drawn_and_kept(kind: str, run: Run, tmp_path: Path) -> None:
    found = over_checkpoints(run, "positive", CheckpointAnalysis.of_kind(kind)())
    again = Result.load(found.save(tmp_path / "found.parquet"))
    assert isinstance(again, OverSteps) and again.summary() == found.summary()
    assert found.numbers and len(found.figure().to_frame()) >= len(KEEP)
    assert found.figure().render("svg")
