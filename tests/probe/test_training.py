"""Training: it resumes exactly, and stops where a number is not finite."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from statescope import Batch, DeltaNet, Model, ModelConfig, Parity, Training, train
from statescope.probe.runs.checkpoint import Checkpoints
from statescope.probe.runs.checkpoint_file import DamagedCheckpointError, Progress
from statescope.probe.runs.ledger import Ledger
from statescope.probe.runs.manifest import Manifest
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


@pytest.mark.parametrize("shell", [None, object()], ids=["plain", "a terminal's IPython"])
def test_a_program_without_a_notebook_prints_nothing(
    shell: object, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    train(model(), Parity(), TRAINING, seed=3)
    assert capfd.readouterr() == ("", "")


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


class Told(Ledger):
    """A ledger that keeps what it was told."""

    def __init__(self, folder: Path) -> None:
        Manifest("training", {}, 0, "2026-01-01T00:00:00+00:00").write(folder)
        super().__init__(folder)
        self.told: list[tuple[list[str], list[str], list[str]]] = []

    def record(self, added: Sequence[Path] = (), removed: Sequence[Path] = (), results: Any = None) -> None:
        there = sorted(path.name for path in added[0].parent.iterdir())
        self.told.append(([path.name for path in added], [path.name for path in removed], there))
        super().record(added, removed, results)


def test_only_the_newest_checkpoint_is_kept_and_each_is_listed_before_the_old_goes(tmp_path: Path) -> None:
    ledger = Told(tmp_path)
    train(model(), Parity(), TRAINING, seed=0, checkpoints=Checkpoints(tmp_path / "model", ledger))
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["step-0000012.safetensors"]
    first, second, third = (f"step-{step:07d}.safetensors" for step in (5, 10, 12))
    assert ledger.told == [([first], [], [first]), ([second], [first], [first, second]), ([third], [second], [second, third])]


def test_a_checkpoint_that_is_not_listed_counts_for_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "model", Told(tmp_path))
    train(model(), Parity(), TRAINING, seed=0, checkpoints=checkpoints)
    stray = tmp_path / "model" / "step-0000099.safetensors"
    stray.write_bytes(b"half")
    assert checkpoints.newest == tmp_path / "model" / "step-0000012.safetensors"
    assert Checkpoints(tmp_path / "model").newest == stray


def test_what_training_gives_back_is_said_in_one_line() -> None:
    """Not with the loss of each of its steps."""
    assert repr(Progress(2, (0.5, 0.25))) == "Progress(2 steps, loss 0.5 at the first and 0.25 at the last)"


def saved(path: Path, **changes: torch.Tensor) -> Path:
    """A checkpoint of the model with tensors replaced."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    from statescope.probe.runs.checkpoint_file import save_checkpoint

    save_checkpoint(path, model(), None, Progress(2, (0.5, 0.25)))
    with safe_open(path, framework="pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors | changes, path, header)
    return path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.unembed.weight", torch.zeros(2, 8, dtype=torch.int64)),
        ("model.unembed.weight", torch.zeros(3, 8)),
        ("model.unembed.weight", torch.zeros(2, 8, dtype=torch.float64)),
        ("model.more", torch.zeros(2)),
        ("losses", torch.zeros(3, dtype=torch.float64)),
        ("losses", torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_tensors_that_are_not_the_models_are_refused_and_nothing_is_filled(
    tmp_path: Path, name: str, value: torch.Tensor
) -> None:
    own = model()
    before = {key: tensor.clone() for key, tensor in own.state_dict().items()}
    checkpoints = Checkpoints(tmp_path)
    path = saved(tmp_path / "step-0000002.safetensors")
    assert checkpoints.restore(own).losses == (0.5, 0.25)
    saved(path, **{name: value})
    with pytest.raises(DamagedCheckpointError, match=r"step-0000002\.safetensors.*(more|unembed|losses)"):
        checkpoints.restore(own)
    assert all(torch.equal(own.state_dict()[key], tensor) for key, tensor in before.items())


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


def test_a_model_of_tied_weights_has_checkpoints(tmp_path: Path) -> None:
    """Two names of one tensor: safetensors refuses memory that is shared."""

    def tied() -> Model:
        made = model()
        made.unembed.weight = made.embed.weight
        return made

    first, again, checkpoints = tied(), tied(), Checkpoints(tmp_path)
    train(first, Parity(), TRAINING, seed=3, checkpoints=checkpoints)
    checkpoints.restore(again)
    assert again.unembed.weight is again.embed.weight and torch.equal(again.embed.weight, first.embed.weight)
