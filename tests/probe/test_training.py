"""Training: it resumes exactly, and stops where a number is not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from statescope import Batch, DeltaNet, Model, ModelConfig, Parity, Training, train
from statescope.probe.runs.checkpoint import Checkpoints, DamagedCheckpointError
from statescope.probe.runs.training import NonFiniteLossError

TRAINING = Training(steps=12, batch=4, length=8, checkpoint_every=5, warm_up=3)


def model() -> Model:
    return Model(ModelConfig(vocabulary=2, width=8, layers=1, mixer=DeltaNet(heads=2)))


class Interrupted(Exception):
    pass


def test_an_interrupted_training_ends_with_the_same_numbers(tmp_path: Path) -> None:
    whole = model()
    losses = train(whole, Parity(), TRAINING, seed=3).losses

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 8:
            raise Interrupted

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(Interrupted):
        train(model(), Parity(), TRAINING, seed=3, checkpoints=checkpoints, report=stop)
    assert checkpoints.newest is not None and checkpoints.newest.name == "step-0000005.safetensors"
    resumed = model()
    progress = train(resumed, Parity(), TRAINING, seed=3, checkpoints=checkpoints)
    assert progress.losses == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_forgetting_the_optimizer_would_change_the_numbers(tmp_path: Path) -> None:
    """The wrong variant of a resume: weights without moments."""
    checkpoints = Checkpoints(tmp_path)
    half = model()
    train(half, Parity(), Training(steps=5, batch=4, length=8, checkpoint_every=5, warm_up=3), seed=3, checkpoints=checkpoints)
    right, wrong = model(), model()
    for other, with_optimizer in ((right, True), (wrong, False)):
        optimizer = torch.optim.AdamW(other.parameters(), lr=1e-2)
        checkpoints.restore(other, optimizer if with_optimizer else None)
        other(torch.ones(2, 4, dtype=torch.long), return_type="loss").backward()
        optimizer.step()
    assert not torch.equal(right.unembed.weight, wrong.unembed.weight)


def test_only_the_newest_checkpoint_is_kept_and_changes_are_told(tmp_path: Path) -> None:
    told: list[tuple[list[str], list[str]]] = []
    checkpoints = Checkpoints(tmp_path, lambda added, gone: told.append(([p.name for p in added], [p.name for p in gone])))
    train(model(), Parity(), TRAINING, seed=0, checkpoints=checkpoints)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000012.safetensors"]
    assert told == [
        (["step-0000005.safetensors"], []),
        (["step-0000010.safetensors"], ["step-0000005.safetensors"]),
        (["step-0000012.safetensors"], ["step-0000010.safetensors"]),
    ]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    train(model(), Parity(), TRAINING, seed=0, checkpoints=checkpoints)
    path = checkpoints.newest
    assert path is not None
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedCheckpointError, match=r"step-0000012\.safetensors cannot be read"):
        checkpoints.restore(model())


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    train(model(), Parity(), TRAINING, seed=0, checkpoints=checkpoints)
    with pytest.raises(DamagedCheckpointError, match="does not fit the model"):
        checkpoints.restore(Model(ModelConfig(vocabulary=2, width=16, layers=1, mixer=DeltaNet(heads=2))))


def test_a_loss_that_is_not_finite_stops_with_step_layer_and_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    broken = model()

    def spoil(step: int, steps: int, loss: float) -> None:
        if step == 7:
            broken.blocks[0].mlp.inward.weight.data[0, 0] = float("inf")

    with pytest.raises(NonFiniteLossError) as caught:
        train(broken, Parity(), TRAINING, seed=0, checkpoints=checkpoints, report=spoil)
    text = str(caught.value)
    assert "at step 7" in text
    assert "blocks.0.mlp.hook_post" in text
    assert "step-0000005.safetensors" in text
    assert checkpoints.restore(model()).step == 5


def test_a_value_that_a_kernel_refuses_is_located_too() -> None:
    broken = model()
    broken.blocks[0].attn.project["v"].weight.data[0, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"at step 0; first not finite: blocks\.0\.attn\.hook_v"):
        train(broken, Parity(), TRAINING, seed=0)


def test_positions_without_a_target_do_not_count() -> None:
    from statescope.probe.runs.training import task_loss

    logits = torch.randn(2, 3, 2)
    targets = torch.tensor([[0, -100, 1], [-100, -100, 1]])
    loss = task_loss(logits, Batch(torch.zeros(2, 3, dtype=torch.long), targets))
    picked = -logits.log_softmax(-1)[targets >= 0].gather(-1, targets[targets >= 0][:, None]).mean()
    torch.testing.assert_close(loss, picked)


def test_the_rate_warms_up_and_decays_to_zero() -> None:
    training = Training(steps=100, warm_up=10, learning_rate=1.0)
    rates = [training.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[-1] < 1e-3
