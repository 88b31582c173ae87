"""Sequences of one token and of two: what each analysis of states and transitions gives, against dense float64, or says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from statescope import GRU, LRU, Attention, GatedDeltaNet, Mamba2, Model, ModelConfig
from statescope.analyses.automata.model_automaton import model_automaton
from statescope.analyses.geometry.attention_map import attention_map
from statescope.analyses.geometry.state_walk import state_walk
from statescope.analyses.models import states_of, transitions_of
from statescope.geometry import (
    intrinsic_dimension,
    recall_by_age,
    singular_values,
    state_geometry,
    state_projection,
    state_trajectory,
)
from statescope.kernels.recurrence import Tap
from statescope.probe.results.result import Result
from statescope.spectra import (
    attention_measures,
    fixed_points,
    lasting_directions,
    measured_horizon,
    memory_horizon,
    pseudospectrum,
    spectrum_by_label,
    stability,
    transition_measures,
    transition_spectrum,
    window_spectrum,
)

LINEAR = {"delta rule": GatedDeltaNet(heads=2), "decays": Mamba2(heads=2), "complex": LRU()}
ALL = LINEAR | {"cell": GRU(heads=2), "softmax": Attention(heads=2)}
TOKENS = torch.tensor([[3], [1], [4]])
linear = pytest.mark.parametrize("name", LINEAR)
stateful = pytest.mark.parametrize("name", [*LINEAR, "cell"])


def model(name: str) -> Model:
    return Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=ALL[name])).double().eval()


def dense(name: str) -> np.ndarray:
    """The transitions of the one token, [sequence, head, K, K]."""
    [(_, transition)] = transitions_of(model(name), TOKENS)
    return transition.dense()[:, 0].numpy()


def states(name: str, tokens: Tensor = TOKENS) -> np.ndarray:
    """[sequence, position, head, ...]"""
    [(_, found)] = states_of(model(name), tokens, Tap(every=1))
    return found.numpy()


def drawn(result: Result) -> Any:
    """Its table, once words and a figure are there."""
    assert result.summary() and "nan" not in result.summary() and result.specification().panels
    return result.table


@linear
def test_measures_of_the_one_transition(name: str) -> None:
    table = drawn(transition_measures(model(name), TOKENS))
    matrices = dense(name)
    values = np.linalg.eigvals(matrices)
    for row in table.itertuples():
        singular = np.linalg.svd(matrices[row.sequence, row.head], compute_uv=False)
        own = values[row.sequence, row.head]
        assert (row.norm, row.least) == (pytest.approx(singular[0]), pytest.approx(singular[-1], abs=1e-9))
        assert row.radius == pytest.approx(np.abs(own).max()) and row.log_abs_det == pytest.approx(np.log(np.abs(own)).sum())
    assert len(table) == matrices.shape[0] * matrices.shape[1]
    for once in (transition_spectrum(model(name), TOKENS), spectrum_by_label(model(name), TOKENS, {"token": TOKENS})):
        drawn(once)


@linear
def test_a_window_of_one_token_is_its_transition_and_a_longer_one_is_refused(name: str) -> None:
    table = drawn(window_spectrum(model(name), TOKENS, 1))
    for (sequence, head), own in table.groupby(["sequence", "head"]):
        found = np.repeat(own["log_modulus"], own["multiplicity"])
        wanted = np.log(np.abs(np.linalg.eigvals(dense(name)[sequence, head])))
        np.testing.assert_allclose(np.sort(found), np.sort(wanted), atol=1e-9)
    for window in (0, 2):
        with pytest.raises(ValueError, match=f"window {window} must be from 1 to the 1 tokens"):
            window_spectrum(model(name), TOKENS, window)


@linear
def test_exponents_of_one_token(name: str) -> None:
    """Their sum is the log-determinant; those of the lasting directions are the logs of the singular values."""
    horizon, lasting = drawn(memory_horizon(model(name), TOKENS)), lasting_directions(model(name), TOKENS, count=99)
    drawn(lasting), drawn(stability(model(name), TOKENS, transitions=1))
    singular = np.linalg.svd(dense(name), compute_uv=False)
    for sequence, head in np.ndindex(singular.shape[:2]):
        logs = np.log(singular[sequence, head])
        own = horizon[(horizon["sequence"] == sequence) & (horizon["head"] == head)]
        assert own["exponent"].sum() == pytest.approx(logs.sum())
        found = lasting.select(sequence=sequence, head=head).table.drop_duplicates("index").sort_values("index")["exponent"]
        np.testing.assert_allclose(found, logs, atol=1e-9)


@stateful
def test_geometry_of_one_state(name: str) -> None:
    """Nothing was stored before: nothing is erased, and nothing is where the token writes; a vector state has rank 1."""
    table, own = drawn(state_geometry(model(name), TOKENS)), states(name)[:, 0]
    flat = own.reshape(*own.shape[:2], -1)
    norms = np.linalg.norm(flat, axis=-1)
    for row in table.itertuples():
        assert row.norm == pytest.approx(norms[row.sequence, row.head]) and row.rank == 1
        assert np.isnan(row.interference)
        if name == "cell":
            assert np.isnan(row.written) and np.isnan(row.erased)
        else:
            assert row.written == pytest.approx(row.norm) and row.erased == 0
    values = drawn(singular_values(model(name), TOKENS))
    assert np.square(values["value"]).groupby(values["sequence"]).sum().to_numpy() == pytest.approx(np.square(norms).sum(1))


@stateful
def test_few_states_have_fewer_axes_than_three(name: str) -> None:
    """One state lies at 0; two lie half their distance to each side; three lie in a plane; those that are one say so."""
    sequence = torch.tensor([3, 1, 4])
    for count, said in ((1, "a single state has no axes"), (2, "one axis holds 100.0%"), (3, "two axes hold 100.0%")):
        tokens = sequence[:count]
        result = state_trajectory(model(name), tokens, texts=list("abc")[:count], labels=tokens, label="token")
        table, own = drawn(result), states(name, tokens[None])[0]
        assert said in result.summary() and "still" in result.about and not result.about["still"]
        for head, rows in table.groupby("head"):
            flat = own[:, head].reshape(count, -1)
            places = rows[["axis_1", "axis_2", "axis_3"]].to_numpy()
            assert not places[:, count - 1 :].any()
            apart = np.linalg.norm(flat[:, None] - flat, axis=-1)
            np.testing.assert_allclose(np.linalg.norm(places[:, None] - places, axis=-1), apart, atol=1e-9)
            np.testing.assert_allclose(rows["norm"], np.linalg.norm(flat, axis=-1))
        walk = state_walk(model(name), tokens, 0, 0, name="m", texts=list("abc")[:count])
        assert said in walk.trajectory(tokens.tolist(), "token").summary() and len(drawn(walk.geometry())) == count


def test_a_state_that_stands_still_says_so_in_both_places() -> None:
    """A state that nothing is written to: on the path of a sequence, and on that of the walk through it."""
    still = model("cell")
    with torch.no_grad():
        for parameter in still.mixer(0).parameters():
            parameter.zero_()
    tokens = torch.tensor([3, 1, 4])
    walk = state_walk(still, tokens, 0, 0, name="m", texts=list("abc"))
    for result in (
        state_trajectory(still, tokens, texts=list("abc"), labels=tokens, label="token"),
        walk.trajectory([0.0, 1.0, 2.0], "token"),
    ):
        assert "the state is the same after every token" in result.summary() and "axes" not in result.summary()


@stateful
def test_a_single_state_has_no_dimension(name: str) -> None:
    result = intrinsic_dimension(model(name), TOKENS[:1])
    assert drawn(result)["linear"].eq(0).all() and "a single state is too few for a dimension" in result.summary()


@pytest.mark.parametrize("name", [*LINEAR, "softmax"])
def test_the_first_token_attends_to_itself(name: str) -> None:
    table = drawn(attention_measures(model(name), TOKENS))
    assert table["attended"].to_numpy() == pytest.approx(1) and table["concentration"].to_numpy() == pytest.approx(1)
    assert table["reach"].abs().max() == 0 and table["entropy"].abs().max() < 1e-12
    drawn(attention_map(model(name), TOKENS[0], 0, 0, name="m", texts=["a"]))


def test_one_pair_is_recalled() -> None:
    table = drawn(recall_by_age(model("delta rule"), TOKENS))
    assert table["age"].eq(0).all() and table["recalled"].eq(1).all() and table["cosine"].to_numpy() == pytest.approx(1)
    drawn(pseudospectrum(model("delta rule"), TOKENS)), drawn(fixed_points(model("cell"), TOKENS))


@pytest.mark.parametrize(
    ("analyse", "words"),
    [
        (lambda one: measured_horizon(one, TOKENS), "position=0 leaves 0 of 1 tokens; at least 8 must follow"),
        (lambda one: model_automaton(one, TOKENS[0], 0), "1 tokens are too few for 8 pieces"),
        (lambda one: state_projection(one, TOKENS, TOKENS), "axes are fitted on half of the sequences; 3 are too few"),
        (lambda one: memory_horizon(one, TOKENS[:, :0]), "the sequences are empty: batch 3, 0 tokens"),
        (lambda one: lasting_directions(one, TOKENS, window=2), "2 tokens from token 0 on must lie within the 1 tokens"),
    ],
)
def test_what_one_token_cannot_tell_is_said(analyse: Callable[[Model], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        analyse(model("delta rule"))
