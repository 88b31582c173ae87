"""Which hooks a filter means, and whether they can fire in a run. A hook that is named and cannot fire raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import TapRequest
from ..errors import UnknownNameError, unknown_name
from .names import layer_of, resolve_layer
from .points import Point

NamesFilter = str | Sequence[str] | Callable[[str], bool] | None


@dataclass(frozen=True)
class Extent:
    """Which part of a model runs, and so which of its hooks fire.

    taps: whether states are tapped. first, last: the layers that run, first <= layer < last; first is None where the run starts
    from tokens, last where it goes on to the logits.
    """

    taps: bool = False
    first: int | None = None
    last: int | None = None

    def why_silent(self, name: str, point: Point) -> str | None:
        """Why a hook of the model cannot fire; None where it can."""
        if point.at_taps and not self.taps:
            return "it shows tapped states; give taps, such as taps='last'"
        layer = layer_of(name)
        if self.first is not None and (name == "hook_embed" if layer is None else layer < self.first):
            return f"the run starts at layer {self.first}"
        if self.last is not None and (name != "hook_embed" if layer is None else layer >= self.last):
            return f"the run stops at layer {self.last}"
        return None


class Chosen:
    """A hook function that was given to every hook that a filter chose; `names` are those."""

    def __init__(self, function: Callable[..., Any], names: Sequence[str]) -> None:
        self.function, self.names = function, tuple(names)

    def __call__(self, value: Any, hook: HookPoint) -> Any:
        return self.function(value, hook=hook)


class ChoosesHooks(HookedRootModule):
    """A module that finds its hooks by name, name with wildcards, or function of the name, and adds none that cannot fire.

    layers: how many blocks there are. points: what is declared of each hook, by its full name.
    """

    layers: int
    points: dict[str, Point]

    @property
    def hook_names(self) -> list[str]:
        """The names of all hooks, in the order of the model."""
        return list(self.hook_dict)

    def extent(
        self, taps: TapRequest | None = None, start_at_layer: int | None = None, stop_at_layer: int | None = None
    ) -> Extent:
        """The part of the model that a run reaches. Raises LayerError for a layer that the model lacks."""
        first = None if start_at_layer is None else resolve_layer(start_at_layer, self.layers, end=True, what="start_at_layer")
        last = None if stop_at_layer is None else resolve_layer(stop_at_layer, self.layers, end=True, what="stop_at_layer")
        if first is not None and last is not None and last < first:
            raise ValueError(f"stop_at_layer={stop_at_layer} lies before start_at_layer={start_at_layer}: no layer would run")
        return Extent(taps is not None, first, last)

    def matching_hooks(
        self,
        names_filter: NamesFilter,
        *,
        taps: TapRequest | None = None,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
    ) -> list[str]:
        """The hooks a filter means in a run with these taps and layers. A hook that is named and cannot fire raises."""
        extent = self.extent(taps, start_at_layer, stop_at_layer)
        if names_filter is None:
            names = [name for name in self.hook_dict if self.why_silent(name, extent) is None]
            return [name for name in names if self.points[name].firing != "request"]
        entries = [names_filter] if isinstance(names_filter, str) or callable(names_filter) else list(names_filter)
        chosen: dict[str, None] = {}
        for entry in entries:
            matches = self._matches(entry)
            able = [name for name in matches if self.why_silent(name, extent) is None]
            if not able:
                raise self._silent(matches[0], extent)
            chosen |= dict.fromkeys(able)
        return list(chosen)

    def taps_for(self, names: Iterable[str], at: TapRequest) -> TapRequest | None:
        """What a run takes as `taps` to show these hooks: `at` where one of them shows states, which cost memory; else None."""
        return at if any(name in self.points and self.points[name].at_taps for name in names) else None

    def _matches(self, entry: str | Callable[[str], bool]) -> list[str]:
        """The hooks of a name, a name with wildcards, or a function of the name."""
        if callable(entry):
            matches = [name for name in self.hook_dict if entry(name)]
            if not matches:
                raise ValueError("the filter is true for no hook of this model; see model.hook_names")
            return matches
        matches = [entry] if entry in self.hook_dict else [name for name in self.hook_dict if fnmatchcase(name, entry)]
        if not matches:
            raise self.unknown_hook(entry)
        return matches

    def unknown_hook(self, name: str) -> UnknownNameError:
        """The error for a hook this model lacks, with the nearest name."""
        return unknown_name("hook", name, self.hook_dict)

    def add_hook(
        self,
        name: str | Callable[[str], bool],
        hook: Callable[..., Any],
        dir: Any = "fwd",
        is_permanent: bool = False,
        level: int | None = None,
        prepend: bool = False,
    ) -> None:
        """Add a hook function, as transformer-lens does.

        A name may have wildcards; an unknown one raises with the nearest, and so does a filter that chooses no hook. A run in
        which the hook cannot fire raises; of a filter's hooks it is enough that one fires.
        """
        names = self._matches(name)
        if name not in names and dir == "bwd":
            names = [own for own in names if self.points[own].takes_gradient] or names
        function: Any = hook if name in names else Chosen(hook, names)
        for own in names:
            self.check_and_add_hook(self.hook_dict[own], own, function, dir, is_permanent, level, prepend)

    def _enable_hook(self, name: str | Callable[[str], bool], hook: Callable[..., Any], dir: Any) -> None:
        self.add_hook(name, hook, dir, level=self.context_level)

    def check_hooks_to_add(
        self,
        hook_point: HookPoint,
        hook_point_name: str,
        hook: Any,
        dir: Any = "fwd",
        is_permanent: bool = False,
        prepend: bool = False,
    ) -> None:
        """Refuse a backward hook where no gradient flows."""
        if dir == "bwd" and self.points[hook_point_name].access != "write":
            raise ValueError(
                f"a backward hook on {hook_point_name} never fires: the forward pass does not read what it shows. The gradient "
                "of a state is that of what an edit adds to it (see attribute_states)"
            )
        if dir == "bwd" and not self.points[hook_point_name].takes_gradient:
            raise ValueError(
                f"{hook_point_name} fires once a position, and a backward hook could not tell which; take the gradient of what a "
                "hook function adds there"
            )

    def why_silent(self, name: str, extent: Extent) -> str | None:
        """Why a hook cannot fire in a run of this extent; None where it can."""
        return extent.why_silent(name, self.points[name])

    def _silent(self, name: str, extent: Extent) -> ValueError:
        return ValueError(f"{name} cannot fire in this run: {self.why_silent(name, extent)}")

    def check_hooks(self, extent: Extent) -> None:
        """Raise ValueError for a hook function that cannot fire in a run of this extent."""
        for name, point in self.hook_dict.items():
            handles = (*point.fwd_hooks, *point.bwd_hooks)
            if not handles or self.why_silent(name, extent) is None:
                continue
            for handle in handles:
                others = handle.user_hook.names if isinstance(handle.user_hook, Chosen) else ()
                if all(self.why_silent(other, extent) is not None for other in others):
                    raise self._silent(name, extent)
