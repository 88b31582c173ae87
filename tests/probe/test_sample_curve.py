"""Scores by the samples that a probe was fitted to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted

from statescope import ProbeSweep
from statescope.estimators import Ridge, SampleCurve, sample_curve
from statescope.probe.results.result import Result

FIRST, SECOND = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
SWEEP = ProbeSweep(estimator=Ridge(), permutations=0, resamples=100)


def test_each_point_is_the_sweep_on_that_many_groups(tmp_path: object) -> None:
    train, test = planted(40, 1, strength=0.35), planted(30, 2, strength=0.35)
    curve = sample_curve(SWEEP, train, test, shares=(0.15, 0.4, 1.0))
    table = curve.to_frame()
    assert table["groups"].tolist() == [6, 6, 16, 16, 40, 40] and table["samples"].tolist() == [72, 72, 192, 192, 480, 480]
    whole = SWEEP.run(train, test).to_frame().set_index("hook")
    last = table[table["groups"] == 40].set_index("hook")
    for column, own in (("score", "accuracy"), ("low", "low"), ("control", "control"), ("majority", "majority")):
        np.testing.assert_allclose(last[column], whole[own])
    first = table[table["hook"] == FIRST]["score"].to_numpy()
    assert first[0] < first[-1] - 0.02 and (table[table["hook"] == SECOND]["score"] < 0.45).all()
    order = train.groups.unique()[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    part = train.select(torch.isin(train.groups, order[:16]))
    assert SWEEP.run(part, test).value("accuracy", hook=FIRST) == pytest.approx(first[1])
    assert "with 480; " in curve.summary() and "since half of them" in curve.summary()
    found = Result.load(curve.save(f"{tmp_path}/curve.parquet"))
    assert isinstance(found, SampleCurve) and found.summary() == curve.summary()
    assert curve.specification().panels[0].x_log


def test_shares_that_cannot_be_fitted_say_so_and_odd_ones_are_refused() -> None:
    train, test = planted(12, 1), planted(10, 2)
    table = sample_curve(SWEEP, train, test, hooks=[FIRST], shares=(0.1, 1.0)).to_frame()
    assert table["score"].isna().tolist() == [True, False] and "needs as many groups, got 1" in table["note"].iloc[0]
    for shares in ((), (0.0, 1.0), (0.5, 1.5)):
        with pytest.raises(ValueError, match="more than 0 and at most 1"):
            sample_curve(SWEEP, train, test, shares=shares)
    with pytest.raises(ValueError, match="no probe can be fitted"):
        sample_curve(SWEEP, planted(2, 1), test)
