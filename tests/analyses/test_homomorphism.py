"""The homomorphism test on maps that are representations, on ones that are not, and on models."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from statescope import DeltaNet, Model, ModelConfig
from statescope.analyses.automata.groups import representation
from statescope.analyses.automata.homomorphism import compose_as, homomorphism, mean_maps
from statescope.probe.mixers import LRU, Attention
from statescope.probe.tasks import WordProblem


def block(*parts: torch.Tensor) -> torch.Tensor:
    """Maps side by side on a diagonal."""
    return torch.stack([torch.block_diag(*matrices) for matrices in zip(*parts, strict=True)])


@pytest.mark.parametrize("group", ["Z5", "S3", "S4", "A5"])
def test_a_representation_composes_and_a_wrong_one_does_not(group: str) -> None:
    rho = representation(group)
    frame = torch.linalg.qr(torch.randn(rho.shape[-1], rho.shape[-1], dtype=torch.float64)).Q
    found = compose_as(frame @ rho @ frame.mT, group)
    assert found.errors.max() < 1e-9 and found.basis.shape[1] == rho.shape[-1]
    # The wrong variant: two elements are exchanged.
    wrong = rho.clone()
    wrong[[1, 2]] = rho[[2, 1]]
    assert compose_as(wrong, group).errors.max() > 0.3
    # And the other order of composition, which is that of the inverses.
    if not group.startswith("Z"):
        assert compose_as(rho.mT, group).errors.mean() > 0.3


def test_the_subspace_is_found_beside_what_decays() -> None:
    """A representation on two dimensions, and on three more whatever shrinks."""
    rho = representation("S3")
    noise = 0.2 * torch.randn(6, 3, 3, dtype=torch.float64)
    frame = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    found = compose_as(frame @ block(rho, noise) @ frame.mT, "S3")
    assert found.basis.shape[1] == 2 and found.inside.max() < 1e-9 and found.errors.max() > 0.01
    torch.testing.assert_close(found.basis @ found.basis.mT, frame[:, :2] @ frame[:, :2].mT, rtol=0, atol=1e-9)
    assert found.power["2"] == pytest.approx(1)


def test_a_quotient_is_told_from_the_group() -> None:
    """The sign of a permutation composes too, but lies in another irreducible representation."""
    sign = torch.linalg.det(representation("S3"))[:, None, None]
    found = compose_as(sign, "S3")
    assert (
        found.errors.max() < 1e-12 and found.power["1b"] == pytest.approx(1) and found.power["2"] == pytest.approx(0, abs=1e-12)
    )
    turned = torch.exp(2j * torch.pi * torch.arange(5).double() / 5)[:, None, None]
    found = compose_as(turned, "Z5")
    assert found.errors.max() < 1e-12 and max(found.power.values()) == pytest.approx(1)


def test_nothing_composes_where_all_shrinks() -> None:
    found = compose_as(0.3 * representation("S3"), "S3")
    assert found.basis.shape[1] == 0 and found.inside.isnan().all() and found.errors.max() > 0.3
    with pytest.raises(ValueError, match="a map of S3 needs 6 square matrices"):
        compose_as(representation("S4"), "S3")


def test_means_and_spread_are_those_of_the_tokens() -> None:
    tokens = torch.tensor([[0, 1, 0], [1, 1, 0]])
    matrices = torch.arange(6.0, dtype=torch.float64).reshape(2, 3, 1, 1)
    mean, spread = mean_maps(matrices, tokens, 2)
    assert mean.flatten().tolist() == [(0 + 2 + 5) / 3, (1 + 3 + 4) / 3]
    exact = torch.tensor([0, 1, 2, 3, 4, 5.0]) - mean.flatten()[tokens.flatten()]
    assert spread == pytest.approx(float(exact.norm() / matrices.norm()))


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 6, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()


def test_a_model_is_measured_head_by_head() -> None:
    task = WordProblem("S3")
    tracking, complex_one = small(DeltaNet(heads=2, short_convolution=0, householders=2)), small(LRU(state_size=4))
    result = homomorphism({"delta": tracking, "lru": complex_one}, task, sequences=4, length=32)
    assert len(result.select(model="delta", head=1).table) == 36
    heads = result.about["heads"]
    assert heads["delta, layer 0, head 0"]["spread"] < 1e-9  # one token, one transition
    assert sum(heads["lru, layer 0, head 0"]["power"].values()) == pytest.approx(1)
    # A time-invariant transition is the same for all elements: all its power is trivial.
    assert heads["lru, layer 0, head 0"]["power"]["trivial"] == pytest.approx(1)
    assert "S3 composes with an error" in result.summary() and len(result.specification().panels) == 4
    with pytest.raises(ValueError, match="elements are in none of the words"):
        homomorphism(small(DeltaNet(heads=2), vocabulary=120), WordProblem("S5"), sequences=1, length=8)
    with pytest.raises(ValueError, match="linear transition"):
        homomorphism(small(Attention(heads=2)), task)
