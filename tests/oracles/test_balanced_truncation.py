"""Linear systems beside python-control and SLICOT, whose routines it reduces by, where both are installed.

python-control 0.10 takes every system that it reduces for a continuous one, and has Hankel singular values of those alone. So
the truncation in discrete time is SLICOT's own, by the routine that python-control calls (AB09AD, told that time is discrete),
and the singular values are those of the continuous system with the same Gramians, s = (z - 1) / (z + 1).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from statescope.kernels.operators.linear_system import LinearSystem

control = pytest.importorskip("control", reason="needs python-control, an oracle: pip install control slycot")
slycot = pytest.importorskip("slycot", reason="python-control reduces systems by slycot: pip install slycot")

SIZE, INPUTS, OUTPUTS = 9, 2, 3
ANGLES = torch.linspace(0, math.pi, 101, dtype=torch.float64)


def drawn(seed: int) -> LinearSystem:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(1, SIZE, SIZE, generator=generator, dtype=torch.float64)
    a = a * 0.97 / torch.linalg.eigvals(a).abs().max()
    b, c = (torch.randn(1, *shape, generator=generator, dtype=torch.float64) for shape in ((SIZE, INPUTS), (OUTPUTS, SIZE)))
    return LinearSystem(a, b, c)


def parts(system: LinearSystem) -> tuple[np.ndarray, ...]:
    return tuple(part[0].numpy() for part in (system.a, system.b, system.c))


def theirs(*system: np.ndarray) -> object:
    """A system as python-control has it, whose y_t sees x before u_t: its transfer function is ours a token later."""
    return control.ss(*system, np.zeros((OUTPUTS, INPUTS)), True)


def continuous(system: LinearSystem) -> object:
    """The continuous system with the same Gramians."""
    a, b, c = parts(system)
    inverse = np.linalg.inv(a + np.eye(SIZE))
    through = np.zeros((OUTPUTS, INPUTS))
    return control.ss(inverse @ (a - np.eye(SIZE)), math.sqrt(2) * inverse @ b, math.sqrt(2) * c @ inverse, through)


def transfer(system: object) -> np.ndarray:
    """C (e^{iw} - A)^{-1} B on the grid, times the token: [angles, outputs, inputs]."""
    z = np.exp(1j * ANGLES.numpy())
    return np.moveaxis(system(z), -1, 0) * z[:, None, None]  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(3))
def test_gramians_hankel_singular_values_and_transfer_function_are_those_of_python_control(seed: int) -> None:
    system = drawn(seed)
    other = theirs(*parts(system))
    for ours, kind in ((system.controllability(), "c"), (system.observability(), "o")):
        expected = control.gram(other, kind)
        np.testing.assert_allclose(ours[0].numpy(), expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    expected = control.hankel_singular_values(continuous(system))
    np.testing.assert_allclose(system.hankel_singular_values()[0].numpy(), expected, rtol=0, atol=1e-10 * expected.max())
    answer = transfer(other)
    np.testing.assert_allclose(system.frequency_response(ANGLES)[0].numpy(), answer, rtol=0, atol=1e-10 * np.abs(answer).max())


@pytest.mark.parametrize("order", [1, 3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_a_truncated_system_answers_as_that_of_slicot(seed: int, order: int) -> None:
    """In other coordinates, so that what is compared is the transfer function, its loss, and the poles."""
    system = drawn(seed)
    reduced = slycot.ab09ad("D", "B", "N", SIZE, INPUTS, OUTPUTS, *parts(system), nr=order, tol=0.0)
    assert reduced[0] == order
    ours, other = system.balanced(order), theirs(*reduced[1:4])
    answer, whole = transfer(other), transfer(theirs(*parts(system)))
    found, scale = ours.frequency_response(ANGLES)[0].numpy(), np.abs(whole).max()
    np.testing.assert_allclose(found, answer, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(np.sort_complex(ours.poles()[0].numpy()), np.sort_complex(other.poles()), atol=1e-9)
    # The wrong variants: another order, and the continuous system reduced and brought back, which fits the lowest frequency.
    another = system.balanced(order + 1).frequency_response(ANGLES)[0].numpy()
    z = np.exp(1j * ANGLES.numpy()[:-1])
    wrong = np.moveaxis(control.balred(continuous(system), order)((z - 1) / (z + 1)), -1, 0)
    whole_wrong = np.moveaxis(continuous(system)((z - 1) / (z + 1)), -1, 0)
    lost, lost_wrong = whole[:-1] - found[:-1], (whole_wrong - wrong) * z[:, None, None]
    assert min(np.abs(another - answer).max(), np.abs(lost - lost_wrong).max()) > 1e-4 * scale
