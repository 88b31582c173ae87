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
from .adapter import Adapter, ForeignMixer, NoMixer
from .torch_modules import in_torch


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

    What hangs on the foreign modules are partial functions of ours, never closures: so `copy.deepcopy` gives a model whose hooks
    fire on the copy.
    """

    def __init__(self, foreign: nn.Module) -> None:
        super().__init__()
        self.foreign = foreign
        layers, mixers = find_layers(foreign)
        for mixer in mixers:
            mixer.adapter.prepare(mixer, foreign)
        self.blocks = nn.ModuleList(map(ForeignBlock, mixers))
        self.hook_embed = HookPoint()
        self.layers = len(layers)
        embedding: Any = foreign.get_input_embeddings()  # type: ignore[operator]
        width = embedding.weight.shape[1]
        self.sizes = {"width": width}
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
        self.current: list[ForeignMixer] = []  # the mixers that are running, the innermost last
        embedding.register_forward_hook(partial(_after, self.hook_embed))
        for layer, block in zip(layers, self.blocks, strict=True):
            assert isinstance(block, ForeignBlock)
            self._watch(layer, block)
        self.eval()
        with torch.no_grad():
            self(torch.zeros(1, 2, dtype=torch.long, device=embedding.weight.device))  # axis sizes, before any budget

    def _watch(self, layer: nn.Module, block: ForeignBlock) -> None:
        """Fire the residual hooks around a foreign layer and its mixer, and know which mixer is running."""
        layer.register_forward_pre_hook(partial(_before, block.hook_resid_pre))
        layer.register_forward_hook(partial(_after, block.hook_resid_post))
        mixer = block.attn
        for name in mixer.adapter.masked:
            layer.get_submodule(name).register_forward_hook(partial(_mask, mixer))
        if mixer.adapter is not NoMixer:
            module: nn.Module = mixer.module
            module.register_forward_pre_hook(partial(_enter, self.current, mixer))
            module.register_forward_hook(partial(_leave, self.current, block.hook_attn_out))

    def mixer(self, layer: int) -> ForeignMixer:
        """The hook points of a layer's token mixer."""
        block = self.blocks[resolve_layer(layer, self.layers)]
        assert isinstance(block, ForeignBlock)
        return block.attn

    @property
    def mixers(self) -> list[ForeignMixer]:
        """Those of all layers."""
        return [self.mixer(layer) for layer in range(self.layers)]

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
        if mask is not None and any(mixer.adapter.resets for mixer in self.mixers):
            positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        for mixer, request in zip(self.mixers, requests, strict=True):
            mixer.request, mixer.mask = request, mask
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
        functions: dict[tuple[Any, str], Any] = {}
        methods: list[tuple[nn.Module, str]] = []
        self.current.clear()
        try:
            for mixer in self.mixers:
                namespace = sys.modules[type(mixer.module).__module__]
                for name in mixer.adapter.functions:
                    if hasattr(namespace, name) and (namespace, name) not in functions:
                        functions[namespace, name] = getattr(namespace, name)
                        setattr(namespace, name, partial(self._dispatch, name))
                for name, runner in mixer.adapter.methods.items():
                    methods.append((mixer.module, name))
                    object.__setattr__(mixer.module, name, partial(runner, mixer))
            yield
        finally:
            for (owner, name), original in functions.items():
                setattr(owner, name, original)
            for module, name in methods:
                object.__delattr__(module, name)

    def _dispatch(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What the running mixer's adapter puts in the place of a function of its library."""
        mixer = self.current[-1]
        return mixer.adapter.functions[name](mixer, *args, **kwargs)


def adapters() -> list[type[Adapter]]:
    """Those there are, of ours and of installed packages; the recurrent ones first."""
    found: list[type[Adapter]] = [Adapter.of_kind(kind) for kind in Adapter.kinds()]
    return sorted(found, key=lambda adapter: adapter.recurrence is None)


def find_layers(foreign: nn.Module) -> tuple[list[nn.Module], list[ForeignMixer]]:
    """The foreign decoder layers, the module list with the most layers that hold a known mixer; and a stand-in for each mixer.

    Raises UnknownArchitectureError naming the mixers there are.
    """
    known = adapters()
    lists = [module for module in foreign.modules() if isinstance(module, nn.ModuleList)]
    mixers = [[_mixer_of(layer, known) for layer in layers] for layers in lists]
    if not any(mixer.adapter.recurrence is not None for own in mixers for mixer in own):
        names = {type(module).__name__ for module in foreign.modules()}
        seen = sorted(name for name in names if "Mixer" in name or "Attention" in name)
        raise UnknownArchitectureError(
            f"{type(foreign).__name__} has no recurrent mixer that is known here (its mixers: {', '.join(seen) or 'none'}); "
            f"{known_architectures()}"
        )
    best = max(range(len(lists)), key=lambda index: sum(mixer.adapter is not NoMixer for mixer in mixers[index]))
    return list(lists[best]), mixers[best]


def known_architectures() -> str:
    """The mixers that have an adapter, for an error."""
    return "known are " + "; ".join(f"{adapter.title}: {', '.join(adapter.modules)}" for adapter in adapters() if adapter.modules)


def _mixer_of(layer: nn.Module, known: Sequence[type[Adapter]]) -> ForeignMixer:
    """The stand-in of a layer's token mixer: of its recurrence, or else of its softmax attention."""
    for adapter in known:
        for module in layer.modules():
            if adapter.takes(module):
                return ForeignMixer(adapter, module)
    return ForeignMixer(NoMixer, layer)


def _before(point: HookPoint, module: nn.Module, args: tuple[Any, ...]) -> Any:
    return (point(args[0]), *args[1:]) if args else None


def _after(point: HookPoint, module: nn.Module, args: Any, out: Any) -> Any:
    """A module's output with its first tensor through a hook."""
    if isinstance(out, Tensor):
        return point(out)
    if isinstance(out, tuple) and out and isinstance(out[0], Tensor):
        return (point(out[0]), *out[1:])
    return out


def _enter(current: list[ForeignMixer], mixer: ForeignMixer, module: nn.Module, args: Any) -> None:
    current.append(mixer)


def _leave(current: list[ForeignMixer], point: HookPoint, module: nn.Module, args: Any, out: Any) -> Any:
    current.pop()
    return _after(point, module, args, out)


def _mask(mixer: ForeignMixer, module: nn.Module, args: Any, out: Tensor) -> Tensor:
    return out if mixer.mask is None else out * mixer.mask[..., None]
