"""The folders of checkpoints that studies make are called as results call their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from statescope import DeltaNet, Mamba2, Run
from statescope.analyses.studies.comparison import Comparison
from statescope.analyses.studies.hybrid import HybridStudy
from statescope.analyses.studies.memory_horizon import MemoryHorizonStudy
from statescope.analyses.studies.recall_memory import RecallMemoryStudy
from statescope.analyses.studies.state_tracking import FullStateTrackingStudy, StateTrackingStudy
from statescope.app.components.models import ModelInRun
from statescope.probe.configuration import BadSettingError
from statescope.probe.files import as_file_name

TWO = (DeltaNet(), Mamba2())
OF_MIXERS = (Comparison, HybridStudy, MemoryHorizonStudy, RecallMemoryStudy, StateTrackingStudy)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("delta rule, [-1, 1]", "delta_rule_-1_1"),
        ("S3 decays (Mamba-2)", "s3_decays_mamba-2"),
        ("Größe 0.5", "größe_0.5"),
        ("../x/y", "x_y"),
        ("[]", "_"),
        ("", "_"),
    ],
)
def test_a_text_as_the_name_of_a_file(text: str, name: str) -> None:
    assert as_file_name(text) == name == as_file_name(name)


@pytest.mark.parametrize("study", OF_MIXERS, ids=lambda study: study.kind)
@pytest.mark.parametrize(
    ("names", "words"),
    [(("one",), "1 names for 2 mixers"), (("a b", "a b"), "are one"), (("A b", "a, b"), "'A b' and 'a, b' are one")],
)
def test_two_models_never_share_a_folder(study: type[Any], names: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadSettingError, match=words):
        study(names=names, mixers=TWO)


def test_models_are_called_by_group_mixer_and_depth() -> None:
    assert {"s3_delta_rule_-1_1", "z2_cell_gru"} < set(StateTrackingStudy().models())
    full = FullStateTrackingStudy()
    assert "s5_four_reflections_-1_1_layers_2" in full.models() and len(full.models()) == 8 * len(full.names) * 2
    assert set(MemoryHorizonStudy(names=("A, b", "c"), mixers=TWO).models()) == {"a_b", "c"}


def test_a_menu_has_words(tmp_path: Path) -> None:
    with Run.working(tmp_path / "tracking", "state-tracking", {}, 0) as run:
        source = ModelInRun(run, "s3_delta_rule_-1_1")
    assert source.name == "tracking: s3 delta rule -1 1"
