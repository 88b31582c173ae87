"""Intrinsic dimension of clouds whose dimension is known, and projections of states whose classes are."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from statescope import Model, ModelConfig
from statescope.analyses.geometry.intrinsic_dimension import dimensions_of, intrinsic_dimension
from statescope.analyses.geometry.state_projection import state_projection
from statescope.probe.errors import MissingPackageError
from statescope.probe.mixers import LRU, Attention, DeltaNet, Elman


def cloud(dimension: int, count: int = 1500, seed: int = 0) -> np.ndarray:
    """A curved surface of this dimension in 11 numbers."""
    rng = np.random.default_rng(seed)
    flat = rng.uniform(-1, 1, (count, dimension))
    turned = np.linalg.qr(rng.normal(size=(11, 11)))[0]
    curved = np.concatenate([flat, 0.3 * np.sin(2 * flat), np.zeros((count, 11 - 2 * dimension))], axis=1)
    return curved @ turned


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_a_surface_has_its_dimension(dimension: int) -> None:
    points, two, low, high, many, linear = dimensions_of(cloud(dimension))
    assert points == 1500 and low < two < high and two == pytest.approx(dimension, rel=0.15)
    assert many == pytest.approx(dimension, rel=0.15) and low <= dimension * 1.1 and high >= dimension * 0.9
    assert linear == pytest.approx(dimension, rel=0.1)


def test_a_curve_is_one_dimensional_whatever_it_spans() -> None:
    """A helix: two neighbours see one dimension, its covariance more; and r3 / r1, the wrong ratio, half of one."""
    angle = np.sort(np.random.default_rng(1).uniform(0, 30, 2000))
    helix = np.stack([np.cos(angle), np.sin(angle), angle / 8], axis=1)
    _, two, _, _, many, linear = dimensions_of(helix)
    assert two == pytest.approx(1, abs=0.1) and many == pytest.approx(1, abs=0.1) and linear > 1.8
    distances = np.sort(np.linalg.norm(helix[:, None] - helix, axis=-1), axis=1)[:, 1:4]
    assert len(helix) / np.log(distances[:, 2] / distances[:, 0]).sum() < 0.75


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = [
        low <= 2 <= high
        for _, _, low, high, _, _ in (dimensions_of(np.random.default_rng(s).uniform(size=(300, 2))) for s in range(40))
    ]
    assert sum(held) >= 28  # neighbours are not independent, and edges are no plane: a little less than 95%


def test_scale_duplicates_and_few_points() -> None:
    points = cloud(2, 400)
    own = dimensions_of(points)
    assert dimensions_of(1e-8 * points)[1] == pytest.approx(own[1], rel=1e-3)
    twice = dimensions_of(np.concatenate([points, points]))
    assert twice[0] == 400 and twice[1] == pytest.approx(own[1])
    few = dimensions_of(np.eye(3)[np.arange(60) % 3])
    assert few[0] == 3 and np.isnan(few[1]) and few[5] == pytest.approx(2, rel=1e-6)
    constant = dimensions_of(np.ones((50, 4)))
    assert constant[0] == 1 and constant[5] == 0


def small(mixer: Any) -> Model:
    return Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=mixer)).double().eval()


TOKENS = torch.randint(0, 5, (6, 20), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mixer", [DeltaNet(heads=2), LRU(state_size=3), Elman(heads=2)])
def test_of_a_model(mixer: Any) -> None:
    result = intrinsic_dimension(small(mixer), TOKENS, neighbours=5)
    assert set(result.table["layer"]) == {0, 1} and "linear dimension" in result.summary()
    assert (result.table["linear"] <= result.table["channels"] + 1e-9).all() and result.specification().panels
    with pytest.raises(ValueError, match="must be at least 3"):
        intrinsic_dimension(small(mixer), TOKENS, neighbours=2)
    with pytest.raises(ValueError, match="no layer of this model has a state"):
        intrinsic_dimension(small(Attention(heads=2)), TOKENS)


def test_states_that_are_told_apart_and_labels_that_are_not() -> None:
    """An Elman state says which token came last; labels that are drawn at random it does not say on sequences left out."""
    model = small(Elman(heads=2))
    tokens = torch.randint(0, 5, (24, 20), generator=torch.Generator().manual_seed(3))
    result = state_projection(model, tokens, tokens, label="token")
    within, between, accuracy = result.about["distances"]["model, layer 0"]
    assert within < 0.9 * between and accuracy > 0.7
    assert "token" in result.summary() and len(result.specification().panels) == 4
    assert result.table["sequence"].min() == 12 and set(result.table["axes"]) == {"discriminant", "principal"}
    drawn = torch.randint(0, 5, tokens.shape, generator=torch.Generator().manual_seed(4))
    within, between, accuracy = state_projection(model, tokens, drawn).about["distances"]["model, layer 0"]
    assert within == pytest.approx(between, rel=0.05) and accuracy < 0.35
    with pytest.raises(ValueError, match="2 states of as many classes"):
        state_projection(model, tokens[:4, :1], torch.arange(4)[:, None])
    for labels, message in ((tokens[:, :3], "tokens need whole numbers"), (torch.ones_like(tokens), "has one class")):
        with pytest.raises(ValueError, match=message):
            state_projection(model, tokens, labels)
    with pytest.raises(ValueError, match="3 are too few"):
        state_projection(model, tokens[:3], tokens[:3])


HELD_OUT = [[0, 1, 2], [0, 1, 2]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([[0, 0, 1], [1, 0, 2], *HELD_OUT], "of 3 classes 1 has a single state to fit axes on"),
        ([[0, 0, 1], [1, 1, 0], *HELD_OUT], ""),
        ([[0, 0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 0]], "that is drawn has one class"),
        ([[0, 0, 1], [1, 0, 1], [0, 1, 2], [3, 4, 5]], "that is drawn has 6 states of as many classes"),
        ([[0, 0, 1], [1, 0, 1], [-100] * 3, [-100] * 3], "that is drawn has no state with a label"),
    ],
)
def test_too_few_states_of_a_class_are_told_in_our_words(labels: list[list[int]], told: str) -> None:
    """scikit-learn warned of "one sample" and of an array to reshape, and numpy of an empty slice."""
    tokens = torch.randint(0, 5, (4, 3), generator=torch.Generator().manual_seed(3))

    def project() -> str:
        return state_projection(small(Elman(heads=2)), tokens, torch.tensor(labels)).summary()

    if told.startswith("that"):
        with pytest.raises(ValueError, match=told):
            project()
    else:
        assert told in project() and ("single state" in project()) == bool(told) and "nan times" not in project()


def test_states_that_do_not_vary_within_their_classes_are_refused_in_our_words() -> None:
    """The system's library said which leading minor of B is not positive definite."""
    model = small(DeltaNet(heads=2))
    for parameter in model.parameters():
        parameter.data.zero_()
    tokens = torch.randint(0, 5, (4, 6), generator=torch.Generator().manual_seed(3))
    with pytest.raises(
        ValueError, match="the 12 states of . classes that axes are fitted on do not vary within their classes along"
    ):
        state_projection(model, tokens, tokens)


def test_a_map_by_umap_keeps_states_of_one_token_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(Elman(heads=2))
    tokens = torch.randint(0, 5, (12, 12), generator=torch.Generator().manual_seed(3))
    found = state_projection(model, tokens, tokens, label="token", neighbours=8)
    own = found.table[(found.table["axes"] == "umap") & (found.table["layer"] == 0)]
    points, labels = own[["first", "second"]].to_numpy(), own["label"].to_numpy()
    nearest = np.linalg.norm(points[:, None] - points, axis=-1) + np.diag(np.full(len(points), np.inf))
    assert (labels[nearest.argmin(1)] == labels).mean() > 0.8 > (np.random.default_rng(0).permutation(labels) == labels).mean()
    again = state_projection(model, tokens, tokens, label="token", neighbours=8)
    pd.testing.assert_frame_equal(found.table, again.table)
    for neighbours, message in ((1, "at least 2"), (72, "72 neighbours of 72 states")):
        with pytest.raises(ValueError, match=message):
            state_projection(model, tokens, tokens, neighbours=neighbours)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingPackageError, match=r"pip install \"statescope\[umap\]\""):
        state_projection(model, tokens, tokens, neighbours=8)
