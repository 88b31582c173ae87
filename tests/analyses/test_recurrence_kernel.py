"""The kernel of a diagonal linear recurrence: its limit of many channels, and the training that it predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from statescope.analyses.infinite_width.diagonal_recurrence import (
    DiagonalRecurrence,
    diagonal_recurrence_ntk,
    infinite_diagonal_recurrence_ntk,
)
from statescope.analyses.lazy.recurrence_kernel import RecurrenceKernel
from statescope.analyses.ntk.empirical_ntk import empirical_ntk
from statescope.analyses.studies.linear_rnn_kernel import LinearRecurrenceKernel
from statescope.probe.configuration import BadSettingError

DOUBLE = torch.float64


@pytest.mark.parametrize(("channels", "tokens"), [(1, 1), (3, 7), (16, 12)])
def test_the_module_has_the_formulas_kernel(channels: int, tokens: int) -> None:
    model = DiagonalRecurrence(channels, torch.Generator().manual_seed(0), -0.9, 0.9)
    x, y = torch.randn(5, tokens, dtype=DOUBLE), torch.randn(3, tokens, dtype=DOUBLE)
    for method in ("structured", "jacobian"):
        exact = empirical_ntk(model, x, y, method=method)  # type: ignore[arg-type]
        assert (model.kernel(x, y) - exact).norm() <= 1e-12 * exact.norm()
    if tokens > 1:
        halved = model.kernel(x[:, 1:], y[:, 1:])
        assert (halved - exact).norm() > 1e-2 * exact.norm()


@pytest.mark.parametrize(("least", "largest"), [(0.0, 0.9), (-0.8, 0.8)])
def test_the_limit_is_the_bilinear_form_of_the_moments(least: float, largest: float) -> None:
    """G_kl = 2 E[lambda^(k+l)] + k l E[lambda^(k+l-2)], the moments of a uniform law written out."""

    def moment(power: int) -> float:
        return (largest ** (power + 1) - least ** (power + 1)) / ((power + 1) * (largest - least))

    tokens = 9
    form = np.array(
        [[2 * moment(k + j) + (k * j * moment(k + j - 2) if k * j else 0) for j in range(tokens)] for k in range(tokens)]
    )
    x, y = torch.randn(4, tokens, dtype=DOUBLE), torch.randn(2, tokens, dtype=DOUBLE)
    exact = x.flip(1) @ torch.tensor(form) @ y.flip(1).T
    found = infinite_diagonal_recurrence_ntk(least, largest, x, y)
    assert (found - exact).norm() <= 1e-12 * exact.norm()
    without_decays = x.flip(1) @ torch.tensor([[2 * moment(k + j) for j in range(tokens)] for k in range(tokens)], dtype=DOUBLE)
    assert (found - without_decays @ y.flip(1).T).norm() > 0.05 * exact.norm()
    with pytest.raises(ValueError, match="are none"):
        infinite_diagonal_recurrence_ntk(largest, least, x)
    with pytest.raises(ValueError, match="need as many nodes"):
        infinite_diagonal_recurrence_ntk(least, largest, x, nodes=4)


def test_wide_recurrences_come_to_the_limit_by_the_root_of_the_width() -> None:
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    limit, errors, widths = infinite_diagonal_recurrence_ntk(-0.9, 0.9, x), [], (64, 512, 4096)
    for width in widths:
        generator = torch.Generator().manual_seed(1)
        draws = [DiagonalRecurrence(width, generator, -0.9, 0.9).kernel(x) for _ in range(20)]
        errors.append(float(torch.stack([(draw - limit).norm() / limit.norm() for draw in draws]).mean()))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.6 < slope < -0.4


def test_the_study_predicts_training(tmp_path: Path) -> None:
    study = LinearRecurrenceKernel(channels=(8, 512), seeds=(0, 1), tokens=6, lag=1, samples=12, test_samples=20, steps=120)
    found = study.run(tmp_path / "run").result("recurrence_kernel")
    assert isinstance(found, RecurrenceKernel)
    assert found.table["formula_error"].max() < 1e-12
    last = found.table[found.table["step"] == 120].groupby("channels").mean()
    missed = (last["train_error"] - last["predicted_train_error"]).abs()
    assert missed.loc[512] < 0.2 * last["predicted_train_error"].loc[512] + 1e-3
    assert last["kernel_change"].loc[512] < 0.5 * last["kernel_change"].loc[8]
    start = found.table[found.table["step"] == 0]
    assert np.allclose(start["train_error"], start["predicted_train_error"])
    assert "512 channels" in found.summary() and len(found.specification().panels) == 3
    with pytest.raises(BadSettingError, match="below tokens"):
        LinearRecurrenceKernel(lag=12).check()
    single = diagonal_recurrence_ntk(torch.tensor([0.5]), torch.ones(1), torch.ones(1), torch.ones(1, 2))
    assert float(single) == pytest.approx(2 * 1.5**2 + 1)
