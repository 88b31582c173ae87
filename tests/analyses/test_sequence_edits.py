"""Edits of a stored sequence, in codes whose truth is known: a subspace for each position, and layers of an onion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from statescope import Model, ModelConfig
from statescope.analyses.behaviour.sequence_edits import (
    OnionEdit,
    SequenceEdits,
    StoredSequences,
    SubspaceSwap,
    fit_edit,
    sequence_edits,
    stored_layers,
)
from statescope.mixers import GRU, DeltaNet
from statescope.probe.tasks.base import Split, generator_for
from statescope.probe.tasks.recall import Repeat

SYMBOLS, LENGTH = 5, 3


class Planted(StoredSequences):
    """A code that is written down here, with sequences of which no split takes a part: there are few of them."""

    def drawn(self, count: int, split: Split, stream: int) -> Tensor:
        return torch.randint(0, SYMBOLS, (count, LENGTH), generator=generator_for(stream, len(split)))


@dataclass(frozen=True)
class InSubspaces(Planted):
    """Every position has a one-hot vector of its own, and is read from there."""

    def states(self, said: Tensor) -> Tensor:
        return functional.one_hot(said, SYMBOLS).float().flatten(1)

    def logits(self, old: Tensor, wanted: Tensor, added: Tensor) -> Tensor:
        return 8 * (self.states(old) + added).view(len(old), LENGTH, SYMBOLS)


@dataclass(frozen=True)
class InLayers(Planted):
    """sum_j 2^-j e(i_j): all positions share their directions, and each is read once those before it are taken off."""

    def states(self, said: Tensor) -> Tensor:
        scales = 0.5 ** torch.arange(LENGTH)
        return (functional.one_hot(said, SYMBOLS) * scales[:, None]).sum(1)

    def logits(self, old: Tensor, wanted: Tensor, added: Tensor) -> Tensor:
        left, found = self.states(old) + added, []
        for place in range(LENGTH):
            found.append(8 * 2**place * left)
            left = left - 0.5**place * functional.one_hot(wanted[:, place], SYMBOLS)
        return torch.stack(found, 1)


def small() -> Model:
    mixer = GRU(heads=1, value_size=8)
    return Model(ModelConfig(vocabulary=SYMBOLS + 1, width=8, layers=1, mixer=mixer, expansion=0)).eval()


def fitted(kind: type[Planted], size: int) -> tuple[SequenceEdits, StoredSequences, OnionEdit]:
    stored = kind(small(), Repeat(symbols=SYMBOLS), LENGTH, 0)
    generator = torch.Generator().manual_seed(0)
    onion, swap = OnionEdit(SYMBOLS, LENGTH, size, generator), SubspaceSwap(LENGTH, size, generator)
    fit_edit(stored, onion, steps=250, batch=64, learning_rate=3e-2)
    fit_edit(stored, swap, steps=250, batch=64, learning_rate=3e-2)
    return sequence_edits(stored, onion, swap, sequences=64), stored, onion


def share(found: SequenceEdits, edit: str) -> float:
    table = found.table
    return float(table[(table["edit"] == edit) & (table["position"] >= 0)]["exact"].mean())


def test_a_code_in_subspaces_is_swapped() -> None:
    found, _, _ = fitted(InSubspaces, SYMBOLS * LENGTH)
    assert share(found, "nothing") == 1 and share(found, "subspace swap") > 0.95
    assert share(found, "random") < 0.2
    assert "the code is not an onion" in found.summary()


def test_a_code_in_layers_is_edited_by_magnitude_alone() -> None:
    found, stored, onion = fitted(InLayers, SYMBOLS)
    assert share(found, "nothing") == 1 and share(found, "magnitude") > 0.95
    assert share(found, "subspace swap") < 0.3 and share(found, "magnitude of another position") < 0.5
    assert "the code is an onion" in found.summary()
    layers = stored_layers(stored, onion, sequences=4000).table
    assert (layers["size"].diff().dropna() < 0).all() and (layers["cosine"] > 0.9).all()
    sizes = layers["size"].to_numpy()
    np.testing.assert_allclose(sizes[:-1] / sizes[1:], 2, rtol=0.1)
    scales = layers["scale"].to_numpy()
    assert scales[0] / scales[1] == pytest.approx(2, abs=0.4)
    assert [panel.title for panel in found.specification().panels] == ["One token", "Half of the tokens"]


def test_an_edit_of_a_network_is_the_edit_of_its_state() -> None:
    """Adding the difference of two sequences' states makes the network go on as from the other, whatever it says."""
    stored = StoredSequences(small(), Repeat(symbols=SYMBOLS), LENGTH, 0)
    pair = stored.pair(6, "test", 3)
    assert (pair.old != pair.new).all() and pair.own.shape == (6, 8)
    moved = stored.logits(pair.old, pair.new, pair.other - pair.own)
    torch.testing.assert_close(moved, stored.logits(pair.new, pair.new, torch.zeros_like(pair.own)))
    assert (moved - stored.logits(pair.old, pair.new, torch.zeros_like(pair.own))).abs().max() > 1e-3
    before = [parameter.clone() for parameter in stored.model.parameters()]
    fit_edit(stored, SubspaceSwap(LENGTH, 8, torch.Generator().manual_seed(0)), steps=2, batch=4)
    assert all(torch.equal(old, new) and new.requires_grad for old, new in zip(before, stored.model.parameters(), strict=True))


def test_what_stores_no_vector_is_refused() -> None:
    model = Model(ModelConfig(vocabulary=SYMBOLS + 1, width=8, layers=1, mixer=DeltaNet(heads=1), expansion=0))
    with pytest.raises(ValueError, match="one vector"):
        StoredSequences(model, Repeat(symbols=SYMBOLS), LENGTH, 0)
    with pytest.raises(ValueError, match="no 9 subspaces"):
        SubspaceSwap(9, 8, torch.Generator())
