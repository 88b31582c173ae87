"""Parametrisations: what is the same at the start, and how features move with the width."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from every_mixer import MIXERS, label
from theorems import OCTAVES, by_adam, coordinates

from statescope import AssociativeRecall, Model, ModelConfig, generator_for, load
from statescope.probe.mixers import GRU, Attention, DeltaNet, MixerConfig
from statescope.probe.mixers.state_space import S5
from statescope.probe.models.config import Parametrisation
from statescope.probe.runs.training import task_loss

TASK = AssociativeRecall(pairs=4, symbols=8)
BATCH = TASK.batch(16, 24, "train", generator_for(0))
Slopes = list[float]
WIDTHS = (32, 64, 128, 256)


def _model(width: int, mixer: MixerConfig, parametrisation: Parametrisation, seed: int = 0) -> Model:
    return Model(ModelConfig(TASK.vocabulary, width, 2, mixer, parametrisation=parametrisation, base_width=32, seed=seed))


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_the_tangent_parametrisation_starts_with_the_same_function_and_trains_unit_weights(mixer: MixerConfig) -> None:
    tangent, standard = (Model(ModelConfig(17, 32, 2, mixer, parametrisation=name)) for name in ("ntk", "standard"))
    torch.testing.assert_close(tangent(BATCH.tokens), standard(BATCH.tokens), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tangent.W_U, standard.W_U)  # what is read is the weight, not what is trained
    trained = dict(tangent.named_parameters())["unembed.parametrizations.weight.original"]
    assert 0.9 < trained.std() < 1.1


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_the_maximal_update_one_is_the_standard_at_its_base_width(mixer: MixerConfig) -> None:
    config = ModelConfig(17, 32, 2, mixer, parametrisation="mup", base_width=32)
    assert torch.equal(Model(config)(BATCH.tokens), Model(ModelConfig(17, 32, 2, mixer))(BATCH.tokens))
    assert Model(ModelConfig(17, 64, 2, mixer, parametrisation="mup", base_width=32))(BATCH.tokens).isfinite().all()


def slopes(mixer: MixerConfig, parametrisation: Parametrisation, optimizer: type[torch.optim.Optimizer], rate: float) -> Slopes:
    """How the mean change of the last residual stream and of the logits in two steps grows with the width, as exponents."""
    rows = []
    for width in WIDTHS:
        moved = torch.zeros(2)
        for seed in range(3):
            model = _model(width, mixer, parametrisation, seed)
            before = _features(model)
            steps = optimizer(model.parameters(), lr=rate)  # type: ignore[call-arg]
            for _ in range(2):
                steps.zero_grad()
                task_loss(model(BATCH.tokens), BATCH).backward()
                steps.step()
            moved += torch.stack([(a - b).abs().mean() for a, b in zip(_features(model), before, strict=True)])
        rows.append(moved.log2())
    x = torch.tensor([math.log2(width) for width in WIDTHS])
    x = x - x.mean()
    found: Slopes = ((torch.stack(rows) * x[:, None]).sum(0) / x.square().sum()).tolist()
    return found


def _features(model: Model) -> list[torch.Tensor]:
    with torch.no_grad():
        logits, cache = model.run_with_cache(BATCH.tokens, names_filter="blocks.1.hook_resid_post")
    return [cache["resid_post", 1], logits]


@pytest.mark.parametrize("mixer", [Attention(heads=2), DeltaNet(heads=2), S5()], ids=lambda mixer: mixer.kind)
def test_coordinates_move_as_much_at_every_width_under_the_maximal_update_one_alone(mixer: MixerConfig) -> None:
    features, logits = slopes(mixer, "mup", torch.optim.Adam, 1e-3)
    assert abs(features) < 0.1 and abs(logits) < 0.3
    features, logits = slopes(mixer, "standard", torch.optim.Adam, 1e-3)
    assert features > 0.5 and logits > 0.5


def test_activations_of_a_dense_network_are_as_large_at_64_units_as_at_2048_under_the_maximal_update_one_alone() -> None:
    for steps in (1, 4):
        assert np.abs(coordinates(True, OCTAVES, 0.01, steps, [0])).max() < 0.1
    _, second, third, output = coordinates(False, OCTAVES, 0.01, 1, [0])
    assert second > 0.4 and third > 0.8 and output > 1.4


def test_one_rate_trains_a_dense_network_at_every_width_under_the_maximal_update_one_alone() -> None:
    maximal, standard = (by_adam(own, 256, 2**-4, 20, seed=0)[1] for own in (True, False))
    assert maximal < 0.05 and standard > 0.8


def test_features_move_by_one_over_the_root_of_the_width_under_the_tangent_one_alone() -> None:
    features, _ = slopes(Attention(heads=2), "ntk", torch.optim.SGD, 0.01)
    assert abs(features + 0.5) < 0.15
    assert slopes(Attention(heads=2), "standard", torch.optim.SGD, 1e-3)[0] > 0.3


def test_a_parametrised_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = _model(64, DeltaNet(), "mup")
    model.save(tmp_path)
    assert torch.equal(load(tmp_path)(BATCH.tokens), model.eval()(BATCH.tokens))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be built at base_width=30, which mup scales from: width 30 is not a multiple"):
        Model(ModelConfig(17, 32, 1, DeltaNet(heads=4), parametrisation="mup", base_width=30))
    with pytest.raises(ValueError, match=r"attn.recurrent grows with the width in two directions .* mup scale is not known"):
        Model(ModelConfig(17, 64, 2, GRU(heads=2), parametrisation="mup", base_width=32))
    with pytest.raises(ValueError, match=r"parametrisation 'mpu'.*mup"):
        ModelConfig(17, parametrisation="mpu")  # type: ignore[arg-type]
