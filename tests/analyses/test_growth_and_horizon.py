"""Products that grow, disturbances that fade, bytes of memory; and the studies that show them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig, Transition, lyapunov_exponents
from statescope.analyses.behaviour.measured_horizon import _largest, measured_horizon
from statescope.analyses.behaviour.recall_memory import bytes_behind
from statescope.analyses.behaviour.results.recall_memory import RecallMemory
from statescope.analyses.models import transitions_of
from statescope.analyses.spectra.growth import period_radius, product_growth, search
from statescope.analyses.spectra.memory_horizon import memory_horizon
from statescope.analyses.studies.growth import GrowthStudy
from statescope.analyses.studies.memory_horizon import MemoryHorizonStudy
from statescope.analyses.studies.recall_memory import RecallMemoryStudy
from statescope.probe.configuration import BadSettingError
from statescope.probe.mixers import GRU, Attention, DeltaNet, GatedDeltaNet, GatedLinearAttention, Mamba2, MixerConfig, RetNet
from statescope.probe.runs.training import Training
from statescope.probe.tasks.base import generator_for
from statescope.probe.tasks.recall import AssociativeRecall


def test_the_search_finds_the_known_growth_of_rwkv7_and_none_of_the_delta_rule() -> None:
    """1.503 over three tokens is what is known; no transition alone has an eigenvalue above 1."""
    found = search("rwkv7", 3, 3, steps=250, seed=0)
    assert period_radius(found.dense()) > 1.49 and float(found.eigenvalues().abs().max()) <= 1 + 1e-9
    assert float(found.norm().max()) > 1.05
    shrinking = search("delta rule", 3, 3, steps=60, seed=0)
    assert period_radius(shrinking.dense()) <= 1 + 1e-9 and float(shrinking.norm().max()) <= 1 + 1e-9


def test_the_norm_grows_as_the_radius_says(tmp_path: Path) -> None:
    run = GrowthStudy(channels=(3,), periods=(2,), steps=120, tokens=80).run(tmp_path / "run")
    result = run.result("product_growth")
    own = result.select(family="rwkv7").table
    rate = np.polyfit(own["tokens"][20:], np.log(own["norm"][20:]), 1)[0]
    assert rate == pytest.approx(np.log(own["radius"].iloc[0]), rel=1e-2) and own["radius"].iloc[0] > 1.05
    assert (result.select(family="delta rule").table["norm"] <= 1 + 1e-9).all()
    assert "rwkv7, 3 channels, 2 tokens repeated" in result.summary() and result.specification().panels[0].y_log
    again = product_growth((3,), (2,), tokens=80, steps=120).select(family="rwkv7")
    np.testing.assert_allclose(again.table["norm"], own["norm"])
    for wrong in ({"channels": ()}, {"channels": (0,)}, {"periods": ()}, {"tokens": 0}):
        with pytest.raises(ValueError, match="be at least 1"):
            product_growth(**wrong)


def small(mixer: Any) -> Model:
    return Model(ModelConfig(vocabulary=9, width=8, layers=2, mixer=mixer)).double().eval()


TOKENS = torch.randint(0, 9, (3, 60), generator=torch.Generator().manual_seed(0))


def test_a_scalar_decay_fades_as_its_logarithm_says() -> None:
    result = measured_horizon(small(RetNet(heads=2)), TOKENS)
    np.testing.assert_allclose(result.table["measured_exponent"], result.table["exponent"], rtol=1e-6)
    np.testing.assert_allclose(result.table["distance"], result.table["predicted"], rtol=1e-6)


def test_the_prediction_is_of_the_tokens_behind_the_disturbance() -> None:
    """With one decay for all channels, which the token chooses, measured and predicted meet at the last token: exactly there."""
    table = measured_horizon(small(Mamba2(heads=2, state_size=4)), TOKENS, position=3).table
    last = table[table["tokens"] == table["tokens"].max()]
    seen = last[last["predicted"] > 1e-9]  # what has not faded into rounding
    np.testing.assert_allclose(seen["distance"], seen["predicted"], rtol=1e-6)
    assert len(seen) == 3 and (np.abs(table["distance"] / table["predicted"] - 1) > 1e-3).any()  # the decays differ


def test_a_disturbance_is_followed_down_to_a_billionth_in_float32() -> None:
    """By 0.3 nats a token it is 2e-8 of what it was after 59; rounding of the state must not stand in its place."""
    model = small(RetNet(heads=2)).float()
    for layer in range(2):
        model.mixer(layer).log_decay.fill_(-0.3)
    table = measured_horizon(model, TOKENS).table
    np.testing.assert_allclose(table["measured_exponent"], -0.3, rtol=2e-3)
    np.testing.assert_allclose(np.log(table["distance"]), -0.3 * table["tokens"], atol=0.05)
    for layer in range(2):
        model.mixer(layer).log_decay.copy_(torch.tensor([-0.3, -5.0]))
    faded = measured_horizon(model, TOKENS)
    assert "layer 1, nats a token by head, measured (predicted): -0.3 (-0.3), faded before the second half" in faded.summary()


def test_a_disturbance_is_the_product_of_the_transitions() -> None:
    """Each state's distance, of one sequence, is |A_n .. A_1 E| for the very transitions that the model shows."""
    model = small(GatedDeltaNet(heads=2))
    result = measured_horizon(model, TOKENS[:1], position=5)
    transition = dict(transitions_of(model, TOKENS[:1]))[0]
    for head in range(2):
        product = torch.eye(4, dtype=torch.float64)
        for t in range(6, 26):
            product = transition[0, t, head].matmat(product)
        singular = torch.linalg.svdvals(product)
        distance = result.value("distance", layer=0, head=head, tokens=20)
        assert float(singular[-1]) <= distance <= float(singular[0]) * (1 + 1e-6)
    table = result.table[result.table["layer"] == 0]
    assert (table["tokens"].max(), table["distance"].min() > 0) == (54, True)


def test_the_second_half_goes_on_with_the_direction_that_the_first_has_found() -> None:
    """The first token erases all but one direction, which every later one shrinks by the same; no other says anything."""
    basis = torch.linalg.qr(torch.tensor([[1.0, 2.0], [1.0, -1.0]], dtype=torch.float64)).Q
    keys = basis.T[[0, 1, 1, 1]].reshape(1, 1, 4, 1, 2)
    along = Transition.householders(keys, torch.tensor([1.0, 0.5, 0.5, 0.25], dtype=torch.float64).reshape(1, 1, 4, 1))
    whole, second = (float(value) for value in _largest(along, 2))
    assert second == pytest.approx((math.log(0.5) + math.log(0.75)) / 2)
    assert whole == pytest.approx((2 * math.log(0.5) + math.log(0.75)) / 4)
    assert lyapunov_exponents(along[:, :, 2:], count=1).item() > second + 0.1  # a direction of its own is shrunk less


@pytest.mark.parametrize("mixer", [GatedLinearAttention(heads=2), DeltaNet(heads=2)])
def test_measured_exponents_are_near_the_predicted_ones(mixer: Any) -> None:
    table = measured_horizon(small(mixer), TOKENS).table.groupby(["layer", "head"]).first()
    error = (table["measured_exponent"] - table["exponent"]).abs()
    assert (error <= 0.35 * table["exponent"].abs() + 0.01).all()
    with pytest.raises(ValueError, match="leaves 4 of 60 tokens; at least 8 must follow"):
        measured_horizon(small(mixer), TOKENS, position=55)
    with pytest.raises(ValueError, match="no layer of this model has a linear transition"):
        measured_horizon(small(GRU(heads=2)), TOKENS)


def test_as_many_exponents_are_given_as_float64_tells_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six channels one, which no key reaches, is decayed to e^-50 at each token: the other five are told, as they are."""
    keys = torch.randn(1, 7, 1, 6, dtype=torch.float64, generator=generator_for(3))
    keys = torch.nn.functional.normalize(keys * torch.tensor([1, 1, 1, 1, 1, 0]), dim=-1)
    decay = -torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 50.0], dtype=torch.float64).expand(1, 7, 1, 6)
    shown = Transition.diagonal_plus_low_rank(keys, -0.5 * keys, decay)
    monkeypatch.setattr("statescope.analyses.spectra.memory_horizon.transitions_of", lambda *_, **__: [(0, shown)])
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=1)))
    result = memory_horizon(model, torch.zeros(1, 7, dtype=torch.long))
    expected = lyapunov_exponents(shown[:, :, 0], count=5)[0]
    np.testing.assert_allclose(result.table["exponent"], expected)
    assert result.about["unresolved"] == ["model, layer 0"]


def test_bytes_of_memory_are_those_of_states_and_of_keys_and_values() -> None:
    config = {"vocabulary": 9, "width": 8, "layers": 2}
    delta = Model(ModelConfig(mixer=DeltaNet(heads=2, short_convolution=0), **config))
    assert bytes_behind(delta, TOKENS[:1]) == 2 * 2 * 4 * 4 * 4  # layers, heads, K, V, bytes
    softmax = Model(ModelConfig(mixer=Attention(heads=2), **config))
    assert bytes_behind(softmax, TOKENS[:1]) == 2 * 2 * 60 * 8 * 4  # layers, keys and values, tokens, width, bytes
    window = Model(ModelConfig(mixer=Attention(heads=2, window=5), **config))
    assert bytes_behind(window, TOKENS[:1]) == 2 * 2 * 4 * 8 * 4


def test_the_study_of_recall(tmp_path: Path) -> None:
    study = RecallMemoryStudy(
        names=("delta rule, K = 4", "delta rule, K = 8", "softmax"),
        mixers=(DeltaNet(heads=2, key_size=4), DeltaNet(heads=2, key_size=8), Attention(heads=2)),
        task=AssociativeRecall(pairs=2, symbols=4),
        training=Training(steps=2, batch=4, length=9),
        width=8,
        sequences=6,
    )
    result = study.run(tmp_path / "run").result("recall_memory")
    assert isinstance(result, RecallMemory) and set(result.table["family"]) == {"delta rule", "softmax"}
    sizes, alone = result.specification().panels  # of the two DeltaNets, and of attention, which has one size
    assert "bytes" in result.summary() and sizes.x_log and [mark.label for mark in sizes.marks] == ["delta rule"]
    assert [name.partition(":")[0] for name in alone.marks[0].names] == ["softmax"]
    with pytest.raises(BadSettingError, match="1 names for 10 mixers"):
        RecallMemoryStudy(names=("a",))


def test_the_study_of_recall_takes_every_mixer() -> None:
    study = RecallMemoryStudy(every=True)
    kinds = {type(mixer) for mixer in study.compared().values()}
    assert kinds == {MixerConfig.of_kind(kind) for kind in MixerConfig.kinds()}
    assert len(study.compared()) == len(study.mixers) + len(kinds) - len({type(mixer) for mixer in study.mixers})
    for config in study.models().values():
        assert bytes_behind(Model(config), study.task.batch(1, 24, "test", generator_for(0)).tokens) > 0


def test_the_study_of_horizons(tmp_path: Path) -> None:
    study = MemoryHorizonStudy(
        names=("RetNet",),
        mixers=(RetNet(heads=2),),
        task=AssociativeRecall(pairs=2, symbols=4),
        training=Training(steps=2, batch=4, length=9),
        width=8,
        length=24,
        sequences=2,
    )
    run = study.run(tmp_path / "run")
    measured = run.result("measured_horizon")
    predicted = run.result("memory_horizon").table
    exponent = predicted[(predicted["index"] == 1) & (predicted["layer"] == 0) & (predicted["head"] == 1)]["exponent"].mean()
    assert measured.value("measured_exponent", layer=0, head=1) == pytest.approx(exponent, rel=1e-2)
    assert "measured (predicted)" in measured.summary() and len(measured.specification().panels) == 1
