"""Studies of probing and erasure end to end at tiny settings: they finish, say what they found, and go on where they stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from statescope import Training
from statescope.analyses.studies.erasure import ErasureStudy
from statescope.estimators import Leace, MeanProjection, Ridge
from statescope.tasks import SourceCode


def test_erasure(tmp_path: Path) -> None:
    study = replace(
        ErasureStudy(),
        task=SourceCode(most_bytes=300_000),
        training=Training(steps=3, batch=2, length=32),
        width=16,
        label="in_string",
        windows=48,
        positions=4,
        erasers=(Leace(), MeanProjection()),
        estimators=(Ridge(folds=2),),
    )
    run = study.run(tmp_path / "run")
    assert run.result_names == ["training", "erasure_effect"]
    table = run.result("erasure_effect").to_frame()
    assert set(table["eraser"]) == {"nothing", "leace", "mean_projection", "random, rank 1"}
    assert "in_string at 0 resid_post, leace (rank 1)" in run.result("erasure_effect").summary()
