"""A foreign model with our hooks, taps and edits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, TapRequest
from ..channel_mixers.base import HIDDEN
from ..errors import StatescopeError, unknown_name
from ..hooks.names import hook_name, layer_of, place_of, resolve_layer
from ..hooks.points import Point
from ..mixers.spectrum import AllowedSpectrum
from ..models.hooked import HookedModel, next_token_loss
from ..models.text import Prompt, check_ids
from .adapter import Adapter, ForeignMixer, NoMixer
from .block import ForeignBlock
from .substitution import substituted
from .torch_modules import in_torch
from .unembedding import Unembedding, find_unembedding

# In the names of classes of mixers that carry a state.
RECURRENT = re.compile(r"Mixer|Mamba|Delta(Net|Attention)|Linear.*Attention|Recurren|Rwkv|RWKV|Retention|ShortConv|LSTM|GRU")


MARK = "statescope_mark"
M = TypeVar("M", bound=ForeignMixer)


class _Stopped(Exception):  # noqa: N818 (no error)
    """A run has come to the layer at which it stops."""

    def __init__(self, stream: Tensor) -> None:
        super().__init__()
        self.stream = stream


class UnknownArchitectureError(StatescopeError, ValueError):
    """A foreign model none of whose mixers is known here."""


class ForeignModel(HookedModel):
    """A causal language model of another library, whose recurrences run on our kernels.

    `model(tokens)` gives its logits. Hooks: `hook_embed`, in each layer those of `ForeignBlock` and those of its mixer's kind
    that its code reaches. Where a layer has a recurrent mixer beside softmax attention, the hooks are those of the recurrence.

    What hangs on the foreign modules are partial functions of ours, never closures: so `copy.deepcopy` gives a model whose hooks
    fire on the copy.
    """

    rereads = True
    undivided = (
        "the norms, channel mixers and unembedding of a loaded model are its library's; decompose what its hooks show with those"
    )

    def __init__(self, foreign: nn.Module) -> None:
        super().__init__()
        self.foreign = foreign
        layers, mixers = find_layers(foreign)
        self.foreign_layers = layers  # a plain list: they are the foreign model's
        self.mark: list[None] = []  # whose hooks hang on the foreign modules
        _unhook(foreign)
        object.__setattr__(foreign, MARK, self.mark)
        for mixer in mixers:
            mixer.adapter.prepare(mixer, foreign)
        self.current: list[ForeignMixer] = []  # the mixers that are running, the innermost last
        self._unembedding: Unembedding | None = None  # found when it is first asked for
        self.hook_embed = HookPoint()
        embedding: Any = foreign.get_input_embeddings()  # type: ignore[operator]
        embedding.register_forward_hook(partial(_shown, self.hook_embed))
        blocks = [ForeignBlock(layer, mixer, self.current) for layer, mixer in zip(layers, mixers, strict=True)]
        self.blocks = nn.ModuleList(blocks)
        self.layers = len(layers)
        vocabulary, width = embedding.weight.shape
        self.sizes = {"width": width}
        self.cfg = SimpleNamespace(
            n_layers=self.layers,
            d_model=width,
            d_vocab=vocabulary,
            n_heads=1,
            n_key_value_heads=None,
            device=None,
            attn_only=False,
        )
        self.setup_hooks()
        self.eval()
        self._try(blocks, torch.arange(2, device=embedding.weight.device)[None] % vocabulary)

    @torch.no_grad()
    def _try(self, blocks: Sequence[ForeignBlock], tokens: Tensor) -> None:
        """A first run, which shows the sizes of axes, and which hooks there are."""
        shown: dict[str, Tensor] = {}

        def keep(value: Tensor, hook: HookPoint) -> None:
            shown[hook.name or ""] = value.detach().clone()

        around = [name for name in self.hook_dict if layer_of(name) is not None and not place_of(name).startswith("attn.")]
        with self.hooks(fwd_hooks=[(name, keep) for name in around]):
            self(tokens)
        for layer, block in enumerate(blocks):
            block.settle({place_of(name): value for name, value in shown.items() if layer_of(name) == layer})
            if block.attn.adapter is not NoMixer and not block.attn.ran:
                raise UnknownArchitectureError(
                    f"layer {layer} of {type(self.foreign).__name__}: its {type(block.attn.module).__name__} calls nothing that "
                    f"the adapter of {block.attn.adapter.title} replaces, so that its hooks would not fire"
                )
        self.setup_hooks()
        self.cfg.n_heads = self.mixer(0).axis_sizes["head"]

    def block(self, layer: int) -> ForeignBlock:
        """The hook points of a layer."""
        block = self.blocks[resolve_layer(layer, self.layers)]
        assert isinstance(block, ForeignBlock)
        return block

    def mixer(self, layer: int) -> ForeignMixer:
        """The hook points of a layer's token mixer."""
        return self.block(layer).attn

    def allowed_spectrum(self, layer: int) -> AllowedSpectrum | None:
        mixer = self.mixer(layer)
        return mixer.adapter.allowed(mixer)

    def layer_points(self, layer: int) -> tuple[Point, ...]:
        return (*self.mixer(layer).points, *HIDDEN)

    def axis_sizes(self, layer: int | None) -> dict[str, int]:
        return super().axis_sizes(layer) | ({} if layer is None else {"hidden": self.block(layer).hidden})

    def logits_of(self, stream: Tensor) -> Tensor:
        if self._unembedding is None:
            self._unembedding = find_unembedding(self)
        logits: Tensor = self._unembedding(stream)
        return logits

    @property
    def mixers(self) -> list[ForeignMixer]:
        """The mixers of all layers, in order."""
        return [self.mixer(layer) for layer in range(self.layers)]

    @property
    def longest(self) -> int | None:
        """The positions that the foreign model's configuration gives a softmax; None where all layers are recurrent."""
        found = getattr(self.foreign.config, "max_position_embeddings", None)
        recurrent = all(self.has_state(layer) for layer in range(self.layers))
        return None if recurrent or not isinstance(found, int) else found

    @property
    def W_U(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The unembedding has the shape [width, vocabulary]."""
        head: Any = self.foreign.get_output_embeddings()  # type: ignore[operator]
        return head.weight.T

    def forward(
        self,
        tokens: Prompt,
        return_type: str | None = "logits",
        *,
        attention_mask: Tensor | None = None,
        taps: TapRequest | None = None,
        edits: Mapping[str, Sequence[Edit]] | None = None,
        stop_at_layer: int | None = None,
    ) -> Any:
        """Run the foreign model on tokens [B, T], or on text where there is a tokenizer.

        return_type: "logits", "loss" (mean next-token cross-entropy in nats), "both", or None. attention_mask: [B, T], 0 for
        padding. taps, edits: as in `Model.forward`; positions count in the padded sequence. stop_at_layer: return the residual
        stream entering this block, and run no more; the number of layers gives the one leaving the last.

        Raises RuntimeError where another `load` of the same module has taken its hooks, ValueError for what are no token ids.
        """
        if getattr(self.foreign, MARK, None) is not self.mark:
            raise RuntimeError(
                "this module was hooked again by a later load: use what that returned, or load a copy of the module"
            )
        tokens, attention_mask = self.as_tokens(tokens, attention_mask)
        check_ids(tokens, self.cfg.d_vocab)
        extent = self.extent(taps, None, stop_at_layer)
        self.check_hooks(extent)
        requests = self._requests(tokens.shape[1], taps, edits, None)
        mask = None if attention_mask is None else attention_mask.bool()
        positions = {}
        if mask is not None and any(mixer.adapter.resets for mixer in self.mixers):
            positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        for mixer, request in zip(self.mixers, requests, strict=True):
            mixer.request, mixer.mask = request, mask
        if extent.last is not None:
            return self._entering(extent.last, tokens, attention_mask, positions)
        with substituted(self.mixers, self.current), in_torch(self.foreign):
            logits = self.foreign(input_ids=tokens, attention_mask=attention_mask, use_cache=False, **positions).logits
        if return_type is None:
            return None
        if return_type == "logits":
            return logits
        loss = next_token_loss(logits.float(), tokens, attention_mask)
        if return_type not in ("loss", "both"):
            raise unknown_name("return_type", str(return_type), ("logits", "loss", "both"))
        return loss if return_type == "loss" else (logits, loss)

    def _entering(self, layer: int, tokens: Tensor, attention_mask: Tensor | None, positions: Mapping[str, Tensor]) -> Tensor:
        """The residual stream entering a layer, or leaving the last."""
        if layer < self.layers:
            handle = self.foreign_layers[layer].register_forward_pre_hook(_stop_before, prepend=True)
        else:
            handle = self.foreign_layers[-1].register_forward_hook(_stop_behind)
        try:
            with substituted(self.mixers, self.current), in_torch(self.foreign):
                self.foreign(input_ids=tokens, attention_mask=attention_mask, use_cache=False, **positions)
        except _Stopped as stopped:
            return stopped.stream
        finally:
            handle.remove()
        raise RuntimeError(f"layer {layer} of {type(self.foreign).__name__} was not reached")

    @torch.no_grad()
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

        Every step reads the whole sequence again, and so hook functions see it again; the model in `foreign` generates by itself,
        faster, and without hooks. temperature: 0 takes the likeliest token, else tokens are drawn from softmax(logits /
        temperature) with `generator`. edits: as in `run_with_edits`, at positions in the whole sequence.
        """
        if count < 0 or temperature < 0:
            raise ValueError(f"count and temperature must not be negative, got {count} and {temperature}")
        made = self.as_prompt(tokens)
        by_layer = self.edits_by_layer(made.shape[1] + count, edits or {})
        for _ in range(count):
            own = {
                hook_name(layer, "attn.hook_state"): [edit for edit in given if edit.position < made.shape[1]]
                for layer, given in by_layer.items()
            }
            logits = self(made, edits=own)[:, -1]
            if temperature:
                new = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            else:
                new = logits.argmax(-1, keepdim=True)
            made = torch.cat([made, new], dim=1)
        return made


def adapters() -> list[type[Adapter]]:
    """List the adapters there are, of ours and of installed packages; the recurrent ones first."""
    found: list[type[Adapter]] = [Adapter.of_kind(kind) for kind in Adapter.kinds()]
    return sorted(found, key=lambda adapter: adapter.recurrence is None and not adapter.refused)


def find_layers(foreign: nn.Module) -> tuple[list[nn.Module], list[ForeignMixer]]:
    """The foreign decoder layers, the module list with the most layers that hold a known mixer; and a stand-in for each mixer.

    Raises UnknownArchitectureError naming the mixers there are.
    """
    known = adapters()
    lists = [module for module in foreign.modules() if isinstance(module, nn.ModuleList)]
    mixers = [[_mixer_of(layer, known) for layer in layers] for layers in lists]
    if not any(mixer.adapter is not NoMixer for own in mixers for mixer in own):
        names = {type(module).__name__ for module in foreign.modules()}
        seen = sorted(name for name in names if "Mixer" in name or "Attention" in name)
        raise UnknownArchitectureError(
            f"{type(foreign).__name__} has no token mixer that is known here (its mixers: {', '.join(seen) or 'none'}); "
            f"{known_architectures()}"
        )
    for mixer in (mixer for own in mixers for mixer in own if mixer.adapter.refused):
        raise UnknownArchitectureError(
            f"{type(foreign).__name__} is refused for its {type(mixer.module).__name__}: {mixer.adapter.refused}"
        )
    best = max(range(len(lists)), key=lambda index: sum(mixer.adapter is not NoMixer for mixer in mixers[index]))
    for number, (layer, mixer) in enumerate(zip(lists[best], mixers[best], strict=True)):
        unknown = sorted({type(module).__name__ for module in layer.modules() if RECURRENT.search(type(module).__name__)})
        if mixer.adapter is NoMixer and unknown:
            raise UnknownArchitectureError(
                f"layer {number} of {type(foreign).__name__} has {', '.join(unknown)}, which no adapter knows; "
                f"{known_architectures()}"
            )
    return list(lists[best]), mixers[best]


def recurrent_mixers(module: nn.Module, kind: type[M] = ForeignMixer) -> list[M]:  # type: ignore[assignment]
    """A stand-in for each recurrent mixer that a module has anywhere in it. kind: the class of the stand-ins."""
    known = [adapter for adapter in adapters() if adapter.recurrence is not None and not adapter.refused]
    found: list[M] = []
    for own in module.modules():
        adapter = next((adapter for adapter in known if adapter.takes(own)), None)
        if adapter is not None:
            found.append(kind(adapter, own))
            adapter.prepare(found[-1], module)
    return found


def known_architectures() -> str:
    """The mixers that have an adapter, for an error."""
    return "known are " + "; ".join(
        f"{adapter.title}: {', '.join(adapter.modules)}" for adapter in adapters() if adapter.modules and not adapter.refused
    )


def _mixer_of(layer: nn.Module, known: Sequence[type[Adapter]]) -> ForeignMixer:
    """The stand-in of a layer's token mixer: of its recurrence, or else of its softmax attention."""
    for adapter in known:
        for module in layer.modules():
            if adapter.takes(module):
                return ForeignMixer(adapter, module)
    return ForeignMixer(NoMixer, layer)


def _shown(point: HookPoint, module: nn.Module, args: Any, out: Tensor) -> Tensor:
    shown: Tensor = point(out)
    return shown


def _stop_before(module: nn.Module, args: tuple[Any, ...]) -> None:
    raise _Stopped(args[0])


def _stop_behind(module: nn.Module, args: Any, out: Any) -> None:
    raise _Stopped(out if isinstance(out, Tensor) else out[0])


def _unhook(foreign: nn.Module) -> None:
    """Take away the hooks of an earlier hooked model."""
    for module in foreign.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(hook, partial) and hook.func.__module__ in OWN]:
                del hooks[key]


OWN = (__name__, ForeignBlock.__module__, substituted.__module__)
