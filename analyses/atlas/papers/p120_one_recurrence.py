"""P120: one recurrence behind the named linear models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ....probe.mixers import (
    HGRN2,
    RWKV6,
    DeltaNet,
    GatedDeltaNet,
    GatedLinearAttention,
    LinearAttention,
    Mamba2,
    MixerConfig,
    RetNet,
    TransNormer,
)
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ...studies.findings import Findings
from ..agreement import difference
from ..claim import Claim
from ..measurement import Scope, at_most

Theta = Callable[[dict[str, Tensor], int], Tensor]


def _identity(tokens: dict[str, Tensor], t: int) -> Tensor:
    return torch.eye(tokens["k"].shape[-1]).double().expand(*tokens["k"].shape[:1], tokens["k"].shape[2], -1, -1)


def _scalar(tokens: dict[str, Tensor], t: int) -> Tensor:
    return tokens["log_decay"][:, t].exp()[..., None, None] * _identity(tokens, t)


def _vector(tokens: dict[str, Tensor], t: int) -> Tensor:
    return torch.diag_embed(tokens["log_decay"][:, t].exp())


def _matrix(tokens: dict[str, Tensor], t: int) -> Tensor:
    """e^g (I - beta k k^T)."""
    k, beta = tokens["k"][:, t], tokens["beta"][:, t]
    erase = _identity(tokens, t) - beta[..., None, None] * k[..., :, None] * k[..., None, :]
    return tokens["log_decay"][:, t].exp()[..., None, None] * erase if "log_decay" in tokens else erase


NAMED: dict[str, tuple[MixerConfig, Theta]] = {
    "linear attention": (LinearAttention(heads=2, feature_map="identity", normalise=False), _identity),
    "RetNet": (RetNet(heads=2), _scalar),
    "TransNormer": (TransNormer(heads=2), _scalar),
    "Mamba-2": (Mamba2(heads=2, state_size=8), _scalar),
    "GLA": (GatedLinearAttention(heads=2), _vector),
    "HGRN2": (HGRN2(heads=2), _vector),
    "RWKV-6": (RWKV6(heads=2), _vector),
    "DeltaNet": (DeltaNet(heads=2), _matrix),
    "Gated DeltaNet": (GatedDeltaNet(heads=2), _matrix),
}


@torch.no_grad()
def experiment(seed: int) -> Findings:
    """Each model's states against M_s = Theta_s M_{s-1} + f(k_s, v_s), a dense matrix Theta applied token by token."""
    found = Findings()
    tokens = torch.randint(0, 9, (2, 20), generator=torch.Generator().manual_seed(seed))
    for name, (mixer, theta) in NAMED.items():
        model = Model(ModelConfig(vocabulary=9, width=16, layers=1, mixer=mixer, seed=seed)).double().eval()
        hooks = [hook for hook in model.hook_dict if hook.rsplit("_", 1)[-1] in ("k", "v", "decay", "beta", "state")]
        _, cache = model.run_with_cache(tokens, names_filter=hooks, taps=list(range(20)))
        parts: dict[str, Any] = {hook.split("attn.hook_")[1]: cache[hook] for hook in hooks if "attn" in hook}
        parts |= {"log_decay": parts["log_decay"]} if "log_decay" in parts else {}
        states = parts.pop("state")
        memory = torch.zeros_like(states[:, 0])
        generic = []
        for t in range(20):
            rate = parts["beta"][:, t, :, None, None] if "beta" in parts else 1.0
            memory = theta(parts, t) @ memory + rate * parts["k"][:, t, :, :, None] * parts["v"][:, t, :, None]
            generic.append(memory)
        found.numbers[f"{name}: states against the generic recurrence"] = difference(states, torch.stack(generic, 1))
    return found


class Recurrences(Claim, kind="p120-recurrences"):
    """The equations."""

    paper, scope = "P120", Scope.IDENTITY
    statement = (
        "M_s = Theta_s M_{s-1} + f(k_s, v_s) gives each named linear model by its Theta: the identity, a scalar, a "
        "vector, or I - beta k k^T."
    )
    measurements = tuple(at_most(f"{name}: states against the generic recurrence", 1e-5) for name in NAMED)
    note = "The sparse mixture-of-experts channel mixer of the paper is not built."

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
