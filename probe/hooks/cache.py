"""What `run_with_cache` returns: transformer-lens's ActivationCache, with what a run says of its states."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar

import torch
from transformer_lens import ActivationCache
from transformer_lens.utilities.components_utils import get_act_name
from transformer_lens.utilities.slice import Slice

from ...kernels.operators.transition import Transition
from ..errors import LayerError, StatescopeError, unknown_name
from .names import hook_name, resolve_layer

C = TypeVar("C", bound=Callable[..., Any])
COMPLEX = {
    torch.float16: torch.complex64,
    torch.bfloat16: torch.complex64,
    torch.float32: torch.complex64,
    torch.float64: torch.complex128,
}


class NotInThisModelError(StatescopeError, NotImplementedError):
    """A method of transformer-lens that has no meaning, or no counterpart, for this model."""


def converted(value: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Any:
    """A tensor or Transition on a device, and of a dtype. What is complex stays complex: float64 makes it complex128, and float32
    and less complex64. Raises TypeError for a dtype that is no floating or complex one.
    """
    if isinstance(value, Transition):
        return value.each(lambda part: converted(part, device, dtype))
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise TypeError(f"dtype={dtype} would cut activations to whole numbers; give a floating-point dtype")
    if dtype is not None and value.is_complex():
        dtype = COMPLEX.get(dtype, dtype)
    return value.to(device=device, dtype=dtype)


def _within_layers(method: C) -> C:
    """A method of transformer-lens's cache that raises for a `layer` outside the model, where theirs answers with something else.

    Theirs takes None and -1 for the end of the model.
    """
    signature = inspect.signature(method)

    @wraps(method)
    def checked(self: StateCache, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments.get("layer")
        layers = self.model.cfg.n_layers
        if given is not None and not -1 <= given <= layers:  # a lower one would be read as no layers at all
            raise LayerError(f"layer {given} is outside [0, {layers}], where {layers} (or -1, or None) is the end of the model")
        return method(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


def _of_parts(method: C) -> C:
    """A method that takes norms, neurons and the unembedding apart: refused where the model says why it cannot be done."""

    @wraps(method)
    def checked(self: StateCache, *args: Any, **kwargs: Any) -> Any:
        reason = getattr(self.model, "undivided", None)
        if reason is not None:
            raise NotInThisModelError(f"{method.__name__} is not possible: {reason}")
        return method(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


class StateCache(ActivationCache):
    """Activations by hook name: `cache["blocks.0.attn.hook_k"]`, or `cache["state", 0]`, `cache["resid_post", -1]`.

    tap_positions: the token positions of the tap axis of states and writes; -1 where it is the last of each row. states_from:
    "kernels", where the model's recurrence ran on ours, or "replay", where a foreign one ran and ours followed from its queries,
    keys and gates.

    The methods are transformer-lens's. A layer outside the model raises LayerError in all of them.
    """

    model: Any  # a HookedModel

    def __init__(
        self,
        activations: dict[str, Any],
        model: Any,
        tap_positions: tuple[int, ...] = (),
        has_batch_dim: bool = True,
        states_from: Literal["kernels", "replay"] = "kernels",
    ) -> None:
        super().__init__(activations, model, has_batch_dim=has_batch_dim)
        self.tap_positions = tap_positions
        self.states_from = states_from

    def __repr__(self) -> str:
        return f"StateCache of {len(self.cache_dict)} hooks: {', '.join(self.cache_dict)}"

    def __getitem__(self, key: str | tuple[Any, ...]) -> Any:
        name = self._full_name(key)
        if name not in self.cache_dict:
            raise unknown_name("hook in this cache", name, self.cache_dict)
        return self.cache_dict[name]

    def _full_name(self, key: str | tuple[Any, ...]) -> str:
        """The hook that a key means: its name, or transformer-lens's short form (name, layer, place), ("scale", 0, "ln1")."""
        if isinstance(key, str) and key in self.cache_dict:
            return key
        short, layer, place, *_ = (key, None, None) if isinstance(key, str) else (*key, None, None)
        if layer is not None:
            layer = resolve_layer(layer, self.model.cfg.n_layers)
        name: str = get_act_name(short.removeprefix("hook_") if layer is not None else short, layer, place)
        if layer is None or self._is_hook(name):
            return name
        site = name.rsplit(".", 1)[1]
        found = [own for part in ("", "attn.", "mlp.", "ln1.", "ln2.") if self._is_hook(own := hook_name(layer, part + site))]
        if len(found) > 1:
            raise unknown_name("hook", f"{short!r} of layer {layer}, which has several; give a third part, such as 'ln1'", found)
        return found[0] if found else name

    def _is_hook(self, name: str) -> bool:
        return name in self.cache_dict or name in self.model.hook_dict

    def _batch_size(self) -> int:
        """Of any hook: all have the batch first."""
        value = next(iter(self.cache_dict.values()), None)
        return 1 if value is None else len(value.diagonal if isinstance(value, Transition) else value)

    def remove_batch_dim(self, batch_size: int | None = None) -> StateCache:
        """Without the axis of a batch of one. Raises ValueError for a larger batch."""
        if self.has_batch_dim:
            if self._batch_size() != 1:
                raise ValueError(f"cannot remove the axis of a batch of {self._batch_size()}")
            self.cache_dict = {name: value[0] for name, value in self.cache_dict.items()}
            self.has_batch_dim = False
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> StateCache:
        """Moved to a device, in place, as transformer-lens does; and of a dtype. Complex stays complex."""
        self.cache_dict = {name: converted(value, device, dtype) for name, value in self.cache_dict.items()}
        return self

    def apply_slice_to_batch_dim(self, batch_slice: Any) -> StateCache:
        """Some rows of the batch; an integer takes one and leaves the axis out."""
        if not self.has_batch_dim:
            raise ValueError("this cache has no axis of a batch")
        chosen = _sliced(batch_slice).slice
        rows = {name: value[chosen] for name, value in self.cache_dict.items()}
        return StateCache(rows, self.model, self.tap_positions, not isinstance(chosen, int), self.states_from)

    accumulated_resid = _within_layers(ActivationCache.accumulated_resid)
    decompose_resid = _within_layers(ActivationCache.decompose_resid)
    stack_activation = _within_layers(ActivationCache.stack_activation)
    stack_neuron_results = _of_parts(_within_layers(ActivationCache.stack_neuron_results))
    apply_ln_to_stack = _of_parts(_within_layers(ActivationCache.apply_ln_to_stack))
    get_full_resid_decomposition = _of_parts(_within_layers(ActivationCache.get_full_resid_decomposition))
    get_neuron_results = _of_parts(ActivationCache.get_neuron_results)
    logit_attrs = _of_parts(ActivationCache.logit_attrs)
    logit_lens = _of_parts(ActivationCache.logit_lens)

    def _ensure_head_results(self) -> bool:
        """Cache what each head adds, `hook_result` [..., H, width]; whether all were there already."""
        missing = False
        for layer in range(self.model.cfg.n_layers):
            name = hook_name(layer, "attn.hook_result")
            if name not in self.cache_dict:
                missing = True
                weights = self.model.mixer(layer).W_O
                z = self["z", layer, "attn"]
                by_head = z.reshape(*z.shape[: 1 + self.has_batch_dim], *weights.shape[:2])
                self.cache_dict[name] = torch.einsum("...hv,hvd->...hd", by_head, weights.to(z.dtype))
        return not missing

    @_within_layers
    def stack_head_results(
        self,
        layer: int | None = -1,
        return_labels: bool = False,
        incl_remainder: bool = False,
        pos_slice: Any = None,
        apply_ln: bool = False,
    ) -> Any:
        """What each head of the layers before `layer` adds to the residual stream, [heads, ..., width], and labels "L0H1".

        Layers may differ in their heads. A mixer whose read-out has no heads counts as one.
        """
        end = self.model.cfg.n_layers if layer is None or layer == -1 else layer
        self._ensure_head_results()
        cut = _sliced(pos_slice)
        results = [cut.apply(self.cache_dict[hook_name(own, "attn.hook_result")], dim=-3) for own in range(end)]
        labels = [f"L{own}H{head}" for own, result in enumerate(results) for head in range(result.shape[-2])]
        entering = cut.apply(self["resid_post", end - 1] if end else self["resid_pre", 0], dim=-2)
        stack = torch.cat([result.movedim(-2, 0) for result in results]) if results else entering.new_zeros(0, *entering.shape)
        if incl_remainder:
            stack, labels = torch.cat([stack, (entering - stack.sum(0))[None]]), [*labels, "remainder"]
        if apply_ln:
            stack = self.apply_ln_to_stack(stack, end, pos_slice=cut, has_batch_dim=self.has_batch_dim)
        return (stack, labels) if return_labels else stack

    def ssm_layers(self, mixer_type: Any = None) -> list[int]:
        """The layers whose mixer has a state."""
        layers = range(self.model.cfg.n_layers)
        found = [layer for layer in layers if self.model.has_state(layer)]
        return found if mixer_type is None else [layer for layer in found if isinstance(self.model.mixer(layer), mixer_type)]

    def compute_ssm_state(self, layer: int | None = None, time_step: int | None = None) -> Any:
        """The cached states: of a layer [B, taps, ...], or a dict of all layers that have one.

        time_step: a tapped position, whose states [B, ...] are returned. Raises for states that were not tapped.
        """
        return self._of_states("state", layer, time_step)

    def compute_ssm_effective_attention(
        self, layer: int | None = None, include_dt_scaling: bool = False, per_state_coord: bool = False
    ) -> Any:
        """The cached exact effective attention: of a layer, or a dict of all layers that have a state."""
        if include_dt_scaling or per_state_coord:
            raise NotInThisModelError("effective attention here is exact, with neither include_dt_scaling nor per_state_coord")
        return self._of_states("effective_attention", layer, None)

    def _of_states(self, site: str, layer: int | None, time_step: int | None) -> Any:
        if layer is None:
            return {own: self._of_states(site, own, time_step) for own in self.ssm_layers()}
        value = self[site, layer, "attn"]
        if time_step is None:
            return value
        if time_step not in self.tap_positions:
            raise ValueError(f"position {time_step} was not tapped; the taps of this cache are {list(self.tap_positions)}")
        return value.select(1 if self.has_batch_dim else 0, self.tap_positions.index(time_step))


def _sliced(request: Any) -> Slice:
    return request if isinstance(request, Slice) else Slice(request)
