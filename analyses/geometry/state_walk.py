"""The matrix state of one head over one sequence: S_t itself, what each token writes and erases, and what a query reads.

    S_t = A_t S_{t-1} + B_t,    erased = S_{t-1} - A_t S_{t-1} = S_{t-1} + B_t - S_t,    read-out of a query p: S_t^T p

A vector state is a matrix of one column, and so is all that a cell holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...kernels.recurrence import TapRequest
from ...kernels.shown import with_shapes
from ...probe.errors import NotEnoughMemoryError, unknown_name
from ...probe.hooks.names import hook_name
from ..models import on_cpu, real_parts
from .results.state_geometry import StateGeometry
from .results.state_trajectory import StateTrajectory
from .results.state_walk import HeadStates, ReadOut, StateAt
from .state_geometry import BALANCED, interference, ranks_of, sizes_made_of
from .state_trajectory import follow, is_still

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

BUDGET = 3 * 2**30
TOLERANCE = 1e-5
TOKENS = ("q", "k", "v")


class TooLargeError(NotEnoughMemoryError):
    """States that would not fit into the memory that is given to them."""


@dataclass(frozen=True)
class StateWalk:
    """The states of one head over one sequence of T tokens, computed once and looked at token by token.

    states: [T, K, V], S_t after each token. written: B_t in the same shape; None where the mixer does not say, or where it keeps
    its state on a scale of its own, and so are the gains |A_t|, [T]. tokens: "q" and "k" [T, K] and "v" [T, V], those that the
    head has one of at each token.
    """

    name: str
    layer: int
    head: int
    texts: tuple[str, ...]
    states: Tensor
    written: Tensor | None
    gains: Tensor | None
    tokens: dict[str, Tensor] = field(default_factory=dict)

    __repr__ = with_shapes

    def __len__(self) -> int:
        return len(self.states)

    @cached_property
    def reach(self) -> float:
        """The largest modulus of an entry of any state or write, which colours of all tokens are scaled to; 1 where all are 0."""
        values = [self.states] if self.written is None else [self.states, self.written]
        return max(float(value.abs().max()) for value in values) or 1.0

    @cached_property
    def largest_norm(self) -> float:
        """The largest norm of a state, which bounds the singular values of all tokens; 1 where all are 0."""
        return float(_norms(self.states).max()) or 1.0

    @cached_property
    def ranks(self) -> dict[str, Tensor]:
        """The norm, ranks and entropy of the state after each token, [T] each."""
        wide, made_of = _wide(self.states), None
        if self.written is not None and self.gains is not None:
            told = (wide, _norms(self.written), self.gains)
            made_of = sizes_made_of(*(part[None, :, None] for part in told))[0, :, 0]
        return ranks_of(wide, TOLERANCE, made_of)

    def before(self, position: int) -> Tensor:
        """S_{t-1}; 0 before the first token."""
        return self.states[position - 1] if position else torch.zeros_like(self.states[0])

    def parts(self, position: int) -> dict[str, Tensor]:
        """The state after a token, and what the token wrote and erased where that is told, each [K, V]."""
        found = {"state": self.states[position]}
        if self.written is not None:
            write = self.written[position]
            found |= {"written": write, "erased": self.before(position) + write - self.states[position]}
        return found

    def at(self, position: int) -> StateAt:
        """The state after a token. Raises IndexError past the end."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside the {len(self)} tokens")
        tables = []
        for part, matrix in self.parts(position).items():
            key, value = np.indices(matrix.shape)
            entries = _real(matrix).numpy().ravel()
            tables.append(pd.DataFrame({"part": part, "key": key.ravel(), "value": value.ravel(), "entry": entries}))
        singular = torch.linalg.svdvals(_wide(self.states[position]))
        about = {
            **self._about(),
            "position": position,
            "token": self.texts[position],
            "norms": {part: float(_norms(matrix)) for part, matrix in self.parts(position).items()},
            "reach": self.reach,
            "largest_norm": self.largest_norm,
            "effective_rank": float(self.ranks["effective_rank"][position]),
            "singular_values": singular.tolist(),
        }
        return StateAt(pd.concat(tables, ignore_index=True), about)

    def read(self, position: int, what: str, of: int) -> ReadOut:
        """S_t^T p after token `position`, for p the query ("q") or the key ("k") of token `of`.

        A key asks what is still stored under it: the value of that token, where nothing wrote over it. Raises UnknownNameError
        for what the head does not have.
        """
        if what not in self.tokens or what == "v":
            raise unknown_name("query", what, [name for name in self.tokens if name != "v"])
        vector = self.tokens[what][of]
        state = self.states[position]
        found = (state.mT @ vector.to(state)).real if state.is_complex() else state.mT @ vector.to(state)
        value = self.tokens.get("v")
        same = value is not None and what == "k" and not value.is_complex()
        beside = value[of].to(found) if same and value is not None else torch.full_like(found, torch.nan)
        cosine = float(torch.nn.functional.cosine_similarity(found, beside, dim=0)) if same else None
        table = pd.DataFrame({"channel": np.arange(len(found)), "read": found.numpy(), "value": beside.numpy()})
        named = f"the {'query' if what == 'q' else 'key'} of token {of} ({self.texts[of]!r})"
        return ReadOut(table, {**self._about(), "position": position, "of": of, "query": named, "cosine": cosine})

    def geometry(self) -> StateGeometry:
        """Ranks of the state, and what is written and erased, over all tokens."""
        before = torch.cat([torch.zeros_like(self.states[:1]), self.states[:-1]])
        missing = torch.full_like(self.ranks["norm"], torch.nan)
        measured = self.ranks | dict.fromkeys(("written", "erased", "interference"), missing)
        if self.written is not None:
            erased = before + self.written - self.states
            measured |= {"written": _norms(self.written), "erased": _norms(erased)}
            measured["interference"] = interference(_wide(self.written), _wide(before))
        table = pd.DataFrame({name: value.numpy() for name, value in measured.items()})
        where = {"model": self.name, "layer": self.layer, "head": self.head, "sequence": 0, "position": np.arange(len(self))}
        about = {"tokens": len(self), "sequences": 1, "tolerance": TOLERANCE, "scaled": []}
        return StateGeometry(table.assign(**where)[list(StateGeometry.columns)], about)

    def trajectory(self, values: Sequence[float], label: str) -> StateTrajectory:
        """The path of the state on its principal axes, coloured by a number of each of the T tokens."""
        table, explained = follow(real_parts(self.states.flatten(1)))
        where = {"model": self.name, "layer": self.layer, "head": self.head, "position": range(len(self))}
        table = table.assign(**where, token=list(self.texts), label=list(values))
        place = f"{self.name}, layer {self.layer}, head {self.head}"
        turned = [place] if self.states.is_complex() else []
        still = [place] if is_still(self.states) else []
        return StateTrajectory(table, {"label": label, "explained": {place: explained}, "complex": turned, "still": still})

    def _about(self) -> dict[str, object]:
        return {"model": self.name, "layer": self.layer, "head": self.head}


def head_states(model: HookedModel, tokens: Tensor, layer: int, position: int, *, name: str) -> HeadStates:
    """The states of all heads of a layer after one token of a sequence [T].

    Raises ValueError for a layer without a state, IndexError for a position past the end.
    """
    found = _run(model, tokens, layer, [position], ["state", "write"])
    state = found["state"]
    matrices = [_matrices(state[:, head], "write" in found)[0] for head in range(state.shape[1])]
    key, value = np.indices(matrices[0].shape)
    tables = [
        pd.DataFrame({"head": head, "key": key.ravel(), "value": value.ravel(), "entry": _real(matrix).numpy().ravel()})
        for head, matrix in enumerate(matrices)
    ]
    about = {"model": name, "layer": layer, "position": position, "norms": [float(_norms(matrix)) for matrix in matrices]}
    return HeadStates(pd.concat(tables, ignore_index=True), about)


def state_walk(model: HookedModel, tokens: Tensor, layer: int, head: int, *, name: str, texts: list[str]) -> StateWalk:
    """Run a model over one sequence [T], and keep the states of one head.

    texts: the T tokens as text. Raises ValueError for a layer without a state and for texts that are not one a token, IndexError
    for a head that the layer lacks, TooLargeError where the states of the layer would take more than 3 GiB.
    """
    if len(texts) != len(tokens):
        raise ValueError(f"texts has {len(texts)} entries for {len(tokens)} tokens")
    found = _run(model, tokens, layer, "all", ["state", "write", "transition", *TOKENS])
    transition, linear = found.pop("transition", None), "write" in found
    heads = found["state"].shape[1]
    if not 0 <= head < heads:
        raise IndexError(f"head {head} is outside the {heads} heads of layer {layer}")
    states = _matrices(found["state"][:, head], linear)
    written = _matrices(found["write"][:, head], linear) if linear else None
    moved = None if transition is None else transition.each(lambda part: part[0, :, head])
    if written is not None and (moved is None or not _explains(moved, states, written)):
        written = None
    gains = None if written is None or moved is None else moved.double().norm()
    own = {each: found[each][:, head * found[each].shape[1] // heads] for each in TOKENS if each in found}
    sizes = {"q": states.shape[1], "k": states.shape[1]} if linear and states.shape[2] > 1 else {}
    vectors = {each: value.clone() for each, value in own.items() if value.ndim == 2 and value.shape[1] == sizes.get(each, -1)}
    if "k" in vectors and "v" in own and own["v"].shape == states[:, 0].shape:
        vectors["v"] = own["v"].clone()
    told = None if written is None else written.clone()
    return StateWalk(name, layer, head, tuple(texts), states.clone(), told, gains, vectors)


def _run(model: HookedModel, tokens: Tensor, layer: int, taps: TapRequest, wanted: Sequence[str]) -> dict[str, Any]:
    """What those of the wanted hooks that a layer has show of one sequence, without the axis of the batch; real in float32."""
    if not model.has_state(layer):
        raise ValueError(f"layer {layer} has no state (its mixer: {model.mixer(layer).title}); choose another layer")
    hooks = {own: hook for own in wanted if (hook := hook_name(layer, f"attn.hook_{own}")) in model.hook_dict}
    run: dict[str, Any] = {"names_filter": list(hooks.values()), "taps": taps, "stop_at_layer": layer + 1}
    try:
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens[None], budget_bytes=BUDGET, **run)
    except MemoryError as error:
        raise TooLargeError(f"the states of layer {layer} over {len(tokens)} tokens are too many: {error}") from error
    found = {own: on_cpu(cache[hook]) for own, hook in hooks.items()}
    return {own: value if own == "transition" else _single(value[0]) for own, value in found.items()}


def _single(value: Tensor) -> Tensor:
    return value if value.is_complex() else value.float()


def _explains(own: Transition, states: Tensor, written: Tensor) -> bool:
    """Whether S_t = A_t S_{t-1} + B_t holds with what the hooks show of a head, [T]; not for a state on a scale of its own."""
    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    made = own.matmat(before.to(torch.promote_types(before.dtype, own.dtype))) + written
    return bool((states - made).abs().max() <= BALANCED * states.abs().max().clamp(min=1e-30))


def _matrices(states: Tensor, linear: bool) -> Tensor:
    """[T, K, V] of one head's states."""
    return states if linear and states.ndim == 3 else states.flatten(1)[..., None]


def _real(matrix: Tensor) -> Tensor:
    return matrix.real if matrix.is_complex() else matrix


def _norms(matrices: Tensor) -> Tensor:
    return _wide(matrices).abs().square().sum((-2, -1)).sqrt()


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float64))
