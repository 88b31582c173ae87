"""Files of tensors with a description: what is absurd in one is refused in a sentence that names the file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from statescope import DeltaNet, Model, ModelConfig, load
from statescope.dictionaries import Dictionary, read_saelens, write_saelens
from statescope.directions import SteeringVectors
from statescope.lenses import Lens
from statescope.probe.files import DamagedFileError
from statescope.probe.lenses.lens import FORMAT, Translator
from statescope.probe.subspaces.subspace import Subspace

BASIS, EYE, WIDE = torch.eye(3)[:, :1], torch.eye(3), torch.tensor([[1.0, 5, 0], [0, 1, 0], [0, 0, 1]])
FLOAT8 = torch.float8_e4m3fn


def file_of(folder: Path, tensors: dict[str, torch.Tensor], key: str, about: Any) -> Path:
    save_file({name: value.clone() for name, value in tensors.items()}, folder / "odd.safetensors", {key: json.dumps(about)})
    return folder / "odd.safetensors"


@pytest.mark.parametrize(
    ("tensors", "changes"),
    [
        *(({}, {"scale": scale}) for scale in (math.nan, math.inf, "x", [1], 10**400)),
        *(
            ({}, changes)
            for changes in ({"name": 5}, {"hook": None}, {"about": [1]}, {"about": "abc"}, {"side": {}}, {"rest": 1})
        ),
        *(({"basis": basis}, {}) for basis in (torch.zeros(3, 1, 3), torch.ones(3, 1, 2).long(), BASIS.to(FLOAT8))),
        *(({"metric": metric}, {}) for metric in (WIDE, EYE * math.nan, torch.ones(3, 3, 2), EYE.to(FLOAT8))),
        *(({"origin": origin}, {}) for origin in (torch.full((3,), math.nan), torch.ones(3, 2), torch.tensor(1.0))),
    ],
)
def test_a_subspace_that_is_none(tensors: dict[str, torch.Tensor], changes: dict[str, Any], tmp_path: Path) -> None:
    about = {"hook": "h", "name": "n", "side": "vector", "scale": 1.0, "about": {}}
    assert Subspace.load(file_of(tmp_path, {"basis": BASIS}, "subspace", about)).rank == 1
    path = file_of(tmp_path, {"basis": BASIS} | tensors, "subspace", about | changes)
    with pytest.raises(ValueError, match=r"odd\.safetensors holds no subspace"):
        Subspace.load(path)


@pytest.mark.parametrize(("value", "about"), [(torch.ones(3).to(FLOAT8), {}), (torch.ones(3), [1]), (torch.ones(3), 5)])
def test_steering_vectors_that_are_none(value: torch.Tensor, about: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"odd\.safetensors holds no steering vectors"):
        SteeringVectors.load(file_of(tmp_path, {"h": value}, "steering_vectors", about))


@pytest.mark.parametrize(
    ("tensors", "changes"),
    [
        *(({}, {"hooks": hooks}) for hooks in ("abc", {"h": 1}, ["h", "h"], [], 3)),
        ({"7.weight": EYE}, {}),
        *(({"0.weight": weight}, {}) for weight in (EYE.long(), EYE.to(torch.complex64), EYE.to(FLOAT8))),
    ],
)
def test_a_lens_that_is_none(tensors: dict[str, torch.Tensor], changes: dict[str, Any], tmp_path: Path) -> None:
    about = {"format": FORMAT, "version": 1, "kind": "tuned", "model": "Model", "hooks": ["h"]}
    assert Lens.load(file_of(tmp_path, {"0.weight": EYE}, FORMAT, about)).hooks == ["h"]
    with pytest.raises(DamagedFileError, match=r"odd\.safetensors"):
        Lens.load(file_of(tmp_path, {"0.weight": EYE} | tensors, FORMAT, about | changes))


def test_one_tensor_under_several_names_is_written(tmp_path: Path) -> None:
    vector = torch.ones(3)
    again = SteeringVectors.load(SteeringVectors({"a": vector, "b": vector}).save(tmp_path / "v"))
    assert torch.equal(again.vectors["a"], vector) and torch.equal(again.vectors["b"], vector)
    lens = Lens("tuned", {"a": Translator(EYE, None), "b": Translator(EYE, vector)}).save(tmp_path / "lens")
    assert torch.equal(Lens.load(lens).translators["b"].weight, EYE)


def test_tied_weights_of_a_model_and_of_a_dictionary_are_written(tmp_path: Path) -> None:
    model = Model(ModelConfig(vocabulary=3, width=4, layers=1, mixer=DeltaNet(heads=2)))
    model.unembed.weight = model.embed.weight
    again = load(model.save(tmp_path / "model"))
    assert torch.equal(again.embed.weight, model.embed.weight) and torch.equal(again.unembed.weight, model.embed.weight)
    zeros = torch.zeros(3)
    dictionary = Dictionary(EYE, zeros, EYE, zeros, hook="h")
    assert torch.equal(read_saelens(write_saelens(dictionary, tmp_path / "sae")).decoder, EYE)
