"""Hook names: `blocks.{layer}.{place}` within a layer, and a few of the whole model. The one place that reads and writes them."""

from __future__ import annotations

from ..errors import LayerError

STATE_PLACE, TRANSITION_PLACE = "attn.hook_state", "attn.hook_transition"
MIXING_PLACE = "attn.hook_effective_attention"


def hook_name(layer: int, place: str) -> str:
    """The full name of a hook of a layer: (3, "attn.hook_k") is "blocks.3.attn.hook_k"."""
    return f"blocks.{layer}.{place}"


def layer_column(name: str) -> int:
    """The layer of a hook as tables have it: -1 for the model's own."""
    layer = layer_of(name)
    return -1 if layer is None else layer


def layer_of(name: str) -> int | None:
    """The layer of a full hook name; None for a hook of the whole model, such as "hook_embed"."""
    parts = name.split(".", 2)
    return int(parts[1]) if parts[0] == "blocks" and len(parts) == 3 and parts[1].isdigit() else None


def place_of(name: str) -> str:
    """A full hook name without its layer: "attn.hook_k"."""
    return name if layer_of(name) is None else name.split(".", 2)[2]


def site_of(name: str) -> str:
    """The last word of a hook name, without its "hook_": "resid_post", "state"."""
    return name.rsplit(".", 1)[-1].removeprefix("hook_")


def resolve_layer(layer: int, layers: int, *, end: bool = False, what: str = "layer") -> int:
    """A layer number in [0, layers), or [0, layers] with `end`; a negative one counts from the last layer.

    So it is in transformer-lens. Raises LayerError outside.
    """
    resolved = layer + layers if layer < 0 else layer
    if not 0 <= resolved < layers + end:
        raise LayerError(f"{what} {layer} is outside a model of {layers} layer{'s' * (layers != 1)}")
    return resolved
