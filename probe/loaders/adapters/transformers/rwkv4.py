"""RWKV-4's weighted sums."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from .....kernels.diagonal_scan import apply_to_vectors
from ....mixers.points import DIAGONAL_VECTOR_STATE
from ....mixers.recurrences import DIAGONAL_SCAN
from ....mixers.spectrum import DECAYS
from ...adapter import Adapter, ForeignMixer


def _weighted_sums(
    mixer: ForeignMixer,
    time_decay: Tensor,
    time_first: Tensor,
    key: Tensor,
    value: Tensor,
    state: Any = None,
    return_state: bool = False,
) -> tuple[Tensor, Any]:
    """RWKV-4 (Peng et al. 2023, arXiv:2305.13048): o_t = (a_{t-1} + e^{u + k_t} v_t) / (b_{t-1} + e^{u + k_t}), with
    a_t = e^{-w} a_{t-1} + e^{k_t} v_t and b_t alike. The two are scaled by e^{-m_t}, m_t = max(m_{t-1} - w, k_t), so that nothing
    overflows. key, value [B, T, D].
    """
    mixer.only_from_nothing(None if state is None else state[1], "state")
    k, v = key.double(), value.double()
    k = k if mixer.mask is None else k.where(mixer.mask[..., None], -1e6)
    w, u = -time_decay.double().exp(), time_first.double()
    total = w * torch.arange(1, k.shape[1] + 1, device=k.device, dtype=k.dtype)[:, None]
    maxima = total + (k - total).cummax(1).values
    before = torch.cat([torch.full_like(maxima[:, :1], -torch.inf), maxima[:, :-1]], dim=1)
    decay, write = (before + w - maxima).exp(), (k - maxima).exp()
    drive = torch.stack([write * v, write], dim=-1)
    working = torch.promote_types(key.dtype, torch.float32)
    mixer.note_sizes(head=k.shape[-1], channel=2)
    states, final = mixer.run({"x": drive.to(working), "decay": decay[..., None].expand_as(drive).to(working)})
    shifted = torch.cat([torch.zeros_like(states[:, :1]), _edited(mixer, states)[:, :-1]], dim=1).double()
    largest = torch.maximum(before, u + k)
    kept, own = (before - largest).exp(), (u + k - largest).exp()
    output = (kept * shifted[..., 0] + own * v) / (kept * shifted[..., 1] + own)
    left = [final[..., 0], final[..., 1], maxima[:, -1].to(working)]
    return output.to(value.dtype), left if return_state else None


def _edited(mixer: ForeignMixer, states: Tensor) -> Tensor:
    """The states [B, T, D, 2] as the next token finds them: after the edits of their positions."""
    for edit in mixer.request.edits:
        position = edit.position % states.shape[1]
        at = torch.tensor([position], device=states.device)
        states = states.index_copy(1, at, apply_to_vectors(edit, states[:, position])[:, None])
    return states


class RWKV4Adapter(Adapter, kind="rwkv4"):
    """A weighted mean of values, the weights decaying channel by channel."""

    title = "RWKV-4"
    checkpoints = ("RWKV-4",)
    mixer = "rwkv4"
    own_points = DIAGONAL_VECTOR_STATE
    modules = ("RwkvSelfAttention",)
    recurrence = DIAGONAL_SCAN
    spectrum = DECAYS  # its decay is fixed, but tokens move the scale that its state is kept on
    functions: ClassVar = {"rwkv_linear_attention": _weighted_sums}
    masked = ("ln1", "ln2")
    unobserved = "its steps keep their sums on a scale that each call chooses anew; run `load(model)` on the whole sequence"

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        return torch.stack([part[..., layer] for part in out.state[2:4]], dim=-1)
