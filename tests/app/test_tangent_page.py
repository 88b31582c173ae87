"""The page of tangent kernels shows the runs of the studies on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from opened_app import charts, numbers, open_app

from statescope.analyses.studies.lazy_or_rich import LazyOrRichStudy
from statescope.analyses.studies.linear_rnn_kernel import LinearRecurrenceKernel
from statescope.probe.runs.run import Run


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernels")
    LazyOrRichStudy(widths=(8, 16), scales=(1.0, 4.0), seeds=(0, 1), samples=8, test_samples=8, steps=20).run(folder / "lazy")
    tiny = LinearRecurrenceKernel(channels=(8, 32), seeds=(0, 1), tokens=5, lag=1, samples=8, test_samples=8, steps=20)
    tiny.run(folder / "recurrence")
    return folder


def test_predicted_and_measured_curves_are_drawn(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(kernels, monkeypatch, "tangent", run="recurrence")
    assert not app.exception
    chart = charts(app)[0]
    drawn = {trace.get("name"): trace for trace in chart["data"]}
    assert {"32 channels", "predicted, 32 channels"} <= set(drawn)
    table = Run(kernels / "recurrence").result("recurrence_kernel").table
    expected = table[table["channels"] == 32].groupby("step")["predicted_train_error"].mean()
    first = next(trace for trace in chart["data"] if trace.get("name") == "predicted, 32 channels")
    np.testing.assert_allclose(numbers(first["y"]), expected)


def test_lazy_and_rich_runs_show_motion_by_layer(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(kernels, monkeypatch, "tangent", run="lazy")
    assert not app.exception
    assert len(charts(app)) == 2
    assert any("maps.1" in str(trace.get("name")) for chart in charts(app) for trace in chart["data"])
