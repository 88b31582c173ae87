"""The model: a transformer-lens root module whose token mixers may carry a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, TapRequest
from ..errors import unknown_name
from ..hooks.cache import StateCache
from ..hooks.names import layer_of, place_of, resolve_layer
from ..hooks.points import Point
from ..hooks.positions import check_mask, refuse_left_padding
from ..mixers.base import HookedRMSNorm, Memory, Mixer, StateRequest, linear
from ..mixers.spectrum import AllowedSpectrum
from .blocks import Block
from .config import ModelConfig
from .generate import generate, generate_with_cache
from .hooked import HookedModel, next_token_loss
from .parametrisation import parametrise
from .saving import save_model
from .text import Prompt, check_ids

RETURN_TYPES = ("logits", "loss", "both", None)


class Model(HookedModel):
    """A language model with a hook at every step of the residual stream and of its token mixers.

    `model(tokens)` gives logits [B, T, vocabulary]; `run_with_cache`, `run_with_hooks` and `run_with_edits` look inside.
    The hooks are those of `hooks/points.py` and those that the mixers declare; `points` says what each holds.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.layers = config, config.layers
        generator = torch.Generator().manual_seed(config.seed)
        self.embed = _embedding(config, generator)
        self.blocks = nn.ModuleList(self._new_block(layer, generator) for layer in range(config.layers))
        self.ln_final = HookedRMSNorm(config.width)
        self.unembed = linear(config.width, config.vocabulary, generator)
        self.hook_embed = HookPoint()
        self.cfg = SimpleNamespace(
            n_layers=config.layers,
            d_model=config.width,
            d_vocab=config.vocabulary,
            n_heads=self.mixer(0).axis_sizes["head"],
            n_key_value_heads=None,
            normalization_type="RMS",
            d_mlp=config.hidden,
            attn_only=not config.hidden,
            device=None,
        )
        self.sizes = {"width": config.width}
        parametrise(self, config, type(self))
        self.setup_hooks()

    def _new_block(self, layer: int, generator: torch.Generator) -> Block:
        config = self.config
        mixer = config.mixer_of(layer).build(config.width, generator, layer, config.layers)
        mlp = config.channel_mixer.build(config.width, config.hidden, generator) if config.hidden else None
        return Block(config.width, mixer, mlp)

    def mixer(self, layer: int) -> Mixer:
        """The token mixer of a layer."""
        return self._block_at(layer).attn

    def allowed_spectrum(self, layer: int) -> AllowedSpectrum | None:
        return self.config.mixer_of(layer).allowed

    def _block_at(self, layer: int) -> Block:
        block = self.blocks[resolve_layer(layer, self.layers)]
        assert isinstance(block, Block)
        return block

    def writer(self, hook: str) -> nn.Linear:
        """The linear map whose output a hook shows, of `hook_attn_out` and `hook_mlp_out`: what a layer adds to the stream.

        Raises UnknownNameError for a hook that this model lacks, ValueError for one that no single matrix writes.
        """
        if hook not in self.hook_dict:
            raise self.unknown_hook(hook)
        block = self._block_at(layer_of(hook) or 0)
        parts = {"hook_attn_out": (block.attn, "project_out"), "hook_mlp_out": (block.channel_mixer, "outward")}
        owner, name = parts.get(place_of(hook), (None, ""))
        found = getattr(owner, name, None)
        if not isinstance(found, nn.Linear):
            raise ValueError(f"no single matrix writes {hook}; take a hook_attn_out or hook_mlp_out")
        return found

    def layer_points(self, layer: int) -> tuple[Point, ...]:
        mlp = self._block_at(layer).channel_mixer
        return (*self.mixer(layer).points, *(() if mlp is None else mlp.points))

    def axis_sizes(self, layer: int | None) -> dict[str, int]:
        mlp = None if layer is None else self._block_at(layer).channel_mixer
        return super().axis_sizes(layer) | ({} if mlp is None else mlp.axis_sizes)

    @property
    def W_U(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The unembedding has the shape [width, vocabulary]."""
        return self.unembed.weight.T

    def logits_of(self, stream: Tensor) -> Tensor:
        logits: Tensor = self.unembed(self.ln_final(stream))
        return logits

    @property
    def b_U(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The unembedding has no bias: zeros, [vocabulary]."""
        return self.W_U.new_zeros(self.config.vocabulary)

    def tokens_to_residual_directions(self, tokens: int | str | Tensor) -> Tensor:
        """transformer-lens's name: the directions [..., width] along which the residual stream, over the final norm's scale, adds
        to the logits of token ids [...]. The final norm's gain is part of them, so that attributions sum to the logit.
        """
        tokens = self.to_single_token(tokens) if isinstance(tokens, str) else tokens
        return (self.W_U * self.ln_final.weight[:, None]).T[torch.as_tensor(tokens, device=self.W_U.device)]

    def accumulated_bias(self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True) -> Tensor:
        """transformer-lens's name: what biases add to the residual stream up to a layer, [width]; 0, for there are none."""
        return self.W_U.new_zeros(self.config.width)

    def forward(
        self,
        tokens: Prompt,
        return_type: str | None = "logits",
        *,
        taps: TapRequest | None = None,
        edits: Mapping[str, Sequence[Edit]] | None = None,
        attention_mask: Tensor | None = None,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
        memories: Sequence[Memory] | None = None,
    ) -> Any:
        """Run the model.

        tokens: [B, T] token ids, or text where the model has a tokenizer; real numbers [B, T, inputs] for a model that takes
            those; with start_at_layer, the residual stream [B, T, width] entering that block.
        return_type: "logits", "loss" (mean next-token cross-entropy in nats; of token ids), "both", or None.
        taps: the positions whose states `hook_state` and `hook_write` show, in every layer that has a state.
        edits: see `run_with_edits`.
        attention_mask: [B, T], 0 at padding, which must stand on the right: there it changes no token before it, and the loss
            does not count it.
        start_at_layer: begin with this block; None embeds tokens first. The number of layers begins behind the last block.
        stop_at_layer: return the residual stream entering this block; the number of layers gives the one leaving the last.
        memories: one dict a layer, empty at first, in which each mixer finds what it kept of the tokens before these and leaves
            what the next ones need. See `generate`.

        Raises LayerError for a layer outside the model, ValueError for a hook function that cannot fire in this run.
        """
        if return_type not in RETURN_TYPES:
            raise unknown_name("return_type", str(return_type), map(str, RETURN_TYPES))
        tokens, attention_mask = self.as_tokens(tokens, attention_mask)
        if attention_mask is not None:
            check_mask(attention_mask, *tokens.shape[:2])
            refuse_left_padding(attention_mask)
        extent = self.extent(taps, start_at_layer, stop_at_layer)
        self.check_hooks(extent)
        requests = self._requests(tokens.shape[1], taps, edits, memories)
        residual = self._embed(tokens) if extent.first is None else tokens
        residual = self._through(residual, requests, extent.first or 0, extent.last)
        if stop_at_layer is not None:
            return residual
        normalised = self.ln_final(residual)
        return None if return_type is None else self._returned(return_type, self.unembed(normalised), tokens, attention_mask)

    def _through(self, residual: Tensor, requests: Sequence[StateRequest], first: int = 0, last: int | None = None) -> Tensor:
        """The residual stream behind the blocks first <= layer < last."""
        for layer in range(first, self.layers if last is None else last):
            residual = self.blocks[layer](residual, requests[layer])
        return residual

    def step(self, tokens: Tensor, requests: Sequence[StateRequest]) -> Tensor:
        """The logits [B, vocabulary] behind the last of tokens [B, T], with what is asked of each layer's mixer."""
        if self.config.inputs:
            raise ValueError("a model of real inputs generates no tokens; `stream_logits` steps through a sequence")
        logits: Tensor = self.unembed(self.ln_final(self._through(self._embed(tokens), requests)))
        return logits[:, -1]

    def _returned(self, return_type: str, logits: Tensor, tokens: Tensor, attention_mask: Tensor | None) -> Any:
        if return_type == "logits":
            return logits
        if tokens.is_floating_point():
            raise ValueError("a run from real numbers has no next-token loss; take its logits, and the task's own loss")
        loss = next_token_loss(logits, tokens, attention_mask)
        return loss if return_type == "loss" else (logits, loss)

    def _embed(self, tokens: Tensor) -> Tensor:
        _check_tokens(tokens, self.config)
        embedded: Tensor = self.hook_embed(self.embed(tokens))
        return embedded

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder, as config.json and model.safetensors; `statescope.load` reads it back bit for bit."""
        return save_model(self.config, self.state_dict(), folder)

    def generate(
        self,
        tokens: Prompt,
        count: int,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        taps: TapRequest | None = None,
        edits: Mapping[str, Sequence[Edit]] | None = None,
    ) -> Tensor:
        """`count` tokens more behind tokens [B, T], or behind text; see `generate.generate`."""
        return generate(self, self.as_prompt(tokens), count, temperature=temperature, generator=generator, taps=taps, edits=edits)

    def generate_with_cache(self, tokens: Prompt, count: int, **run: Any) -> tuple[Tensor, StateCache]:
        """`count` tokens more, and what hooks saw of all of them; see `generate.generate_with_cache`."""
        return generate_with_cache(self, self.as_prompt(tokens), count, **run)


def _embedding(config: ModelConfig, generator: torch.Generator) -> nn.Module:
    """A vector N(0, 1) for each token, or a linear map of real inputs."""
    if config.inputs:
        return linear(config.inputs, config.width, generator)
    embedding = nn.utils.skip_init(nn.Embedding, config.vocabulary, config.width)
    nn.init.normal_(embedding.weight, generator=generator)
    return embedding


def _check_tokens(tokens: Tensor, config: ModelConfig) -> None:
    found = f"{tuple(tokens.shape)} {tokens.dtype}"
    if config.inputs:
        if tokens.ndim != 3 or tokens.shape[2] != config.inputs or not tokens.dtype.is_floating_point:
            raise ValueError(f"tokens must be real numbers [batch, position, {config.inputs}], got {found}")
        return
    check_ids(tokens, config.vocabulary)
