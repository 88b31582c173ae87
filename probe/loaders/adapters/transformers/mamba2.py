"""Mamba-2's state-space duality: Mamba-2, Bamba, Zamba2, FalconH1, NemotronH."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ....mixers.recurrences import LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from ...adapter import Adapter, ForeignMixer
from .mamba import discretised, unfused


def chunk_scan(
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
    mixer.only_from_nothing(initial_states, "initial_states")
    working = torch.promote_types(hidden_states.dtype, torch.float32)
    heads = hidden_states.shape[2]
    step = mixer.hook_step(discretised(dt, dt_bias, dt_softplus).clamp(*dt_limit).to(working))
    keys, queries = (x.to(working).repeat_interleave(heads // x.shape[2], dim=2) for x in (B, C))
    v = hidden_states.to(working)
    mixer.note_sizes(head=heads, key=keys.shape[-1], value=v.shape[-1], householder=1)
    read, final = mixer.run({"q": queries, "k": step[..., None] * keys, "v": v, "log_decay": step * A})
    output = read if D is None else read + v * (D[:, None] if D.ndim == 1 else D)
    return (output, final.mT) if return_final_states else output


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
    """One token: hidden_states [B, H, P], dt [B, H, P] and A [H, P, N] with what each head has alike, B, C [B, G, N]."""
    bias = None if dt_bias is None else dt_bias[:, 0]
    x, dt, keys, queries = (tensor[:, None] for tensor in (hidden_states, dt[..., 0], B, C))
    return chunk_scan(mixer, x, dt, A[:, 0, 0], keys, queries, chunk_size=1, dt_bias=bias, dt_softplus=dt_softplus)


class Mamba2Adapter(Adapter, kind="mamba2"):
    """S_t = e^{Delta_t A} S_{t-1} + Delta_t B_t u_t^T, read by C_t."""

    title = "Mamba-2"
    checkpoints = ("Mamba-2", "Bamba", "Zamba2", "FalconH1", "NemotronH", "Granite 4 hybrid")
    mixer = "mamba2"
    modules = (
        "Mamba2Mixer",
        "BambaMixer",
        "Zamba2MambaMixer",
        "FalconH1Mixer",
        "NemotronHMamba2Mixer",
        "GraniteMoeHybridMambaLayer",
    )
    recurrence = LINEAR_ATTENTION
    spectrum = DECAYS
    functions: ClassVar = {"mamba2_chunk_scan": chunk_scan, "mamba2_split_conv1d_scan_combined": unfused}
    steps: ClassVar = {"mamba2_selective_state_update": _step}

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        state = super().cached_state(mixer, out, layer)
        return None if state is None else state.mT
