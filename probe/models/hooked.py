"""What every hooked model does, ours or a foreign one: caches, filters, taps and edits by hook name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, Tap, TapRequest
from ..errors import UnknownNameError, unknown_name
from ..hooks.budget import check_budget
from ..hooks.cache import StateCache
from ..hooks.points import point_of, why_not
from ..mixers.base import Memory, Mixer, StateRequest

NamesFilter = str | Sequence[str] | Callable[[str], bool] | None


class HookedModel(HookedRootModule):
    """A model whose hooks are those of `hooks/points.py`.

    sizes: of the axes "width" and "hidden", for the byte budget. layers: how many blocks there are.
    """

    sizes: dict[str, int]
    layers: int

    @abstractmethod
    def mixer(self, layer: int) -> Mixer:
        """The token mixer of a layer."""

    def setup_hooks(self) -> None:
        """Name the hook points, and tell each where its positions are. To be called when all are made."""
        self.setup()  # type: ignore[no-untyped-call]
        for name, point in self.hook_dict.items():
            point.pos_dim = point_of(name).position_axis

    def has_state(self, layer: int) -> bool:
        """Whether taps and edits apply to a layer."""
        return f"blocks.{layer}.attn.hook_state" in self.hook_dict

    def _requests(
        self, taps: TapRequest | None, edits: Mapping[str, Sequence[Edit]] | None, memories: Sequence[Memory] | None
    ) -> list[StateRequest]:
        """What is asked of each layer's states."""
        stateful = [layer for layer in range(self.layers) if self.has_state(layer)]
        if taps is not None and not stateful:
            raise ValueError(f"taps were given, but no layer of this model has a state (mixer: {self.mixer(0).kind})")
        by_layer: dict[int, Sequence[Edit]] = {}
        for name, own in (edits or {}).items():
            if name not in self.hook_dict:
                raise self._unknown(name)
            if point_of(name).access != "edit":
                states = [hook for hook in self.hook_dict if hook.endswith("hook_state")]
                raise ValueError(
                    f"{name} takes no edits; edits change states ({', '.join(states) or 'this model has none'}), other hooks "
                    "are changed with run_with_hooks"
                )
            by_layer[int(name.split(".")[1])] = own
        if memories is not None and len(memories) != self.layers:
            raise ValueError(f"memories has {len(memories)} entries; the model has {self.layers} layers")
        return [
            StateRequest(taps if layer in stateful else None, by_layer.get(layer, ()), memories[layer] if memories else None)
            for layer in range(self.layers)
        ]

    def run_with_edits(self, tokens: Tensor, edits: Mapping[str, Sequence[Edit]], **run: Any) -> Any:
        """Run with changes of the state: {"blocks.0.attn.hook_state": [Edit(position, operation, value), ...]}.

        Each edit propagates (the recurrence goes on from the changed state) or, with verb="readout", changes what is read at
        its position alone. `run`: what `forward` takes. Raises UnknownNameError for a hook that does not exist, ValueError
        for one that takes no edits, IndexError for a position past the end.
        """
        return self(tokens, edits=edits, **run)

    def run_with_cache(  # type: ignore[override]
        self,
        tokens: Tensor,
        *,
        names_filter: NamesFilter = None,
        taps: TapRequest | None = None,
        positions: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        remove_batch_dim: bool = False,
        budget_bytes: int = 8 * 2**30,
        **run: Any,
    ) -> tuple[Any, StateCache]:
        """Run the model and keep activations.

        names_filter: hook names, a name with wildcards ("blocks.*.hook_resid_post"), a list of these, or a function of the
            name. None keeps all that fire in this run.
        taps: positions whose states are wanted; without it the hooks of states do not fire.
        positions: the token positions to keep of every hook but those at taps; None keeps all.
        device, dtype: to store on, and as.
        budget_bytes: the run is refused before it starts if what it would keep is larger.
        run: what `forward` takes beside tokens and taps.

        Raises UnknownNameError for a name that matches no hook, ValueError for a hook that cannot fire in this run,
        MemoryError over the budget.
        """
        if remove_batch_dim and len(tokens) != 1:
            raise ValueError(f"remove_batch_dim needs a batch of 1, got {len(tokens)}")
        names = self.matching_hooks(names_filter, taps=taps)
        length = tokens.shape[1]
        tap_positions = Tap.of(taps).resolve(length) if taps is not None else ()
        kept = length if positions is None else len(positions)
        check_budget(self, names, len(tokens), length, kept, len(tap_positions), budget_bytes)
        activations: dict[str, Any] = {}

        def keep(value: Any, hook: HookPoint) -> None:
            name = hook.name or ""
            value = value.detach()
            if positions is not None and hook.pos_dim is not None and "tap" not in point_of(name).axes.split():
                at = torch.tensor(positions, device=tokens.device)
                value = value.index_select(hook.pos_dim, at) if isinstance(value, Tensor) else value[:, at]
            value = value.to(device=device or tokens.device, dtype=dtype)
            activations[name] = value[0] if remove_batch_dim else value

        with self.hooks(fwd_hooks=[(name, keep) for name in names]):
            out = self(tokens, taps=taps, **run)
        return out, StateCache(activations, self, tap_positions, has_batch_dim=not remove_batch_dim)

    def matching_hooks(self, names_filter: NamesFilter, *, taps: TapRequest | None) -> list[str]:
        """The hooks a filter means in a run with these taps. A hook that is named and cannot fire raises."""
        fires = {name: taps is not None or point_of(name).firing != "taps" for name in self.hook_dict}
        if names_filter is None:
            return [name for name, fire in fires.items() if fire and point_of(name).firing != "request"]
        entries = [names_filter] if isinstance(names_filter, str) or callable(names_filter) else list(names_filter)
        chosen: dict[str, None] = {}
        for entry in entries:
            matches = self._matches(entry, fires)
            able = [name for name in matches if fires[name]]
            if not able:
                raise ValueError(f"{matches[0]} cannot fire in this run: it shows tapped states; give taps, such as taps='last'")
            chosen |= dict.fromkeys(able)
        return list(chosen)

    def _matches(self, entry: str | Callable[[str], bool], fires: Mapping[str, bool]) -> list[str]:
        if callable(entry):
            matches = [name for name in fires if entry(name)]
            if not matches:
                raise ValueError("names_filter is true for no hook of this model; see model.hook_dict for their names")
            return matches
        matches = [entry] if entry in fires else [name for name in fires if fnmatchcase(name, entry)]
        if not matches:
            raise self._unknown(entry)
        return matches

    def _unknown(self, name: str) -> UnknownNameError:
        """The error for a hook this model lacks: why its mixer has none, or the nearest name."""
        layer = name.split(".")[1] if name.startswith("blocks.") else ""
        reason = None
        if layer.isdigit() and int(layer) < self.layers:
            reason = why_not(name, self.mixer(int(layer)).kind)
        return unknown_name("hook", name, self.hook_dict) if reason is None else UnknownNameError(f"{name}: {reason}")

    def add_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        """As in transformer-lens; an unknown name raises with the nearest one."""
        if isinstance(name, str) and name not in self.hook_dict:
            raise self._unknown(name)
        super().add_hook(name, *args, **kwargs)

    def _enable_hook_with_name(self, name: str, hook: Callable[..., Any], dir: Any) -> None:
        if name not in self.hook_dict:
            raise self._unknown(name)
        super()._enable_hook_with_name(name, hook, dir)
