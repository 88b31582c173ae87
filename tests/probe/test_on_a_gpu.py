"""Models on a GPU against the same on the CPU: logits, hooks, gradients, generation, edits, training, analyses of every mixer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every_analysis import OF_TRANSITIONS
from every_mixer import MIXERS, label
from recurrences import relative
from torch import Tensor

from statescope import Edit, Model, ModelConfig, Training, capture, empirical_ntk, load, train
from statescope.kernels.operators.transition import Transition
from statescope.probe.tasks import Parity

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]
DEVICE = "cuda"
TOLERANCE = 2e-3  # float32 through two layers; the Triton kernels multiply in three tf32 products
TOKENS = torch.randint(0, 31, (3, 70), generator=torch.Generator().manual_seed(1))

of_every_mixer = pytest.mark.parametrize("mixer", MIXERS, ids=label)


def pair(mixer: Any, **changes: Any) -> tuple[Model, Model]:
    """The same model on the CPU and on the GPU."""
    model = Model(ModelConfig(**{"vocabulary": 31, "width": 16, "layers": 2, "mixer": mixer} | changes)).eval()
    return model, copy.deepcopy(model).to(DEVICE)


def whole(value: Any) -> Tensor:
    found: Tensor = value.dense() if isinstance(value, Transition) else value
    return found


@of_every_mixer
def test_logits_and_hooks(mixer: Any) -> None:
    """Tokens lie on the CPU in one call and on the GPU in the other."""
    here, there = pair(mixer)
    taps = [3, 69] if any(map(here.has_state, range(2))) else None
    with torch.no_grad():
        assert relative(there(TOKENS).cpu(), here(TOKENS)) < TOLERANCE
        _, truth = here.run_with_cache(TOKENS, taps=taps)
        _, found = there.run_with_cache(TOKENS.to(DEVICE), taps=taps)
    assert set(found.keys()) == set(truth.keys())
    for name in truth.keys():  # noqa: SIM118 (not a mapping)
        own, exact = whole(found[name]), whole(truth[name])
        assert own.device.type == DEVICE, name
        assert torch.equal(own.isfinite().cpu(), exact.isfinite()), name
        finite = exact.isfinite()
        assert relative(own.cpu()[finite], exact[finite]) < TOLERANCE, name


@of_every_mixer
def test_gradients(mixer: Any) -> None:
    here, there = pair(mixer)
    for model in (here, there):
        model(TOKENS, return_type="loss").backward()
    truth = {name: parameter.grad for name, parameter in here.named_parameters() if parameter.grad is not None}
    found = {name: parameter.grad for name, parameter in there.named_parameters() if parameter.grad is not None}
    largest = max(float(gradient.norm()) for gradient in truth.values())
    for name, gradient in truth.items():
        apart = float((found[name].cpu() - gradient).norm())  # type: ignore[union-attr]
        assert apart < 5e-3 * max(float(gradient.norm()), 1e-3 * largest), name


@of_every_mixer
def test_generation_and_edits(mixer: Any) -> None:
    here, there = pair(mixer)
    assert torch.equal(there.generate(TOKENS[:, :9], 12).cpu(), here.generate(TOKENS[:, :9], 12))
    for layer in filter(here.has_state, range(2)):
        edits = {f"blocks.{layer}.attn.hook_state": [Edit(9, "scale", torch.tensor(0.25))]}
        found, truth = (model.run_with_edits(TOKENS, edits) for model in (there, here))
        assert relative(found.cpu(), truth) < TOLERANCE


@of_every_mixer
def test_training_captures_and_saving(mixer: Any, tmp_path: Path) -> None:
    here, there = pair(mixer, vocabulary=Parity().vocabulary, layers=1)
    training = Training(steps=6, batch=8, length=40, warm_up=2)
    truth, found = (train(model, Parity(), training).losses for model in (here, there))
    np.testing.assert_allclose(found, truth, atol=TOLERANCE)
    rows = (TOKENS % Parity().vocabulary).tolist()
    hook = "blocks.0.hook_resid_post"
    own, exact = (capture(model, rows, [hook], positions=[3, 40]) for model in (there, here))
    assert relative(own.features(hook), exact.features(hook)) < 5e-2  # six steps of training lie between them
    there.save(tmp_path / "model")
    back = load(tmp_path / "model")
    assert relative(back(TOKENS % 2), there(TOKENS % 2).cpu()) < TOLERANCE


@pytest.mark.parametrize("kind", OF_TRANSITIONS)
@of_every_mixer
def test_analyses(mixer: Any, kind: str) -> None:
    here, there = pair(mixer)
    analyse, tokens = OF_TRANSITIONS[kind], TOKENS[:2, :12]
    try:
        truth = analyse(here, tokens).table
    except ValueError as error:
        with pytest.raises(ValueError) as told:
            analyse(there, tokens)
        assert str(told.value) == str(error)
        return
    found = analyse(there, tokens).table
    for column in truth.select_dtypes("float"):
        np.testing.assert_allclose(found[column].fillna(-9), truth[column].fillna(-9), rtol=3e-2, atol=3e-3, err_msg=column)


@of_every_mixer
def test_the_tangent_kernel(mixer: Any) -> None:
    here, there = pair(mixer)
    found, truth = (empirical_ntk(model, TOKENS[:, :6], read=lambda logits: logits[:, -1, :2]) for model in (there, here))
    assert relative(found.cpu(), truth) < 1e-6
