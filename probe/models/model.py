"""The model: a transformer-lens root module whose token mixers may carry a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, TapRequest
from ..errors import unknown_name
from ..mixers.base import HookedRMSNorm, Memory, Mixer, linear
from .blocks import Block
from .channel_mixer import channel_mixer
from .config import ModelConfig
from .hooked import HookedModel
from .parametrisation import parametrise


class Model(HookedModel):
    """A language model with a hook at every step of the residual stream and of its token mixers.

    `model(tokens)` gives logits [B, T, vocabulary]; `run_with_cache`, `run_with_hooks` and `run_with_edits` look inside.
    The hooks are those of `hooks/points.py`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        self.embed = _embedding(config, generator)
        self.blocks = nn.ModuleList(self._block(layer, generator) for layer in range(config.layers))
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
            attn_only=not config.hidden,
            device=None,
        )
        self.layers = config.layers
        self.sizes = {"width": config.width, "hidden": config.hidden}
        parametrise(self)
        self.setup_hooks()

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

        tokens: [B, T] token ids, or real numbers [B, T, inputs] for a model that takes those; with start_at_layer > 0, the
            residual stream [B, T, width] entering that block.
        return_type: "logits", "loss" (mean next-token cross-entropy in nats; of token ids), "both", or None.
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
        if self.config.inputs:
            raise ValueError("a model of real inputs has no next-token loss; take its logits, and the task's own loss")
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        if return_type not in ("loss", "both"):
            raise unknown_name("return_type", str(return_type), ("logits", "loss", "both"))
        return loss if return_type == "loss" else (logits, loss)

    def _embed(self, tokens: Tensor) -> Tensor:
        _check_tokens(tokens, self.config)
        embedded: Tensor = self.hook_embed(self.embed(tokens))
        return embedded

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder, as config.json and model.safetensors; `statescope.load` reads it back bit for bit."""
        from .saved import save_model

        return save_model(self, folder)

    def generate(
        self, tokens: Tensor, count: int, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """`count` tokens more behind tokens [B, T]; see `generate.generate`."""
        from .generate import generate

        return generate(self, tokens, count, temperature=temperature, generator=generator)


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
    if tokens.ndim != 2 or tokens.dtype.is_floating_point:
        raise ValueError(f"tokens must be whole numbers [batch, position], got {found}")
    if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= config.vocabulary):
        raise ValueError(
            f"tokens range over [{int(tokens.min())}, {int(tokens.max())}]; the vocabulary is [0, {config.vocabulary - 1}]"
        )
