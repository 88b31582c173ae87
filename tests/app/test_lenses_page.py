"""The page of lenses and features shows each of its results, with its selectors, figure and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from opened_app import charts, open_app
from torch import Tensor

from statescope import Model, ModelConfig, Result, Run, Study, capture
from statescope.app.pages.lenses import Lenses
from statescope.dictionaries import TopK, score_dictionaries
from statescope.lenses import (
    LogitLens,
    read_states,
    score_lenses,
)
from statescope.mixers import GatedDeltaNet
from statescope.probe.loaders.observation.gates import rows_of
from statescope.probe.results.gates import Gates

HOOK = "blocks.0.hook_resid_post"


def small(seed: int = 0) -> Model:
    return Model(ModelConfig(vocabulary=7, width=8, layers=2, mixer=GatedDeltaNet(heads=2), seed=seed))


def tokens() -> Tensor:
    return torch.randint(0, 7, (6, 8), generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Looks(Study, kind="lenses_page"):
    """Some kinds of results that the page shows, of small models."""

    def execute(self, run: Run) -> None:
        for work in (self.scored, self.states, self.features, self.gates):
            run.compute(work.__name__, work)

    def scored(self) -> Result:
        return score_lenses(small(), LogitLens().fit(small(), tokens()), tokens())

    def states(self) -> Result:
        return read_states(small(), tokens()[:1], by_head=True)

    def features(self) -> Result:
        samples = capture(small(), tokens(), [HOOK]).features(HOOK)
        return score_dictionaries(small(), TopK(features=16, k=3, steps=5).fit(samples, hook=HOOK), tokens())

    def gates(self) -> Result:
        found = {"log_decay": -torch.rand(1, 5, 2)}
        return Gates(pd.DataFrame(rows_of(found, None, run=0, layer=0)), {"overhead": 0.01})


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lenses")
    Looks().run(folder / "looks")
    return folder


def test_results_of_the_page_are_shown_and_its_kinds_are_there_to_be(looked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(looked / "looks")
    assert {run.result(name).kind for name in run.result_names} <= set(Lenses.shows) <= set(Result.kinds())
    app = open_app(looked, monkeypatch, "lenses", run="looks")
    assert not app.exception and not app.error
    assert app.header[0].value == Lenses.title
    assert len(charts(app)) >= 4
    said = " ".join(element.value for kind in (app.markdown, app.text, app.caption, app.code) for element in kind)
    assert "constant answer" in said
