"""What every recurrence call shares: taps, edits, and the result.

Every matrix-state recurrence here is ``S_t = A_t S_{t-1} + B_t`` with the read-out ``o_t = S_t^T q_t``. ``A_t`` acts on
the key axis. Tokens lie as [B, T, H, .], states as [B, H, K, V], tapped states as [B, P, H, K, V].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from .arguments import can_read_values, check_finite
from .shown import with_shapes

Operation = Literal["set", "add", "scale", "project_out_key", "reflect_key", "project_out_value"]
Verb = Literal["propagate", "readout"]
Implementation = Literal["reference", "chunked", "triton"]
Precision = Literal["exact", "fast"]

OPERATIONS: tuple[str, ...] = get_args(Operation)
IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)


@dataclass(frozen=True)
class Tap:
    """A request for the state *after* chosen tokens.

    Give exactly one of the three. A tap at a position that is also edited sees the edited state.

    positions: token positions, 0 <= p < T (negative ones count from the end), in increasing order.
    every: the state after every n-th token: n-1, 2n-1, ...
    last: the state after the last token.
    """

    positions: tuple[int, ...] = ()
    every: int | None = None
    last: bool = False

    def __post_init__(self) -> None:
        if sum((bool(self.positions), self.every is not None, self.last)) != 1:
            raise ValueError(f"a Tap takes exactly one of positions, every, last; got {self}")
        if self.every is not None and self.every < 1:
            raise ValueError(f"Tap(every={self.every}): every must be at least 1")

    @classmethod
    def of(cls, request: TapRequest) -> Tap:
        """Read what a caller may write: a Tap, a position, a list of positions, "last", or "all"."""
        if isinstance(request, Tap):
            return request
        if isinstance(request, str):
            if request not in ("last", "all"):
                raise ValueError(f'positions {request!r} are not known; give "last", "all", positions, or Tap(every=n)')
            return cls(last=True) if request == "last" else cls(every=1)
        try:
            positions: tuple[int, ...] = (index(request),)  # type: ignore[arg-type]
        except TypeError:
            positions = tuple(map(index, request))  # type: ignore[arg-type]
        if not positions:
            raise ValueError('a list of no positions was given; give positions, "last", "all", or Tap(every=n)')
        return cls(positions=positions)

    def resolve(self, length: int, what: str = "tap") -> tuple[int, ...]:
        """The positions in a sequence of `length` tokens, increasing. Raises IndexError past the end, naming what asked."""
        if self.last:
            return (length - 1,)
        if self.every is not None:
            if self.every > length:
                raise IndexError(f"Tap(every={self.every}) taps nothing in a sequence of {length} tokens")
            return tuple(range(self.every - 1, length, self.every))
        resolved = tuple(resolve_position(position, length, what) for position in self.positions)
        if any(late <= early for early, late in pairwise(resolved)):
            raise ValueError(f"{what} positions must increase; got {self.positions}")
        return resolved


TapRequest = Tap | int | Sequence[int] | Literal["last", "all"]


@dataclass(frozen=True)
class Edit:
    """A change of the state after one token.

    position: the token after which the state changes (negative counts from the end). The output at that token was
        read before the change.
    operation:
        "set"               S <- value
        "add"               S <- S + value
        "scale"             S <- value * S
        "project_out_key"   S <- (I - u u^T) S     u = value / |value|, a direction on the key side
        "reflect_key"       S <- (I - 2 u u^T) S
        "project_out_value" S <- S (I - u u^T)     a direction on the value side
        For a complex u, u^T on the key side is u^H, and the read-out S^T q loses its part along u on the value side.
    value: broadcast to [B, H, K, V] for set, add and scale; to [B, H, K] or [B, H, V] for directions. With `heads`
        given, H is the number of those heads. May require a gradient.
    heads: the heads to change; None changes all.
    verb: "propagate" goes on from the changed state. "readout" leaves the state as it is, and the output at this one
        position is read from the changed state.

    Several edits at one position apply in the order they are given, each to what the one before made: those that propagate
    to the state, those of the read-out to the state that the token read, which no propagating edit at that position changes.
    """

    position: int
    operation: Operation
    value: Tensor
    heads: tuple[int, ...] | None = None
    verb: Verb = "propagate"

    __repr__ = with_shapes

    if TYPE_CHECKING:  # where hooks are named, one edit may stand for several positions: it is made one at each

        def __init__(
            self,
            position: TapRequest,
            operation: Operation,
            value: Tensor,
            heads: tuple[int, ...] | None = None,
            verb: Verb = "propagate",
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"Edit operation {self.operation!r} is not known; one of {', '.join(OPERATIONS)}")
        if self.verb not in get_args(Verb):
            raise ValueError(f"Edit verb {self.verb!r} is not known; one of {', '.join(get_args(Verb))}")
        if self.heads is not None and len(set(self.heads)) != len(self.heads):
            raise ValueError(f"Edit({self.operation!r}) names a head twice: {self.heads}")
        object.__setattr__(self, "value", torch.as_tensor(self.value))
        along_a_direction = self.operation.endswith(("_key", "_value"))
        if along_a_direction and can_read_values(self.value) and bool((self.value.detach().norm(dim=-1) == 0).any()):
            raise ValueError(f"Edit({self.operation!r}) needs a direction of non-zero length")

    def check_value(self, of: str = "") -> None:
        """Raise NonFiniteError where the value holds a NaN or an infinity, naming the edit. of: whose state it changes."""
        check_finite(**{f"the value of Edit({self.operation!r}) at position {self.position}{of and f' of {of}'}": self.value})

    def apply(self, state: Tensor, value: Tensor | None = None) -> Tensor:
        """The changed state, as a new tensor. state: [B, H, K, V]; value: in the place of the edit's own."""
        value = self.value if value is None else value
        if value.is_complex() and not state.is_complex():
            raise TypeError(f"Edit({self.operation!r}) at {self.position}: the value is complex and the state is real")
        value = value.to(state)
        if self.heads is None:
            return self._operate(state, value)
        if not set(self.heads) <= set(range(state.shape[1])):
            outside = next(head for head in self.heads if not 0 <= head < state.shape[1])
            raise IndexError(f"Edit({self.operation!r}) at {self.position}: head {outside} is outside the {state.shape[1]} heads")
        heads = torch.tensor(self.heads, device=state.device)
        return state.index_copy(1, heads, self._operate(state.index_select(1, heads), value))

    def pull_back(self, sequences: Sequence[int], gradient: Tensor, state: Tensor, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """The gradients of the state before and of the value, from that of `apply_to`, at `state` and `value`."""
        if value.requires_grad:
            d_state, d_value = torch.func.vjp(partial(self.apply_to, sequences), state, value)[1](gradient)
            return d_state, d_value
        if self.operation == "add":
            return gradient, None
        if self.operation == "set":
            return replace(self, operation="scale", value=torch.zeros(())).apply_to(sequences, gradient), None
        return self.apply_to(sequences, gradient, value), None  # the others are linear in the state, and symmetric

    def apply_to(self, sequences: Sequence[int], state: Tensor, value: Tensor | None = None) -> Tensor:
        """Change only some of the sequences of state [S, H, K, V]."""
        if len(sequences) == len(state):
            return self.apply(state, value)
        which = torch.tensor(sequences, device=state.device)
        return state.index_copy(0, which, self.apply(state.index_select(0, which), value))

    def _operate(self, state: Tensor, value: Tensor) -> Tensor:
        if self.operation == "set":
            return self._broadcast(value, state.shape).clone()
        if self.operation == "add":
            return state + self._broadcast(value, state.shape)
        if self.operation == "scale":
            return state * self._broadcast(value, state.shape)
        if self.operation == "project_out_value":
            unit = self._broadcast(_unit(value), (*state.shape[:2], state.shape[3]))
            return state - (state @ unit.conj()[..., :, None]) * unit[..., None, :]
        unit = self._broadcast(_unit(value), state.shape[:3])
        factor = 2.0 if self.operation == "reflect_key" else 1.0
        return state - factor * unit[..., :, None] * (unit.conj()[..., None, :] @ state)

    def _broadcast(self, value: Tensor, shape: Sequence[int]) -> Tensor:
        try:
            return value.expand(shape)
        except RuntimeError:
            raise ValueError(
                f"Edit({self.operation!r}) at {self.position}: value of shape {tuple(value.shape)} does not broadcast to "
                f"{tuple(shape)}"
            ) from None


def _unit(direction: Tensor) -> Tensor:
    return direction / direction.norm(dim=-1, keepdim=True)


@dataclass(frozen=True)
class RecurrenceOutput:
    """What a recurrence returns.

    output: [B, T, H, V], in the dtype of `v`.
    final_state: [B, H, K, V], the state after the last token (after its edit, if it has one); float32 at least, as whatever
        continues a recurrence is (`precision.py`), so that a sequence may be cut anywhere.
    states: [B, P, H, K, V], the states at the taps, of the same dtype; None without taps.
    tap_positions: the P positions; empty without taps.
    implementation: which implementation ran.
    """

    output: Tensor
    final_state: Tensor
    states: Tensor | None
    tap_positions: tuple[int, ...]
    implementation: str

    __repr__ = with_shapes

    def carried(self) -> dict[str, Tensor]:
        """The keywords with which another call goes on behind the last token."""
        return {"initial_state": self.final_state}

    def carried_at_taps(self) -> dict[str, Tensor]:
        """The same behind each tap of a batch of one sequence, the taps side by side: [taps, ...]."""
        return {"initial_state": self._at_taps(self.states)}

    @staticmethod
    def _at_taps(states: Tensor | None) -> Tensor:
        """[1, P, ...] as [P, ...]. Raises ValueError without taps, or for more than one sequence."""
        if states is None or len(states) != 1:
            raise ValueError("what is carried at taps needs taps, and a batch of one sequence")
        return states[0]


def resolve_position(position: int, length: int, what: str) -> int:
    """A position in [0, length), negative ones counted from the end. Raises IndexError naming what asked for it."""
    resolved = position + length if position < 0 else position
    if not 0 <= resolved < length:
        raise IndexError(f"{what} at position {position} is outside a sequence of {length} tokens")
    return resolved
