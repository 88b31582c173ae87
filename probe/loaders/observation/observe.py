"""Watching a model that the user's own code runs: nothing of its run is changed, and its states can be had afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Literal, Self

import pandas as pd
import torch
from torch import Tensor, nn

from ....kernels.operators.transition import Transition
from ....kernels.recurrence import TapRequest
from ....kernels.shown import with_shapes
from ...errors import StatescopeError, UnknownNameError, unknown_name
from ...models.hooked import HookedModel
from ...results.gates import Gates
from ..adapter import ForeignMixer, Runner
from ..foreign import known_architectures, recurrent_mixers
from ..substitution import watching
from .gates import reduced, rows_of

Keep = Literal["gates", "states"]


class UnobservedError(StatescopeError, RuntimeError):
    """A run that was not seen whole; the text says what was missed."""


class _Shown(Exception):  # noqa: N818 (no error)
    """A family's code has come to its recurrence, with these tokens."""

    def __init__(self, tokens: dict[str, Tensor], fixed: dict[str, Any]) -> None:
        super().__init__()
        self.tokens, self.fixed = tokens, fixed


class ObservedMixer(ForeignMixer):
    """A stand-in that learns the tokens of a foreign recurrence, and runs nothing."""

    continues: bool | None = None

    def run(self, tokens: Mapping[str, Tensor], *, unhooked: Mapping[str, Tensor] | None = None, **fixed: Any) -> Any:
        raise _Shown(dict(tokens) | dict(unhooked or {}), fixed)

    def only_from_nothing(self, state: object, what: str) -> None:
        """Note whether its code goes on from a state."""
        given = state is not None
        goes_on = given and bool(torch.as_tensor(state).any()) if self.adapter.zero_start else given
        self.continues = bool(self.continues) or goes_on


@dataclass(frozen=True)
class _Call:
    """A call of a foreign recurrence, with what it was given. forward: which of the model's it is in."""

    mixer: ObservedMixer
    runner: Runner
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    step: bool
    forward: int

    @torch.no_grad()
    def read(self) -> _Read | None:
        """The tokens of the recurrence; None where the family's code does not come to it."""
        self.mixer.continues = None
        try:
            self.runner(self.mixer, *self.args, **self.kwargs)
        except _Shown as shown:
            length = next(iter(shown.tokens.values())).shape[1]
            noted = self.mixer.continues
            continues = self.step or (length == 1 if noted is None else noted)
            return _Read(self.mixer, shown.tokens, shown.fixed, continues, self.forward)
        return None


@dataclass(frozen=True)
class _Read:
    """What a call gave its recurrence. continues: whether it goes on from a state."""

    mixer: ObservedMixer
    tokens: dict[str, Tensor]
    fixed: dict[str, Any]
    continues: bool
    forward: int


@dataclass
class ObservedRun:
    """One sequence of calls that go on from each other: a prompt and what was generated behind it, or one forward pass.

    tokens: the token ids [B, T] that the model read, None where it was given none by name. The last one that was generated is
    read by nobody. Positions count what was read.
    """

    mixers: dict[int, ObservedMixer] = field(default_factory=dict)
    ids: list[Tensor] = field(default_factory=list)
    parts: dict[int, list[dict[str, Tensor]]] = field(default_factory=dict)
    fixed: dict[int, dict[str, Any]] = field(default_factory=dict)
    gates: dict[int, list[dict[str, Tensor]]] = field(default_factory=dict)

    __repr__ = with_shapes

    @property
    def tokens(self) -> Tensor | None:
        return torch.cat(self.ids, dim=1) if self.ids else None

    def recurrent_tokens(self, layer: int) -> dict[str, Tensor]:
        """What the recurrence of a layer took of each token, by the names of hooks: q, k, v, beta, log_decay, [B, T, H, .]."""
        if layer not in self.gates:
            raise unknown_name("recurrent layer", str(layer), map(str, sorted(self.gates)))
        if layer not in self.parts:
            raise UnobservedError('gates alone were kept; observe(model, keep="states") keeps what states are computed from')
        parts = self.parts[layer]
        return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}

    def states(self, layer: int, taps: TapRequest = "last") -> Tensor:
        """The state after chosen positions, [B, taps, H, ...], by our kernel from the tokens that the layer took: exact.

        Raises UnobservedError where gates alone were kept, IndexError for a position that was not read.
        """
        call = self.mixers[layer].recurrence.call if layer in self.mixers else None
        tokens = self.recurrent_tokens(layer)
        assert call is not None
        states = call(**tokens, **self.fixed[layer], taps=taps).states
        assert states is not None
        return states

    def transition(self, layer: int) -> Transition:
        """The transition A_t of each token, [B, T, H]. Raises UnknownNameError for a recurrence without a linear one."""
        tokens = self.recurrent_tokens(layer)
        family = self.mixers[layer].recurrence
        if family.transition is None:
            raise UnknownNameError(f"layer {layer}, {self.mixers[layer].title}, has no linear transition")
        applied = tokens if family.applied is None else family.applied(tokens, {})
        return family.transition(applied | self.fixed[layer])


class Observation(Sequence[ObservedRun]):
    """What `observe` has seen: a run for each sequence of calls, `seen[-1]` the last.

    overhead: seconds that watching took, over the seconds of the model's own forward passes.
    """

    def __init__(self, model: nn.Module, keep: Keep, budget_bytes: int) -> None:
        self.model, self.keep, self.budget_bytes = model, keep, budget_bytes
        self.names = {module: name for name, module in model.named_modules()}
        self.mixers = recurrent_mixers(model, ObservedMixer)
        self.running: list[ForeignMixer] = []
        self.runs: list[ObservedRun] = []
        self.calls: list[_Call | _Read] = []
        self.order: dict[int, int] = {}  # of mixers, by id: the number of the layer
        self.ids: dict[int, Tensor] = {}
        self.begun = dict.fromkeys(map(id, self.mixers), 0)
        self.forwards, self.held = 0, 0
        self.watching, self.forward_time, self.started = 0.0, 0.0, 0.0
        self.stack = ExitStack()
        if not self.mixers:
            raise UnknownNameError(
                f"{type(model).__name__} has no recurrence that is known here; {known_architectures()}. Of another module, "
                "`hooked(module, example)` shows states"
            )
        for mixer in self.mixers:
            if mixer.adapter.unobserved:
                raise UnobservedError(f"{mixer.title} cannot be observed: {mixer.adapter.unobserved}")

    def __getitem__(self, index: Any) -> Any:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[ObservedRun]:
        return iter(self.runs)

    def __repr__(self) -> str:
        return f"Observation of {type(self.model).__name__}: {len(self.runs)} runs, {len(self.order)} recurrent layers"

    @property
    def layers(self) -> dict[int, str]:
        """The names of the recurrent modules by layer, in the order in which they ran."""
        by_id = {id(mixer): mixer for mixer in self.mixers}
        return {layer: self.names[by_id[key].module] for key, layer in self.order.items()}

    @property
    def overhead(self) -> float:
        return self.watching / max(self.forward_time - self.watching, 1e-12)

    def gate_table(self) -> Gates:
        """The decay, half-life and step size of each token, as a result."""
        if not self.runs:
            raise UnobservedError("the model has not run; call it inside `with observe(model) as seen:`")
        tables = []
        for number, run in enumerate(self.runs):
            for layer, parts in sorted(run.gates.items()):
                joined = {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}
                tables.append(pd.DataFrame(rows_of(joined, run.tokens, run=number, layer=layer)))
        about = {"overhead": self.overhead, "layers": {str(layer): name for layer, name in self.layers.items()}}
        return Gates(pd.concat(tables, ignore_index=True)[list(Gates.columns)], about)

    def __enter__(self) -> Self:
        self.stack.enter_context(watching(self.mixers, self.running))
        self._replace_functions()
        self.stack.callback(self.model.register_forward_pre_hook(self._begin, with_kwargs=True, prepend=True).remove)
        self.stack.callback(self.model.register_forward_hook(self._end).remove)
        for mixer in self.mixers:
            self.stack.callback(mixer.module.register_forward_pre_hook(partial(self._note, id(mixer))).remove)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.stack.close()
        self.running.clear()
        if kind is None:
            self._read()
            missed = [self.names[mixer.module] for mixer in self.mixers if self.begun[id(mixer)]]
            if missed:
                raise UnobservedError(
                    f"{', '.join(missed[:3])} ran without calling a recurrence that is known here (in training mode, or through "
                    "a fused path); call model.eval(), or run `load(model)` on the whole sequence"
                )

    def _replace_functions(self) -> None:
        """A recorder in the place of each function and method of the recurrences, which calls it and keeps what it was given."""
        done: set[tuple[int, str]] = set()
        for mixer in self.mixers:
            namespace = sys.modules[type(mixer.module).__module__]
            for table, step in ((mixer.adapter.functions, False), (mixer.adapter.steps, True)):
                for name in table:
                    if hasattr(namespace, name) and (id(namespace), name) not in done:
                        done.add((id(namespace), name))
                        original = getattr(namespace, name)
                        setattr(namespace, name, partial(self._recorded, original, name, step))
                        self.stack.callback(setattr, namespace, name, original)
            for name, runner in mixer.adapter.methods.items():
                original = getattr(mixer.module, name)
                object.__setattr__(mixer.module, name, partial(self._called, original, mixer, runner, False))
                self.stack.callback(object.__delattr__, mixer.module, name)

    def _recorded(self, original: Callable[..., Any], name: str, step: bool, *args: Any, **kwargs: Any) -> Any:
        if not self.running:  # of another model
            return original(*args, **kwargs)
        mixer = self.running[-1]
        assert isinstance(mixer, ObservedMixer)
        table = mixer.adapter.steps if step else mixer.adapter.functions
        if name not in table:
            return original(*args, **kwargs)
        return self._called(original, mixer, table[name], step, *args, **kwargs)

    def _called(self, original: Any, mixer: ObservedMixer, runner: Runner, step: bool, *args: Any, **kwargs: Any) -> Any:
        start = perf_counter()
        call = _Call(mixer, runner, args, kwargs, step, self.forwards)
        self.calls.append((mixer.adapter.zero_start and call.read()) or call)
        self.held += sum(value.nbytes for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        self.watching += perf_counter() - start
        out = original(*args, **kwargs)
        if out is None:  # a fused path that the library does not take
            self.calls.pop()
        if self.held > self.budget_bytes:
            start = perf_counter()
            self._read()
            self.watching += perf_counter() - start
        return out

    def _note(self, key: int, module: nn.Module, args: Any) -> None:
        self.begun[key] += 1

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        start = perf_counter()
        self.forwards += 1
        given = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(given, Tensor) and given.ndim == 2 and not given.is_floating_point():
            self.ids[self.forwards] = given.detach()
        for value in kwargs.values():
            self._refuse_reordering(value)
        self.started = start
        self.watching += perf_counter() - start

    def _refuse_reordering(self, cache: Any) -> None:
        """What takes rows or positions of a cache raises while it is watched: they would not be those that were seen."""
        if isinstance(cache, Tensor | int | str) or not hasattr(cache, "reorder_cache"):
            return
        for name in ("reorder_cache", "crop", "batch_select_indices"):
            if callable(getattr(cache, name, None)) and name not in vars(cache):
                object.__setattr__(cache, name, partial(_reordered, name))
                self.stack.callback(object.__delattr__, cache, name)

    def _end(self, module: nn.Module, args: Any, out: Any) -> None:
        self.forward_time += perf_counter() - self.started

    def _read(self) -> None:
        """Read the calls that were kept: their tokens, or their gates alone."""
        for call in self.calls:
            read = call.read() if isinstance(call, _Call) else call
            if read is not None:  # and not what a family's code does around its recurrence, such as unpadding
                self.begun[id(call.mixer)] -= 1
                self._keep(read)
        self.calls.clear()
        self.held = 0

    def _keep(self, read: _Read) -> None:
        tokens, layer = read.tokens, self.order.setdefault(id(read.mixer), len(self.order))
        if not self.runs or (not read.continues and layer in self.runs[-1].gates):
            self.runs.append(ObservedRun())
        run = self.runs[-1]
        if read.continues and layer not in run.gates:
            raise UnobservedError(
                "the model goes on from a state that was made before `observe`: begin to observe before the prompt is read"
            )
        gates = reduced(tokens)
        if read.continues and len(run.gates[layer][-1]["log_decay"]) != len(gates["log_decay"]):
            raise UnobservedError("a step has another batch than the tokens before it; observe one generate at a time")
        run.mixers[layer], run.fixed[layer] = read.mixer, read.fixed
        run.gates.setdefault(layer, []).append(gates)
        if self.keep == "states":
            run.parts.setdefault(layer, []).append({name: value.detach() for name, value in tokens.items()})
        if read.forward in self.ids:
            run.ids.append(self.ids.pop(read.forward).cpu())


def observe(model: nn.Module, *, keep: Keep = "gates", budget_bytes: int = 2**30) -> Observation:
    """Watch a model of transformers or flash-linear-attention while your own code runs it.

        with observe(model, keep="states") as seen:
            out = model.generate(**inputs, max_new_tokens=50)
        seen.gate_table().figure()
        seen[-1].states(layer=0, taps=[5, 40])

    The model's own code runs as it would: each call of a recurrence is noted, and read when the context ends. So the output is
    the same to the last bit, with its library's kernels and cache; `seen.overhead` says what watching cost.

    keep: "gates" keeps the decay and the step size of each token; "states" keeps the queries, keys and values too, from which
        `states` and `transition` follow at any position.
    budget_bytes: calls that hold more are read at once, which takes time in the run.

    Raises UnobservedError, when the context ends or where it shows: for a run that did not begin inside, for beam search (whose
    rows change places between steps), for a recurrence that a family's adapter does not see; UnknownNameError for a model without
    one.
    """
    if isinstance(model, HookedModel):
        raise TypeError(
            f"observe is for a library's own model; a {type(model).__name__} has run_with_cache and generate_with_cache"
        )
    if keep not in ("gates", "states"):
        raise unknown_name("keep", str(keep), ("gates", "states"))
    return Observation(model, keep, budget_bytes)


def _reordered(name: str, *_: Any, **__: Any) -> None:
    raise UnobservedError(
        f"{name}: beams or guesses change places between steps, and what was seen of them would be mixed up; generate with "
        "num_beams=1 and without an assistant"
    )
