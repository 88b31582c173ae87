"""The hook points of one foreign layer: its residual stream, token mixer and channel mixer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from .adapter import ForeignMixer, NoMixer
from .substitution import enter, leave

# The names that libraries give to the parts of a layer.
CHANNEL_MIXERS = ("mlp", "feed_forward", "mlp_block", "ffn", "block_sparse_moe")
SECOND_NORMS = (
    *("pre_feedforward_layernorm", "pre_ff_layernorm", "pre_mlp_layernorm", "channel_pre_norm", "norm_ffn", "ln_2", "ln2"),
    "post_attention_layernorm",
)
AFTER_TOKENS, AFTER_CHANNELS = "post_attention_layernorm", "post_feedforward_layernorm"  # norms of what is added, where both are
BEFORE_ACTIVATION = ("gate_proj", "c_fc", "dense_h_to_4h", "fc1")
BACK_TO_WIDTH = ("down_proj", "c_proj", "dense_4h_to_h", "fc2")


class ChannelPoints(nn.Module):
    """The hook points of a channel mixer."""

    def __init__(self, pre: bool) -> None:
        super().__init__()
        if pre:
            self.hook_pre = HookPoint()
        self.hook_post = HookPoint()


class ForeignBlock(nn.Module):
    """The hook points of one foreign layer, and the functions that fire them.

    Every layer has `hook_resid_pre` and `hook_resid_post`. `hook_attn_out`, `hook_resid_mid`, `hook_mlp_out`, `mlp.hook_pre` and
    `mlp.hook_post` are there where the layer has the parts that show them. A change of `hook_resid_mid` goes into the channel
    mixer and into the stream beside it.

    hidden: units of the channel mixer; 0 where it is not seen.
    """

    def __init__(self, layer: nn.Module, mixer: ForeignMixer, current: list[ForeignMixer]) -> None:
        super().__init__()
        self.attn = mixer
        self.hook_resid_pre = HookPoint()
        self.hook_attn_out = HookPoint()
        self.hook_resid_post = HookPoint()
        self.moved: Tensor | None = None  # what a hook function has added to the stream between the mixers
        self.hidden = 0
        layer.register_forward_pre_hook(partial(_before, self.hook_resid_pre))
        if mixer.adapter is NoMixer:
            del self.hook_attn_out
        else:
            self._watch_mixer(layer, mixer, current)
        self._watch_channels(layer)
        layer.register_forward_hook(partial(_moved, self))
        layer.register_forward_hook(partial(_after, self.hook_resid_post))

    def _watch_mixer(self, layer: nn.Module, mixer: ForeignMixer, current: list[ForeignMixer]) -> None:
        """Know which mixer is running, and fire what it adds to the stream."""
        for name in mixer.adapter.masked:
            layer.get_submodule(name).register_forward_hook(partial(_mask, mixer))
        module: nn.Module = mixer.module
        module.register_forward_pre_hook(partial(enter, current, mixer))
        module.register_forward_hook(partial(leave, current))
        adds = layer.get_submodule(mixer.adapter.adds) if mixer.adapter.adds else module
        adds = getattr(layer, AFTER_TOKENS) if _sandwiched(layer) else adds
        adds.register_forward_hook(partial(_after, self.hook_attn_out))

    def _watch_channels(self, layer: nn.Module) -> None:
        channels = _first(layer, CHANNEL_MIXERS)
        if channels is None:
            return
        self.hook_mlp_out = HookPoint()
        adds = getattr(layer, AFTER_CHANNELS) if _sandwiched(layer) else channels
        adds.register_forward_hook(partial(_after, self.hook_mlp_out))
        norm = _first(layer, SECOND_NORMS)
        middle = channels if _sandwiched(layer) and not hasattr(layer, SECOND_NORMS[0]) else norm
        if middle is not None and not getattr(layer, "use_parallel_residual", False):
            self.hook_resid_mid = HookPoint()
            middle.register_forward_pre_hook(partial(_middle, self))
        down, up = _first(channels, BACK_TO_WIDTH), _first(channels, BEFORE_ACTIVATION)
        if down is not None:
            self.mlp = ChannelPoints(up is not None)
            down.register_forward_pre_hook(partial(_before, self.mlp.hook_post))
            self.hidden = _inputs(down)
        if down is not None and up is not None:
            up.register_forward_hook(partial(_after, self.mlp.hook_pre))

    def settle(self, shown: dict[str, Tensor]) -> None:
        """Take away the hooks that do not fire, and those between the mixers where the stream is no plain sum of what they show.

        shown: what a run has shown, by place in the layer.
        """
        silent = [name for name, part in self.named_modules() if isinstance(part, HookPoint) and not name.startswith("attn.")]
        silent = [name for name in silent if name not in shown]
        if not _adds_up(shown):
            silent += ["hook_resid_mid", "hook_mlp_out"]
        for name in silent:
            place, _, local = name.rpartition(".")
            owner = self.get_submodule(place)
            if hasattr(owner, local):
                delattr(owner, local)


def _adds_up(shown: dict[str, Tensor]) -> bool:
    """Whether each stream is the one before and what is added between, but for rounding."""
    post = shown["hook_resid_post"]
    pre = shown["hook_resid_pre"].double()
    tokens, channels = (shown.get(name, pre.new_zeros(())).double() for name in ("hook_attn_out", "hook_mlp_out"))
    bound = 0.02 * (tokens.norm() + channels.norm()) + 2 * torch.finfo(post.dtype).eps * post.double().norm()
    middle = shown.get("hook_resid_mid")
    off = [pre + tokens + channels - post] + ([] if middle is None else [pre + tokens - middle])
    return all(bool(difference.norm() <= bound) for difference in off)


def _sandwiched(layer: nn.Module) -> bool:
    """Whether norms stand behind the token and the channel mixer."""
    return hasattr(layer, AFTER_CHANNELS) and hasattr(layer, AFTER_TOKENS)


def _first(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    found = (getattr(module, name, None) for name in names)
    return next((part for part in found if isinstance(part, nn.Module)), None)


def _inputs(linear: Any) -> int:
    """Of a linear map, whose matrix GPT-2 keeps the other way round."""
    return int(getattr(linear, "in_features", 0) or getattr(linear, "nx", 0) or linear.weight.shape[0])


def _before(point: HookPoint, module: nn.Module, args: tuple[Any, ...]) -> Any:
    return (point(args[0]), *args[1:]) if args else None


def _after(point: HookPoint, module: nn.Module, args: Any, out: Any) -> Any:
    """A module's output with its first tensor through a hook."""
    if isinstance(out, Tensor):
        return point(out)
    if isinstance(out, tuple) and out and isinstance(out[0], Tensor):
        return (point(out[0]), *out[1:])
    return out


def _middle(block: ForeignBlock, module: nn.Module, args: tuple[Any, ...]) -> Any:
    if not args or not hasattr(block, "hook_resid_mid"):
        return None
    shown = block.hook_resid_mid(args[0])
    block.moved = None if shown is args[0] else shown - args[0]
    return (shown, *args[1:])


def _moved(block: ForeignBlock, module: nn.Module, args: Any, out: Any) -> Any:
    moved, block.moved = block.moved, None
    if moved is None:
        return out
    return out + moved if isinstance(out, Tensor) else (out[0] + moved, *out[1:])


def _mask(mixer: ForeignMixer, module: nn.Module, args: Any, out: Tensor) -> Tensor:
    return out if mixer.mask is None else out * mixer.mask[..., None]
