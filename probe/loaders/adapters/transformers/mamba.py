"""Mamba's selective scan: Mamba, FalconMamba, Jamba."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ....mixers.recurrences import DIAGONAL_SCAN
from ....mixers.spectrum import DECAYS
from ...adapter import Adapter, ForeignMixer


def discretised(dt: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
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
    step = mixer.hook_step(discretised(dt, bias, delta_softplus).transpose(1, 2).to(working))
    k, q = mixer.hook_k(B.transpose(1, 2).to(working)), mixer.hook_q(C.transpose(1, 2).to(working))
    mixer.note_sizes(head=A.shape[0], channel=A.shape[1])
    decay = (step[..., None] * A).exp()
    states, final = mixer.run({"x": step[..., None] * k[:, :, None] * u[..., None], "decay": decay})
    y = (states * q[:, :, None]).sum(-1)
    y = y if D is None else y + u * D
    y = y if z is None else y * functional.silu(mixer.hook_gate(z.transpose(1, 2)))
    output = mixer.hook_z(y).transpose(1, 2).to(hidden_states.dtype)
    return (output, final) if return_last_state else output


def _step(
    mixer: ForeignMixer,
    state: Tensor,
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,  # noqa: N803
    B: Tensor,  # noqa: N803
    C: Tensor,  # noqa: N803
    D: Tensor | None = None,  # noqa: N803
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    **_: Any,
) -> Any:
    """One token: hidden_states, dt [B, D], B, C [B, N]."""
    x, dt, keys, queries = (tensor[..., None] for tensor in (hidden_states, dt, B, C))
    return _selective_scan(mixer, x, dt, A, keys, queries, delta_bias=dt_bias, delta_softplus=dt_softplus)


def unfused(mixer: ForeignMixer, *_: Any, **__: Any) -> None:
    """The fused path, which is not taken."""


class MambaAdapter(Adapter, kind="mamba"):
    """o_t = C_t h_t with h_t = e^{Delta_t A} h_{t-1} + Delta_t B_t u_t, channel by channel."""

    title = "Mamba"
    checkpoints = ("Mamba", "FalconMamba", "Jamba")
    mixer = "mamba"
    modules = ("MambaMixer", "FalconMambaMixer", "JambaMambaMixer")
    recurrence = DIAGONAL_SCAN
    spectrum = DECAYS
    functions: ClassVar = {"mamba_selective_scan": _selective_scan, "mamba_inner_fn": unfused}
    steps: ClassVar = {"mamba_selective_state_update": _step}
    absent = ()
