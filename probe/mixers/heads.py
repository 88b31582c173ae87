"""What mixers with queries, keys and values by head share: projections, the recurrence with its hooks, norm, gate, output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...kernels.recurrence import Edit, RecurrenceOutput
from ..hooks.fire import fire, show
from .base import (
    Memory,
    Mixer,
    MixerConfig,
    RMSNorm,
    ShortConvolution,
    Snapshots,
    StateRequest,
    head_size,
    heads_of,
    linear,
)
from .recurrences import Recurrence, Tokens


@dataclass(frozen=True)
class HeadsConfig(MixerConfig):
    """Base of the configurations of mixers that have heads."""

    heads: int = 4
    """There are H heads."""
    key_size: int | None = None
    """Keys of a head have K channels; None means width / heads."""
    value_size: int | None = None
    """Values of a head have V channels; None means width / heads."""
    short_convolution: int = 0
    """A causal convolution of q, k and v spans so many tokens, followed by SiLU; 0 means none."""

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError(f"heads must be at least 1, got {self.heads}")
        if self.short_convolution < 0:
            raise ValueError(f"short_convolution must not be negative, got {self.short_convolution}")

    @property
    def turned(self) -> bool:
        """Whether positions turn queries and keys, two channels at a time, which takes an even K."""
        return False

    def sizes(self, width: int) -> tuple[int, int]:
        """The sizes K and V that each head has in a stream of this width. Raises ValueError for an odd K of what is turned."""
        key, value = self.key_size or head_size(width, self.heads), self.value_size or head_size(width, self.heads)
        if self.turned and key % 2:
            raise ValueError(f"rotary positions need an even key_size, got {key}")
        return key, value


class RecurrentMixer(Mixer):
    """A mixer whose tokens run through a `Recurrence`."""

    recurrence: ClassVar[Recurrence]

    def recur(self, tokens: Tokens, request: StateRequest, **fixed: Any) -> Tensor:
        """The read-out [B, T, H, V] of the recurrence over hooked tokens, with what is asked of its states."""
        memory, family = request.memory, self.recurrence
        carried = {} if memory is None else memory.get("carry", {})
        run = partial(family.call, **tokens, **fixed, **carried, taps=request.taps)
        out = run(edits=request.edits)
        if out.states is not None:
            states = show(self.hook_state, out.states)
            if states is not out.states:
                out = run(edits=(*request.edits, self._replacing(states, out)))
        if memory is not None:
            memory["carry"] = out.carried_at_taps() if isinstance(memory, Snapshots) else out.carried()
        for hook, name in family.shows.items():
            if getattr(out, name) is not None:
                fire(getattr(self, hook), getattr(out, name))
        self._observe(tokens, fixed, out.tap_positions, carried)
        read: Tensor = self.hook_recurrence_out(out.output)
        return read

    def _replacing(self, states: Tensor, out: RecurrenceOutput) -> Edit:
        """The edit that goes on from what a hook function returned for the tapped states."""
        shown = out.states
        assert shown is not None
        if len(out.tap_positions) != 1:
            raise RuntimeError(
                f"a hook function returned a replacement for {self.hook_state.name}, of which {len(out.tap_positions)} positions "
                "are tapped: a later state would not know of the earlier one's change; tap one position, or use run_with_edits"
            )
        if states.shape != shown.shape or states.dtype != shown.dtype:
            raise ValueError(
                f"a hook function returned {tuple(states.shape)} {states.dtype} for {self.hook_state.name}, which is "
                f"{tuple(shown.shape)} {shown.dtype}"
            )
        edit = Edit(out.tap_positions[0], "set", states[:, 0])
        edit.check_value(self.hook_state.name or "")
        return edit

    def _observe(self, tokens: Tokens, fixed: Tokens, taps: tuple[int, ...], carried: Tokens) -> None:
        """Fire the hooks that are computed only when asked for."""
        family = self.recurrence
        write = family.write if taps and family.write is not None and self.hook_write.has_hooks() else None
        transition = family.transition if family.transition is not None and self.hook_transition.has_hooks() else None
        applied = tokens if family.applied is None or not (write or transition) else family.applied(tokens, carried)
        if write is not None:
            at = torch.tensor(taps, device=next(iter(tokens.values())).device)
            tapped = {name: x.index_select(1, at) for name, x in applied.items()}
            fire(self.hook_write, write(tapped | fixed))
        if transition is not None:
            fire(self.hook_transition, transition(applied | fixed))
        if family.attention is not None and self.hook_effective_attention.has_hooks():
            if carried:
                raise RuntimeError(
                    f"{self.hook_effective_attention.name} is of a whole sequence; this pass goes on from a state, whose tokens "
                    "it does not hold"
                )
            fire(self.hook_effective_attention, family.attention(tokens | fixed))


class HeadMixer(RecurrentMixer):
    """x -> q, k, v and gates by head -> recurrence -> norm of each head -> output gate -> output matrix.

    gate: the activation of an output gate W x, None for no gate. norm: of each head's read-out; None for none.
    """

    norm: Callable[[Tensor], Tensor]

    def __init__(
        self,
        config: HeadsConfig,
        width: int,
        generator: Generator,
        *,
        gate: Callable[[Tensor], Tensor] | None = None,
        norm: Callable[[int], nn.Module] = RMSNorm,
        keys: int = 1,
    ) -> None:
        super().__init__(config.kind, config.points, config.absences)
        self.config = config
        key_size, value_size = config.sizes(width)
        heads = config.heads
        self.axis_sizes = {"head": heads, "key": key_size, "value": value_size, "householder": keys}
        sizes = {"q": heads * key_size, "k": heads * keys * key_size, "v": heads * keys * value_size}
        self.project = nn.ModuleDict({name: linear(width, size, generator) for name, size in sizes.items()})
        if config.short_convolution:
            span = config.short_convolution
            self.convolve = nn.ModuleDict({name: ShortConvolution(size, span, generator) for name, size in sizes.items()})
        self.norm = norm(value_size)
        self.gate = gate
        if gate is not None:
            self.project_gate: nn.Module = linear(width, heads * value_size, generator)
        self.project_out = linear(heads * value_size, width, generator)

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]."""
        return self.project_out.weight.T.unflatten(0, (self.config.heads, -1))

    def by_head(self, x: Tensor) -> Tensor:
        return heads_of(x, self.config.heads)

    def projected(self, x: Tensor, name: str, memory: Memory | None) -> Tensor:
        """W x by head, through the short convolution and SiLU if there is one."""
        y = self.project[name](x)
        if self.config.short_convolution:
            y = functional.silu(self.convolve[name](y, memory, name))
        return self.by_head(y)

    @abstractmethod
    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        """What the recurrence takes, each through its hook."""

    def fixed(self) -> dict[str, Any]:
        """Arguments of the recurrence that do not come from tokens."""
        return {}

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        z = self.norm(self.recur(self.tokens(x, request.memory), request, **self.fixed()))
        if self.gate is not None:
            z = z * self.gate(self.hook_gate(self.by_head(self.project_gate(x))))
        mixed: Tensor = self.project_out(self.hook_z(z).flatten(-2))
        return mixed
