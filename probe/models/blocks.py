"""The block around a token mixer, and the channel mixer."""

from __future__ import annotations

from torch import Generator, Tensor, nn
from torch.nn import functional
from transformer_lens.hook_points import HookPoint

from ..mixers.base import HookedRMSNorm, MixerConfig, StateRequest, linear


class SwiGLU(nn.Module):
    """W_out (silu(W_gate x) * W_in x) (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.gate = linear(width, hidden, generator)
        self.inward = linear(width, hidden, generator)
        self.outward = linear(hidden, width, generator)
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hook_post(functional.silu(self.hook_pre(self.gate(x))) * self.inward(x))
        mixed: Tensor = self.outward(hidden)
        return mixed


class Block(nn.Module):
    """x + mixer(norm(x)), and then x + channel mixer(norm(x))."""

    def __init__(self, width: int, mixer: MixerConfig, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.ln1 = HookedRMSNorm(width)
        self.attn = mixer.build(width, generator)
        if hidden:
            self.ln2 = HookedRMSNorm(width)
            self.mlp = SwiGLU(width, hidden, generator)
            self.hook_mlp_out = HookPoint()
        self.has_channel_mixer = bool(hidden)
        self.hook_resid_pre = HookPoint()
        self.hook_attn_out = HookPoint()
        self.hook_resid_mid = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(x + self.hook_attn_out(self.attn(self.ln1(x), request)))
        if self.has_channel_mixer:
            x = x + self.hook_mlp_out(self.mlp(self.ln2(x)))
        out: Tensor = self.hook_resid_post(x)
        return out
