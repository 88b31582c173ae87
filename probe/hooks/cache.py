"""What `run_with_cache` returns: transformer-lens's ActivationCache, with what a run says of its states."""

from __future__ import annotations

from typing import Any, Literal

from transformer_lens import ActivationCache

from ..errors import unknown_name


class StateCache(ActivationCache):
    """Activations by hook name: `cache["blocks.0.attn.hook_k"]`, or `cache["state", 0]`, `cache["resid_post", -1]`.

    tap_positions: the token positions of the tap axis of states and writes. states_from: "kernels", where the model's recurrence
    ran on ours, or "replay", where a foreign one ran and ours followed from its queries, keys and gates.
    """

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

    def __getitem__(self, key: str | tuple[Any, ...]) -> Any:
        name = self._full_name(key)
        if name not in self.cache_dict:
            raise unknown_name("hook in this cache", name, self.cache_dict)
        return self.cache_dict[name]

    def _full_name(self, key: str | tuple[Any, ...]) -> str:
        if isinstance(key, str):
            return key if key.startswith(("blocks.", "hook_", "ln_final.")) else f"hook_{key}"
        short, layer, *_ = (*key, None)
        if layer is None:
            return self._full_name(short)
        model: Any = self.model
        layer = layer % model.cfg.n_layers
        local = short if "hook_" in short else f"hook_{short}"
        for place in ("", "attn.", "mlp."):
            name = f"blocks.{layer}.{place}{local}"
            if name in self.cache_dict or name in model.hook_dict:
                return name
        return f"blocks.{layer}.{local}"
