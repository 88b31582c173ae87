"""Numbers of a tangent kernel against their definitions written out, its motion in training, and the kernel of a state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from every_mixer import MIXERS, label
from torch import Tensor

from statescope import DeltaNet, Model, ModelConfig
from statescope.analyses.automata.groups import characters, inverses
from statescope.analyses.ntk.empirical_ntk import by_layer, empirical_ntk, tangent_kernel
from statescope.analyses.ntk.measures import (
    choose_by_coding_rate,
    coding_rate,
    condition,
    decay_exponent,
    effective_rank,
    kernel_distance,
    kernel_target_alignment,
    label_gradient_alignment,
    relative_change,
    stable_rank,
)
from statescope.analyses.ntk.modes import fourier_modes, irrep_modes, kernel_modes
from statescope.analyses.ntk.motion import WHOLE, tangent_motion
from statescope.analyses.ntk.results.motion import TangentMotion
from statescope.analyses.ntk.selection import choose_by_largest_cluster
from statescope.analyses.ntk.spectrum import tangent_spectrum
from statescope.analyses.ntk.state import StateReadout, state_tangent
from statescope.analyses.operators.nystrom import NotPositiveError
from statescope.kernels.arguments import NonFiniteError
from statescope.probe.tasks.word_problem import multiplication

DOUBLE = torch.float64


def positive(size: int, rank: int, seed: int = 0) -> Tensor:
    rows = torch.randn(size, rank, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return rows @ rows.T


def test_ranks_and_condition_of_known_spectra() -> None:
    rotation = torch.linalg.qr(torch.randn(7, 7, dtype=DOUBLE)).Q
    values = torch.tensor([4.0, 2, 2, 1, 1, 1, 1], dtype=DOUBLE)
    kernel = rotation @ torch.diag(values) @ rotation.T
    assert effective_rank(kernel) == pytest.approx(12**2 / 28)
    assert stable_rank(kernel) == pytest.approx(3.0)
    assert condition(values) == 4.0
    assert condition(torch.linalg.eigvalsh(positive(7, 3))) == float("inf")
    assert effective_rank(torch.eye(7, dtype=DOUBLE)) == pytest.approx(7)


def test_the_exponent_of_a_power_law() -> None:
    values = 3 * torch.arange(1, 101, dtype=DOUBLE) ** -1.7
    found = decay_exponent(values[torch.randperm(100)])
    assert found.exponent == pytest.approx(1.7, abs=1e-10)
    assert found.explained == pytest.approx(1.0)
    assert decay_exponent(torch.exp(-torch.arange(40, dtype=DOUBLE))).explained < 0.98
    with pytest.raises(ValueError, match="three positive eigenvalues"):
        decay_exponent(torch.tensor([1.0, 0, 0, 0]))


def test_alignments_are_their_definitions() -> None:
    kernel, classes = positive(9, 20), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])
    centring = torch.eye(9, dtype=DOUBLE) - 1 / 9
    y = torch.nn.functional.one_hot(classes).double()
    own, gram = centring @ kernel @ centring, centring @ y @ y.T @ centring
    assert kernel_target_alignment(kernel, classes) == pytest.approx(float((own * gram).sum() / own.norm() / gram.norm()))
    assert kernel_target_alignment(kernel, y) == pytest.approx(kernel_target_alignment(kernel, classes))
    same = np.where(classes[:, None] == classes[None], 1.0, -1.0)
    correlation = np.corrcoef(kernel.numpy().ravel(), same.ravel())[0, 1]
    assert label_gradient_alignment(kernel, classes) == pytest.approx(correlation)
    assert label_gradient_alignment(kernel + 5, classes) == pytest.approx(correlation)
    assert label_gradient_alignment(torch.tensor(same), classes) == pytest.approx(1.0)
    assert kernel_target_alignment(kernel, classes) != pytest.approx(correlation, abs=1e-3)
    assert math.isnan(kernel_target_alignment(kernel, torch.zeros(9, dtype=torch.long)))
    assert math.isnan(label_gradient_alignment(kernel, torch.zeros(9, dtype=torch.long)))


def test_random_labels_align_as_the_trace_says() -> None:
    """E y^T K y / (n |K|_F) over random signs is tr K / (n |K|_F)."""
    kernel = positive(40, 30)
    signs = torch.randint(0, 2, (40, 20000), generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    found = (signs * (kernel @ signs)).sum(0) / (40 * kernel.norm())
    assert float(found.mean()) == pytest.approx(float(kernel.trace() / (40 * kernel.norm())), rel=0.01)
    assert float(found.mean()) != pytest.approx(float(kernel.trace() / kernel.norm()), rel=0.01)


def test_distances() -> None:
    kernel, other = positive(6, 9, 1), positive(6, 9, 2)
    assert kernel_distance(kernel, 3 * kernel) == pytest.approx(0, abs=1e-14)
    assert relative_change(3 * kernel, kernel) == pytest.approx(2.0)
    assert 0 < kernel_distance(kernel, other) < 1


def test_the_coding_rate_grows_as_chosen() -> None:
    kernel, precision = positive(12, 5), 0.3
    found = choose_by_coding_rate(kernel, 8, precision)
    for count in range(1, 9):
        own = kernel[found.chosen[:count]][:, found.chosen[:count]]
        assert sum(found.gains[:count]) == pytest.approx(coding_rate(own, precision), abs=1e-8)
    assert all(later <= earlier + 1e-12 for earlier, later in zip(found.gains[:-1], found.gains[1:], strict=True))
    best = max(
        range(12),
        key=lambda i: (
            coding_rate(kernel[[found.chosen[0], i]][:, [found.chosen[0], i]], precision) if i != found.chosen[0] else 0.0
        ),
    )
    assert found.chosen[1] == best
    twice = [0, 0, 1, 1, 2, 2]
    assert coding_rate(kernel[twice][:, twice], precision) < coding_rate(kernel[:6, :6], precision)
    without_noise_of_the_chosen = 0.5 * math.log1p(float(kernel[found.chosen[1], found.chosen[1]]) / precision)
    assert found.gains[1] < without_noise_of_the_chosen - 1e-6
    with pytest.raises(ValueError, match="must be positive"):
        coding_rate(kernel, 0.0)
    with pytest.raises(ValueError, match="between 1 and 12"):
        choose_by_coding_rate(kernel, 13, precision)


def test_fourier_modes_are_the_eigenvectors_of_a_circulant_kernel() -> None:
    numbers = torch.arange(16)
    kernel = 5.0 * torch.ones(16, 16, dtype=DOUBLE) / 16
    for k, value in ((3, 4.0), (1, 1.5), (8, 1.0)):
        kernel = kernel + value * torch.cos(2 * math.pi * k * (numbers[:, None] - numbers) / 16)
    found = kernel_modes(kernel, fourier_modes(numbers, 16), 6)
    shares = found.table.pivot(index="mode", columns="index", values="share")
    for mode, ranks in {"frequency 3": [1, 2], "frequency 1": [4, 5], "frequency 8": [3]}.items():
        assert shares.loc[mode, ranks].to_numpy() == pytest.approx(1.0)
    assert shares.loc["frequency 0"].to_numpy() == pytest.approx([0, 0, 0, 0, 0, 1])
    learned = found.select(mode="frequency 1").table["learned"]
    assert learned.to_numpy() == pytest.approx([0, 0, 0, 0.5, 1, 1])
    assert found.select(mode="frequency 1").table["dimension"].iloc[0] == 2
    shuffled = kernel_modes(kernel, fourier_modes(numbers[torch.randperm(16)], 16), 2)
    assert shuffled.table.groupby("index")["share"].max().max() < 0.9


def test_a_kernel_that_a_group_leaves_alone_has_irreps_as_eigenvectors() -> None:
    """K(g, h) = sum_rho l_rho (d_rho / |G|) chi_rho(g h^-1) has d_rho^2 eigenvectors of eigenvalue l_rho."""
    group, levels = "S4", {"trivial": 1.0, "1b": 7.0, "2": 3.0, "3a": 9.0, "3b": 2.0}
    table, inverse = multiplication(group), inverses(group)
    quotient = table[torch.arange(24)[:, None], inverse]
    parts = {name: (value[0].real / 24 * value.real)[quotient] for name, value in characters(group).items()}
    kernel = torch.stack([levels[name] * part for name, part in parts.items()]).sum(0)
    found = kernel_modes(kernel, irrep_modes(torch.arange(24), group), 24)
    order = [("3a", 9), ("1b", 1), ("2", 4), ("3b", 9), ("trivial", 1)]
    expected = [name for name, count in order for _ in range(count)]
    best = found.table.loc[found.table.groupby("index")["share"].idxmax()]
    assert list(best["mode"]) == expected
    assert best["share"].to_numpy() == pytest.approx(1.0)
    assert found.table.groupby("index")["share"].sum().to_numpy() == pytest.approx(1.0)
    assert "1 3a (1.00)" in found.summary()
    elements = torch.randperm(24)[:20]
    part = kernel_modes(kernel[elements][:, elements], irrep_modes(elements, group), 5)
    assert part.select(mode="3a").table["share"].iloc[0] > 0.9
    with pytest.raises(ValueError, match="an entry for each sample"):
        kernel_modes(kernel, irrep_modes(elements, group), 3)
    with pytest.raises(ValueError, match="between 1 and 24"):
        kernel_modes(kernel, irrep_modes(torch.arange(24), group), 25)
    with pytest.raises(ValueError, match="zero on all"):
        kernel_modes(kernel, {"none": torch.zeros(24, 1)}, 3)


def test_complex_irreps_stand_with_their_conjugates() -> None:
    """A4 has two complex characters of degree 1, conjugates of each other: one mode of two real functions."""
    modes = irrep_modes(torch.arange(12), "A4")
    assert sorted(mode.shape[1] for mode in modes.values()) == [1, 2, 9]
    both = torch.cat([torch.linalg.qr(mode).Q for mode in modes.values()], dim=1)
    torch.testing.assert_close(both.mT @ both, torch.eye(12, dtype=DOUBLE), atol=1e-9, rtol=0)
    assert list(irrep_modes(torch.arange(7), "Z7")) == ["frequency 0", "frequency 1", "frequency 2", "frequency 3"]


def test_motion_in_training_by_layer() -> None:
    torch.manual_seed(0)
    model = Model(ModelConfig(vocabulary=4, width=8, layers=2, mixer=DeltaNet(heads=2), seed=0))
    x = torch.randint(0, 4, (10, 6), generator=torch.Generator().manual_seed(0))
    y, kernels = x[:, 0] % 2, {}
    optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if not n.startswith("blocks.0")], lr=1e-2)
    for step in range(21):
        if step % 10 == 0:
            kernels["m", step] = tangent_kernel(model.eval(), x, group=by_layer)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x)[:, -1], y).backward()
        optimizer.step()
    found = tangent_motion(kernels, y)
    whole = found.select(model="m", group=WHOLE).table
    assert list(whole["step"]) == [0, 10, 20]
    last = whole.iloc[-1]
    assert last["change"] == pytest.approx(relative_change(kernels["m", 20].values, kernels["m", 0].values))
    assert last["velocity"] == pytest.approx(kernel_distance(kernels["m", 20].values, kernels["m", 10].values) / 10)
    assert last["change"] > 0.01
    assert whole["distance"].iloc[0] == pytest.approx(0, abs=1e-12)
    parts = found.table[(found.table["group"] != WHOLE) & (found.table["step"] == 20)]
    assert parts["share"].sum() == pytest.approx(1)
    panels = found.specification().panels
    assert found.summary() and [len(panel.marks) for panel in panels] == [len(kernels["m", 0].parts) + n for n in (1, 1, 0)]
    two = TangentMotion(pd.concat([found.table, found.table.assign(model="n")], ignore_index=True)).specification().panels
    assert [panel.title.rsplit(": ")[-1] for panel in two] == ["m", "n"] * 3  # a colour is a group's, in the panels of all models
    assert {mark.label for panel in two for mark in panel.marks} == {WHOLE, *kernels["m", 0].parts}
    with pytest.raises(ValueError, match="other groups at one step"):
        tangent_motion({**kernels, ("m", 30): tangent_kernel(model.eval(), x)}, y)
    with pytest.raises(ValueError, match="two steps at least"):
        tangent_motion({("m", 0): kernels["m", 0]}, y)
    with pytest.raises(ValueError, match=r"kernels must be \[N, N\]"):
        tangent_motion({("m", step): tangent_kernel(model, x, output="full") for step in (0, 1)}, y)


# --- states -------------------------------------------------------------------------------------------------------------------

WITH_STATE = [mixer for mixer in MIXERS if mixer.has_state]


@pytest.mark.parametrize("mixer", WITH_STATE, ids=label)
def test_the_kernel_of_a_state_is_that_of_its_gradients(mixer: Any) -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=mixer)).double().eval()
    tokens = torch.randint(0, 5, (2, 5))
    size = StateReadoutSize.of(model, tokens)
    readout = StateReadout(model, 0, [1, 4], torch.randn(2, size, dtype=DOUBLE))
    found = empirical_ntk(readout, tokens, output="full")
    parameters = [value for value in readout.parameters() if value.requires_grad]
    rows = []
    for row in tokens:
        for value in readout(row[None])[0]:
            gradient = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([part.flatten() for part in gradient]))
    stacked = torch.stack(rows)
    exact = stacked @ stacked.T
    assert (found.flatten(2).flatten(0, 1) - exact).norm() <= 1e-10 * exact.norm()


class StateReadoutSize:
    @staticmethod
    def of(model: Model, tokens: Tensor) -> int:
        from statescope.analyses.ntk.state import states_after

        with torch.no_grad():
            return states_after(model, tokens[:1], 0, [0]).shape[-1]


def test_times_couple() -> None:
    """What is read after a token depends on no later one, and a state couples with itself by 1."""
    model = Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=DeltaNet(heads=2))).eval()
    tokens = torch.randint(0, 5, (6, 9))
    found = state_tangent(model, tokens, [0, 4, 8], directions=3)
    own = found.table
    assert len(own) == 2 * 9
    assert np.allclose(own[own["position"] == own["other"]]["coupling"], 1)
    assert found.value("coupling", layer=1, position=0, other=8) == pytest.approx(
        found.value("coupling", layer=1, position=8, other=0)
    )
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 5
    after = state_tangent(model, changed, [0, 4, 8], directions=3)
    assert after.value("kernel", layer=1, position=0, other=4) == pytest.approx(
        found.value("kernel", layer=1, position=0, other=4)
    )
    assert after.value("kernel", layer=1, position=8, other=8) != pytest.approx(
        found.value("kernel", layer=1, position=8, other=8)
    )
    assert found.summary() and found.specification().panels
    layers = [state_tangent(model, tokens, [4], layers=[1], directions=3, parameters=f"blocks.{layer}.*") for layer in (0, 1)]
    embedding = state_tangent(model, tokens, [4], layers=[1], directions=3, parameters=["embed.*"])
    whole = state_tangent(model, tokens, [4], layers=[1], directions=3)
    parts = [one.value("kernel", layer=1, position=4, other=4) for one in (*layers, embedding)]
    assert min(parts) > 0 and sum(parts) == pytest.approx(whole.value("kernel", layer=1, position=4, other=4))
    with pytest.raises(ValueError, match="directions=0"):
        state_tangent(model, tokens, [4], directions=0)
    with pytest.raises(ValueError, match="has no state"):
        from statescope import Attention

        StateReadout(Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=Attention(heads=2))), 0, [0], torch.ones(1, 8))


def largest_cluster(points: np.ndarray, labelled: list[int], count: int) -> list[int]:
    """The rule of `choose_by_largest_cluster`, written out from points."""
    centres = list(labelled)
    for _ in range(count):
        clusters: dict[int, list[tuple[float, int]]] = {centre: [] for centre in centres}
        for index in set(range(len(points))) - set(centres):
            away = [((points[index] - points[centre]) ** 2).sum() for centre in centres]
            clusters[centres[int(np.argmin(away))]].append((min(away), index))
        most = max((own for own in clusters.values() if own), key=lambda own: sum(away for away, _ in own))
        centres.append(max(most)[1])
    return centres[len(labelled) :]


@pytest.mark.parametrize("samples", [5, 40])
def test_the_farthest_of_the_largest_cluster_is_chosen(samples: int) -> None:
    points = np.random.default_rng(0).standard_normal((samples, 3)) * np.linspace(0.1, 2, samples)[:, None]
    kernel = torch.tensor(points @ points.T)
    chosen = choose_by_largest_cluster(kernel, [1, 3], samples - 2 if samples == 5 else 12)
    assert chosen == largest_cluster(points, [1, 3], len(chosen))


def test_many_that_no_label_is_near_to_come_before_one_far_away() -> None:
    """On a line: 30 points about 3, one at 6, the label at 0."""
    places = torch.cat([torch.zeros(1), torch.linspace(2.9, 3.1, 30), torch.tensor([6.0])]).double()
    first, second = choose_by_largest_cluster(torch.outer(places, places), [0], 2)
    assert first == 31  # the farthest of the one cluster there is
    assert 2.8 < float(places[second]) < 3.2  # whose centres are now 0 and 6: these lie nearer to 0
    with pytest.raises(ValueError, match="between 1 and 31"):
        choose_by_largest_cluster(torch.outer(places, places), [0], 32)
    with pytest.raises(ValueError, match="different indices below 32"):
        choose_by_largest_cluster(torch.outer(places, places), [0, 0], 2)


UPPER = torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 2.0]])  # whose lower half says another kernel
INDEFINITE = torch.diag(torch.tensor([1.0, -3.0, 2.0]))
REFUSED = [
    (lambda: coding_rate(INDEFINITE, 1.0), NotPositiveError, "eigenvalue -2"),
    (lambda: choose_by_coding_rate(INDEFINITE, 3, 1.0), NotPositiveError, "eigenvalue -3"),
    (lambda: coding_rate(torch.full((2, 2), float("nan")), 1.0), NonFiniteError, "kernel is nan"),
    (lambda: decay_exponent(torch.tensor([1.0, 0.5, 0.25, float("nan"), 0.1, 0.05])), NonFiniteError, "eigenvalues"),
    (lambda: kernel_target_alignment(torch.eye(3), torch.tensor([1.0, 2.0, 3.0])), ValueError, "numbers are"),
    (lambda: kernel_target_alignment(torch.eye(3), torch.tensor([-100, 0, 1])), ValueError, "whole numbers from 0"),
    (lambda: kernel_target_alignment(torch.eye(3), torch.ones(2, 1)), ValueError, "of 2 samples"),
    (lambda: label_gradient_alignment(torch.eye(3), torch.eye(3)), ValueError, "whole numbers from 0"),
    (lambda: kernel_target_alignment(UPPER, torch.tensor([0, 1, 1])), ValueError, "not symmetric"),
    (lambda: label_gradient_alignment(UPPER, torch.tensor([0, 1, 1])), ValueError, "not symmetric"),
    (lambda: coding_rate(UPPER, 1.0), ValueError, "not symmetric"),
    (lambda: coding_rate(torch.eye(3), float("nan")), ValueError, "precision=nan must be positive"),
    (lambda: kernel_modes(torch.eye(3), {}, 1), ValueError, "no modes were given"),
    (lambda: irrep_modes(torch.ones(3), "S3"), ValueError, "whole numbers"),
    (lambda: irrep_modes(torch.ones(3, dtype=torch.bool), "S3"), ValueError, "whole numbers"),
    (lambda: tangent_motion({}, torch.tensor([0])), ValueError, "none were given"),
    (lambda: tangent_kernel(torch.nn.Linear(2, 1), torch.ones(2, 2), method="projected", features=0), ValueError, "features=0"),
    (lambda: kernel_modes(UPPER, {"all": torch.eye(3)}, 1), ValueError, "not symmetric"),
    (lambda: tangent_spectrum({("m", "now"): UPPER}, torch.tensor([0, 1, 1])), ValueError, r"m \(now\) is not symmetric"),
    (lambda: tangent_spectrum({("m", "now"): torch.eye(3)}, torch.rand(3)), ValueError, "whole numbers from 0"),
    (lambda: tangent_spectrum({("m", "now"): torch.eye(3)}, torch.tensor([0, 1])), ValueError, r"must be \[3\] whole"),
    (lambda: kernel_distance(torch.eye(3), torch.eye(2)), ValueError, "must be 3"),
    (lambda: relative_change(torch.full((2, 2), float("inf")), torch.eye(2)), NonFiniteError, "kernel is inf"),
    (lambda: fourier_modes(torch.tensor([0.5, 1.0]), 3), ValueError, "whole numbers"),
    (lambda: irrep_modes(torch.tensor([0, -1]), "S3"), IndexError, r"0 \.\. 5"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_kernel_or_class_is_refused(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
