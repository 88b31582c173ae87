"""P120: one recurrence behind the named linear models."""

from __future__ import annotations

from collections.abc import Callable

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
from ....probe.runs.run import Run
from ...studies.findings import Findings
from ..agreement import difference
from ..claim import Claim
from ..hooked import drawn_tokens, observed, small_model
from ..measurement import Scope, at_most

TOKENS = 20
Distance = Callable[[Tensor], float]


def _from_identity(theta: Tensor) -> float:
    return difference(theta, torch.eye(theta.shape[-1], dtype=theta.dtype).expand_as(theta))


def _from_scalar(theta: Tensor) -> float:
    mean = theta.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return difference(theta, mean * torch.eye(theta.shape[-1], dtype=theta.dtype))


def _from_vector(theta: Tensor) -> float:
    return difference(theta, torch.diag_embed(theta.diagonal(dim1=-2, dim2=-1)))


def _from_reflector(theta: Tensor) -> float:
    """The nearest e^g (I - beta k k^T): symmetric, all eigenvalues equal but one."""
    values, vectors = torch.linalg.eigh((theta + theta.mT) / 2)
    common = values[..., 1:].mean(-1, keepdim=True)  # beta >= 0 lowers one eigenvalue
    nearest = torch.cat([values[..., :1], common.expand_as(values[..., 1:])], dim=-1)
    return difference(theta, vectors @ torch.diag_embed(nearest) @ vectors.mT)


NAMED: dict[str, tuple[MixerConfig, str, Distance]] = {
    "linear attention": (LinearAttention(heads=2, feature_map="identity", normalise=False), "the identity", _from_identity),
    "RetNet": (RetNet(heads=2), "a scalar", _from_scalar),
    "TransNormer": (TransNormer(heads=2), "a scalar", _from_scalar),
    "Mamba-2": (Mamba2(heads=2, state_size=8), "a scalar", _from_scalar),
    "GLA": (GatedLinearAttention(heads=2), "a vector", _from_vector),
    "HGRN2": (HGRN2(heads=2), "a vector", _from_vector),
    "RWKV-6": (RWKV6(heads=2), "a vector", _from_vector),
    "DeltaNet": (DeltaNet(heads=2), "I - beta k k^T", _from_reflector),
    "Gated DeltaNet": (GatedDeltaNet(heads=2), "e^g (I - beta k k^T)", _from_reflector),
}
STATES = "{}: states against Theta M + f, token by token"
FORM = "{}: Theta against the nearest that is {}"


class Recurrences(Claim, kind="p120-recurrences"):
    """The recurrence of each model is compared with the shared form."""

    paper, scope = "P120", Scope.IDENTITY
    statement = (
        "M_s = Theta_s M_{s-1} + f(k_s, v_s) gives each named linear model by its Theta: the identity, a scalar, a vector, or "
        "I - beta k k^T."
    )
    measurements = (
        *(at_most(STATES.format(name), 1e-5) for name in NAMED),
        *(at_most(FORM.format(name, form), 1e-6) for name, (_, form, _) in NAMED.items()),
    )
    note = "The sparse mixture-of-experts channel mixer of the paper is not built."

    def experiment(self, seed: int, run: Run) -> Findings:
        """Theta and f as the mixer's own hooks give them, applied to its own states one token before."""
        found, tokens = Findings(), drawn_tokens(seed, TOKENS)
        for name, (mixer, form, distance) in NAMED.items():
            own = observed(small_model(mixer, seed), tokens, "state", "write", "transition")
            states, theta = own["state"], own["transition"].dense()
            before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
            found.numbers[STATES.format(name)] = difference(theta @ before + own["write"], states)
            found.numbers[FORM.format(name, form)] = distance(theta)
        return found
