"""The spectrum of a tangent kernel, and what targets share with it."""

from __future__ import annotations

import math

import pytest
import torch

from statescope.analyses.ntk.measures import kernel_target_alignment, label_gradient_alignment
from statescope.analyses.ntk.spectrum import tangent_spectrum
from statescope.analyses.operators.nystrom import NotPositiveError


def test_targets_of_one_class_align_with_nothing() -> None:
    one = torch.zeros(4, dtype=torch.long)
    assert math.isnan(kernel_target_alignment(torch.eye(4), one)) and math.isnan(label_gradient_alignment(torch.eye(4), one))
    table = tangent_spectrum({("m", "now"): torch.eye(4)}, one).table
    assert table[["target_share", "alignment"]].isna().all(axis=None) and table["eigenvalue"].eq(1).all()


def test_what_is_the_same_for_all_samples_aligns_with_nothing() -> None:
    """Its mean taken off leaves rounding, whose direction would be a number between -1 and 1."""
    classes, varying = torch.arange(7) % 2, torch.arange(7.0, dtype=torch.float64)[:, None]
    same = torch.full((7, 7), 0.1, dtype=torch.float64) / 3
    assert math.isnan(kernel_target_alignment(same, classes)) and math.isnan(label_gradient_alignment(same, classes))
    assert math.isnan(kernel_target_alignment(varying @ varying.T, same[:, :1]))
    assert kernel_target_alignment(varying @ varying.T, varying) == pytest.approx(1)


def test_targets_that_are_an_eigenvector_lie_in_the_first_direction() -> None:
    """Two balanced classes: their centred one-hot matrix has one direction y. With K = I + 9 y y^T it comes first."""
    targets = torch.tensor([0, 1] * 10)
    y = torch.nn.functional.normalize(2.0 * targets.double() - 1, dim=0)
    kernel = torch.eye(20, dtype=torch.float64) + 9 * torch.outer(y, y)
    spectrum = tangent_spectrum({("m", "now"): kernel}, targets).table
    assert spectrum["eigenvalue"].iloc[0] == pytest.approx(10)
    assert spectrum["target_share"].iloc[0] == pytest.approx(1)
    assert spectrum["effective_rank"].iloc[0] == pytest.approx(29**2 / (100 + 19))
    # centred: I loses its mean direction, so K_c = (I - 11^T/20) + 9 yy^T; alignment with yy^T
    expected = 10 / (100 + 18) ** 0.5
    assert spectrum["alignment"].iloc[0] == pytest.approx(expected)
    shuffled = tangent_spectrum({("m", "now"): kernel}, targets[torch.randperm(20)]).table
    assert shuffled["alignment"].iloc[0] < 0.9 * expected


def test_a_kernel_that_is_not_positive_is_refused() -> None:
    kernel = torch.eye(4, dtype=torch.float64)
    kernel[0, 1] = kernel[1, 0] = 2.0
    with pytest.raises(NotPositiveError, match="eigenvalue -1"):
        tangent_spectrum({("m", "now"): kernel}, torch.tensor([0, 1, 0, 1]))
