"""Configurations and their plain form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import pytest

from statescope import Attention, DeltaNet, ModelConfig, SourceCode, Task, Training
from statescope.analyses.studies.parity import ParityStudy
from statescope.analyses.studies.source_code import SourceCodeStudy
from statescope.probe.configuration import BadSettingError, Configuration, Count, NotEmpty, Range, from_plain, to_plain
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


@dataclass(frozen=True)
class Dials(Configuration):
    count: Count = 1
    level: Annotated[float, Range(0, 1)] = 0.5
    rates: Annotated[tuple[float, ...], NotEmpty()] = (1.0,)
    label: str | None = None

    def __post_init__(self) -> None:  # the fields are checked all the same
        if self.count * self.level > 100:
            raise ValueError("count times level is more than 100")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 0}, r"Dials.count must be at least 1, got 0"),
        ({"count": 1.5}, r"Dials.count needs int, got 1.5"),
        ({"count": True}, r"Dials.count needs int, got True"),
        ({"count": 2**63}, r"Dials.count must lie within"),
        ({"count": 10**5000}, r"Dials.count must lie within"),
        ({"count": [10**5000]}, r"Dials.count needs int, got a list"),
        ({"level": math.nan}, r"Dials.level must be a finite number, got nan"),
        ({"level": 10**400}, r"Dials.level must be a finite number, got inf"),
        ({"level": 1.1}, r"Dials.level must be at most 1, got 1.1"),
        ({"rates": ()}, r"Dials.rates must not be empty"),
        ({"rates": (0.0, -math.inf)}, r"Dials.rates\[1\] must be a finite number"),
        ({"label": b"x"}, r"Dials.label needs str"),
        ({"count": 1000, "level": 0.2}, r"count times level is more than 100"),
    ],
)
def test_no_object_is_made_whose_fields_are_not_what_their_types_say(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dials(**fields)
    path = message.replace("Dials.", "")
    with pytest.raises(BadSettingError, match=path):
        from_plain(Dials, fields)
    with pytest.raises(BadSettingError, match=path):
        from_plain(Dials, fields, base=Dials())


def test_fields_are_read_from_python_as_from_a_file() -> None:
    made = Dials(count=np.int64(3), level=1, rates=[2, np.float32(0.5)])  # type: ignore[arg-type]
    assert made == Dials(3, 1.0, (2.0, 0.5))
    assert [type(made.count), type(made.level), *map(type, made.rates)] == [int, float, float, float]


@pytest.mark.parametrize("setting", ["steps", "batch", "length", "learning_rate", "warm_up", "clip", "checkpoint_every"])
def test_training_needs_something_of_everything(setting: str) -> None:
    for value in (0, -1, math.nan, "3", None):
        with pytest.raises(BadSettingError, match=f"Training.{setting}"):
            Training(**{setting: value})  # type: ignore[arg-type]


def test_what_is_nested_without_end_is_refused() -> None:
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(BadSettingError, match="nested more than 32 deep"):
        from_plain(ParityStudy, {"test_lengths": nested})
