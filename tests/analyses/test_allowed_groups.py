"""What families allow: that no transition leaves it, that theory's verdicts agree with the hand-built models, and the study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every_analysis import check_allowed
from every_mixer import MIXERS, label
from foreign_models import FOREIGN

from statescope import Model, ModelConfig, Run, Transition, load
from statescope.analyses.automata.allowed_and_realised import (
    GROUPS,
    AllowedAndRealised,
    allowed_and_realised,
    realised_spectrum,
)
from statescope.analyses.automata.allowed_groups import LayerTransitions, group_verdict
from statescope.analyses.automata.expressivity import track, tracking_tokens
from statescope.analyses.behaviour.state_tracking import StateTracking
from statescope.analyses.models import transitions_of
from statescope.analyses.studies.state_tracking import FullStateTrackingStudy, StateTrackingStudy
from statescope.probe.configuration import BadSettingError
from statescope.probe.errors import UnknownNameError
from statescope.probe.mixers import (
    GRU,
    LRU,
    RWKV7,
    Attention,
    DeltaNet,
    GatedLinearAttention,
    GateLoop,
    KimiDeltaAttention,
    Mamba2,
)
from statescope.probe.mixers.spectrum import AllowedSpectrum
from statescope.probe.results.figure import Ranges
from statescope.probe.runs.training import Training
from statescope.probe.tasks.base import generator_for
from statescope.probe.tasks.word_problem import WordProblem

OF_EACH_ADAPTER = ("qwen3_next", "kimi_linear", "mamba", "mamba2", "recurrent_gemma", "minimax", "rwkv", "xlstm")


def delta(low: float, count: int) -> DeltaNet:
    return DeltaNet(heads=2, householders=count, eigenvalue_range=(low, 1.0))


CASES = [
    *MIXERS,
    delta(0.0, 1),
    delta(0.0, 2),
    delta(0.0, 3),
    delta(-1.0, 3),
    KimiDeltaAttention(heads=2, eigenvalue_range=(-1.0, 1.0)),
]


@pytest.mark.parametrize("mixer", CASES, ids=label)
def test_no_transition_leaves_what_its_family_allows(mixer: Any) -> None:
    """With weights three times as large as at the start, so that gates come near their ends."""
    model = Model(ModelConfig(vocabulary=7, width=12, layers=1, mixer=mixer)).double().eval()
    with torch.no_grad():
        for name, parameter in model.mixer(0).named_parameters():
            if name.endswith("weight") and parameter.ndim == 2:
                parameter.mul_(3)
    tokens = torch.randint(0, 7, (3, 24), generator=torch.Generator().manual_seed(0))
    allowed = mixer.allowed
    if allowed is None:
        with pytest.raises(ValueError, match="no layer of this model has a linear transition"):
            allowed_and_realised(model, tokens)
        return
    [(_, transition)] = transitions_of(model, tokens)
    check_allowed(allowed, transition)
    row = allowed_and_realised(model, tokens)
    assert row.table["low"].eq(allowed.low).all() and str(allowed) in row.summary()
    ((possible, seen),) = (panel.marks for panel in row.specification().panels)
    for mark, ends in ((possible, ["low", "high"]), (seen, ["least", "largest"])):
        assert isinstance(mark, Ranges) and np.array_equal(mark.to_frame()[["low", "high"]], row.table[ends])


@pytest.mark.parametrize("name", OF_EACH_ADAPTER)
def test_no_transition_of_a_loaded_model_leaves_what_its_family_allows(name: str) -> None:
    model = load(FOREIGN[name]())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2)
    tokens = torch.randint(0, 31, (2, 12), generator=torch.Generator().manual_seed(0))
    for layer, transition in transitions_of(model, tokens):
        allowed = model.allowed_spectrum(layer)
        assert allowed is not None
        check_allowed(allowed, transition)
    found = allowed_and_realised(model, tokens)
    assert "allowed eigenvalues in" in found.summary() and found.table["low"].notna().all()


def test_what_a_loaded_model_can_track_follows_from_its_settings() -> None:
    def verdict(name: str, group: str) -> str:
        return group_verdict(LayerTransitions.of_model(load(FOREIGN[name]())), group).word

    assert verdict("mamba", "Z2") == "impossible" and verdict("mamba", "A5") == "impossible"
    flips, shrinks = verdict("olmo_hybrid", "Z2"), verdict("qwen3_next", "Z2")
    assert (flips, shrinks) == ("possible", "open")  # beta in [0, 2] and in [0, 1]; both have a layer of softmax beside it


def test_three_keys_that_only_shrink_may_turn_over() -> None:
    """Onto lines 60 degrees apart: the product of the three projections has the eigenvalue -1/8."""
    angle = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) * torch.pi / 3
    across = torch.stack([-angle.sin(), angle.cos()], dim=-1)
    transition = Transition.householders(across, torch.ones(3, dtype=torch.float64), torch.zeros((), dtype=torch.float64))
    least = float(transition.eigenvalues().real.min())
    assert least == pytest.approx(-1 / 8) and delta(0.0, 3).allowed.low <= least < delta(0.0, 2).allowed.low
    assert group_verdict(delta(0.0, 2), "Z2").word == "impossible" and group_verdict(delta(0.0, 3), "Z2").word == "open"


def test_a_family_that_does_not_say_leaves_every_group_open() -> None:
    silent = LayerTransitions(allowed=None, has_state=True, is_linear=True)
    assert {group_verdict([silent], group).word for group in GROUPS} == {"open"}
    assert group_verdict([silent, LayerTransitions(allowed=None, has_state=True, is_linear=False)], "S5").word == "possible"


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_possible_is_what_is_built(group: str, count: int) -> None:
    """Statement 2: where it says possible of one layer, the hand-built delta rule tracks 128 tokens; with [0, 1] it does not."""
    batch = WordProblem(group).batch(12, 128, "test", generator_for(0))
    keys, beta = tracking_tokens(group, count)
    right, drift = track(group, keys, beta, batch.tokens, batch.targets)
    verdict = group_verdict(delta(-1.0, count), group)
    assert (verdict.word == "possible") == (right == 1.0 and drift < 1e-6), verdict
    shrinking = group_verdict(delta(0.0, count), group)
    assert shrinking.word != "possible"
    right, _ = track(group, *tracking_tokens(group, count, largest_beta=1.0), batch.tokens, batch.targets)
    assert right < 0.9


def test_each_statement() -> None:
    assert [group_verdict(Mamba2(), group).word for group in GROUPS] == ["impossible"] * 8
    assert [group_verdict(GateLoop(), group).word for group in GROUPS] == ["possible"] * 3 + ["open"] * 3 + ["impossible"] * 2
    assert [group_verdict(GRU(), group).word for group in GROUPS] == ["possible"] * 8
    assert [group_verdict(Attention(), group).word for group in GROUPS] == ["open"] * 6 + ["impossible"] * 2
    assert [group_verdict(LRU(), group).word for group in GROUPS] == ["open"] * 6 + ["impossible"] * 2
    assert group_verdict(delta(0.0, 1), "Z3").word == "open" and group_verdict(delta(0.0, 1), "S3").statement == 1
    one, two = group_verdict(delta(-1.0, 1), "S3"), group_verdict((delta(-1.0, 1),) * 2, "S3")
    assert one.word == "open" and (two.word, two.statement) == ("possible", 3)
    assert group_verdict((Mamba2(), delta(-1.0, 2)), "A5").word == "possible"
    assert group_verdict((Mamba2(), Attention()), "S5").word == "impossible"
    assert group_verdict((GatedLinearAttention(), Attention()), "Z2").word == "open"
    assert group_verdict(RWKV7(), "Z2").word == "open"
    assert group_verdict(delta(-1.0, 4), "S5").word == "possible" and group_verdict(delta(-1.0, 3), "S5").word == "open"
    with pytest.raises(UnknownNameError, match="S9"):
        group_verdict(Mamba2(), "S9")


def test_a_trained_range_beside_the_allowed_one() -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=(delta(-1.0, 1), GRU(heads=2)))).double().eval()
    tokens = torch.randint(0, 5, (2, 9))
    result = allowed_and_realised({"hybrid": model}, tokens)
    [(_, transition)] = transitions_of(model, tokens)
    values = transition.eigenvalues().real
    for row in result.table.itertuples():
        assert row.least == pytest.approx(float(values[:, :, row.head].min())) and row.largest == pytest.approx(1.0)
        assert (row.low, row.high, row.layer) == (-1.0, 1.0, 0)
    assert result.about["groups"]["hybrid"]["S5"] == "possible"  # by the cell
    assert len(result.specification().panels[0].marks) == 2


def test_what_is_trained_allows_no_more_than_its_eigenvalues_do() -> None:
    """A family that may reflect, whose weights never do: parity is possible for it, and impossible as it is."""
    tokens, mixer = torch.randint(0, 5, (2, 9)), delta(-1.0, 2)
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=mixer)).double().eval()
    verdicts = {}
    for name, bias in (("still", -40.0), ("weak", -2.0), ("flips", 40.0)):
        rate = model.mixer(0).project_beta = torch.nn.Linear(8, 4).double()
        torch.nn.init.zeros_(rate.weight), torch.nn.init.constant_(rate.bias, bias)
        found = allowed_and_realised(model, tokens)
        verdicts[name] = found.about["trained"]["model"]
        assert found.about["groups"]["model"] == {group: group_verdict(mixer, group).word for group in GROUPS}
    assert verdicts["still"]["Z2"] == verdicts["still"]["S3"] == "impossible" and verdicts["still"]["Z3"] == "open"
    assert verdicts["flips"] == {group: group_verdict(mixer, group).word for group in GROUPS}
    said = found.summary()
    assert "possible Z2, Z3, Z5, S3, A4, S4, A5; open S5" in said and "arXiv:2502.10297" in said and "as trained" in said


def test_realised_spectra_by_hand() -> None:
    """A flip that is halved at once counts where all of those seen do, and not where only those that last do."""
    values = torch.tensor([[-0.4, 1.0, 1.0], [1.0, 0.5, 0.2]], dtype=torch.float64)
    diagonal = Transition(values, values.new_zeros(2, 3, 0), values.new_zeros(2, 3, 0))
    family = AllowedSpectrum(low=-1.0, reflections=3)
    everything, lasting = realised_spectrum(family, diagonal), realised_spectrum(family, diagonal, 4)
    assert (everything.low, everything.reflections, everything.turns) == (-0.4, 1, False)
    assert (lasting.low, lasting.reflections) == (0.0, 0)
    turned = Transition.diagonal_only(torch.tensor([[0.5j, 0j]], dtype=torch.complex128), 2)
    assert realised_spectrum(replace(family, reflections=0), turned, 100).turns


def test_the_study(tmp_path: Path) -> None:
    """Two mixers on parity, a few steps: what theory says stands beside what is measured."""
    study = StateTrackingStudy(
        groups=("Z2",),
        names=("decays", "flips"),
        mixers=(Mamba2(heads=2), delta(-1.0, 1)),
        training=Training(steps=2, batch=4, length=6),
        width=8,
        test_lengths=(6, 9),
        sequences=4,
    )
    run = study.run(tmp_path / "run")
    result = run.result("state_tracking")
    assert isinstance(result, StateTracking)
    table = result.table
    assert dict(zip(table["model"], table["verdict"], strict=True)) == {"decays": "impossible", "flips": "possible"}
    accuracy = run.result("accuracy_z2").table
    np.testing.assert_allclose(table["accuracy"], accuracy["accuracy"])
    assert "flips" in result.summary() and "possible" in result.summary() and len(result.specification().panels) == 2
    allowed = Run(run.path).result("allowed_z2")
    assert isinstance(allowed, AllowedAndRealised) and set(allowed.table["model"]) == {"decays", "flips"}


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(BadSettingError, match="1 names for 6 mixers"):
        StateTrackingStudy(names=("a",))
    with pytest.raises(UnknownNameError):
        StateTrackingStudy(groups=("S9",))
    assert len(FullStateTrackingStudy().models()) == 8 * 8 * 2
