"""The model: a transformer-lens root module whose token mixers may carry a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, Tap, TapRequest
from ..errors import UnknownNameError, unknown_name
from ..hooks.budget import check_budget
from ..hooks.cache import StateCache
from ..hooks.points import point_of, why_not
from ..mixers.base import HookedRMSNorm, Memory, Mixer, StateRequest, linear
from .blocks import Block
from .channel_mixer import channel_mixer
from .config import ModelConfig

NamesFilter = str | Sequence[str] | Callable[[str], bool] | None


class Model(HookedRootModule):
    """A language model with a hook at every step of the residual stream and of its token mixers.

    `model(tokens)` gives logits [B, T, vocabulary]; `run_with_cache`, `run_with_hooks` and `run_with_edits` look inside.
    The hooks are those of `hooks/points.py`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        self.embed = nn.utils.skip_init(nn.Embedding, config.vocabulary, config.width)
        nn.init.normal_(self.embed.weight, generator=generator)
        self.blocks = nn.ModuleList(self._block(layer, generator) for layer in range(config.layers))
        self.ln_final = HookedRMSNorm(config.width)
        self.unembed = linear(config.width, config.vocabulary, generator)
        self.hook_embed = HookPoint()
        self.cfg = SimpleNamespace(
            n_layers=config.layers,
            d_model=config.width,
            d_vocab=config.vocabulary,
            n_heads=self.mixer(0).axis_sizes["head"],
            normalization_type="RMS",
            attn_only=not config.hidden,
            device=None,
        )
        self.setup()  # type: ignore[no-untyped-call]
        for name, point in self.hook_dict.items():
            point.pos_dim = point_of(name).position_axis

    def _block(self, layer: int, generator: torch.Generator) -> Block:
        config = self.config
        mixer = config.mixer_of(layer).build(config.width, generator, layer, config.layers)
        mlp = channel_mixer(config.channel_mixer, config.width, config.hidden, generator) if config.hidden else None
        return Block(config.width, mixer, mlp)

    def mixer(self, layer: int) -> Mixer:
        """The token mixer of a layer."""
        block = self.blocks[layer]
        assert isinstance(block, Block)
        return block.attn

    @property
    def W_U(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The unembedding, [width, vocabulary]."""
        return self.unembed.weight.T

    def forward(
        self,
        tokens: Tensor,
        return_type: str | None = "logits",
        *,
        taps: TapRequest | None = None,
        edits: Mapping[str, Sequence[Edit]] | None = None,
        start_at_layer: int = 0,
        stop_at_layer: int | None = None,
        memories: Sequence[Memory] | None = None,
    ) -> Any:
        """Run the model.

        tokens: [B, T] token ids; with start_at_layer > 0, the residual stream [B, T, width] entering that block.
        return_type: "logits", "loss" (mean next-token cross-entropy in nats), "both", or None.
        taps: the positions whose states `hook_state` and `hook_write` show, in every layer that has a state.
        edits: see `run_with_edits`.
        stop_at_layer: return the residual stream entering this block.
        memories: one dict a layer, empty at first, in which each mixer finds what it kept of the tokens before these and leaves
            what the next ones need. See `generate`.
        """
        requests = self._requests(taps, edits, memories)
        residual = self._embed(tokens) if start_at_layer == 0 else tokens
        layers = self.config.layers if stop_at_layer is None else stop_at_layer % (self.config.layers + 1)
        for layer in range(start_at_layer, layers):
            residual = self.blocks[layer](residual, requests[layer])
        if stop_at_layer is not None:
            return residual
        if return_type is None:
            return None
        logits = self.unembed(self.ln_final(residual))
        if return_type == "logits":
            return logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        if return_type not in ("loss", "both"):
            raise unknown_name("return_type", str(return_type), ("logits", "loss", "both"))
        return loss if return_type == "loss" else (logits, loss)

    def _embed(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 2 or tokens.dtype.is_floating_point:
            raise ValueError(f"tokens must be whole numbers [batch, position], got {tuple(tokens.shape)} {tokens.dtype}")
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.config.vocabulary):
            raise ValueError(
                f"tokens range over [{int(tokens.min())}, {int(tokens.max())}]; the vocabulary is "
                f"[0, {self.config.vocabulary - 1}]"
            )
        embedded: Tensor = self.hook_embed(self.embed(tokens))
        return embedded

    def _requests(
        self, taps: TapRequest | None, edits: Mapping[str, Sequence[Edit]] | None, memories: Sequence[Memory] | None
    ) -> list[StateRequest]:
        """What is asked of each layer's states."""
        stateful = [layer for layer in range(self.config.layers) if self.config.mixer_of(layer).has_state]
        if taps is not None and not stateful:
            raise ValueError(f"taps were given, but no layer of this model has a state (mixer: {self.config.mixer_of(0).kind})")
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
        if memories is not None and len(memories) != self.config.layers:
            raise ValueError(f"memories has {len(memories)} entries; the model has {self.config.layers} layers")
        return [
            StateRequest(taps if layer in stateful else None, by_layer.get(layer, ()), memories[layer] if memories else None)
            for layer in range(self.config.layers)
        ]

    def generate(
        self, tokens: Tensor, count: int, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """`count` tokens more behind tokens [B, T]; see `generate.generate`."""
        from .generate import generate

        return generate(self, tokens, count, temperature=temperature, generator=generator)

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
        if layer.isdigit() and int(layer) < self.config.layers:
            reason = why_not(name, self.config.mixer_of(int(layer)).kind)
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
