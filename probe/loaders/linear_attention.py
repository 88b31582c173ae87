"""Linear attention in foreign checkpoints: MiniMax's lightning attention, xLSTM's mLSTM, and RWKV-4's weighted sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...kernels.diagonal_scan import apply_to_vectors
from ..mixers.recurrences import LINEAR, MLSTM, SCAN
from .adapter import Adapter, ForeignMixer, only_from_nothing


def _lightning(mixer: ForeignMixer, hidden_states: Tensor, *_: Any, attention_mask: Tensor | None = None, **__: Any) -> Any:
    """The whole forward of MiniMax's layer, whose recurrence is no function of its own."""
    module: Any = mixer.module
    heads, size = module.num_attention_heads, module.head_dim
    qkv = module.act_fn(module.qkv_proj(hidden_states))
    if attention_mask is not None and attention_mask.ndim == 2:
        qkv = qkv * attention_mask[:, :, None].to(qkv.dtype)
    q, k, v = qkv.unflatten(-1, (heads, 3 * size)).split(size, dim=-1)
    log_decay = -module.slope_rate.flatten().to(torch.float32).expand(*q.shape[:2], -1)
    mixer.note_sizes(head=heads, key=size, value=size, householder=1)
    working = torch.promote_types(q.dtype, torch.float32)
    tokens = {"q": q.to(working), "k": k.to(working), "v": v.to(working), "log_decay": log_decay.to(working)}
    read, final = mixer.run(tokens)
    output = module.norm(read.to(hidden_states.dtype).flatten(-2))
    return module.out_proj(functional.sigmoid(module.output_gate(hidden_states)) * output), final


def _mlstm(
    mixer: ForeignMixer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    igate: Tensor,
    fgate: Tensor,
    c_initial: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query, key [B, H, T, K], value [B, H, T, V], the gates before exponential and sigmoid [B, H, T]. Returns [B, H, T, V].

    They divide by the denominator plus 1e-6; the norm that follows takes such a factor out again.
    """
    only_from_nothing(c_initial, "c_initial")
    working = torch.promote_types(query.dtype, torch.float32)
    q, k, v, log_input, forget = (x.transpose(1, 2).to(working) for x in (query, key, value, igate, fgate))
    mixer.note_sizes(head=v.shape[2], key=k.shape[-1], value=v.shape[-1], state_value=v.shape[-1] + 1)
    if mixer.mask is not None:
        forget, log_input = (x.where(mixer.mask[..., None], end) for x, end in ((forget, NEVER), (log_input, -NEVER)))
    tokens = {"q": q * q.shape[-1] ** -0.5, "k": k, "v": v, "log_input": log_input, "log_decay": functional.logsigmoid(forget)}
    return mixer.run(tokens)[0].transpose(1, 2).to(query.dtype), None


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
    only_from_nothing(None if state is None else state[1], "state")
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


NEVER = 100.0  # a gate of e^-100 keeps what float32 would show of it to itself
LIGHTNING = Adapter(
    "lightning attention", "trans_normer", ("MiniMaxLightningAttention",), LINEAR, methods={"forward": _lightning}
)
XLSTM = Adapter("mLSTM", "mlstm", ("xLSTMLayer",), MLSTM, methods={"mlstm_backend": _mlstm})
RWKV_4 = Adapter(
    "RWKV-4",
    "rwkv4",
    ("RwkvSelfAttention",),
    SCAN,
    {"rwkv_linear_attention": _weighted_sums},
    absent=("hook_z",),
    masked=("ln1", "ln2"),
)
