"""Spectra, trajectories, survival, steering, accuracy: each against a case whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from statescope import (
    Attention,
    Batch,
    DeltaNet,
    Direction,
    GatedDeltaNet,
    InContextRegression,
    Model,
    ModelConfig,
    Parity,
    generator_for,
    state_trajectory,
    transition_spectrum,
)
from statescope.analyses.behaviour.accuracy_by_length import accuracy_by_length
from statescope.analyses.behaviour.error_by_position import ErrorByPosition, error_by_position
from statescope.analyses.behaviour.steering import log_odds, steering
from statescope.analyses.behaviour.survival import survival
from statescope.analyses.behaviour.training_curve import held_out_cost
from statescope.analyses.geometry.direction_map import direction_cosines, direction_projection
from statescope.analyses.studies.comparison import Comparison
from statescope.probe.captures.capture import Capture
from statescope.probe.mixers import MixerConfig
from statescope.probe.runs.training import Training


def small(mixer: MixerConfig, vocabulary: int = 5, layers: int = 2, width: int = 8) -> Model:
    return Model(ModelConfig(vocabulary=vocabulary, width=width, layers=layers, mixer=mixer)).double().eval()


@pytest.mark.parametrize("householders", [1, 2, 4])
def test_eigenvalues_are_those_of_the_dense_transitions(householders: int) -> None:
    model = small(GatedDeltaNet(heads=2, householders=householders))
    tokens = torch.randint(0, 5, (2, 6))
    table = transition_spectrum(model, tokens).table
    _, cache = model.run_with_cache(tokens, names_filter="blocks.1.attn.hook_transition")
    dense = torch.linalg.eigvals(cache["blocks.1.attn.hook_transition"].dense())
    own = table[(table["layer"] == 1) & (table["head"] == 1) & (table["sequence"] == 0) & (table["position"] == 3)]
    found = np.repeat(own["real"] + 1j * own["imaginary"], own["multiplicity"])
    assert len(found) == 4
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(dense[0, 3, 1].numpy()), atol=1e-10)


def test_a_restricted_range_has_no_negative_eigenvalue() -> None:
    tokens = torch.randint(0, 5, (2, 20))
    positive = transition_spectrum(small(DeltaNet(heads=2, eigenvalue_range=(0.0, 1.0))), tokens).table
    assert positive["real"].min() >= 0
    negative = transition_spectrum(small(DeltaNet(heads=2)), tokens).table
    assert negative["real"].min() < 0
    assert np.hypot(negative["real"], negative["imaginary"]).max() <= 1 + 1e-12
    with pytest.raises(ValueError, match="no layer of this model has a linear transition .its mixers: attention"):
        transition_spectrum(small(Attention(heads=2)), tokens)


def test_a_spectrum_can_be_cut_to_a_head_and_layer() -> None:
    result = transition_spectrum({"a": small(DeltaNet(heads=2))}, torch.randint(0, 5, (2, 6)))
    one = result.select(layer=1, head=0).table
    assert set(zip(one["layer"], one["head"], strict=True)) == {(1, 0)}
    assert sum(one["multiplicity"]) == 2 * 6 * 4
    assert result.select(layer=1).specification().panels[1].equal


def test_the_trajectory_keeps_the_distances_between_states() -> None:
    """Projecting on enough principal axes is a rotation: with rank <= 3 all distances between states survive."""
    model = small(DeltaNet(heads=2, key_size=2, value_size=1, short_convolution=0), layers=1)
    tokens = torch.randint(0, 5, (9,))
    result = state_trajectory({"m": model}, tokens, texts=list("abcdefghi"), labels=tokens % 2, label="odd")
    _, cache = model.run_with_cache(tokens[None], names_filter="blocks.0.attn.hook_state", taps=list(range(9)))
    states = cache["state", 0][0, :, 1].flatten(1)
    own = result.select(head=1).table.sort_values("position")
    found = torch.tensor(own[["axis_1", "axis_2", "axis_3"]].to_numpy())
    torch.testing.assert_close(torch.cdist(found, found), torch.cdist(states, states), atol=1e-9, rtol=1e-9)
    np.testing.assert_allclose(own["norm"], states.norm(dim=1))
    np.testing.assert_allclose(own["change"].iloc[1:], states.diff(dim=0).norm(dim=1))
    assert own["token"].tolist() == list("abcdefghi") and result.about["still"] == []
    with torch.no_grad():
        model.blocks[0].attn.project_beta.weight.fill_(0)  # beta = 1: a token that comes again changes nothing
    still = state_trajectory(model, tokens[:1].expand(4), texts=list("abcd"), labels=tokens[:4], label="odd")
    assert len(still.about["still"]) == 2 and "the state is the same after every token" in still.summary()
    assert "three axes" not in still.summary()


class Known(torch.nn.Module):
    """Answers parity rightly for the first `good` positions and 0 after them."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        answer = tokens.cumsum(1) % 2
        answer[:, self.good :] = 0
        return torch.nn.functional.one_hot(answer, 2).double()


def test_accuracy_by_length_counts_every_position() -> None:
    models = {"all": Known(1000), "half": Known(32)}
    result = accuracy_by_length(models, Parity(), [16, 64], sequences=200, seed=0)  # type: ignore[arg-type]
    assert result.value("accuracy", model="all", length=64) == 1.0
    assert result.value("accuracy", model="half", length=16) == 1.0
    assert result.value("accuracy", model="half", length=64) == pytest.approx(0.75, abs=0.02)
    row = result.table[(result.table["model"] == "half") & (result.table["length"] == 64)].iloc[0]
    assert row["low"] < 0.75 < row["high"]
    assert row["last"] == pytest.approx(0.5, abs=0.1)
    with pytest.raises(KeyError, match="7"):
        result.value("accuracy", model="all", length=7)


def test_error_by_position_beside_the_estimators() -> None:
    """A model that says what least squares says has its error; one that says nothing has the variance of the targets."""
    task = InContextRegression(dimension=2, noise=0.3)

    def least_squares(tokens: torch.Tensor) -> torch.Tensor:
        batch = task.batch(300, 16, "test", generator_for(0, 16))
        assert torch.equal(batch.tokens, tokens)
        return task.predictions(batch)["ols"][..., None]

    models: Any = {"ours": least_squares, "nothing": lambda tokens: torch.zeros(*tokens.shape[:2], 1)}
    result = error_by_position(models, task, 16, sequences=300, seed=0)
    assert sorted(result.table["position"].unique()) == list(range(0, 16, 2))
    assert result.value("error", model="ours", position=14) == pytest.approx(result.value("error", model="ols", position=14))
    assert result.value("error", model="nothing", position=8) == pytest.approx(1.0, abs=0.3)
    assert (
        result.value("error", model="bayes", position=14)
        < result.value("error", model="gradient_descent", position=14)
        < result.value("error", model="nothing", position=14)
    )
    assert set(result.table[result.table["estimator"]]["model"]) == {"ols", "ridge", "gradient_descent", "bayes"}
    with pytest.raises(ValueError, match="whole numbers as targets; measure accuracy_by_length"):
        error_by_position({}, Parity(), 8, sequences=2, seed=0)
    with pytest.raises(ValueError, match="real targets, which have no accuracy"):
        accuracy_by_length({}, task, [8], sequences=2, seed=0)


def test_a_comparison_on_real_numbers(tmp_path: Path) -> None:
    short = Training(steps=3, batch=4, length=8)
    study = Comparison(
        names=("a",), task=InContextRegression(dimension=2), training=short, width=16, test_lengths=(8,), sequences=8
    )
    run = study.run(tmp_path / "run")
    assert run.problems() == []
    result = run.result("error_by_position")
    assert "mean squared error over the last 20 steps" in run.result("training").summary()
    assert isinstance(result, ErrorByPosition) and set(result.table["model"]) >= {"a", "bayes"}


def test_held_out_cost_is_in_bits() -> None:
    class Uniform(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 256)

    tokens = torch.randint(0, 256, (6, 5))
    result = held_out_cost({"uniform": Uniform()}, Batch(tokens, tokens, groups=torch.arange(6)), seed=0)  # type: ignore[dict-item]
    assert result.table["bits"].iloc[0] == pytest.approx(8.0)


class Remembers:
    """Stands for fitted probes that are right while the label is younger than `reach`."""

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def has(self, hook: str, label: str) -> bool:
        return hook == "blocks.0.attn.hook_state"

    def predict(self, capture: Capture, hook: str, label: str) -> torch.Tensor:
        truth, age = capture.label(label), capture.label(f"{label}_age")
        return torch.where(age < self.reach, truth, truth - 1)


def test_survival_falls_where_the_probe_forgets() -> None:
    age = torch.arange(200).repeat(30, 1) % 64
    labels = {"bracket_depth": torch.ones(30, 200, dtype=torch.long), "bracket_depth_age": age}
    capture = Capture({}, labels, torch.zeros(30, 200, dtype=torch.long), torch.arange(30), tuple(range(200)))
    result = survival(
        {"m": Remembers(16)},
        {"m": capture},
        ["blocks.0.attn.hook_state", "missing"],
        ["bracket_depth"],
        depths=["bracket_depth"],
        seed=0,
    )  # type: ignore[dict-item]
    by_age = result.table[result.table["against"] == "bytes since it changed"].set_index("distance")["accuracy"]
    assert by_age.loc[:8].eq(1).all()
    assert by_age.loc[16:].eq(0).all()
    nesting = result.table[result.table["against"] == "nesting"]
    assert nesting["distance"].tolist() == [1]
    assert nesting["accuracy"].iloc[0] == pytest.approx(float((age < 16).double().mean()))


def test_steering_towards_a_token_raises_its_score_and_a_random_direction_does_not() -> None:
    model = small(DeltaNet(heads=2), layers=1, width=64)
    with torch.no_grad():
        model.ln_final.weight.fill_(1.0)
        model.unembed.weight.zero_()
        model.unembed.weight[3, 0] = 4.0  # token 3 reads the first coordinate
    tokens = torch.randint(0, 5, (8, 10))
    batch = Batch(tokens, tokens, {"x": torch.zeros(8, 10, dtype=torch.long)}, torch.arange(8))
    towards = torch.zeros(64, dtype=torch.float64)
    towards[0] = 1.0
    direction = Direction(towards, "blocks.0.hook_resid_post", "x", scale=5.0)
    concept = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    texts = list("abcde")
    result = steering({"m": (model, direction)}, batch, concept, strengths=[-2.0, 0.0, 2.0], seed=1, text_of=texts)
    scores = result.table.set_index(["direction", "strength"])["score"]
    assert scores["x", 0.0] == 0
    assert scores["x", 2.0] > 0.2
    assert scores["x", -2.0] < 0
    assert abs(scores["random", 2.0]) < scores["x", 2.0] / 2
    assert result.about["largest_changes"]["m"][0][0] == "d"
    assert (result.table["divergence"] >= -1e-12).all()


def test_log_odds_compare_frequencies() -> None:
    tokens = torch.tensor([0] * 30 + [1] * 10 + [0] * 10 + [1] * 30)
    present = torch.arange(80) < 40
    odds = log_odds(tokens, present, 2)
    torch.testing.assert_close(odds, torch.tensor([31 / 11, 11 / 31]).log())
    assert torch.equal(log_odds(tokens, present.long(), 2), odds)  # whole numbers are no indices
    with_ignored = torch.cat([tokens, torch.tensor([-100])])
    assert torch.equal(log_odds(with_ignored, torch.cat([present, present[:1]]), 2), odds)
    unlabelled = torch.cat([present.long(), torch.tensor([-100])])
    assert torch.equal(log_odds(torch.cat([tokens, tokens[:1]]), unlabelled, 2), odds)
    with pytest.raises(ValueError, match="need one shape"):
        log_odds(tokens, present[:3], 2)


def test_cosines_of_every_pair_of_one_activation() -> None:
    unit = torch.nn.functional.normalize(torch.randn(3, 6), dim=1)
    directions = [Direction(unit[0], "h", "a"), Direction(unit[1], "h", "b"), Direction(unit[2], "other", "c")]
    table = direction_cosines(directions).table.set_index(["hook", "first", "second"])["cosine"]
    assert len(table) == 5
    assert table["h", "a", "b"] == pytest.approx(float(unit[0] @ unit[1]))
    assert table["h", "a", "a"] == pytest.approx(1)
    metric = torch.diag(torch.arange(1.0, 7.0))
    both = direction_cosines(directions[:2], {"Euclidean": None, "scaled": metric})
    dot, lengths = unit[0] @ metric @ unit[1], [(one @ metric @ one).sqrt() for one in unit[:2]]
    assert both.value("cosine", metric="scaled", first="a", second="b") == pytest.approx(float(dot / lengths[0] / lengths[1]))
    assert both.value("cosine", metric="Euclidean", first="a", second="b") == pytest.approx(float(unit[0] @ unit[1]))
    assert "scaled metric" in both.summary() and len(both.specification().panels) == 2


def test_a_projection_needs_one_component_a_token() -> None:
    model = small(DeltaNet(heads=2), layers=1)
    tokens, labels = torch.randint(0, 5, (6,)), {"a": torch.arange(6) % 2}
    width = model.cfg.d_model
    along = Direction(torch.eye(width)[0], "blocks.0.hook_resid_post", "a", scale=2.0)
    found = direction_projection(model, [along], tokens, list("abcdef"), labels).table["projection"]
    _, cache = model.run_with_cache(tokens[None], names_filter="blocks.0.hook_resid_post")
    np.testing.assert_allclose(found, cache["resid_post", 0][0, :, 0].numpy() / 2, rtol=1e-6)
    counted = direction_projection(model, [along.counted_from(torch.full((width,), 3.0))], tokens, list("abcdef"), labels)
    np.testing.assert_allclose(counted.table["projection"], found - 1.5, atol=1e-6)
    _, states = model.run_with_cache(tokens[None], names_filter="blocks.0.attn.hook_state", taps="all")
    whole = states["state", 0][0].flatten(1)
    of_state = Direction(torch.eye(whole.shape[1])[3], "blocks.0.attn.hook_state", "a")
    read = direction_projection(model, [of_state], tokens, list("abcdef"), labels).table["projection"]
    np.testing.assert_allclose(read, whole[:, 3].numpy(), atol=1e-6)
    by_head = Direction(torch.eye(width // 2)[0], "blocks.0.attn.hook_z", "a")
    with pytest.raises(ValueError, match=r"has \(2,\) components along it"):
        direction_projection(model, [by_head], tokens, list("abcdef"), labels)


def test_frames_are_copies() -> None:
    result = transition_spectrum({"a": small(DeltaNet(heads=2))}, torch.randint(0, 5, (1, 3)))
    frame = result.to_frame()
    frame["real"] = 7.0
    assert isinstance(frame, pd.DataFrame)
    assert not (result.table["real"] == 7.0).any()
