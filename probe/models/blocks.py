"""The block around a token mixer and a channel mixer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from ..channel_mixers.base import ChannelMixer
from ..mixers.base import HookedRMSNorm, Mixer, StateRequest


class Block(nn.Module):
    """x + mixer(norm(x)), and then x + channel mixer(norm(x))."""

    hook_out_is_single_residual_stream = True  # which transformer-lens's logit lens asks for

    def __init__(self, width: int, mixer: Mixer, channel_mixer: ChannelMixer | None) -> None:
        super().__init__()
        self.ln1 = HookedRMSNorm(width)
        self.attn = mixer
        if channel_mixer is not None:
            self.ln2 = HookedRMSNorm(width)
            self.mlp = channel_mixer
            self.hook_mlp_out = HookPoint()
        self.hook_resid_pre = HookPoint()
        self.hook_attn_out = HookPoint()
        self.hook_resid_mid = HookPoint()
        self.hook_resid_post = HookPoint()

    @property
    def channel_mixer(self) -> ChannelMixer | None:
        """The channel mixer, `mlp`; None without one."""
        return self.mlp if hasattr(self, "mlp") else None

    def forward(self, x: Tensor, request: StateRequest, wanted: Tensor | None = None) -> Tensor:
        """The residual stream leaving the block, [B, T, width]; of some positions of each row alone, where `wanted` [B, n] is."""
        x = self.hook_resid_pre(x)
        mixed = self.hook_attn_out(self.attn(self.ln1(x), request))
        if wanted is not None:
            rows = torch.arange(len(x), device=x.device)[:, None]
            x, mixed = x[rows, wanted], mixed[rows, wanted]
        x = self.hook_resid_mid(x + mixed)
        if self.channel_mixer is not None:
            x = x + self.hook_mlp_out(self.mlp(self.ln2(x)))
        out: Tensor = self.hook_resid_post(x)
        return out
