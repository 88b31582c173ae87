"""Mamba-2 of flash-linear-attention, as a module: in a folder its checkpoints are read by transformers' class of that name."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ....mixers.recurrences import LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from ...adapter import ForeignMixer
from ..transformers.mamba2 import chunk_scan
from .layers import FlashLinearAttention


def _forward(
    mixer: ForeignMixer,
    hidden_states: Tensor,
    last_state: Any = None,
    use_cache: bool = False,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, None, Tensor]:
    """Their two forwards, with kernels and without; groups of B and C are of neighbouring heads, as in the kernels.

    Their torch path deals them out in turn, which is the same for one group alone.
    """
    cached = {} if last_state is None else last_state
    mixer.only_from_nothing(cached.get("recurrent_state"), "a cache")
    module: Any = mixer.module
    inner, groups, size = module.intermediate_size, module.n_groups, module.ssm_state_size
    gate, mixed, dt = module.in_proj(hidden_states).split([inner, module.conv_dim, module.num_heads], dim=-1)
    shown = 1 if mixer.mask is None else mixer.mask[..., None]
    read_before = cached["conv_state"][..., 1:].mT.to(mixed) if cached else mixed[:, :0]
    convolved = module.conv1d(torch.cat([read_before, mixed * shown], dim=1).mT)
    convolved = convolved[..., read_before.shape[1] :][..., : mixed.shape[1]].mT
    x, keys, queries = (module.act(convolved) * shown).split([inner, groups * size, groups * size], dim=-1)
    read, state = chunk_scan(
        mixer,
        x.unflatten(-1, (-1, module.head_dim)),
        dt,
        -torch.exp(module.A_log.float()),
        keys.unflatten(-1, (groups, size)),
        queries.unflatten(-1, (groups, size)),
        module.chunk_size,
        D=module._get_D(),
        dt_bias=module.dt_bias,
        dt_softplus=True,
        dt_limit=module.dt_limit,
        return_final_states=True,
    )
    read = read.flatten(-2).to(hidden_states.dtype)
    read = module.norm(read, gate) if module.rmsnorm else read * functional.silu(gate)
    return module.out_proj(read.to(hidden_states.dtype)), None, state


class FlaMamba2Adapter(FlashLinearAttention, kind="fla_mamba2"):
    """S_t = e^{Delta_t A} S_{t-1} + Delta_t B_t u_t^T, read by C_t."""

    title = "Mamba-2"
    checkpoints = ("Mamba-2",)
    mixer = "mamba2"
    modules = ("Mamba2",)
    recurrence = LINEAR_ATTENTION
    spectrum = DECAYS
    methods: ClassVar = {"torch_forward": _forward, "cuda_kernels_forward": _forward}
    value_first = True
    zero_start = True  # its kernels write over what their cache kept of the convolution
