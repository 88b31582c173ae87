"""Recall against memory: what each model remembers for the bytes that it carries from token to token (Arora et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...probe.mixers.base import StateRequest
from ...probe.models.generate import memory_bytes
from ...probe.models.model import Model


def bytes_behind(model: Model, tokens: Tensor) -> int:
    """The bytes that generation carries on behind one sequence [1, T]: states, the last inputs of convolutions, or keys and
    values.
    """
    requests = [StateRequest(memory={}) for _ in range(model.layers)]
    with torch.no_grad():
        model.step(tokens, requests)
    return memory_bytes([request.memory or {} for request in requests])
