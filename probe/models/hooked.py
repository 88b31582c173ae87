"""What every hooked model does, ours or a foreign one: caches, filters, taps and edits by hook name."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, Tap, TapRequest
from ..errors import UnknownNameError
from ..hooks.budget import check_budget
from ..hooks.cache import NotInThisModelError, StateCache, converted
from ..hooks.choose import ChoosesHooks, NamesFilter
from ..hooks.names import STATE_PLACE, hook_name, layer_of, place_of, resolve_layer
from ..hooks.points import BLOCK_POINTS, MODEL_POINTS, Point
from ..hooks.positions import PositionRequest, Positions, check_mask
from ..mixers.base import Memory, Mixer, StateRequest
from ..mixers.spectrum import AllowedSpectrum
from ..mixers.table import why_not
from .text import Prompt, ReadsText


class HookedModel(ReadsText, ChoosesHooks):
    """A model whose hooks are those of `hooks/points.py` and those that its mixers declare.

    sizes: of the axis "width", for the byte budget. layers: how many blocks there are. points: what is declared of each hook, by
    its full name. undivided: why methods of a cache that take norms, neurons and the unembedding apart are refused; None where
    they work.

    Layer numbers are those of transformer-lens: a negative one counts from the last, and one outside the model raises LayerError.
    Positions are those of `hooks/positions.py`.
    """

    sizes: dict[str, int]
    undivided: ClassVar[str | None] = None
    rereads: ClassVar[bool] = False
    """True where each token that is generated reads all before it again."""

    @abstractmethod
    def mixer(self, layer: int) -> Mixer:
        """The token mixer of a layer."""

    def __deepcopy__(self, memo: dict[int, Any]) -> HookedModel:
        """A model of its own: its hooks fire on the copy alone. Raises RuntimeError while hook functions hang on the model, which
        belong to it and not to the copy.
        """
        held = [name for name, point in self.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]
        if held:
            raise RuntimeError(
                f"{held[0]} has a hook function; call reset_hooks(including_permanent=True) before you copy the model"
            )
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    @property
    def longest(self) -> int | None:
        """How many tokens it reads at most; None where there is no such number."""
        return None

    def generate(
        self,
        tokens: Prompt,
        count: int,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        edits: Mapping[str, Sequence[Edit]] | None = None,
    ) -> Tensor:
        """`count` tokens more behind tokens [B, T], or behind text: [B, T + count].

        Raises NotInThisModelError for a model that generates no tokens.
        """
        raise NotInThisModelError(f"a {type(self).__name__} generates no tokens")

    def length_of(self, tokens: Tensor) -> int:
        """How many positions a run on tokens has."""
        return tokens.shape[1]

    def logits_of(self, stream: Tensor) -> Tensor:
        """The logits [..., vocabulary] that the final norm and the unembedding give for a stream [..., width] leaving the last
        block. Raises NotInThisModelError for a model whose unembedding is not known.
        """
        raise NotInThisModelError(f"a {type(self).__name__} has no unembedding that is known here")

    def step(self, tokens: Tensor, requests: Sequence[StateRequest]) -> Tensor:
        """The logits [B, vocabulary] behind the last of tokens [B, T], going on from the memories in `requests`."""
        raise NotInThisModelError(f"a {type(self).__name__} does not go on from memories; generate with its own library")

    def setup_hooks(self) -> None:
        """Name the hook points, find what is declared of each, and tell it where its positions are. To be called when all are
        made. Raises ValueError for a hook point that nothing declares.
        """
        self.setup()  # type: ignore[no-untyped-call]
        self.points = {}
        for name, hook in self.hook_dict.items():
            layer, place = layer_of(name), place_of(name)
            declared = MODEL_POINTS if layer is None else (*BLOCK_POINTS, *self.layer_points(layer))
            found = next((point for point in declared if point.name == place), None)
            if found is None:
                raise ValueError(f"the hook point {name} is in no `points`; declare its axes and what it holds there")
            self.points[name], hook.pos_dim = found, found.position_axis

    def layer_points(self, layer: int) -> tuple[Point, ...]:
        """The hooks that the mixers of a layer declare."""
        return self.mixer(layer).points

    def axis_sizes(self, layer: int | None) -> dict[str, int]:
        """The sizes of the axes of hooks, of a layer or of the whole model."""
        return self.sizes if layer is None else self.sizes | self.mixer(layer).axis_sizes

    def allowed_spectrum(self, layer: int) -> AllowedSpectrum | None:
        """The eigenvalues that a layer's transitions may have, whatever its weights; None where the family does not say."""
        return None

    def has_state(self, layer: int) -> bool:
        """Whether taps and edits apply to a layer."""
        return hook_name(resolve_layer(layer, self.layers), STATE_PLACE) in self.hook_dict

    def _requests(
        self,
        length: int,
        taps: TapRequest | None,
        edits: Mapping[str, Sequence[Edit]] | None,
        memories: Sequence[Memory] | None,
    ) -> list[StateRequest]:
        """What is asked of each layer's states, in a sequence of `length` tokens."""
        stateful = [layer for layer in range(self.layers) if self.has_state(layer)]
        if taps is not None and not stateful:
            raise ValueError(f"taps were given, but no layer of this model has a state (its mixers: {self.mixer_kinds})")
        by_layer = self.edits_by_layer(length, edits or {})
        if memories is not None and len(memories) != self.layers:
            raise ValueError(f"memories has {len(memories)} entries; the model has {self.layers} layers")
        return [
            StateRequest(taps if layer in stateful else None, by_layer.get(layer, ()), memories[layer] if memories else None)
            for layer in range(self.layers)
        ]

    @property
    def mixer_kinds(self) -> str:
        """The kinds of the mixers there are, for an error."""
        return ", ".join(dict.fromkeys(self.mixer(layer).kind for layer in range(self.layers))) or "none"

    def edits_by_layer(self, length: int, edits: Mapping[str, Sequence[Edit]]) -> dict[int, list[Edit]]:
        """The edits of each layer, each at one position."""
        by_layer: dict[int, list[Edit]] = {}
        for name, own in edits.items():
            if name not in self.hook_dict:
                raise self.unknown_hook(name)
            layer = layer_of(name)
            if self.points[name].access != "edit" or layer is None:
                states = [hook for hook in self.hook_dict if hook.endswith("hook_state")]
                raise ValueError(
                    f"{name} takes no edits; edits change states ({', '.join(states) or 'this model has none'}), other hooks "
                    "are changed with run_with_hooks"
                )
            for edit in own:
                edit.check_value(name)
            by_layer[layer] = [
                replace(edit, position=position)
                for edit in own
                for position in Tap.of(edit.position).resolve(length, f"Edit({edit.operation!r})")
            ]
        return by_layer

    def run_with_edits(self, tokens: Prompt, edits: Mapping[str, Sequence[Edit]], **run: Any) -> Any:
        """Run with changes of the state: {"blocks.0.attn.hook_state": [Edit(position, operation, value), ...]}.

        Each edit propagates (the recurrence goes on from the changed state) or, with verb="readout", changes what is read at
        its position alone. Its position may be a list, "last" or "all" as well: the same edit at each. `run`: what `forward`
        takes. Raises UnknownNameError for a hook that does not exist, ValueError for one that takes no edits and for a value that
        holds a NaN or an infinity, IndexError for a position past the end.
        """
        return self(tokens, edits=edits, **run)

    def run_with_cache(  # type: ignore[override]
        self,
        tokens: Prompt,
        *,
        names_filter: NamesFilter = None,
        taps: TapRequest | None = None,
        positions: PositionRequest | None = None,
        attention_mask: Tensor | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        remove_batch_dim: bool = False,
        incl_bwd: bool = False,
        budget_bytes: int = 8 * 2**30,
        **run: Any,
    ) -> tuple[Any, StateCache]:
        """Run the model and keep activations.

        names_filter: hook names, a name with wildcards ("blocks.*.hook_resid_post"), a list of these, or a function of the
            name. None keeps all that fire in this run.
        taps: positions whose states are wanted; without it the hooks of states do not fire.
        positions: the token positions to keep of every hook but those at taps; None keeps all.
        attention_mask: [B, T], 0 at padding. "last", of taps and positions, is then the last token of each row.
        device, dtype: to store on, and as. Complex activations stay complex.
        remove_batch_dim: keep the activations of a batch of one without the axis of the batch.
        incl_bwd: call backward on the output, which must be one number, and keep the gradients too, as "name_grad".
        budget_bytes: the run is refused before it starts if what it would keep is larger.
        run: what `forward` takes beside tokens, taps and the mask.

        Raises UnknownNameError for a name that matches no hook, ValueError for a hook that cannot fire in this run, or that its
        mixer declares and does not fire, MemoryError over the budget.
        """
        tokens, attention_mask = self.as_tokens(tokens, attention_mask)
        if remove_batch_dim and len(tokens) != 1:
            raise ValueError(f"remove_batch_dim needs a batch of 1, got {len(tokens)}")
        if "pos_slice" in run:
            raise NotInThisModelError("pos_slice is not taken: it knows no states; give positions=, as taps are given")
        if attention_mask is not None:
            check_mask(attention_mask, *tokens.shape[:2])
            run["attention_mask"] = attention_mask
        length = self.length_of(tokens)
        layers = {name: run[name] for name in ("start_at_layer", "stop_at_layer") if name in run}
        names = self.matching_hooks(names_filter, taps=taps, **layers)
        graded = [name for name in names if self.points[name].takes_gradient] if incl_bwd else []
        tapped = None if taps is None else Positions.of(taps, length, attention_mask)
        kept = None if positions is None else Positions.of(positions, length, attention_mask)
        count = length if kept is None else len(kept.of_batch)
        check_budget(self, [*names, *graded], len(tokens), length, count, len(tapped.of_batch) if tapped else 0, budget_bytes)
        activations: dict[str, Any] = {}
        steps: dict[str, list[Any]] = {}
        silent = dict.fromkeys(names)

        def keep(value: Any, hook: HookPoint, suffix: str = "") -> None:
            name = hook.name or ""
            silent.pop(name, None)
            value = value.detach()
            if self.points[name].firing == "steps":
                if kept is None or hook.ctx["position"] in kept.of_batch:
                    steps.setdefault(name, []).append(converted(value, device, dtype))
                return
            if self.points[name].at_taps and tapped is not None:
                value = tapped.select_rows(value, 1)
            elif kept is not None and hook.pos_dim is not None:
                value = kept.select(value, hook.pos_dim)
            value = converted(value, device, dtype)
            activations[name + suffix] = value[0] if remove_batch_dim else value

        forward: list[tuple[Any, Any]] = [(name, keep) for name in names]
        backward: list[tuple[Any, Any]] = [(name, partial(keep, suffix="_grad")) for name in graded]
        with self.hooks(fwd_hooks=forward, bwd_hooks=backward):
            out = self(tokens, taps=None if tapped is None else tapped.of_batch, **run)
            if incl_bwd:
                if not isinstance(out, Tensor) or out.ndim:
                    raise ValueError('incl_bwd calls backward on the output, which must be one number: give return_type="loss"')
                out.backward()
        if silent:
            raise _unfired(next(iter(silent)))
        for name, values in steps.items():
            value = torch.cat(values, dim=1)
            value = value if kept is None else kept.select_rows(value, 1)
            activations[name] = value[0] if remove_batch_dim else value
        shown = () if tapped is None else tapped.shown
        return out, StateCache(activations, self, shown, has_batch_dim=not remove_batch_dim)

    def run_with_hooks(
        self,
        *tokens: Any,
        fwd_hooks: Sequence[tuple[str | Callable[[str], bool], Callable[..., Any]]] = (),
        bwd_hooks: Sequence[tuple[str | Callable[[str], bool], Callable[..., Any]]] = (),
        **run: Any,
    ) -> Any:
        """Run the model with functions at hooks, as transformer-lens does. A name may have wildcards (see `add_hook`).

        Raises UnknownNameError for a name that matches no hook, ValueError for hooks that cannot fire in this run, or none of
        which fires though their mixer declares them: what is to be changed there would stay as it was.
        """
        fired: set[str] = set()

        def noting(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(value: Any, hook: HookPoint) -> Any:
                fired.add(hook.name or "")
                return function(value, hook=hook)

            return call

        forward = [(name, noting(function)) for name, function in fwd_hooks]
        out = super().run_with_hooks(*tokens, fwd_hooks=forward, bwd_hooks=list(bwd_hooks), **run)
        for name, _ in fwd_hooks:
            if fired.isdisjoint(self._matches(name)):
                raise _unfired(self._matches(name)[0])
        return out

    def unknown_hook(self, name: str) -> UnknownNameError:
        """The error for a hook this model lacks: why its mixer has none, or the nearest name."""
        layer = layer_of(name)
        reason = why_not(name, self.mixer(layer)) if layer is not None and layer < self.layers else None
        return super().unknown_hook(name) if reason is None else UnknownNameError(f"{name}: {reason}")

    def add_caching_hooks(
        self,
        names_filter: NamesFilter = None,
        incl_bwd: bool = False,
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Add hooks, as transformer-lens does, that fill a dict in every run until `reset_hooks`. Gradients are "name_grad"."""
        held: dict[str, Any] = {} if cache is None else cache
        filled = self.get_caching_hooks(names_filter, incl_bwd, device, remove_batch_dim, held)
        for direction, hooks in zip(("fwd", "bwd"), filled[1:], strict=True):
            for name, hook in hooks:
                self.add_hook(name, hook, direction)
        return held

    def get_caching_hooks(
        self,
        names_filter: NamesFilter = None,
        incl_bwd: bool = False,
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Any] | None = None,
        pos_slice: Any = None,
    ) -> tuple[dict[str, Any], list[Any], list[Any]]:
        """Give a dict and the hooks that fill it, as transformer-lens does, for `run_with_hooks`. None leaves states out."""
        if pos_slice is not None:
            raise NotInThisModelError("pos_slice is not taken: it knows no states; use run_with_cache with positions=")
        held: dict[str, Any] = {} if cache is None else cache
        names = self.matching_hooks(names_filter, taps=None if names_filter is None else "last")

        def keep(value: Any, hook: HookPoint, suffix: str = "") -> None:
            name = (hook.name or "") + suffix
            value = converted(value.detach(), device)
            value = value[0] if remove_batch_dim else value
            later = self.points[hook.name or ""].firing == "steps" and hook.ctx["position"]
            held[name] = torch.cat([held[name], value], dim=0 if remove_batch_dim else 1) if later else value

        backward = [name for name in names if self.points[name].takes_gradient] if incl_bwd else []
        return held, [(name, keep) for name in names], [(name, partial(keep, suffix="_grad")) for name in backward]

    def cache_all(self, *_: Any, **__: Any) -> None:
        """Raise NotInThisModelError, as transformer-lens has deprecated it."""
        raise NotInThisModelError("cache_all is deprecated in transformer-lens; use run_with_cache or add_caching_hooks")

    def cache_some(self, *_: Any, **__: Any) -> None:
        """Raise NotInThisModelError, as transformer-lens has deprecated it."""
        raise NotInThisModelError("cache_some is deprecated in transformer-lens; use run_with_cache with names_filter")


def _unfired(name: str) -> ValueError:
    return ValueError(
        f"{name} is declared and did not fire: a mixer fires each hook of its `points` in every run, or leaves it out; its "
        "Recurrence shows hook_transition, hook_write and hook_effective_attention where it has them. "
        "statescope.mixers.check_mixer says the same of all its hooks"
    )


def next_token_loss(logits: Tensor, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The mean cross-entropy of the next token in nats, of logits [B, T, vocabulary]; targets that are padding do not count."""
    targets = tokens[:, 1:]
    if attention_mask is not None:
        targets = targets.masked_fill(~attention_mask[:, 1:].bool(), -100)
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100)
