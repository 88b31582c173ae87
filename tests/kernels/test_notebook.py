"""What a notebook shows of transitions."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn.functional import normalize

from statescope import Transition
from statescope.kernels.notebook import complex_plane, titled_table


def test_cells_are_text() -> None:
    shown = titled_table("<b>", [("<img src=x>", "a & b")], "<hr>")
    assert "<img" not in shown and "&lt;img src=x&gt;" in shown and "a &amp; b" in shown and shown.count("<b>") == 1
    assert shown.endswith("</table><hr></div>")


def test_the_plane_has_a_point_for_each_number_with_the_imaginary_axis_upward() -> None:
    shown = complex_plane(torch.tensor([[0.5 + 0.25j, 0.5 - 2j]], requires_grad=True), "Eigenvalues")
    assert re.findall(r'cx="(\S+)" cy="(\S+)"', shown) == [("0.5", "-0.25"), ("0.5", "2")]
    left, top, width, height = map(float, re.findall(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', shown)[0])
    assert left == top < -2 and width == height == pytest.approx(-2 * left, rel=1e-3)


def test_transitions_say_which_share_of_eigenvalues_is_negative() -> None:
    """Of three reflections of four channels, and one identity, 3 of 16 eigenvalues are -1."""
    key = normalize(torch.ones(4, 1, 4), dim=-1)
    shown = Transition.householders(key, torch.tensor([[2.0], [2.0], [2.0], [0.0]]))._repr_html_()
    assert "4 transitions" in shown and "a multiple of the identity and a part of rank 1" in shown
    assert "of modulus 1 to 1" in shown and "<td>real and below 0</td><td>18.8% of them" in shown and "0.0% of them" in shown
    assert shown.count("<circle cx") == 8  # those that differ, of each


def test_many_transitions_show_some_and_odd_ones_what_they_are() -> None:
    many = Transition.diagonal_only(torch.linspace(-1, 0, 48_000).reshape(3, 1000, 2, 8).requires_grad_(), 8)
    assert many._repr_html_().count("<circle cx") == 600 and "6,000 transitions" in many._repr_html_()
    one = Transition.diagonal_only(torch.tensor([-0.1 + 1j, -0.1 - 1j]), 2)
    assert "1 transitions" not in one._repr_html_() and "100.0% of them" in one._repr_html_()
    assert "not every number is finite" in Transition.diagonal_only(torch.full((2, 1), torch.nan), 3)._repr_html_()
    assert "<td>none</td>" in Transition.diagonal_only(torch.zeros(0, 1), 3)._repr_html_()
