"""Configurations and their plain form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from statescope import Attention, DeltaNet, ModelConfig, SourceCode, Task
from statescope.analyses.studies.parity import ParityStudy
from statescope.analyses.studies.source_code import SourceCodeStudy
from statescope.probe.configuration import from_plain, to_plain
from statescope.probe.errors import UnknownNameError


@pytest.mark.parametrize(
    "value", [ParityStudy(seed=3), SourceCodeStudy(), ModelConfig(5, mixer=(DeltaNet(heads=2), Attention()))]
)
def test_the_plain_form_reads_back_equal(value: object) -> None:
    assert from_plain(type(value), to_plain(value)) == value


def test_what_is_left_out_keeps_the_base() -> None:
    base = ParityStudy(seed=4, width=32)
    changed = from_plain(ParityStudy, {"training": {"steps": 7}}, base=base)
    assert changed == replace(base, training=replace(base.training, steps=7))


def test_a_kind_chooses_the_class() -> None:
    assert from_plain(Task, {"kind": "source_code", "folder": "x"}) == SourceCode(folder="x")
    config = from_plain(ModelConfig, {"vocabulary": 3, "mixer": {"kind": "delta_net", "eigenvalue_range": [0, 1]}})
    assert config.mixer == DeltaNet(eigenvalue_range=(0.0, 1.0))
    assert from_plain(ModelConfig, {"vocabulary": 3, "mixer": ["attention", "delta_net"]}).mixer == (Attention(), DeltaNet())


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"trainning": {}}, "did you mean 'training'"),
        ({"training": {"stepz": 3}}, "field of training 'stepz' is not known; did you mean 'steps'"),
    ],
)
def test_an_unknown_field_names_the_nearest(plain: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        from_plain(ParityStudy, plain)


def test_an_unknown_mixer_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gated_delta_net'"):
        from_plain(ModelConfig, {"vocabulary": 3, "mixer": {"kind": "gated_deltanet"}})


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"training": {"steps": "many"}}, "training.steps needs int"),
        ({"width": True}, "width needs int"),
        ({"test_lengths": 5}, "test_lengths needs a list"),
        ({"training": 3}, "training needs a table"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_path(plain: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        from_plain(ParityStudy, plain)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="ModelConfig needs vocabulary"):
        from_plain(ModelConfig, {"width": 8})


def test_a_value_that_a_configuration_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="training.steps must be at least 1"):
        from_plain(ParityStudy, {"training": {"steps": 0}})
