"""What an adapter says of a foreign family, and the mixer that stands in for a foreign one.

A foreign mixer computes its own queries, keys, values and gates, and hands them to one function of its module that runs the
recurrence. While our model runs, that function is ours: the arguments go through the hooks and into our kernels, and the
foreign code goes on with the result. So hooks, taps and edits work, and nothing else of the foreign model is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...kernels.recurrence import Edit, RecurrenceOutput
from ..hooks.points import Point
from ..mixers.base import MixerConfig, StateRequest
from ..mixers.heads import RecurrentMixer
from ..mixers.recurrences import Recurrence
from ..mixers.spectrum import AllowedSpectrum
from ..plugins import Kinds

Runner = Callable[..., Any]


class Adapter(Kinds, family="checkpoint adapter"):
    """What is said of one family of foreign token mixers. A family is one file with a class `class Mine(Adapter, kind="mine")`.

    title: the family's name. checkpoints: the models that have it, for people. package: the top package of its modules.
    mixer: the kind of ours whose hooks it has; or a name alone, where `own_points` says its hooks.
    recurrence: None for softmax attention.
    modules: class names of the foreign mixers. functions: name in the foreign module's file -> what runs in its place, called
        with our mixer and then its arguments. methods: the same for a method of the mixer. steps: the same for what takes one
        token, going on from a state, when the library generates. zero_start: whether what begins a sequence is given a state of
        zeros, which its later steps write over. unobserved: why `observe` cannot tell what its steps do.
    absent: hooks of the kind that this family does not reach. refused: why the family is not read, for one that is not.
    masked: submodules of a layer whose outputs at padding are set to 0, where the library would let padding into the sequence.
    adds: submodule of a layer whose output is added to the residual stream, where that is not the mixer's own.
    spectrum: which eigenvalues a token's transition may have, where no setting makes a difference (see `allowed`).
    resets: whether the library clears the state where a position is 0, and so must be told positions that do not count padding.
    """

    title: ClassVar[str]
    checkpoints: ClassVar[tuple[str, ...]] = ()
    package: ClassVar[str] = "transformers"
    mixer: ClassVar[str]
    own_points: ClassVar[tuple[Point, ...] | None] = None
    recurrence: ClassVar[Recurrence | None] = None
    modules: ClassVar[tuple[str, ...]] = ()
    functions: ClassVar[Mapping[str, Runner]] = {}
    methods: ClassVar[Mapping[str, Runner]] = {}
    steps: ClassVar[Mapping[str, Runner]] = {}
    zero_start: ClassVar[bool] = False
    unobserved: ClassVar[str] = ""
    absent: ClassVar[tuple[str, ...]] = ("hook_gate", "hook_z")
    refused: ClassVar[str] = ""
    masked: ClassVar[tuple[str, ...]] = ()
    adds: ClassVar[str] = ""
    spectrum: ClassVar[AllowedSpectrum | None] = None
    resets: ClassVar[bool] = False

    @classmethod
    def points(cls) -> tuple[Point, ...]:
        """The hooks that the family reaches."""
        every = MixerConfig.of_kind(cls.mixer).points if cls.own_points is None else cls.own_points
        return tuple(point for point in every if point.name.removeprefix("attn.") not in cls.absent)

    @classmethod
    def absences(cls) -> Mapping[str, str]:
        """Why the family lacks hooks that others have, by the hook's place: what the kind of ours says."""
        return {} if cls.own_points is not None else MixerConfig.of_kind(cls.mixer).absences

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Whether a module is a mixer of this family."""
        kind = type(module)
        return kind.__name__ in cls.modules and kind.__module__.partition(".")[0] == cls.package

    @classmethod
    def recurrence_of(cls, mixer: ForeignMixer) -> Recurrence | None:
        """The recurrence of one mixer, where its settings make a difference."""
        return cls.recurrence

    @classmethod
    def allowed(cls, mixer: ForeignMixer) -> AllowedSpectrum | None:
        """Which eigenvalues a token's transition may have with the settings of one mixer; None where the family does not say."""
        return cls.spectrum

    @classmethod
    def prepare(cls, mixer: ForeignMixer, foreign: nn.Module) -> None:
        """What is to be done to the foreign model for one of its mixers, once."""

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        """The state that the library's own run has left in its output's cache, in our layout; None where it shows none."""
        cache: Any = getattr(out, "past_key_values", None)
        cache = getattr(out, "cache_params", None) if cache is None else cache
        return cache.get_recurrent_state(layer, state_idx=0) if hasattr(cache, "get_recurrent_state") else None


class RefusedFamily(Adapter):
    """Base of the families that are not read, whose `refused` says why."""

    mixer, own_points = "none", ()


class NoMixer(Adapter):
    """A layer without a token mixer that is known."""

    title, mixer, own_points = "no token mixer", "none", ()


class ForeignMixer(RecurrentMixer):
    """Hook points of a foreign mixer, and the call of its recurrence on our kernels."""

    def __init__(self, adapter: type[Adapter], module: nn.Module) -> None:
        super().__init__(adapter.mixer, adapter.points(), adapter.absences())
        self.adapter = adapter
        self.axis_sizes, self.ran = {"head": 1}, False
        self.settings: dict[str, Any] = {}  # what its code has shown of it when it ran
        self.request = StateRequest()
        self.mask: Tensor | None = None  # [B, T], False at padding
        object.__setattr__(self, "module", module)  # not a submodule: its parameters are the foreign model's

    @property
    def recurrence(self) -> Recurrence:  # type: ignore[override]
        """The recurrence that its tokens run through."""
        found = self.adapter.recurrence_of(self)
        assert found is not None
        return found

    @property
    def title(self) -> str:
        return self.adapter.title

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]; [1, inputs, width] where it does not read heads alone."""
        for name in ("out_proj", "o_proj", "linear_out", "output", "dense", "c_proj"):
            found = getattr(self.module, name, None)
            if isinstance(found, nn.Module) and isinstance(found.weight, Tensor):
                weight = found.weight.T if isinstance(found, nn.Linear) else found.weight  # GPT-2 keeps [inputs, outputs]
                sizes = self.axis_sizes.get("head", 1), self.axis_sizes.get("value", 0)
                return weight.unflatten(0, sizes if sizes[0] * sizes[1] == len(weight) else (1, -1))
        raise AttributeError(f"{type(self.module).__name__} has no output matrix that is known here")

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        raise RuntimeError("a foreign mixer runs inside its own model")

    def run(
        self, tokens: Mapping[str, Tensor], *, unhooked: Mapping[str, Tensor] | None = None, **fixed: Any
    ) -> tuple[Tensor, Tensor]:
        """Through the hooks and the recurrence: the read-out, and the final state. unhooked: of each token too, but no hook's."""
        memory: dict[str, Any] = {}
        fired, others = self.fire(**in_one_precision(tokens)), in_one_precision(unhooked or {})
        read = self.recur(fired | others, replace(self.request, memory=memory), **fixed)
        return read, memory["carry"].get("initial_state")

    def fire(self, **tokens: Tensor) -> dict[str, Any]:
        """Fire hooks on copies: foreign code may read what it has handed over again, which a change in place would reach."""
        apart = {name: x.clone() if getattr(self, f"hook_{name}").has_hooks() else x for name, x in tokens.items()}
        return super().fire(**apart)

    def _replacing(self, states: Tensor, out: RecurrenceOutput) -> Edit:
        """Among the edits of this run too, which foreign code may apply once more to what it reads."""
        edit = super()._replacing(states, out)
        self.request = replace(self.request, edits=(*self.request.edits, edit))
        return edit

    def note_sizes(self, **axes: int) -> None:
        """Sizes of the axes of the hooks, once they are seen."""
        self.axis_sizes, self.ran = dict(axes), True

    def only_from_nothing(self, state: object, what: str) -> None:
        """Raise where foreign code goes on from a state of its own, which hooks and taps would not see."""
        if state is not None and bool(torch.as_tensor(state).any()):
            raise ValueError(
                f"{what} is given: run the hooked model on whole sequences; to generate, use the foreign model itself, in "
                "`observe` to see its states"
            )


def in_one_precision(tokens: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tokens in float64 where one of them is: foreign code rounds gates to float32 in a model that runs in float64."""
    wide = any(x.dtype in (torch.float64, torch.complex128) for x in tokens.values())
    return {
        name: x.to(torch.promote_types(x.dtype, torch.float64)) if wide and x.is_floating_point() else x
        for name, x in tokens.items()
    }
