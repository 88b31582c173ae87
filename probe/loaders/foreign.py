"""A foreign model with our hooks, taps and edits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, TapRequest
from ..errors import StatescopeError, unknown_name
from ..hooks.names import resolve_layer
from ..models.hooked import HookedModel, next_token_loss
from . import flash_linear_attention, softmax
from .adapter import Adapter, ForeignMixer
from .delta_rule import GATED_DELTA_RULE, KIMI_DELTA_ATTENTION
from .linear_attention import LIGHTNING, RWKV_4, XLSTM
from .state_space import MAMBA, MAMBA_2, RG_LRU
from .torch_modules import in_torch

ADAPTERS = (
    GATED_DELTA_RULE,
    KIMI_DELTA_ATTENTION,
    MAMBA,
    MAMBA_2,
    RG_LRU,
    LIGHTNING,
    RWKV_4,
    XLSTM,
    *flash_linear_attention.ADAPTERS,
)
OF_CLASS = {name: adapter for adapter in ADAPTERS for name in adapter.modules}
NONE = Adapter("no token mixer", "none", ())


class UnknownArchitectureError(StatescopeError, ValueError):
    """A foreign model none of whose mixers is known here."""


class ForeignBlock(nn.Module):
    """The hook points of one foreign layer."""

    def __init__(self, mixer: ForeignMixer) -> None:
        super().__init__()
        self.attn = mixer
        self.hook_resid_pre = HookPoint()
        self.hook_attn_out = HookPoint()
        self.hook_resid_post = HookPoint()


class ForeignModel(HookedModel):
    """A causal language model of `transformers`, whose recurrences run on our kernels.

    `model(tokens)` gives its logits. Hooks: `hook_embed`, and in each layer `hook_resid_pre`, `hook_attn_out` (what the token
    mixer returns), `hook_resid_post` and those of its mixer's kind that its code reaches. Where a layer has a recurrent mixer and
    softmax attention side by side, the hooks are those of the recurrence.
    """

    def __init__(self, foreign: nn.Module) -> None:
        super().__init__()
        self.foreign = foreign
        layers = find_layers(foreign)
        if any(mixer.adapter is softmax.SOFTMAX for mixer in map(_mixer_of, layers)):
            softmax.register()
            foreign.set_attn_implementation(softmax.NAME)  # type: ignore[operator]
        self.blocks = nn.ModuleList(ForeignBlock(_mixer_of(layer)) for layer in layers)
        self.hook_embed = HookPoint()
        self.layers = len(layers)
        embedding: Any = foreign.get_input_embeddings()  # type: ignore[operator]
        width = embedding.weight.shape[1]
        self.sizes = {"width": width, "hidden": 0}
        self.cfg = SimpleNamespace(
            n_layers=self.layers,
            d_model=width,
            d_vocab=embedding.weight.shape[0],
            n_heads=1,
            n_key_value_heads=None,
            device=None,
            attn_only=False,
        )
        self.setup_hooks()
        self.current: list[ForeignMixer] = []
        embedding.register_forward_hook(lambda module, args, out: self.hook_embed(out))
        for layer, block in zip(layers, self.blocks, strict=True):
            assert isinstance(block, ForeignBlock)
            self._watch(layer, block)
        self.eval()
        with torch.no_grad():
            self(torch.zeros(1, 2, dtype=torch.long, device=embedding.weight.device))  # axis sizes, before any budget

    def _watch(self, layer: nn.Module, block: ForeignBlock) -> None:
        """Fire the residual hooks around a foreign layer and its mixer, and know which mixer is running."""
        layer.register_forward_pre_hook(lambda module, args: (block.hook_resid_pre(args[0]), *args[1:]) if args else None)
        layer.register_forward_hook(lambda module, args, out: _replace_first(out, block.hook_resid_post))
        mixer = block.attn
        for name in mixer.adapter.masked:
            layer.get_submodule(name).register_forward_hook(lambda module, args, out: _masked(out, mixer.mask))
        if mixer.adapter is not NONE:
            module: nn.Module = mixer.module
            module.register_forward_pre_hook(lambda *_: self.current.append(mixer))
            module.register_forward_hook(lambda module, args, out: self._left(out, block.hook_attn_out))
        if mixer.adapter is softmax.SOFTMAX:
            softmax.MIXERS[mixer.module] = mixer

    def mixer(self, layer: int) -> ForeignMixer:
        """The hook points of a layer's token mixer."""
        block = self.blocks[resolve_layer(layer, self.layers)]
        assert isinstance(block, ForeignBlock)
        return block.attn

    def _left(self, out: Any, point: HookPoint) -> Any:
        """A foreign mixer has run."""
        self.current.pop()
        return _replace_first(out, point)

    def forward(
        self,
        tokens: Tensor,
        return_type: str | None = "logits",
        *,
        attention_mask: Tensor | None = None,
        taps: TapRequest | None = None,
        edits: Mapping[str, Sequence[Edit]] | None = None,
    ) -> Any:
        """Run the foreign model on tokens [B, T].

        return_type: "logits", "loss" (mean next-token cross-entropy in nats), "both", or None. attention_mask: [B, T], 0 for
        padding. taps, edits: as in `Model.forward`; positions count in the padded sequence.
        """
        self.check_hooks(self.extent(taps, None, None))
        requests = self._requests(tokens.shape[1], taps, edits, None)
        mask = None if attention_mask is None else attention_mask.bool()
        positions = {}
        if mask is not None and any(self.mixer(layer).adapter.resets for layer in range(self.layers)):
            positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        for layer, request in enumerate(requests):
            self.mixer(layer).request, self.mixer(layer).mask = request, mask
        with self._substituted(), in_torch(self.foreign):
            logits = self.foreign(input_ids=tokens, attention_mask=attention_mask, use_cache=False, **positions).logits
        if return_type is None:
            return None
        if return_type == "logits":
            return logits
        loss = next_token_loss(logits.float(), tokens, attention_mask)
        if return_type not in ("loss", "both"):
            raise unknown_name("return_type", str(return_type), ("logits", "loss", "both"))
        return loss if return_type == "loss" else (logits, loss)

    @contextmanager
    def _substituted(self) -> Iterator[None]:
        """Our functions in the place of the foreign ones, for as long as the foreign model runs."""
        replaced: list[tuple[Any, str, Any]] = []
        self.current.clear()
        try:
            for block in self.blocks:
                assert isinstance(block, ForeignBlock)
                mixer = block.attn
                namespace = sys.modules[type(mixer.module).__module__] if mixer.adapter is not NONE else None
                for name, runner in mixer.adapter.functions.items():
                    original = getattr(namespace, name, None)
                    if original is not None and (namespace, name) not in [(owner, own) for owner, own, _ in replaced]:
                        replaced.append((namespace, name, original))
                        setattr(namespace, name, partial(self._dispatch, runner))
                for name, runner in mixer.adapter.methods.items():
                    replaced.append((mixer.module, name, None))
                    object.__setattr__(mixer.module, name, partial(runner, mixer))
            yield
        finally:
            for owner, name, original in replaced:
                if original is None:
                    object.__delattr__(owner, name)
                else:
                    setattr(owner, name, original)

    def _dispatch(self, runner: Any, *args: Any, **kwargs: Any) -> Any:
        return runner(self.current[-1], *args, **kwargs)


def find_layers(foreign: nn.Module) -> list[nn.Module]:
    """The foreign decoder layers: the module list with the most layers that hold a known mixer or softmax attention.

    Raises UnknownArchitectureError naming the mixers there are.
    """
    lists = [module for module in foreign.modules() if isinstance(module, nn.ModuleList)]
    known = {id(own): sum(_mixer_of(layer).adapter is not NONE for layer in own) for own in lists}
    stateful = any(type(module).__name__ in OF_CLASS for module in foreign.modules())
    if not stateful:
        names = {type(module).__name__ for module in foreign.modules()}
        seen = sorted(name for name in names if "Mixer" in name or "Attention" in name)
        raise UnknownArchitectureError(
            f"{type(foreign).__name__} has no recurrent mixer that is known here (its mixers: {', '.join(seen) or 'none'}); "
            f"{known_architectures()}"
        )
    return list(max(lists, key=lambda own: known[id(own)]))


def known_architectures() -> str:
    """The mixers that have an adapter, for an error."""
    return "known are " + "; ".join(f"{adapter.family}: {', '.join(adapter.modules)}" for adapter in ADAPTERS)


def _mixer_of(layer: nn.Module) -> ForeignMixer:
    """The stand-in of a layer's token mixer: its recurrence, or else its softmax attention."""
    for module in layer.modules():
        if type(module).__name__ in OF_CLASS:
            return ForeignMixer(OF_CLASS[type(module).__name__], module)
    for module in layer.modules():
        of_transformers = type(module).__module__.startswith("transformers.")
        if of_transformers and type(module).__name__.endswith("Attention") and hasattr(module, "layer_idx"):
            return ForeignMixer(softmax.SOFTMAX, module)
    return ForeignMixer(NONE, layer)


def _masked(out: Tensor, mask: Tensor | None) -> Tensor:
    return out if mask is None else out * mask[..., None]


def _replace_first(out: Any, point: HookPoint) -> Any:
    """A layer's output with its first tensor through a hook."""
    if isinstance(out, Tensor):
        return point(out)
    if isinstance(out, tuple) and out and isinstance(out[0], Tensor):
        return (point(out[0]), *out[1:])
    return out
