"""Measures of transitions, of their products and by label: against numpy on dense matrices, and on cases that are known."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from every_mixer import MIXERS, label

from statescope import DeltaNet, GatedDeltaNet, Model, ModelConfig, Transition
from statescope.analyses.models import transitions_of
from statescope.analyses.spectra.by_label import spectrum_by_label
from statescope.analyses.spectra.memory_horizon import half_life, memory_horizon
from statescope.analyses.spectra.transition_measures import measures_of, transition_measures
from statescope.analyses.spectra.window_spectrum import product_eigenvalues, window_spectrum
from statescope.geometry import recall_by_age, state_geometry, tracking_requirements
from statescope.probe.mixers import LRU, Attention, Elman, RetNet
from statescope.probe.results.figure import Figure
from statescope.spectra import lasting_directions, measured_horizon


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 5, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()


def by_numpy(matrix: np.ndarray) -> dict[str, float]:
    """The measures of one dense matrix."""
    values, singular = np.linalg.eigvals(matrix), np.linalg.svd(matrix, compute_uv=False)
    radius = np.abs(values).max()
    turning = np.abs(values.imag) > 1e-7 * radius
    negative = ~turning & (values.real < -1e-7 * radius)
    kept = np.abs(values) > 1e-7 * radius
    angles = [np.pi if flip else abs(np.angle(value)) for value, flip in zip(values[kept], negative[kept], strict=True)]
    return {
        "norm": singular[0],
        "least": singular[-1],
        "log_abs_det": np.linalg.slogdet(matrix)[1],
        "radius": radius,
        "angle": max((angle for angle, still in zip(angles, ~(turning | negative)[kept], strict=True) if not still), default=0.0),
        "negative": negative.mean(),
        "turning": turning.mean(),
        "growing": (np.abs(values) > 1 + 1e-9).mean(),
    }


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_measures_are_those_of_the_dense_matrix(mixer: Any) -> None:
    model, tokens = small(mixer), torch.randint(0, 5, (2, 5))
    if "blocks.0.attn.hook_transition" not in model.hook_dict:
        with pytest.raises(ValueError, match="linear transition"):
            transition_measures(model, tokens)
        return
    result = transition_measures(model, tokens)
    [(_, transition)] = transitions_of(model, tokens)
    for position in (0, 4):
        exact = by_numpy(transition.dense()[1, position, 0].numpy())
        row = result.table.query(f"sequence == 1 and position == {position} and head == 0").iloc[0]
        for name, value in exact.items():
            if name == "log_abs_det" and value < -25:
                assert row[name] < -25
                continue
            assert row[name] == pytest.approx(value, rel=1e-6, abs=1e-7), name
    assert result.summary() and len(result.specification().panels) == 3


def test_a_rotation_turns_a_reflection_flips_and_growth_is_seen() -> None:
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    reflection, jordan = np.diag([1.0, -1.0]), np.array([[1.0, 1.0], [0.0, 1.0]])
    matrices = torch.from_numpy(np.stack([rotation, 1.1 * reflection, jordan, np.zeros((2, 2))]))
    transition = Transition(torch.zeros(4, 2, dtype=torch.float64), matrices, torch.eye(2).double().expand(4, 2, 2))
    found = {name: value.tolist() for name, value in measures_of(transition).items()}
    assert found["angle"] == pytest.approx([0.7, np.pi, 0, 0])
    assert found["negative"] == [0, 0.5, 0, 0] and found["turning"][:1] == [1]
    assert found["growing"] == [0, 1, 0, 0]
    assert found["norm"] == pytest.approx([1, 1.1, (1 + 5**0.5) / 2, 0])
    assert found["log_abs_det"][:3] == pytest.approx([0, 2 * np.log(1.1), 0], abs=1e-12) and found["log_abs_det"][3] == -np.inf


def test_the_measures_take_the_small_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta rule's K x K matrix is never made."""
    model, tokens = small(GatedDeltaNet(heads=2, key_size=8, householders=2)), torch.randint(0, 5, (2, 5))
    monkeypatch.setattr(Transition, "dense", lambda self: pytest.fail("the dense matrix was made"))
    assert (transition_measures(model, tokens).table["norm"] <= 1 + 1e-9).all()


def test_spectra_by_label_are_those_of_the_tokens_of_the_class() -> None:
    """And a class of a token is one transition where the mixer sees that token alone."""
    model = small(DeltaNet(heads=2, short_convolution=0, householders=2))
    tokens = torch.randint(0, 5, (4, 9))
    depth = torch.where(torch.arange(9) < 2, -100, tokens % 2).expand(4, 9)
    result = spectrum_by_label(model, tokens, {"token": tokens, "odd": depth}, texts={"odd": ["even", "odd"]})
    table = result.table
    [(_, transition)] = transitions_of(model, tokens)
    for value in range(5):
        own = table.query(f"label == 'token' and head == 1 and `class` == '{value}'")
        at = (tokens == value).nonzero()[0]
        exact = np.linalg.eigvals(transition.dense()[at[0], at[1], 1].numpy())
        first = own[(own["sequence"] == int(at[0])) & (own["position"] == int(at[1]))]
        found = np.repeat(first["real"] + 1j * first["imaginary"], first["multiplicity"])
        assert np.abs(np.asarray(found)[:, None] - exact).min(1).max() < 1e-8
        spread = own.groupby(["sequence", "position"])["real"].min()
        assert len(spread) == int((tokens == value).sum()) and spread.max() - spread.min() < 1e-9
    odd = table[table["label"] == "odd"]
    assert set(odd["class"]) == {"even", "odd"} and odd["position"].min() == 2
    counts = result.by_class().query("label == 'odd' and head == 0").set_index("class")["tokens"]
    assert counts["odd"] == int((depth == 1).sum()) and counts["even"] == int((depth == 0).sum())
    by = result.by_class()
    angles = by[by["label"] == "token"].pivot(index="head", columns="class", values="angle")
    assert result.liveliest("model", "token")[1] == int((angles.max(axis=1) - angles.min(axis=1)).idxmax())
    told = result.summary()
    assert result.specification().panels[0].equal and told.splitlines()[0].startswith("model, layer 0, head ")
    head, classes = result.liveliest("model", "token")[1], by[by["label"] == "token"]
    for row in classes[classes["head"] == head].itertuples():  # each class is named once, with those that are as it is
        [line] = [line for line in told.splitlines() if re.match(rf"    token .*\b{row[5]}\b.*:", line)]
        assert f"{row.negative:.0%} negative, {row.turning:.0%} complex, angle {row.angle:.2f} rad" in line


def test_of_many_classes_no_two_share_a_colour_and_more_are_named() -> None:
    """40 tokens among 256: seven in the plane, the most frequent; 24 by name, each with the largest angles of its tokens."""
    model, generator = small(DeltaNet(heads=2, householders=2), vocabulary=40), torch.Generator().manual_seed(0)
    tokens = (40 * torch.rand(1, 256, generator=generator) ** 2).long()
    result = spectrum_by_label(model, tokens, {"token": tokens}).select(head=1)
    plane, by_name = result.specification().panels
    counts = torch.bincount(tokens[0], minlength=40)
    assert len({series.color for series in Figure("", [plane]).series.values()}) == len(plane.marks) == 7
    shown = {int(mark.label.removeprefix("token ")) for mark in plane.marks}
    assert min(counts[list(shown)]) >= max(counts[token] for token in range(40) if token not in shown)
    [intervals] = by_name.marks
    means = result.by_class().set_index("class")["angle"]
    assert len(intervals.names) == 24 and len(set(intervals.names)) == 24
    np.testing.assert_allclose(intervals.values, [means[name.removeprefix("token ")] for name in intervals.names], rtol=1e-12)
    assert (intervals.low <= intervals.values + 1e-12).all() and (intervals.values <= intervals.high + 1e-12).all()


def test_labels_that_do_not_fit_are_refused() -> None:
    tokens = torch.randint(0, 5, (2, 6))
    with pytest.raises(ValueError, match="give a label"):
        spectrum_by_label(small(DeltaNet(heads=2)), tokens, {})
    with pytest.raises(ValueError, match=r"label 'x' is \[2, 5\]"):
        spectrum_by_label(small(DeltaNet(heads=2)), tokens, {"x": tokens[:, :5]})
    with pytest.raises(ValueError, match="float32; tokens need whole numbers"):
        spectrum_by_label(small(DeltaNet(heads=2)), tokens, {"x": tokens.float()})
    with pytest.raises(ValueError, match="label 'x' leaves every token out"):
        spectrum_by_label(small(DeltaNet(heads=2)), tokens, {"x": torch.full_like(tokens, -100)})
    with pytest.raises(ValueError, match="classes from 0 to 3, and 2 texts"):
        spectrum_by_label(
            small(DeltaNet(heads=2)), tokens.clamp(max=0), {"x": 3 * (tokens * 0 + torch.arange(6) % 2)}, texts={"x": "ab"}
        )
    for mixer in (Attention(heads=2), Elman(heads=2)):
        with pytest.raises(ValueError, match="no layer of this model has a linear transition"):
            spectrum_by_label(small(mixer), tokens, {"token": tokens})
    assert spectrum_by_label(small(LRU(state_size=4)), tokens, {"token": tokens}).table["imaginary"].abs().max() > 0.1


def test_one_sequence_without_its_axis_is_told_how_to_have_it() -> None:
    model, tokens = small(DeltaNet(heads=2)), torch.randint(0, 5, (6,))
    analyses: list[Any] = [transition_measures, memory_horizon, lambda *given: window_spectrum(*given, 2), tracking_requirements]
    for analyse in (*analyses, lasting_directions, measured_horizon, state_geometry, recall_by_age):
        with pytest.raises(ValueError, match=r"tokens have shape \[6\]; give sequences.*tokens\[None\]"):
            analyse(model, tokens)


LINEAR = [mixer for mixer in MIXERS if mixer.kind not in ("attention", "elman", "gru", "lstm", "slstm")]


def product(transition: Transition, sequence: int, head: int, tokens: range) -> np.ndarray:
    """A_stop-1 ... A_start as a dense matrix."""
    dense, found = transition.dense()[sequence, :, head].numpy(), np.eye(transition.size)
    for t in tokens:
        found = dense[t] @ found
    return found


@pytest.mark.parametrize("mixer", LINEAR, ids=label)
def test_windows_have_the_eigenvalues_of_the_dense_product(mixer: Any) -> None:
    model, tokens = small(mixer), torch.randint(0, 5, (2, 11))
    result = window_spectrum(model, tokens, 3)
    [(_, transition)] = transitions_of(model, tokens)
    assert sorted(result.table["start"].unique()) == [0, 3, 6]
    for start in (0, 6):
        exact = np.linalg.eigvals(product(transition, 1, 0, range(start, start + 3)))
        own = result.table.query(f"sequence == 1 and head == 0 and start == {start}")
        assert own["multiplicity"].sum() == transition.size
        own = own[own["resolved"]]
        values = np.repeat(np.exp(own["log_modulus"]) * np.exp(1j * own["angle"]), own["multiplicity"])
        largest = np.abs(exact).max()
        assert np.abs(np.asarray(values)[:, None] - exact).min(1).max() < 1e-7 * largest
        assert values.sum() == pytest.approx(exact.sum(), abs=1e-7 * largest)
    assert result.summary() and result.specification().panels
    with pytest.raises(ValueError, match="window 12 must be from 1 to the 11 tokens"):
        window_spectrum(model, tokens, 12)


def test_a_window_that_underflows_has_its_logarithms() -> None:
    """400 tokens with a decay of e^-3: the product is e^-1200, far below what float64 holds."""
    keys = torch.nn.functional.normalize(torch.randn(400, 1, 4, dtype=torch.float64), dim=-1)
    decay = torch.full((400,), -3.0, dtype=torch.float64)
    ones = torch.full((400, 1), 2.0, dtype=torch.float64)
    reflections = Transition.householders(keys, ones, decay)
    log_modulus, _, resolved = product_eigenvalues(reflections, axis=0)
    assert resolved.all()
    torch.testing.assert_close(log_modulus, torch.full((4,), -1200.0, dtype=torch.float64), rtol=1e-9, atol=0)
    turning = Transition.diagonal_only(torch.complex(decay[:, None], torch.full((400, 1), 0.1, dtype=torch.float64)), 1)
    log_modulus, angle, _ = product_eigenvalues(turning, axis=0)
    assert log_modulus.item() == pytest.approx(-1200) and angle.item() == pytest.approx(40 - 6 * 2 * np.pi, abs=1e-9)


def test_a_window_that_grows_past_the_float_range_has_its_logarithms() -> None:
    """400 tokens that each multiply by e^3: the product is e^1200, far above what float64 holds."""
    log_modulus, _, resolved = product_eigenvalues(
        Transition.diagonal_only(torch.full((400, 1), 3.0, dtype=torch.float64), 2), axis=0
    )
    assert resolved.all()
    torch.testing.assert_close(log_modulus, torch.full((2,), 1200.0, dtype=torch.float64), rtol=1e-12, atol=0)


def test_what_rounding_loses_is_not_given_as_an_eigenvalue() -> None:
    """diag(1, 1e-5)^5 in a frame that is not diagonal: 1e-25 beside 1 is lost, and said to be."""
    frame = torch.tensor([[1.0, 0.3], [0.2, 1.0]], dtype=torch.float64)
    matrix = frame @ torch.diag(torch.tensor([1.0, 1e-5], dtype=torch.float64)) @ torch.linalg.inv(frame)
    transition = Transition(torch.zeros(5, 2).double(), matrix.expand(5, 2, 2), torch.eye(2).double().expand(5, 2, 2))
    log_modulus, _, resolved = product_eigenvalues(transition, axis=0)
    assert log_modulus[resolved].tolist() == pytest.approx([0.0], abs=1e-12) and resolved.tolist().count(False) == 1


@pytest.mark.parametrize("mixer", LINEAR, ids=label)
def test_exponents_add_up_to_the_mean_log_determinant(mixer: Any) -> None:
    model, tokens = small(mixer), torch.randint(0, 5, (2, 24))
    result = memory_horizon(model, tokens)
    [(_, transition)] = transitions_of(model, tokens)
    mean = transition.log_abs_det().mean(1)
    for head in {0, mean.shape[1] - 1}:
        own = result.table.query(f"sequence == 1 and head == {head}")
        assert own["exponent"].is_monotonic_decreasing
        if len(own) == transition.size and torch.isfinite(mean[1, head]):
            assert own["exponent"].sum() == pytest.approx(float(mean[1, head]), rel=1e-7, abs=1e-9)
        top = np.log(np.linalg.norm(product(transition, 1, head, range(24)), 2)) / 24
        assert abs(own["exponent"].iloc[0] - top) < 0.15  # both are the growth of the fastest direction, up to O(1 / T)
    assert result.summary() and len(result.specification().panels) == 2


def test_half_lives_are_those_of_the_decays() -> None:
    """RetNet's heads decay by 1 - 2^(-5-h): the half-life is ln 2 over minus its log."""
    model = small(RetNet(heads=2))
    table = memory_horizon(model, torch.randint(0, 5, (1, 30))).table
    for head in (0, 1):
        expected = np.log(2) / -np.log(1 - 2.0 ** (-5 - head))
        assert table.loc[table["head"] == head, "half_life"].tolist() == pytest.approx([expected] * 6, rel=1e-5)
    assert half_life(0.0) == half_life(0.1) == np.inf and half_life(-np.inf) == 0 and half_life(-np.log(2)) == pytest.approx(1)
