"""Edits of a state that stores a sequence: one token is replaced by another, by magnitude or by linear subspaces.

A recurrent network that has learned to repeat may keep the token at each position in a subspace of its own, which is then swapped
for another sequence's. Or it keeps all of them along shared directions, each position at a scale of its own, as the layers of an
onion: no subspace holds one position, and its token is replaced by adding the difference of two embeddings at that scale (Csordas
et al. 2024, arXiv:2408.10920). Both edits are fitted alike, to what the network then repeats, while the network stays as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...kernels.recurrence import Edit
from ...probe.hooks.names import STATE_PLACE, hook_name
from ...probe.models.frozen import frozen
from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import Split, generator_for
from ...probe.tasks.recall import Repeat
from .results.sequence_edits import SEVERAL, SequenceEdits, StoredLayers

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

Report = Callable[[int, str], None]  # steps done, and how it goes


class StateEdit(nn.Module):
    """Base of the edits. Given the states of a sequence and of another, and the tokens of both, it says what to add."""

    @abstractmethod
    def forward(self, pair: Pair, replaced: Tensor) -> Tensor:
        """What to add to the states, [B, N]. replaced: [B, L], true at the positions whose token becomes the other's."""


class OnionEdit(StateEdit):
    """Add sum_j (E[new_j] - E[old_j]) * g(j) over the replaced positions j, with g(j) = w y^j + b j + c, all but j learned.

    E [vocabulary, N] is one table for all positions, which differ by the scale g(j) [N] alone.
    """

    def __init__(self, tokens: int, length: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.length = length
        self.embedding = nn.Parameter(0.1 * torch.randn(tokens, size, generator=generator))
        self.weight, self.rate = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.slope, self.offset = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))

    def scales(self) -> Tensor:
        """g(j) of each position, [L, N]."""
        places = torch.arange(self.length)[:, None]
        return self.weight * (self.rate * places).exp() + self.slope * places + self.offset

    def forward(self, pair: Pair, replaced: Tensor) -> Tensor:
        return self.added(pair, replaced, self.scales())

    def added(self, pair: Pair, replaced: Tensor, scales: Tensor) -> Tensor:
        """The same with other scales, [L, N]."""
        apart = self.embedding[pair.new] - self.embedding[pair.old]
        return (apart * scales * replaced[..., None]).sum(1)


class SubspaceSwap(StateEdit):
    """Put, for the replaced positions j, the component of the other sequence's state in the place of the own: sum_j P_j (h' - h).

    P_j are the projections on L subspaces of equal size, at right angles to each other, in a basis that is learned (distributed
    alignment search; Geiger et al. 2024, arXiv:2303.02536).
    """

    def __init__(self, length: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        if size < length:
            raise ValueError(f"a state of {size} channels has no {length} subspaces")
        self.angles = nn.Parameter(0.1 * torch.randn(size, size, generator=generator))
        owner = torch.arange(size) * length // size
        self.register_buffer("owned", functional.one_hot(owner, length).T.float())

    def forward(self, pair: Pair, replaced: Tensor) -> Tensor:
        basis = torch.linalg.matrix_exp(self.angles - self.angles.T)
        owned: Tensor = self.owned  # type: ignore[assignment]
        swapped: Tensor = ((pair.other - pair.own) @ basis.T * (replaced.float() @ owned)) @ basis
        return swapped


@dataclass(frozen=True)
class Pair:
    """Sequences and others, with the states that they leave before the marker. old, new: [B, L]; own, other: [B, N]."""

    old: Tensor
    new: Tensor
    own: Tensor
    other: Tensor


@dataclass(frozen=True)
class StoredSequences:
    """A network with one recurrent state of one vector that repeats sequences of so many tokens.

    Raises ValueError where its state is no single vector.
    """

    model: HookedModel
    task: Repeat
    length: int
    seed: int

    def __post_init__(self) -> None:
        if self.states(torch.zeros(1, self.length, dtype=torch.long)).ndim != 2:
            raise ValueError("these edits are of a state that is one vector: one layer, one head, one part")

    def drawn(self, count: int, split: Split, stream: int) -> Tensor:
        """Sequences [count, L] of a split."""
        return self.task.batch(count, 2 * self.length, split, generator_for(self.seed, 800, stream)).tokens[:, : self.length]

    def states(self, said: Tensor) -> Tensor:
        """The states that sequences [B, L] leave, [B, N]."""
        with torch.no_grad():
            _, cache = self.model.run_with_cache(self._prompt(said, said), names_filter=_HOOK, taps=[self.length - 1])
        found: Tensor = cache[_HOOK].squeeze(1).squeeze(1).squeeze(1)
        return found

    def pair(self, count: int, split: Split, stream: int) -> Pair:
        """Sequences of a split, each with another that differs at every position."""
        old = self.drawn(count, split, stream)
        steps = torch.randint(1, self.task.symbols, old.shape, generator=generator_for(self.seed, 801, stream))
        new = (old + steps) % self.task.symbols
        return Pair(old, new, self.states(old), self.states(new))

    def logits(self, old: Tensor, wanted: Tensor, added: Tensor) -> Tensor:
        """The logits [B, L, vocabulary] while `wanted` is repeated, after something was added to the state that `old` left."""
        edit = Edit(self.length - 1, "add", added[:, None, None])
        found: Tensor = self.model.run_with_edits(self._prompt(old, wanted), {_HOOK: [edit]})
        return found[:, self.length :]

    def repeated(self, old: Tensor, wanted: Tensor, added: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        """1 for each sequence that is repeated as wanted, [B]: so it is, too, where the network goes on from its own answers."""
        with torch.no_grad():
            right = (self.logits(old, wanted, added).argmax(-1) == wanted).all(1)
        return right.double().numpy()

    def _prompt(self, old: Tensor, wanted: Tensor) -> Tensor:
        marker = torch.full((len(old), 1), self.task.symbols)
        return torch.cat([old, marker, wanted[:, :-1]], 1)


_HOOK = hook_name(0, STATE_PLACE)


def fit_edit(
    stored: StoredSequences,
    edit: StateEdit,
    *,
    steps: int,
    batch: int = 128,
    learning_rate: float = 1e-2,
    stream: int = 0,
    report: Report | None = None,
) -> StateEdit:
    """Fit an edit, in place, to the cross-entropy of the sequences that it is to make the network repeat.

    In each of `batch` pairs of sequences of the validation split every token is replaced with a chance of a half.
    """
    optimizer = torch.optim.Adam(edit.parameters(), lr=learning_rate)
    with frozen(stored.model):
        for step in range(steps):
            pair = stored.pair(batch, "validation", 10_000 + stream * 100_000 + step)
            replaced = _half(pair.old, stored.seed, step)
            wanted = torch.where(replaced, pair.new, pair.old)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            optimizer.zero_grad()
            logits = stored.logits(pair.old, wanted, edit(pair, replaced))
            loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
            loss.backward()
            optimizer.step()
            if report is not None:
                report(step + 1, f"loss {loss.item():.3f}")
    return edit


def sequence_edits(
    stored: StoredSequences, onion: OnionEdit, swap: SubspaceSwap, *, sequences: int = 256, name: str = "model"
) -> SequenceEdits:
    """Replace tokens of held-out sequences by fitted edits, beside nothing, the scales of other positions, and random changes as
    long as the magnitude edit's.
    """
    pair = stored.pair(sequences, "test", 1)
    generator = generator_for(stored.seed, 802)
    rows = []
    with torch.no_grad():
        shifted = onion.scales().roll(1, 0)
        for position in (*range(stored.length), SEVERAL):
            replaced = _half(pair.old, stored.seed, 7) if position == SEVERAL else _only(pair.old, position)
            wanted = torch.where(replaced, pair.new, pair.old)
            right = onion(pair, replaced)
            noise = torch.randn(right.shape, generator=generator)
            changes = {
                "nothing": torch.zeros_like(right),
                "magnitude": right,
                "subspace swap": swap(pair, replaced),
                "magnitude of another position": onion.added(pair, replaced, shifted),
                "random": noise * right.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True),
            }
            for edit, added in changes.items():
                each = stored.repeated(pair.old, pair.old if edit == "nothing" else wanted, added)
                low, high = group_bootstrap(each, np.arange(len(each)), 500, stored.seed)
                rows.append((name, edit, position, each.mean(), low, high, len(each)))
    return SequenceEdits(pd.DataFrame(rows, columns=list(SequenceEdits.columns)), {"seed": stored.seed})


def stored_layers(stored: StoredSequences, onion: OnionEdit, *, sequences: int = 2048, name: str = "model") -> StoredLayers:
    """Measure the mean state with each token at each position, and how those of a token lie to each other over positions.

    Raises ValueError where so few sequences lack a token somewhere.
    """
    said = stored.drawn(sequences, "validation", 2)
    states = stored.states(said)
    centred = states - states.mean(0)
    offsets = torch.stack(
        [torch.stack([centred[said[:, place] == token].mean(0) for token in said.unique()]) for place in range(stored.length)]
    )  # [L, tokens, N]
    if not bool(offsets.isfinite().all()):
        raise ValueError(f"a token is missing at a position of these {sequences} sequences; take more")
    sizes = offsets.square().sum(-1).mean(1).sqrt()
    cosines = functional.cosine_similarity(offsets, offsets[-1:], dim=-1).mean(1)
    scales = onion.scales().detach().square().mean(1).sqrt()
    rows = [(name, place, *map(float, own)) for place, own in enumerate(zip(sizes, cosines, scales, strict=True))]
    return StoredLayers(pd.DataFrame(rows, columns=list(StoredLayers.columns)), {"sequences": sequences, "seed": stored.seed})


def _half(like: Tensor, seed: int, stream: int) -> Tensor:
    """Each position with a chance of a half, and at least one of each sequence."""
    drawn = torch.rand(like.shape, generator=generator_for(seed, 803, stream))
    return (drawn < 0.5) | (drawn == drawn.min(1, keepdim=True).values)


def _only(like: Tensor, position: int) -> Tensor:
    return (torch.arange(like.shape[1]) == position).expand_as(like)
