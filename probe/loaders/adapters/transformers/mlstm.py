"""The mLSTM of xLSTM."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ....mixers.recurrences import MLSTM_RECURRENCE
from ....mixers.spectrum import DECAYS
from ...adapter import Adapter, ForeignMixer

NEVER = 100.0  # a gate of e^-100 keeps what float32 would show of it to itself


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
    mixer.only_from_nothing(c_initial, "c_initial")
    working = torch.promote_types(query.dtype, torch.float32)
    q, k, v, log_input, forget = (x.transpose(1, 2).to(working) for x in (query, key, value, igate, fgate))
    mixer.note_sizes(head=v.shape[2], key=k.shape[-1], value=v.shape[-1], state_value=v.shape[-1] + 1)
    if mixer.mask is not None:
        forget, log_input = (x.where(mixer.mask[..., None], end) for x, end in ((forget, NEVER), (log_input, -NEVER)))
    tokens = {"q": q * q.shape[-1] ** -0.5, "k": k, "v": v, "log_input": log_input, "log_decay": functional.logsigmoid(forget)}
    return mixer.run(tokens)[0].transpose(1, 2).to(query.dtype), None


class XLSTMAdapter(Adapter, kind="mlstm"):
    """S_t = f_t S_{t-1} + i_t k_t v_t^T with exponential input gates."""

    title = "mLSTM"
    checkpoints = ("xLSTM",)
    mixer = "mlstm"
    modules = ("xLSTMLayer",)
    recurrence = MLSTM_RECURRENCE
    spectrum = DECAYS
    zero_start = True
    methods: ClassVar = {"mlstm_backend": _mlstm}

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        sums, normaliser, _ = out.cache_params.rnn_state[layer]
        return torch.cat([sums, normaliser[..., None]], dim=-1)
