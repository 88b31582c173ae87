"""Transfer of the learning rate: what is read off a table of losses, and the study at a small size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from statescope import Model, ModelConfig
from statescope.analyses.lazy.learning_rate_transfer import LearningRateTransfer, _trained
from statescope.analyses.studies.mup_transfer import MaximalUpdateTransfer
from statescope.probe.tasks import Parity, generator_for

WIDTHS, RATES = (32, 64, 128), tuple(2.0**-k for k in range(10, 3, -1))


def made_up() -> LearningRateTransfer:
    """Parabolas in log2 of the rate, whose vertex falls by an octave a doubling under one name and stays under the other."""
    rows = []
    for name, fall in (("standard", 1.0), ("mup", 0.0)):
        for width in WIDTHS:
            vertex = -5.3 - fall * np.log2(width / 32)
            for rate in RATES:
                for seed in (0, 1):
                    loss = (np.log2(rate) - vertex) ** 2 + 0.1 * seed
                    rows.append((name, width, rate, seed, loss if loss < 20 else np.inf, 0.1 * (width / 32) ** (0.5 * fall)))
    return LearningRateTransfer(pd.DataFrame(rows, columns=list(LearningRateTransfer.columns)))


def test_the_best_rate_and_its_drift_are_read_off() -> None:
    found = made_up()
    best = found.best().set_index(["parametrisation", "width"])["log2_rate"]
    assert best["standard", 64] == pytest.approx(-6.3)
    assert best["mup", 128] == pytest.approx(-5.3)
    assert found.drift("standard") == pytest.approx(1.0)
    assert found.drift("mup") == pytest.approx(0.0, abs=1e-9)
    assert found.growth("standard") == pytest.approx(0.5)
    assert found.growth("mup") == pytest.approx(0.0, abs=1e-9)
    assert "falls by 1.00 octaves" in found.summary() and "it moves by less than 0.01 octaves a doubling" in found.summary()
    losses = found.specification().panels[:2]
    assert [panel.title for panel in losses] == ["Loss, standard", "Loss, muP"] and losses[0].y_range == losses[1].y_range
    turned = found.table.assign(width=found.table["width"].map(dict(zip(WIDTHS, WIDTHS[::-1], strict=True))))
    assert "rises by 1.00 octaves" in LearningRateTransfer(turned).summary()


def test_the_study_checks_coordinates(tmp_path: Path) -> None:
    study = MaximalUpdateTransfer(widths=(16, 64), rates=(2**-10, 2**-8), seeds=(0,), layers=1, steps=6, batch=4, length=16)
    found = study.run(tmp_path / "run").result("learning_rate_transfer")
    assert isinstance(found, LearningRateTransfer)
    assert len(found.table) == 2 * 2 * 2
    assert found.table["loss"].gt(0).all()
    assert abs(found.growth("mup")) < 0.25 < found.growth("standard")


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_features_have_moved_however_short_the_training(steps: int) -> None:
    """After the steps that are checked, or after all where there are fewer."""
    model = Model(ModelConfig(vocabulary=2, width=8, layers=1))
    batches = [Parity().batch(4, 8, "train", generator_for(0, step)) for step in range(steps)]
    assert _trained(model, batches, 1e-3, checked_steps=3)[1] > 0
