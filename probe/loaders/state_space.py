"""Selective state spaces: Mamba, FalconMamba, Jamba; Mamba-2, Bamba, Zamba2, FalconH1, NemotronH; and RecurrentGemma's RG-LRU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..mixers.recurrences import LINEAR, SCAN
from .adapter import Adapter, ForeignMixer, only_from_nothing


def _step(dt: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
    dt = dt if bias is None else dt + bias.to(dt.dtype)
    return functional.softplus(dt) if softplus else dt


def _selective_scan(
    mixer: ForeignMixer,
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,  # noqa: N803 (their name)
    B: Tensor,  # noqa: N803
    C: Tensor,  # noqa: N803
    D: Tensor | None = None,  # noqa: N803
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **_: Any,
) -> Any:
    """hidden_states, dt, z [B, D, T], A [D, N], B, C [B, N, T], D [D]. Returns [B, D, T], and the final state [B, D, N]."""
    working = torch.promote_types(hidden_states.dtype, torch.float32)
    bias = None if delta_bias is None else delta_bias[:, None]
    u = mixer.hook_v(hidden_states.transpose(1, 2).to(working))
    step = mixer.hook_step(_step(dt, bias, delta_softplus).transpose(1, 2).to(working))
    k, q = mixer.hook_k(B.transpose(1, 2).to(working)), mixer.hook_q(C.transpose(1, 2).to(working))
    mixer.note_sizes(head=A.shape[0], channel=A.shape[1])
    decay = (step[..., None] * A).exp()
    states, final = mixer.run({"x": step[..., None] * k[:, :, None] * u[..., None], "decay": decay})
    y = (states * q[:, :, None]).sum(-1)
    y = y if D is None else y + u * D
    y = y if z is None else y * functional.silu(mixer.hook_gate(z.transpose(1, 2)))
    output = mixer.hook_z(y).transpose(1, 2).to(hidden_states.dtype)
    return (output, final) if return_last_state else output


def _chunk_scan(
    mixer: ForeignMixer,
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,  # noqa: N803
    B: Tensor,  # noqa: N803
    C: Tensor,  # noqa: N803
    chunk_size: int,
    D: Tensor | None = None,  # noqa: N803
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    **_: Any,
) -> Any:
    """hidden_states [B, T, H, P], dt [B, T, H], A, D [H], B, C [B, T, G, N]. Returns [B, T, H, P], and the state [B, H, P, N]."""
    only_from_nothing(initial_states, "initial_states")
    working = torch.promote_types(hidden_states.dtype, torch.float32)
    heads = hidden_states.shape[2]
    step = mixer.hook_step(_step(dt, dt_bias, dt_softplus).clamp(*dt_limit).to(working))
    keys, queries = (x.to(working).repeat_interleave(heads // x.shape[2], dim=2) for x in (B, C))
    v = hidden_states.to(working)
    mixer.note_sizes(head=heads, key=keys.shape[-1], value=v.shape[-1], householder=1)
    read, final = mixer.run({"q": queries, "k": step[..., None] * keys, "v": v, "log_decay": step * A})
    output = read if D is None else read + v * (D[:, None] if D.ndim == 1 else D)
    return (output, final.mT) if return_final_states else output


def _rnn_scan(
    mixer: ForeignMixer, hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Tensor | None, **_: Any
) -> tuple[Tensor, Tensor]:
    """hidden_states, recurrent_gate [B, T, W], reset [B, T, 1]."""
    only_from_nothing(recurrent_states, "recurrent_states")
    mixer.note_sizes(head=1, channel=hidden_states.shape[-1])
    hidden_states = hidden_states if mixer.mask is None else hidden_states * mixer.mask[..., None]
    tokens = {"x": hidden_states.float()[:, :, None], "decay": (recurrent_gate * ~reset).float()[:, :, None]}
    states, final = mixer.run(tokens)
    return states[:, :, 0].to(hidden_states.dtype), final[:, 0]


MAMBA = Adapter(
    "Mamba",
    "mamba",
    ("MambaMixer", "FalconMambaMixer", "JambaMambaMixer"),
    SCAN,
    {"mamba_selective_scan": _selective_scan, "mamba_inner_fn": lambda mixer, *_, **__: None},
    absent=(),
)
MAMBA_2 = Adapter(
    "Mamba-2",
    "mamba2",
    ("Mamba2Mixer", "BambaMixer", "Zamba2MambaMixer", "FalconH1Mixer", "NemotronHMamba2Mixer"),
    LINEAR,
    {"mamba2_chunk_scan": _chunk_scan, "mamba2_split_conv1d_scan_combined": lambda mixer, *_, **__: None},
)
RG_LRU = Adapter(
    "RG-LRU",
    "rg_lru",
    ("RecurrentGemmaRglru",),
    SCAN,
    methods={"_rnn_scan": _rnn_scan},
    absent=("hook_z",),
    masked=("temporal_block.linear_x",),
    resets=True,
)
